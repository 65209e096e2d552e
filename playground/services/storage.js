// @ts-check
// localStorage with a fallback: where a browser allows none, values last until the page is closed.

const memory = {};

export function keep(key, value) {
  memory[key] = value;
  try {
    localStorage.setItem(`nano-${key}`, value);
  } catch {
    // storage is full or forbidden
  }
}

export function kept(key) {
  try {
    return localStorage.getItem(`nano-${key}`) ?? memory[key];
  } catch {
    return memory[key];
  }
}
