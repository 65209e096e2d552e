"""Whether the page shows on the models that come along what it promises.

Run by hand: `python -m tests.browser.insights FOLDER [NUMBER …]`. It needs Tiny Shakespeare, from which they learned:
NANOLLM_TINY_SHAKESPEARE names a file. For each moment of insight, or those whose numbers are given, it prints what it
finds, says whether it occurs, and takes pictures into FOLDER.
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
DIALS = {"temperature": 0.8, "top_k": 40, "seed": 42}
ORDER = (0, 62, 160, 1000)  # snapshots of nano
LONG = 4_000  # characters that are judged
NAMES = ("nano", "small", "medium")
SETTLED = 8  # rows of a text that do not count: with so little behind it, a head must look hard at something
ALIKE = 0.02  # of its attention: heads that put as much on one character look equally hard
WORD = re.compile(r"[a-z]+(?:'[a-z]+)?", re.IGNORECASE)


@dataclass
class Look:
    """The page with the models that come along, and the text that they learned from and were judged by."""

    browser: Browser
    page: Page
    learned: str
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
        """Sample, its first text whole."""
        at = "" if step is None else f"&step={step}"
        with self.tab(f"tab=sample&run={self.run(name).id}{at}&prompt={PROMPT}") as tab:
            whole(tab)
            yield tab

    def shoot(self, tab: Tab, name: str) -> None:
        tab.wait_for_timeout(500)
        tab.screenshot(path=self.folder / f"{name}.png")


def whole(tab: Tab) -> None:
    tab.wait_for_function(f"document.querySelectorAll('#sample-text .letters span').length === {len(PROMPT) + 400}")
    tab.wait_for_function("document.getElementById('sample-stop').disabled")


def letters(tab: Tab) -> str:
    return tab.locator("#sample-text .letters").evaluate("(letters) => letters.textContent")


def written(snapshot: Snapshot, length: int = LONG) -> str:
    loaded = load_model(snapshot.path)
    return generate_text(loaded.model, loaded.tokenizer, PROMPT, max_length=length, **DIALS)[len(PROMPT) :]


def learning_has_an_order(look: Look) -> bool:
    """1. Letters, then spaces, then words, then lines: each share of the way is gone later than the one before."""
    known = set(WORD.findall(look.learned))
    real = Counter(look.held_out)

    def traits(text: str) -> tuple[float, ...]:
        """Likeness of letter frequencies and of word lengths, share of known words, of lines of a verse's length."""
        found, words = Counter(text), WORD.findall(text)
        alike = 1 - sum(abs(found[c] / len(text) - real[c] / real.total()) for c in set(real) | set(found)) / 2
        lengths = Counter(len(piece) for piece in text.split())
        spaced = 1 - sum(abs(lengths[n] / lengths.total() - wanted[n] / wanted.total()) for n in wanted | lengths) / 2
        lines = [len(line) for line in text.split("\n")]
        verses = sum(length for length in lines if 20 <= length <= 60) / len(text)
        return alike, spaced, sum(word in known for word in words) / max(1, len(words)), verses

    wanted = Counter(len(piece) for piece in look.held_out.split())
    steps = look.run("nano").snapshots()
    course = np.array([traits(written(snapshot)) for snapshot in steps])
    for snapshot, row in zip(steps, course, strict=True):
        print(f"   step {snapshot.step:>5}: letters {row[0]:.2f}, word lengths {row[1]:.2f}, known words {row[2]:.2f}, "
              f"verse lines {row[3]:.2f}")  # fmt: skip
    gone = (course - course[0]) / (course[-1] - course[0])
    halfway = [steps[int(np.argmax(gone[:, trait] >= 0.5))].step for trait in range(course.shape[1])]
    print(
        f"   half of the way: letters {halfway[0]}, word lengths {halfway[1]}, words {halfway[2]}, lines {halfway[3]}"
    )
    for step in ORDER:
        with look.sample("nano", step) as tab:
            look.shoot(tab, f"1-step-{step}")
    return halfway[0] <= halfway[1] <= halfway[2]


def temperature_changes_nothing_the_model_knows(look: Look) -> bool:
    """4. Grey bars stay, coloured bars move."""
    bars: dict[float, tuple[list[str], list[str]]] = {}
    with look.sample("medium") as tab:
        tab.locator("#sample-text .letters span").nth(len(PROMPT) + 30).click()
        for temperature in (0.5, 1.5):
            number = tab.locator("#sample-temperature input[type=number]")
            number.fill(str(temperature))
            number.press("Tab")
            tab.wait_for_timeout(500)
            width = "all => all.map((bar) => bar.style.width)"
            grey, coloured = (tab.locator(f".alternatives .{of}").evaluate_all(width) for of in ("model", "dialled"))
            bars[temperature] = grey, coloured
            print(f"   at {temperature}: the likeliest {grey[0]} before, {coloured[0]} after")
            look.shoot(tab, f"4-temperature-{temperature}")
    return bars[0.5][0] == bars[1.5][0] and bars[0.5][1] != bars[1.5][1]


