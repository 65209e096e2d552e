// @ts-check
// Who this browser is, on a page that strangers share: a key that it makes up itself and sends along with every request
// to this page. The server keeps only its hash. Keys to look at others' runs come with links, as ?run=…&look=….
(() => {
  const KEY = "nano-visitor";
  const LOOKS = "nano-looks";
  const MOST = 8;

  // In a frame whose storage is closed, or a private window, the visit lasts as long as the page.
  const kept = (name) => {
    try {
      return localStorage.getItem(name);
    } catch {
      return null;
    }
  };
  const keep = (name, value) => {
    try {
      localStorage.setItem(name, value);
    } catch {
      /* then it is forgotten */
    }
  };

  function invented() {
    const bytes = crypto.getRandomValues(new Uint8Array(32));
    return btoa(String.fromCharCode(...bytes))
      .replaceAll("+", "-")
      .replaceAll("/", "_")
      .replaceAll("=", "");
  }

  let token = kept(KEY);
  if (!/^[\w-]{43}$/.test(token || "")) {
    token = invented();
    keep(KEY, token);
  }

  let looks = (kept(LOOKS) || "").split(" ").filter(Boolean);
  const asked = new URLSearchParams(location.search);
  if (asked.get("run") && /^[0-9a-f]{32}$/.test(asked.get("look") || "")) {
    const look = `${asked.get("run")}.${asked.get("look")}`;
    looks = [look, ...looks.filter((one) => one !== look)].slice(0, MOST);
    keep(LOOKS, looks.join(" "));
  }

  const before = window.fetch;
  window.fetch = (/** @type {any} */ resource, options) => {
    const url = new URL(resource.url || resource, location.href);
    if (url.origin !== location.origin) return before(resource, options);
    const headers = new Headers(options?.headers || resource.headers);
    headers.set("X-Nano-Visitor", token);
    if (looks.length) headers.set("X-Nano-Looks", looks.join(" "));
    return before(resource, { ...options, headers });
  };
})();
