// How far the ranking of the heads is, and what it says. What it found goes to the grid, as the bars beside its thumbnails.

const { inside } = window.nano;
const progress = element.querySelector(".progress");
const fill = progress.querySelector("i");
const said = element.querySelector(".said");

function take() {
    const { effects = {}, total = 0, said: sentence = "", stamp = "" } = props.value ?? {};
    const done = Object.keys(effects).length;
    progress.hidden = !total || done >= total;
    progress.setAttribute("aria-valuenow", total ? Math.round((100 * done) / total) : 0);
    fill.style.transform = `scaleX(${total ? done / total : 0})`;
    said.textContent = sentence;
    inside.put("effects", done ? { stamp, of: effects } : null);
}

watch("value", take);
take();
