// @ts-check
// Loads the page's modules from the page's own origin, under a content hash; runs before Gradio mounts the page.
window.nanollm = (() => {
  const load = (path) => import(new URL(`MODULE_ROOT${path}`, document.baseURI).href);

  // Calls the function of a module that renders a component. `props` already contains values that arrived earlier.
  const mount = (path, name, component) =>
    load(path)
      .then((module) => module[name](component))
      .catch((error) => console.error(`${path}:`, error));

  for (const path of ["shell/page_state.js", "shell/startup.js"]) load(path);
  return { load, mount };
})();