def one_letter_another_future(look: Look) -> bool:
    """5. Choose: what stood before stays, what comes after is another text."""
    with look.sample("medium") as tab:
        first, place = letters(tab), len(PROMPT) + 8
        look.shoot(tab, "5-before")
        tab.locator("#sample-text .letters span").nth(place).click()
        tab.locator("#sample-choices .alternatives button:enabled").first.click()
        tab.wait_for_function(
            "(text) => document.querySelector('#sample-text .letters').textContent !== text", arg=first
        )
        whole(tab)
        second = letters(tab)
        look.shoot(tab, "5-after")
    alike = np.mean([a == b for a, b in zip(first[place:], second[place:], strict=True)])
    print(f"   {first[place]!r} → {second[place]!r}: {alike:.0%} of what comes after stands where it stood")
    return first[:place] == second[:place] and bool(alike < 0.5)


def places(text: str) -> np.ndarray:
    """Of each character: its place in its word from 1 on, 0 outside of words."""
    found = np.zeros(len(text), int)
    for i, character in enumerate(text):
        found[i] = (found[i - 1] if i else 0) + 1 if character.isalpha() else 0
    return found


def uncertainty_sits_at_word_starts(look: Look) -> bool:
    """6. First letters of words cost more bits than later ones, in real text and in the models' own."""
    occurs = True
    for name in NAMES:
        snapshot = look.run(name).snapshot()
        loaded = load_model(snapshot.path)
        for kind, text in (("held out", look.held_out[:LONG]), ("its own", written(snapshot))):
            bits, at = surprisal(loaded.model, loaded.tokenizer, text).bits, places(text)
            first, second, later = (bits[where].mean() for where in (at == 1, at == 2, at > 2))
            print(f"   {name}, {kind}: first letters {first:.2f} bits, second {second:.2f}, later {later:.2f}")
            occurs &= bool(first > 1.5 * max(second, later))
    with look.sample("medium") as tab:
        look.shoot(tab, "6-shading")
    return occurs


def size_buys_context(look: Look) -> bool:
    """7. The difference of nano and medium on one text that neither has seen: where does size help?

    In words that medium still sees further back and nano does not any more, more than in others.
    """
    with look.tab("tab=compare&view=scored") as tab:
        tab.locator("#compare-3-facts").get_by_text("parameters").wait_for(state="attached")
        tab.locator("#compare-score-text textarea").fill(look.held_out[:LONG])
        tab.locator("#compare-score").click()
        rows = tab.locator("#compare-difference .where tbody tr")
        rows.first.wait_for()
        for row in rows.all():
            print("   " + ", ".join(cell.strip() for cell in row.inner_text().split("\t")))
        look.shoot(tab, "7-difference")
        tab.locator("#compare-difference .where").scroll_into_view_if_needed()
        look.shoot(tab, "7-where")
    text = look.held_out[: 5 * LONG]
    nano, medium = (load_model(look.run(name).snapshot().path) for name in ("nano", "medium"))
    bits = [surprisal(loaded.model, loaded.tokenizer, text).bits for loaded in (nano, medium)]
    within = [loaded.info.model_config.context_length for loaded in (nano, medium)]
    gains: dict[str, list[float]] = {"both still see": [], "only medium still sees": [], "neither sees": []}
    for word in re.finditer(r"[A-Za-z]{4,}", text):
        back = word.start() - text.rfind(word[0], 0, word.start())
        kind = list(gains)[sum(back > length for length in within)]
        gains[kind].append((bits[0] - bits[1])[word.start() + 1 : word.end()].mean())
    for kind, found in gains.items():
        print(f"   later letters of words that {kind} further back: {np.mean(found):.2f} bits less for medium")
    _, only, neither = (np.mean(found) for found in gains.values())
    return bool(only > 1.2 * neither)


