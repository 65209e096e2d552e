// value: {facts, text, page, pages, train, validation, frequencies} or null.
const { element: make } = window.nano;
const find = (selector) => element.querySelector(selector);
const number = (n) => n.toLocaleString("en");

function drawPager(value) {
  find(".pager").hidden = value.pages < 2;
  find(".pager span").textContent = `page ${number(value.page + 1)} of ${number(value.pages)}`;
  find(".before").disabled = value.page === 0;
  find(".after").disabled = value.page >= value.pages - 1;
}

function drawSplit(value) {
  const all = Math.max(1, value.train + value.validation);
  find(".learn").style.width = `${(100 * value.train) / all}%`;
  find(".judge").style.width = `${(100 * value.validation) / all}%`;
  find(".legend").textContent =
    `${number(value.train)} characters to learn from, the last ${number(value.validation)} kept back to judge by`;
}

function bar([sign, count], most) {
  const made = make("li");
  const ink = make("i");
  ink.style.width = `${(100 * count) / most}%`;
  const track = make("span", "track");
  track.append(ink);
  made.append(make("b", "", sign), track, make("span", "count", number(count)));
  return made;
}

function draw() {
  const value = props.value;
  find(".text-card").hidden = !value;
  if (!value) return;
  find(".facts").textContent = value.facts;
  const preview = find(".preview");
  if (preview.textContent !== value.text) {
    preview.textContent = value.text;
    preview.scrollTop = 0;
  }
  drawPager(value);
  drawSplit(value);
  const most = value.frequencies.length ? value.frequencies[0][1] : 1;
  find(".frequencies").replaceChildren(...value.frequencies.map((pair) => bar(pair, most)));
}

find(".before").addEventListener("click", () => trigger("turn", { page: props.value.page - 1 }));
find(".after").addEventListener("click", () => trigger("turn", { page: props.value.page + 1 }));
watch("value", draw);
draw();
