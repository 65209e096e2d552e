"""Runs in every state of the Train tab, written by hand, and the actions that lead to all other views."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from filelock import FileLock
from playwright.sync_api import Page as Tab

from nanollm.data.corpus import CorpusStore
from nanollm.runs import run_files
from nanollm.runs.process.liveness import Heartbeat
from nanollm.runs.record import Run, write_status
from nanollm.runs.store import RunStore
from nanollm.train import events
from tests.run_folders import checkpoint, write

LONG = "A very long name of a run that a user typed to see how the page displays it · learning rate 0.00123, seed 7"
CAT = "Кошка сидела на окне и смотрела на снег.\n"
LETTERS = "The light was low when he came in, and no one spoke of the boat or of the long way home. " * 2
ENDED = ("paused", "stopped", "failed", "diverged", "lost", "completed")


@contextmanager
def runs_in_every_state(home: Path) -> Iterator[dict[str, Run]]:
    """Create runs by the name of their state; within the context, this process acts as worker of "running"."""
    store, corpora = RunStore(home / "checkpoints"), CorpusStore(home / "data" / "corpora")
    corpus = corpora.list()[0]
    made = {}
    for state in (*ENDED, "long", "stalled", "running", "preparing", "queued"):
        title = LONG if state == "long" else f"sprint · {state}"
        made[state] = store.create(settings={}, corpus=corpus, preset="sprint", title=title, queued=state == "queued")
        if state != "queued":
            _write_training(made[state], corpora, state)
    with (
        Heartbeat(made["running"].folder) as heartbeat,
        Heartbeat(made["preparing"].folder) as other,
        FileLock(made["stalled"].folder / run_files.LOCK),
    ):  # locked, but without new heartbeats
        (made["stalled"].folder / run_files.HEARTBEAT).write_text(f"{1.0:20.3f} {1:10d}\n")
        heartbeat._longest = other._longest = math.inf  # keep beating however long the screenshots take
        yield made


def _write_training(run: Run, corpora: CorpusStore, state: str) -> None:
    if state == "preparing":
        return write_status(run.folder, "running", step=0)
    reached = 200 if state in ("completed", "long") else 120
    run_files.write_json(run.folder / run_files.BASELINES, asdict(corpora.baselines(corpora.list()[0].sha256)))
    write(run, events.Start(0, 200, "bf16", 2, "cpu", "2.13.0", 100_000, 100_000, 10_000))
    for number in range(reached + 1):
        loss = 1.5 + 2.8 * math.exp(-number / 40) + 0.05 * math.sin(number)
        if state == "diverged" and number > 60:
            loss += (number - 60) ** 2 / 100
        if number and number % 10 == 0:
            write(run, events.Step(number, loss, 0.02, 0.8, number * 2048, number / 12, 24_000.0))
        if number % 40 == 0:
            write(run, events.Eval(number, loss, loss + 0.05, number / 12))
            write(run, events.Sample(number, "The ", LETTERS if number else "q;Zx?\nvK " * 12))
            checkpoint(run.folder, f"{number:08}", number, loss, LETTERS)
    recorded = {"lost": "running", "long": "completed", "stalled": "running"}.get(state, state)
    reason = {"failed": "The disk is full: free disk space.", "paused": "Its server ended."}.get(state, "")
    write_status(run.folder, recorded, step=reached, reason=reason)


def open_the_form(tab: Tab) -> None:
    """Open the form, which is folded on narrow screens."""
    if tab.locator("#train-again").is_visible():
        tab.locator("#train-again").click()


def enter_an_invalid_setting(tab: Tab) -> None:
    open_the_form(tab)
    tab.locator("#train-settings button").first.click()
    tab.wait_for_timeout(1500)
    tab.locator("#train-num_heads input, #train-num_heads textarea").press_sequentially("3")
    tab.locator("#train-num_heads[data-problem]").wait_for()


def upload_an_undecodable_file(tab: Tab) -> None:
    content = {"name": "cat.txt", "mimeType": "text/plain", "buffer": (CAT * 50).encode("cp1251")}
    tab.locator("#corpus-upload input[type=file]").set_input_files(content)
    tab.locator("#corpus-readings label").first.wait_for()


def upload_and_rename_a_text(tab: Tab) -> None:
    text = "The cat sat\u200b, and the dog sat, too.\n" * 90
    content = {"name": "cats & dogs.txt", "mimeType": "text/plain", "buffer": text.encode()}
    tab.locator("#corpus-upload input[type=file]").set_input_files(content)
    tab.locator("#corpus-texts .yours .chosen .more").click()
    tab.locator("#corpus-texts .yours button", has_text="Rename").click()
    tab.locator("#corpus-card .unusual summary").click()


def open_the_train_folds(tab: Tab) -> None:
    open_the_form(tab)
    for fold in ("#train-continue-fold", "#train-gradients-fold", "#train-table-fold", "#train-command-fold"):
        tab.locator(f"{fold} button").first.click()
    tab.locator("#train-gradients-chart .main-svg").first.wait_for()
    tab.wait_for_timeout(1500)


def overlay_other_runs(tab: Tab) -> None:
    for _ in range(3):
        tab.locator("#train-overlays input").click()
        tab.locator("#train-overlays [role=option][aria-selected=false]").first.click()
    tab.keyboard.press("Escape")


def open_the_run_menu(tab: Tab) -> None:
    if tab.locator("#runs-toggle").is_visible():
        tab.locator("#runs-toggle").click()
    tab.locator("#run-list .more").nth(2).click()


def open_the_corpus_folds(tab: Tab) -> None:
    for fold in (".signs", ".sizes", ".ladder"):
        tab.locator(f".about-text {fold} summary").click()
    tab.wait_for_timeout(1500)


def choose_a_character(tab: Tab) -> None:
    tab.locator("#sample-text .letters span").nth(40).click()
    tab.locator("#sample-choices .alternatives button:enabled").first.click()
    tab.locator("#sample-choices .back").wait_for()
    tab.wait_for_timeout(2000)


def open_the_sample_folds(tab: Tab) -> None:
    for fold in ("Seed and length", "Is it copying?", "Score my text", "The same in Python"):
        tab.get_by_role("button", name=fold).locator("visible=true").click()
    tab.locator("#score-text textarea").fill(LETTERS)
    tab.locator("#score-button").click()
    tab.locator("#score-shown .letters span").first.wait_for()


def enter_unknown_characters(tab: Tab) -> None:
    tab.locator("#sample-prompt textarea").fill("Ä☃ " + LETTERS)
    tab.locator("#sample-write").click()
    tab.locator("#sample-drop").wait_for()


def fill_compare_view(view: str) -> Callable[[Tab], None]:
    def act(tab: Tab) -> None:
        tab.locator("#compare-view").get_by_text(view, exact=True).click()
        if view != "Guess the size":  # add a fourth column, whose checkpoint files are empty
            tab.locator("#compare-count .add").locator("visible=true").click()
        if view == "Score a text":
            tab.locator("#compare-score-text textarea").fill(LETTERS)
            tab.locator("#compare-score").click()
            tab.locator("#compare-difference .losses").wait_for()
        if view == "Guess the size":
            tab.locator("#compare-blind .begin").click()
            tab.locator("#compare-blind .guess:enabled").first.click()

    return act


def open_view(lens: str) -> Callable[[Tab], None]:
    """Select a view of the Attention tab, with two heads switched off in Ablation."""

    def act(tab: Tab) -> None:
        tab.locator("#attention-lens label", has_text=lens).click()
        if lens == "Ablation":
            for part in ("L1·H2", "L1·H3"):
                tab.locator(f"[data-part='{part}']").click()
            tab.locator("#attention-effects li.strong").wait_for()
        tab.wait_for_timeout(1500)

    return act


def open_whole_model(tab: Tab) -> None:
    tab.locator("#attention-whole > button").click()
    tab.locator("#attention-meter .main-svg").first.wait_for()
    tab.wait_for_timeout(1500)


def open_compare_view(view: str) -> Callable[[Tab], None]:
    def act(tab: Tab) -> None:
        tab.locator("#compare-view").get_by_text(view, exact=True).click()
        tab.locator("#compare-runs .all").click()

    return act


Scene = tuple[
    str, str, Callable[[Tab], None] | None
]  # tab, state or id of the run or "" for none, action before the screenshot

# By screenshot name.
SCENES: dict[str, Scene] = {
    **{
        f"train-{state}": ("train", state, None)
        for state in (*ENDED, "long", "stalled", "running", "preparing", "queued")
    },
    "train-refused": ("train", "completed", enter_an_invalid_setting),
    "train-folds": ("train", "completed", open_the_train_folds),
    "train-overlays": ("train", "long", overlay_other_runs),
    "train-runs": ("train", "completed", open_the_run_menu),
    "corpus-refused": ("corpus", "", upload_an_undecodable_file),
    "corpus-yours": ("corpus", "", upload_and_rename_a_text),
    "corpus-folds": ("corpus", "", open_the_corpus_folds),
    "sample-character": ("sample", "pretrained-medium", choose_a_character),
    "sample-folds": ("sample", "pretrained-medium", open_the_sample_folds),
    "sample-unknown": ("sample", "pretrained-small", enter_unknown_characters),
    **{
        f"attention-{lens.split()[0].lower()}": ("attention", "pretrained-medium", open_view(lens))
        for lens in ("Attention", "Ablation", "Head type", "Logit lens")
    },
    "attention-whole": ("attention", "pretrained-small", open_whole_model),
    **{f"compare-{view.split()[-1].lower()}": ("compare", "", open_compare_view(view)) for view in ("Curves", "Table")},
    **{
        f"compare-{view.split()[-1].lower()}": ("compare", "", fill_compare_view(view))
        for view in ("Texts", "Score a text", "Guess the size")
    },
}
# The same for a home folder without runs.
BEGINNINGS: dict[str, Scene] = {
    "none-corpus": ("corpus", "", None),
    "none-train": ("train", "", None),
    **{f"none-{tab}": (tab, "", None) for tab in ("sample", "attention", "compare")},
}