def bright_says_little_of_important(look: Look) -> bool:
    """8. Of heads that look equally hard at what they look at, one may be missed several times as much: see the bars.

    Over all heads, those that look harder are missed more. That is printed, too.
    """
    most = {}
    for name in NAMES:
        snapshot = look.run(name).snapshot()
        loaded = load_model(snapshot.path)
        effects = load_findings(snapshot.findings_path).effects
        T = loaded.info.model_config.context_length
        texts = [look.held_out[start : start + T] for start in range(0, 8 * T, T)]
        seen = [attention_map(loaded.model, loaded.tokenizer, text).weights[:, :, SETTLED:] for text in texts]
        hardest = np.mean([weights.max(axis=-1).mean(axis=-1) for weights in seen], axis=0).flatten()  # (L · H,)
        missed = np.array([effect.increase for effect in effects])
        rho = np.corrcoef(hardest.argsort().argsort(), missed.argsort().argsort())[0, 1]
        clear = [i for i, effect in enumerate(effects) if effect.increase > 2 * effect.error]
        alike = [(i, j) for i in clear for j in clear if abs(hardest[i] - hardest[j]) < ALIKE]
        more, less = max(alike, key=lambda pair: missed[pair[0]] / missed[pair[1]])
        most[name] = missed[more] / missed[less]
        told = [
            f"{effects[i].part.label} (at one character with {hardest[i]:.0%}) {missed[i]:+.3f}" for i in (more, less)
        ]
        print(f"   {name}: {told[0]}, {told[1]} nats; over all {len(effects)} heads ranks correlate by {rho:.2f}")
    with look.tab(f"tab=attention&run={look.run('medium').id}") as tab:
        tab.locator("#attention-ranking").get_by_text("Largest effect").wait_for()
        look.shoot(tab, "8-bars")
    return bool(most["medium"] > 3)


def heads_back_each_other_up(look: Look) -> bool:
    """9. Two heads that can each be spared, but not both: sought on one stretch of text, judged on another."""
    snapshot = look.run("medium").snapshot()
    loaded, means = load_model(snapshot.path), load_means(snapshot.means_path)
    ids = loaded.tokenizer.encode(look.held_out)
    half = len(ids) // 2
    found = find_backup_pair(loaded.model, ids, means)
    if found is None:
        return False
    labels, more = [part.label for part in found.pair], found.together - sum(found.alone)
    print(f"   {labels[0]} and {labels[1]}: alone {found.alone[0]:+.3f} and {found.alone[1]:+.3f}, together "
          f"{found.together:+.3f} nats, {more:.3f} ± {found.error:.3f} more")  # fmt: skip
    with look.tab(f"tab=attention&run={look.run('medium').id}&lens=matters") as tab:
        text = look.held_out[half : half + loaded.info.model_config.context_length].replace("\n", " ")
        tab.locator("#attention-text textarea").fill(text)
        tab.locator("#attention-both").click()
        tab.locator("#attention-effects li.strong").wait_for()
        tab.wait_for_timeout(1000)
        print("   the page: " + ", ".join(tab.locator("#attention-effects").inner_text().split("\n")))
        look.shoot(tab, "9-together")
    return True


def overfitting_is_copying(look: Look) -> bool:
    """10. At one step of the slider the gap opens and the underlined stretches lengthen."""
    training, occurs = TrainingText(look.learned), False
    for name in NAMES:
        run = look.run(name)
        curve = run.curve()
        for snapshot in run.snapshots():
            found = memorization(training, written(snapshot), look.held_out)
            at = int(np.argmin(np.abs(np.array(curve.eval_steps) - snapshot.step)))
            gap = (curve.val_loss[at] or 0.0) - (curve.train_loss[at] or 0.0)
            usual = found.control_longest()
            longest, novel = found.text.longest, found.text.novelty[12]
            print(f"   {name}, step {snapshot.step}: longest copy {longest} (held out {usual:.0f}), gap {gap:.2f}, "
                  f"unseen stretches of 12 {novel:.0%} (held out {found.control_novelty()[12]:.0%})")  # fmt: skip
            occurs |= found.text.longest > 2 * usual and gap > 0.2
    return occurs


MOMENTS: dict[int, Callable[[Look], bool]] = {
    1: learning_has_an_order,
    4: temperature_changes_nothing_the_model_knows,
    5: one_letter_another_future,
    6: uncertainty_sits_at_word_starts,
    7: size_buys_context,
    8: bright_says_little_of_important,
    9: heads_back_each_other_up,
    10: overfitting_is_copying,
}


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    wanted = [int(number) for number in sys.argv[2:]] or list(MOMENTS)
    with tempfile.TemporaryDirectory() as home, sync_playwright() as playwright:
        shutil.copytree(ROOT / "checkpoints" / "pretrained", Path(home) / "checkpoints" / "pretrained")
        corpora = CorpusStore(Path(home) / "data" / "corpora")
        text = corpora.read(builtin.add(corpora, builtin.builtin_by_id("tiny-shakespeare")).sha256)
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        with serve(Path(home)) as page:
            learned, held_out = split(text, 0.1)  # type: ignore[type-var]
            look = Look(browser, page, learned, held_out, folder)
            for number in wanted:
                moment = MOMENTS[number]
                print(f"{number}. {moment.__name__.replace('_', ' ')}")
                print("   it occurs" if moment(look) else "   IT DOES NOT OCCUR", flush=True)
        browser.close()


if __name__ == "__main__":
    main()
