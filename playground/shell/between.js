// @ts-check
// The tab key and screen readers go through a page in the order of its elements. Gradio lets nothing but panels follow the
// names of tabs; so what is seen between them, the time bar and the guidance, is put there once all are on the page.
function put() {
  const [names, ...between] = ["#tabs > .tab-wrapper", "#time-bar", "#guide"].map((each) =>
    document.querySelector(each),
  );
  if (!names || between.includes(null)) return;
  arriving.disconnect();
  names.after(...between);
}
const arriving = new MutationObserver(put);
arriving.observe(document.documentElement, { childList: true, subtree: true });
