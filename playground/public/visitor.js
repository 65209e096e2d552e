// @ts-check
// Identifies this browser on a public page with a random key that it adds to each request to the server.
// The server stores only the key's hash. Links with ?run=…&look=… contain keys for viewing another visitor's run.
(() => {
  const KEY = "nano-visitor";
  const LOOKS = "nano-looks";
  const MOST = 8;

  // Without storage (private windows, some embedded frames), the key is valid until the page is closed.
  const readItem = (name) => {
    try {
      return localStorage.getItem(name);
    } catch {
      return null;
    }
  };
  const writeItem = (name, value) => {
    try {
      localStorage.setItem(name, value);
    } catch {
      /* no storage: the key is not saved */
    }
  };

  function newToken() {
    const bytes = crypto.getRandomValues(new Uint8Array(32));
    return btoa(String.fromCharCode(...bytes))
      .replaceAll("+", "-")
      .replaceAll("/", "_")
      .replaceAll("=", "");
  }

  let token = readItem(KEY);
  if (!/^[\w-]{43}$/.test(token || "")) {
    token = newToken();
    writeItem(KEY, token);
  }

  let looks = (readItem(LOOKS) || "").split(" ").filter(Boolean);
  const parameters = new URLSearchParams(location.search);
  if (parameters.get("run") && /^[0-9a-f]{32}$/.test(parameters.get("look") || "")) {
    const look = `${parameters.get("run")}.${parameters.get("look")}`;
    looks = [look, ...looks.filter((one) => one !== look)].slice(0, MOST);
    writeItem(LOOKS, looks.join(" "));
  }

  const originalFetch = window.fetch;
  window.fetch = (/** @type {any} */ resource, options) => {
    const url = new URL(resource.url || resource, location.href);
    if (url.origin !== location.origin) return originalFetch(resource, options);
    const headers = new Headers(options?.headers || resource.headers);
    headers.set("X-Nano-Visitor", token);
    if (looks.length) headers.set("X-Nano-Looks", looks.join(" "));
    return originalFetch(resource, { ...options, headers });
  };
})();
