// @ts-check
// Runs before Gradio mounts the page: loads the page's modules from their own origin, under the content hash.
window.nanollm = (() => {
  const load = (path) => import(new URL(`MODULE_ROOT${path}`, document.baseURI).href);

  // Calls the function with which a module draws a component. Values that arrived before are in the props by then.
  const mount = (path, name, component) =>
    load(path)
      .then((module) => module[name](component))
      .catch((error) => console.error(`${path}:`, error));

  for (const path of ["shell/page_state.js", "shell/startup.js"]) load(path);
  return { load, mount };
})();
