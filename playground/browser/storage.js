// @ts-check
// Wraps localStorage; if the browser blocks it, values are kept in memory until the page is closed.

const memory = {};

export function save(key, value) {
  memory[key] = value;
  try {
    localStorage.setItem(`nano-${key}`, value);
  } catch {
    // storage is full or blocked
  }
}

export function load(key) {
  try {
    return localStorage.getItem(`nano-${key}`) ?? memory[key];
  } catch {
    return memory[key];
  }
}
