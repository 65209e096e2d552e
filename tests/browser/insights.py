"""Check that the effects which the page explains occur in the pretrained models.

Run by hand: `python -m tests.browser.insights FOLDER [NUMBER …]`. It needs their training text, Tiny Shakespeare: set
NANOLLM_TINY_SHAKESPEARE to a file. For each effect, or those with the given numbers, it prints the measurements and
whether the effect occurs, and writes screenshots into FOLDER.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from playwright.sync_api import Browser, sync_playwright
from playwright.sync_api import Page as Tab

from nanollm.data import builtin
from nanollm.data.corpus import CorpusStore, split
from nanollm.explain.ablation import load_means
from nanollm.explain.attention import attention_map
from nanollm.explain.backup_heads import find_backup_pair
from nanollm.explain.findings import load_findings
from nanollm.explain.memorization import TrainingText, memorization
from nanollm.explain.surprisal import surprisal
from nanollm.inference.generate import generate_text
from nanollm.runs.store import Run, Snapshot
from nanollm.train.checkpoint import load_model
from tests.browser.visit import Visit
from tests.chromium import ARGUMENTS
from tests.conftest import ROOT
from tests.serving import Page, serve

PROMPT = "ROMEO:"
SETTINGS = {"temperature": 0.8, "top_k": 40, "seed": 42}
ORDER = (0, 62, 160, 1000)  # snapshots of nano
LONG = 4_000  # characters per evaluated text
NAMES = ("nano", "small", "medium")
FIRST_ROWS = 8  # ignored: with so little context, attention is concentrated by necessity
ALIKE = 0.02  # heads whose largest attention weights differ by less count as equal
WORD = re.compile(r"[a-z]+(?:'[a-z]+)?", re.IGNORECASE)


@dataclass
class Setup:
    """The page with the pretrained models, and the two splits of their text."""

    browser: Browser
    page: Page
    training_text: str
    held_out: str
    folder: Path

    def run(self, name: str) -> Run:
        return self.page.store.get(f"pretrained-{name}")

    @contextmanager
    def tab(self, query: str) -> Iterator[Tab]:
        visit = Visit(self.browser, self.page.address)
        yield visit.goto(f"?{query}")
        visit.close()

    @contextmanager
    def sample(self, name: str, step: int | None = None) -> Iterator[Tab]:
        """Open Sample and wait until its first text is complete."""
        at = "" if step is None else f"&step={step}"
        with self.tab(f"tab=sample&run={self.run(name).id}{at}&prompt={PROMPT}") as tab:
            wait_for_text(tab)
            yield tab

    def screenshot(self, tab: Tab, name: str) -> None:
        tab.wait_for_timeout(500)
        tab.screenshot(path=self.folder / f"{name}.png")


def wait_for_text(tab: Tab) -> None:
    tab.wait_for_function(f"document.querySelectorAll('#sample-text .letters span').length === {len(PROMPT) + 400}")
    tab.wait_for_function("document.getElementById('sample-stop').disabled")


def letters(tab: Tab) -> str:
    return tab.locator("#sample-text .letters").evaluate("(letters) => letters.textContent")


def generated(snapshot: Snapshot, length: int = LONG) -> str:
    loaded = load_model(snapshot.path)
    return generate_text(loaded.model, loaded.tokenizer, PROMPT, max_length=length, **SETTINGS)[len(PROMPT) :]


def learning_has_an_order(setup: Setup) -> bool:
    """1. Models learn letter frequencies first, then word lengths and words (by the step of half the progress)."""
    known = set(WORD.findall(setup.training_text))
    real = Counter(setup.held_out)

    def traits(text: str) -> tuple[float, ...]:
        """Similarity of letter frequencies and word lengths, share of known words, share of lines with verse length."""
        found, words = Counter(text), WORD.findall(text)
        alike = 1 - sum(abs(found[c] / len(text) - real[c] / real.total()) for c in set(real) | set(found)) / 2
        lengths = Counter(len(piece) for piece in text.split())
        spaced = (
            1 - sum(abs(lengths[n] / lengths.total() - expected[n] / expected.total()) for n in expected | lengths) / 2
        )
        lines = [len(line) for line in text.split("\n")]
        verses = sum(length for length in lines if 20 <= length <= 60) / len(text)
        return alike, spaced, sum(word in known for word in words) / max(1, len(words)), verses

    expected = Counter(len(piece) for piece in setup.held_out.split())
    steps = setup.run("nano").snapshots()
    course = np.array([traits(generated(snapshot)) for snapshot in steps])
    for snapshot, row in zip(steps, course, strict=True):
        print(f"   step {snapshot.step:>5}: letters {row[0]:.2f}, word lengths {row[1]:.2f}, known words {row[2]:.2f}, "
              f"verse lines {row[3]:.2f}")  # fmt: skip
    progress = (course - course[0]) / (course[-1] - course[0])
    halfway = [steps[int(np.argmax(progress[:, trait] >= 0.5))].step for trait in range(course.shape[1])]
    print(f"   half of it: letters {halfway[0]}, word lengths {halfway[1]}, words {halfway[2]}, lines {halfway[3]}")
    for step in ORDER:
        with setup.sample("nano", step) as tab:
            setup.screenshot(tab, f"1-step-{step}")
    return halfway[0] <= halfway[1] <= halfway[2]


def temperature_changes_nothing_the_model_knows(setup: Setup) -> bool:
    """4. The gray bars (model) stay, the colored bars (after temperature) change."""
    bars: dict[float, tuple[list[str], list[str]]] = {}
    with setup.sample("medium") as tab:
        tab.locator("#sample-text .letters span").nth(len(PROMPT) + 30).click()
        for temperature in (0.5, 1.5):
            number = tab.locator("#sample-temperature input[type=number]")
            number.fill(str(temperature))
            number.press("Tab")
            tab.wait_for_timeout(500)
            width = "all => all.map((bar) => bar.style.width)"
            gray, colored = (tab.locator(f".alternatives .{of}").evaluate_all(width) for of in ("model", "dialled"))
            bars[temperature] = gray, colored
            print(f"   at {temperature}: top candidate {gray[0]} before, {colored[0]} after")
            setup.screenshot(tab, f"4-temperature-{temperature}")
    return bars[0.5][0] == bars[1.5][0] and bars[0.5][1] != bars[1.5][1]


def one_letter_another_future(setup: Setup) -> bool:
    """5. Choosing another character keeps the text before it and changes the text after it."""
    with setup.sample("medium") as tab:
        first, place = letters(tab), len(PROMPT) + 8
        setup.screenshot(tab, "5-before")
        tab.locator("#sample-text .letters span").nth(place).click()
        tab.locator("#sample-choices .alternatives button:enabled").first.click()
        tab.wait_for_function(
            "(text) => document.querySelector('#sample-text .letters').textContent !== text", arg=first
        )
        wait_for_text(tab)
        second = letters(tab)
        setup.screenshot(tab, "5-after")
    alike = np.mean([a == b for a, b in zip(first[place:], second[place:], strict=True)])
    print(f"   {first[place]!r} → {second[place]!r}: {alike:.0%} of the following characters are unchanged")
    return first[:place] == second[:place] and bool(alike < 0.5)


def places(text: str) -> np.ndarray:
    """Return the position of each character in its word, starting at 1; 0 outside of words."""
    found = np.zeros(len(text), int)
    for i, character in enumerate(text):
        found[i] = (found[i - 1] if i else 0) + 1 if character.isalpha() else 0
    return found


def uncertainty_sits_at_word_starts(setup: Setup) -> bool:
    """6. First letters of words have a higher surprisal than later ones, in real and generated text."""
    occurs = True
    for name in NAMES:
        snapshot = setup.run(name).snapshot()
        loaded = load_model(snapshot.path)
        for kind, text in (("held out", setup.held_out[:LONG]), ("its own", generated(snapshot))):
            bits, at = surprisal(loaded.model, loaded.tokenizer, text).bits, places(text)
            first, second, later = (bits[where].mean() for where in (at == 1, at == 2, at > 2))
            print(f"   {name}, {kind}: first letters {first:.2f} bits, second {second:.2f}, later {later:.2f}")
            occurs &= bool(first > 1.5 * max(second, later))
    with setup.sample("medium") as tab:
        setup.screenshot(tab, "6-shading")
    return occurs


def size_buys_context(setup: Setup) -> bool:
    """7. The larger model gains most in words that have an earlier occurrence in its context window only.

    Compares nano and medium on held-out text.
    """
    with setup.tab("tab=compare&view=scored") as tab:
        tab.locator("#compare-3-facts").get_by_text("parameters").wait_for(state="attached")
        tab.locator("#compare-score-text textarea").fill(setup.held_out[:LONG])
        tab.locator("#compare-score").click()
        rows = tab.locator("#compare-difference .where tbody tr")
        rows.first.wait_for()
        for row in rows.all():
            print("   " + ", ".join(cell.strip() for cell in row.inner_text().split("\t")))
        setup.screenshot(tab, "7-difference")
        tab.locator("#compare-difference .where").scroll_into_view_if_needed()
        setup.screenshot(tab, "7-where")
    text = setup.held_out[: 5 * LONG]
    nano, medium = (load_model(setup.run(name).snapshot().path) for name in ("nano", "medium"))
    bits = [surprisal(loaded.model, loaded.tokenizer, text).bits for loaded in (nano, medium)]
    within = [loaded.info.model_config.context_length for loaded in (nano, medium)]
    gains: dict[str, list[float]] = {
        "are in both windows": [],
        "are only in medium's window": [],
        "are in neither window": [],
    }
    for word in re.finditer(r"[A-Za-z]{4,}", text):
        back = word.start() - text.rfind(word[0], 0, word.start())
        kind = list(gains)[sum(back > length for length in within)]
        gains[kind].append((bits[0] - bits[1])[word.start() + 1 : word.end()].mean())
    for kind, found in gains.items():
        print(f"   later letters of words whose earlier occurrences {kind}: {np.mean(found):.2f} bits less for medium")
    _, only, neither = (np.mean(found) for found in gains.values())
    return bool(only > 1.2 * neither)


def attention_does_not_show_importance(setup: Setup) -> bool:
    """8. Of two heads with equally concentrated attention, one can matter several times as much as the other.

    Also prints the rank correlation between concentration and effect over all heads.
    """
    most = {}
    for name in NAMES:
        snapshot = setup.run(name).snapshot()
        loaded = load_model(snapshot.path)
        effects = load_findings(snapshot.findings_path).effects
        T = loaded.info.model_config.context_length
        texts = [setup.held_out[start : start + T] for start in range(0, 8 * T, T)]
        seen = [attention_map(loaded.model, loaded.tokenizer, text).weights[:, :, FIRST_ROWS:] for text in texts]
        hardest = np.mean([weights.max(axis=-1).mean(axis=-1) for weights in seen], axis=0).flatten()  # (L · H,)
        missed = np.array([effect.increase for effect in effects])
        rho = np.corrcoef(hardest.argsort().argsort(), missed.argsort().argsort())[0, 1]
        clear = [i for i, effect in enumerate(effects) if effect.increase > 2 * effect.error]
        alike = [(i, j) for i in clear for j in clear if abs(hardest[i] - hardest[j]) < ALIKE]
        more, less = max(alike, key=lambda pair: missed[pair[0]] / missed[pair[1]])
        most[name] = missed[more] / missed[less]
        described = [
            f"{effects[i].part.label} (at one character with {hardest[i]:.0%}) {missed[i]:+.3f}" for i in (more, less)
        ]
        print(
            f"   {name}: {described[0]}, {described[1]} nats; over all {len(effects)} heads: rank correlation {rho:.2f}"
        )
    with setup.tab(f"tab=attention&run={setup.run('medium').id}") as tab:
        tab.locator("#attention-ranking").get_by_text("Largest effect").wait_for()
        setup.screenshot(tab, "8-bars")
    return bool(most["medium"] > 3)


def heads_back_each_other_up(setup: Setup) -> bool:
    """9. Two heads back each other up: one alone matters little, both together a lot; measured on other text."""
    snapshot = setup.run("medium").snapshot()
    loaded, means = load_model(snapshot.path), load_means(snapshot.means_path)
    ids = loaded.tokenizer.encode(setup.held_out)
    half = len(ids) // 2
    found = find_backup_pair(loaded.model, ids, means)
    if found is None:
        return False
    labels, more = [part.label for part in found.pair], found.together - sum(found.alone)
    print(f"   {labels[0]} and {labels[1]}: alone {found.alone[0]:+.3f} and {found.alone[1]:+.3f}, together "
          f"{found.together:+.3f} nats, {more:.3f} ± {found.error:.3f} more")  # fmt: skip
    with setup.tab(f"tab=attention&run={setup.run('medium').id}&lens=matters") as tab:
        text = setup.held_out[half : half + loaded.info.model_config.context_length].replace("\n", " ")
        tab.locator("#attention-text textarea").fill(text)
        tab.locator("#attention-both").click()
        tab.locator("#attention-effects li.strong").wait_for()
        tab.wait_for_timeout(1000)
        print("   the page: " + ", ".join(tab.locator("#attention-effects").inner_text().split("\n")))
        setup.screenshot(tab, "9-together")
    return True


def overfitting_is_copying(setup: Setup) -> bool:
    """10. Where the gap between training and validation loss opens, copied stretches become longer."""
    training, occurs = TrainingText(setup.training_text), False
    for name in NAMES:
        run = setup.run(name)
        curve = run.curve()
        for snapshot in run.snapshots():
            found = memorization(training, generated(snapshot), setup.held_out)
            at = int(np.argmin(np.abs(np.array(curve.eval_steps) - snapshot.step)))
            gap = (curve.val_loss[at] or 0.0) - (curve.train_loss[at] or 0.0)
            control = found.control_longest()
            longest, novel = found.text.longest, found.text.novelty[12]
            print(f"   {name}, step {snapshot.step}: longest copy {longest} (held out {control:.0f}), gap {gap:.2f}, "
                  f"unseen stretches of 12 {novel:.0%} (held out {found.control_novelty()[12]:.0%})")  # fmt: skip
            occurs |= found.text.longest > 2 * control and gap > 0.2
    return occurs


EFFECTS: dict[int, Callable[[Setup], bool]] = {
    1: learning_has_an_order,
    4: temperature_changes_nothing_the_model_knows,
    5: one_letter_another_future,
    6: uncertainty_sits_at_word_starts,
    7: size_buys_context,
    8: attention_does_not_show_importance,
    9: heads_back_each_other_up,
    10: overfitting_is_copying,
}


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    numbers = [int(number) for number in sys.argv[2:]] or list(EFFECTS)
    with tempfile.TemporaryDirectory() as home, sync_playwright() as playwright:
        shutil.copytree(ROOT / "checkpoints" / "pretrained", Path(home) / "checkpoints" / "pretrained")
        corpora = CorpusStore(Path(home) / "data" / "corpora")
        text = corpora.read(builtin.add(corpora, builtin.builtin_by_id("tiny-shakespeare")).sha256)
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        with serve(Path(home)) as page:
            training_text, held_out = split(text, 0.1)  # type: ignore[type-var]
            setup = Setup(browser, page, training_text, held_out, folder)
            for number in numbers:
                effect = EFFECTS[number]
                print(f"{number}. {effect.__name__.replace('_', ' ')}")
                print("   it occurs" if effect(setup) else "   IT DOES NOT OCCUR", flush=True)
        browser.close()


if __name__ == "__main__":
    main()
