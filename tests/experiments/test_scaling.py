"""Scaling experiments: planning, resuming, and the report."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import plotly.graph_objects
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanollm.charts.base import DARK, LIGHT
from nanollm.charts.scaling import SizePoint, size_figure
from nanollm.cli import main as cli
from nanollm.config import PRESETS, make_configs
from nanollm.data.corpus import CorpusStore
from nanollm.errors import InputError
from nanollm.experiments import report
from nanollm.experiments.results import AXES, Result, courses, figures, read_results, result, results, to_csv
from nanollm.experiments.scaling import (
    EXPERIMENT,
    Experiment,
    Plan,
    experiment_status,
    experiments,
    prepare,
    run_experiment,
    training_flops,
)
from nanollm.runs.process.launcher import Launcher
from nanollm.runs.record import write_status
from nanollm.runs.store import CorpusRef, RunStore
from nanollm.train import events
from nanollm.train.memory import peak_bytes
from tests.conftest import ROOT
from tests.run_folders import TALE, evaluated, step, write

TEXT = CorpusRef("tale.txt", TALE.sha256, 50_000, 40)


def recorded(store: RunStore, plan: Plan | None = None) -> Experiment:
    """A completed experiment with synthetic events: larger models reach lower losses."""
    experiment = prepare(store, TEXT, plan or Plan())
    for place, run in enumerate(experiment.runs()):
        steps, pace = run.train_config.num_steps, 36 / run.train_config.num_steps * (place + 1)
        start = events.Start(0, steps, "float32", 2, "cpu", "2.13.0", 10, 45_000, 5_000, machine="Abacus <II>")
        write(run, start, evaluated(0, 3.7))
        for number in (steps // 2, steps):
            write(run, evaluated(number, 3.0 - place / 2 - number / steps), step(number, 1.9, number * pace))
        write(run, events.End(steps, "completed"))
        write_status(run.folder, "completed", step=steps, seconds=steps * pace, val_loss=2.0, peak_bytes=4 * 10**8)
    return experiment


class TestPlan:
    @given(st.floats(1e-4, 100), st.integers(0, 2**31 - 1), st.sampled_from(sorted(PRESETS)))
    def test_only_lengths_and_seed_differ_from_the_preset(self, scale: float, seed: int, name: str) -> None:
        settings = Plan((name,), scale, (seed,)).settings(name, seed)
        usual_model, usual = make_configs(PRESETS[name], 65)
        model, train = make_configs({**PRESETS[name], **settings}, 65)
        assert model == usual_model and train.seed == seed
        assert train.num_steps == max(1, round(usual.num_steps * scale))
        assert train.warmup_steps <= max(1, train.num_steps) and train.eval_interval <= max(1, train.num_steps)
        assert (train.learning_rate, train.batch_size) == (usual.learning_rate, usual.batch_size)

    def test_a_plan_at_full_length_changes_only_the_seed(self) -> None:
        assert Plan().settings("small", 42) == {"seed": 42}

    @pytest.mark.parametrize(
        "arguments",
        [
            ((), 1.0, (1,)), (("nano",), 1.0, ()), (("huge",), 1.0, (1,)), (("nano", "nano"), 1.0, (1,)),
            (("nano",), 0.0, (1,)), (("nano",), float("nan"), (1,)), (("nano",), 1e9, (1,)), (("nano",), 1.0, (-1,)),
            (("nano",), 1.0, (1, 1)),
        ],
    )  # fmt: skip
    def test_invalid_plans_are_refused(self, arguments: tuple) -> None:
        with pytest.raises(InputError):
            Plan(*arguments)


class TestPrepare:
    def test_prepare_creates_queued_runs_in_order(self, store: RunStore) -> None:
        experiment = prepare(store, TEXT, Plan(("nano", "small"), seeds=(1, 2)))
        runs = experiment.runs()
        assert [(run.preset, run.train_config.seed) for run in runs] == [
            ("nano", 1), ("nano", 2), ("small", 1), ("small", 2),
        ]  # fmt: skip
        assert store.queue() == [run.id for run in runs]
        assert len({run.title for run in runs}) == 4 and runs[0].title == "nano · tale.txt · seed 1"
        assert {run.id for run in store.list()} == {run.id for run in runs}  # the experiment folder is not a run

    def test_the_same_plan_continues_an_unfinished_experiment(self, store: RunStore) -> None:
        first = prepare(store, TEXT, Plan())
        assert prepare(store, TEXT, Plan()).folder == first.folder and len(store.list()) == 3
        assert prepare(store, TEXT, Plan(seeds=(7,))).folder != first.folder
        for run in first.runs():
            write_status(run.folder, "completed", step=run.train_config.num_steps)
        assert first.finished() and len(experiments(store.root)) == 2

    def test_a_finished_experiment_is_only_reused_if_its_folder_is_given(self, store: RunStore) -> None:
        folder = store.root / "mine"
        experiment = prepare(store, TEXT, Plan(("nano",)), folder)
        write_status(experiment.runs()[0].folder, "completed", step=1000)
        assert prepare(store, TEXT, Plan(("nano",)), folder).members == experiment.members
        assert prepare(store, TEXT, Plan(("nano",))).folder != folder

    def test_only_deleted_runs_are_created_again(self, store: RunStore) -> None:
        experiment = prepare(store, TEXT, Plan())
        lost, *kept = experiment.members
        store.delete(lost.run)
        assert [run.id for run in experiment.runs()] == [member.run for member in kept] and not experiment.finished()
        again = prepare(store, TEXT, Plan())
        assert again.members[1:] == kept and again.members[0].preset == "nano" and again.members[0].run != lost.run

    def test_a_folder_with_other_content_is_refused(self, store: RunStore, tmp_path: Path) -> None:
        prepare(store, TEXT, Plan(), store.root / "mine")
        for other in (Plan(num_steps_scale=0.5), Plan(seeds=(7,)), Plan(("nano",))):
            with pytest.raises(InputError, match="choose another name"):
                prepare(store, TEXT, other, store.root / "mine")
        with pytest.raises(InputError, match="choose another name"):
            prepare(store, CorpusRef("other.txt", "cd" * 32, 50_000, 40), Plan(), store.root / "mine")
        (tmp_path / "thesis.txt").touch()
        with pytest.raises(InputError, match="not an experiment"):
            prepare(RunStore(tmp_path), TEXT, Plan(), tmp_path)

    def test_a_refused_experiment_leaves_no_files(self, store: RunStore) -> None:
        short = CorpusRef("short.txt", "cd" * 32, 100, 40)  # enough for nano's window, too short for small's
        with pytest.raises(InputError, match="too few"):
            prepare(store, short, Plan())
        assert store.list() == [] and experiments(store.root) == []

    def test_listing_skips_other_folders(self, store: RunStore) -> None:
        first, second = (
            prepare(store, TEXT, Plan(("nano",), seeds=(seed,)), store.root / str(seed)) for seed in (1, 2)
        )
        for name, content in (("a", "{"), ("b", "[]"), ("c", '{"plan": {"presets": 7}}')):
            (store.root / name).mkdir()
            (store.root / name / EXPERIMENT).write_text(content)
        assert [one.name for one in experiments(store.root)] == [second.name, first.name]
        assert experiments(store.root / "nowhere") == []


class TestResults:
    def test_results_match_the_recorded_events(self, store: RunStore) -> None:
        for run in recorded(store, Plan(seeds=(1, 2))).runs():
            found, curve, config = result(run), run.curve(), run.train_config
            assert found.best_val_loss == min(loss for loss in curve.val_loss if loss is not None)
            assert found.best_step == curve.eval_steps[curve.val_loss.index(found.best_val_loss)]
            assert found.characters == config.num_steps * config.batch_size * run.model_config.context_length
            assert found.flops == 3 * run.model_config.flops_per_character * found.characters
            assert (found.peak_bytes, found.machine, found.state) == (4 * 10**8, "Abacus <II>", "completed")
            drawn = courses(run)
            assert set(drawn) == set(AXES)
            assert list(drawn["flops"].x) == [training_flops(run, number) for number in curve.eval_steps]
            assert all(list(course.val_loss) == list(curve.val_loss) for course in drawn.values())

    def test_the_csv_can_be_parsed(self, store: RunStore) -> None:
        found = results(recorded(store))
        rows = list(csv.DictReader(io.StringIO(to_csv(found))))
        assert [row["preset"] for row in rows] == ["nano", "small", "medium"]
        for row, one in zip(rows, found, strict=True):
            assert float(row["best_val_loss"]) == one.best_val_loss and int(row["parameters"]) == one.parameters
            assert row["run"] == one.run and set(row) == set(Result.__dataclass_fields__)

    def test_all_charts_are_valid_plotly_figures(self, store: RunStore) -> None:
        drawn = {palette: figures(recorded(store), palette) for palette in (LIGHT, DARK)}
        for palette, charts in drawn.items():
            assert list(charts) == [*AXES, "size"]
            for figure in charts.values():
                plotly.graph_objects.Figure(figure)
                assert json.loads(json.dumps(figure)) == figure and figure["layout"]["plot_bgcolor"] == palette.surface

    def test_logarithmic_axes_contain_no_zero(self, store: RunStore) -> None:
        charts = figures(recorded(store))
        for axis, (_, logarithmic) in AXES.items():
            assert charts[axis]["layout"]["xaxis"]["type"] == ("log" if logarithmic else "linear")
            if logarithmic:
                assert all(x > 0 for trace in charts[axis]["data"] for x in trace["x"])

    @given(st.lists(st.tuples(st.integers(1, 10**7), st.floats(0.5, 5)), max_size=8))
    def test_models_of_different_sizes_are_not_connected_by_lines(self, points: list[tuple[int, float]]) -> None:
        figure = size_figure([SizePoint(parameters, loss, loss, loss, "m") for parameters, loss in points])
        assert all("lines" not in trace["mode"] for trace in figure["data"])
        assert sorted(zip(figure["data"][1]["x"], figure["data"][1]["y"], strict=True)) == sorted(
            (parameters, round(loss, 4)) for parameters, loss in points
        )

    def test_the_size_chart_shows_final_losses_and_lower_best_losses(self) -> None:
        figure = size_figure([SizePoint(10, 1.9, 1.9, 1.8, "steady"), SizePoint(20, 1.7, 1.5, 1.2, "memorizing")])
        marks = {trace["name"]: list(zip(trace["x"], trace["y"], strict=True)) for trace in figure["data"][:3]}
        assert marks == {
            "final training": [(10, 1.8), (20, 1.2)],
            "final validation": [(10, 1.9), (20, 1.7)],
            "lowest validation": [(20, 1.5)],
        }

    def test_the_remaining_time_counts_the_remaining_flops(self, store: RunStore) -> None:
        experiment = recorded(store)
        assert (
            experiment_status(experiment).done == pytest.approx(1) and experiment_status(experiment).seconds_left == 0
        )
        medium = experiment.runs()[-1]
        store.enqueue(medium.folder)
        moment = experiment_status(experiment)
        share = training_flops(medium, 10_000) / sum(training_flops(r, r.train_config.num_steps) for r in moment.runs)
        assert moment.done == pytest.approx(1 - share) and moment.active
        pace = max(
            3 * run.model_config.flops_per_character * 6400 for run in moment.runs
        )  # 6,400 characters per second, see run_folders.step()
        assert moment.seconds_left == pytest.approx(training_flops(medium, 10_000) / pace)


class Resources(HTMLParser):
    """Parse the resources that a page loads (`fetched`) and its visible text (`shown`)."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.shown: list[str] = []
        self._inside = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag
        self.fetched += [str(value) for name, value in attrs if name in ("src", "href", "srcset", "data")]

    def handle_data(self, data: str) -> None:
        if self._inside not in ("script", "style"):
            self.shown.append(data)


class TestReport:
    def test_the_report_loads_no_resources(self, store: RunStore) -> None:
        page = report.page(recorded(store), {})
        assert Resources(page).fetched == [] and "url(" not in page.split("<script>")[0] and "Plotly" in page

    def test_three_sizes_are_not_called_a_law(self, store: RunStore) -> None:
        assert "Three points are a line, not a law." in " ".join(Resources(report.page(recorded(store), {})).shown)

    def test_one_size_is_not_called_a_line(self, store: RunStore) -> None:
        page = report.page(recorded(store, Plan(("nano",), seeds=(1, 2))), {})
        assert "One point is no line at all." in page and "a law" not in page.split("<script>")[0]

    def test_the_report_contains_the_results(self, store: RunStore) -> None:
        experiment = recorded(store)
        shown = " ".join(Resources(report.page(experiment, {})).shown)
        for one in results(experiment):
            assert f"{one.parameters:,}" in shown and f"{one.best_val_loss:.3f}" in shown
        assert "peak process memory (MB)" in shown and " 400 " in shown
        assert TEXT.sha256 in shown and "Not finished" not in shown

    def test_markup_in_names_and_samples_is_escaped(self, store: RunStore) -> None:
        evil = "</pre></script><script>alert(1)</script><img src=x>"
        experiment = recorded(store)
        experiment.corpus = CorpusRef(evil, TEXT.sha256, 50_000, 40)
        page = report.page(experiment, {run.id: evil for run in experiment.runs()})
        assert evil not in page and "".join(Resources(page).shown).count(evil) >= 4
        assert page.count("<script>") == 2 and Resources(page).fetched == []

    def test_a_failed_write_keeps_the_existing_report(self, store: RunStore, monkeypatch) -> None:
        experiment = recorded(store)
        monkeypatch.setattr(report, "samples", lambda _: {})
        report.write(experiment)
        before = {path.name: path.read_bytes() for path in experiment.folder.iterdir()}

        def refuse(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.fsync", refuse)
        with pytest.raises(OSError, match="No space"):
            report.write(experiment)
        assert {path.name: path.read_bytes() for path in experiment.folder.iterdir()} == before

    def test_unfinished_runs_are_reported(self, store: RunStore) -> None:
        experiment = recorded(store)
        write_status(experiment.runs()[2].folder, "paused", step=5000)
        shown = " ".join(Resources(report.page(experiment, {})).shown)
        assert "Not finished: 1 of 3" in shown and "paused at step 5,000 of 10,000" in shown
        empty = report.page(prepare(store, TEXT, Plan(("nano",), seeds=(9,))), {})
        assert "Not finished: 1 of 1" in empty


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    (home / "cats.txt").write_text("the cat sat on the mat, and the rat ran.\n" * 60)
    return home


class TestTraining:
    """Training with real workers."""

    @pytest.mark.slow
    def test_an_interrupted_command_continues_when_it_is_repeated(self, home: Path) -> None:
        command = [sys.executable, "-m", "nanollm", "scale", "--corpus", "cats.txt", "--presets", "nano"]
        command += ["--num-steps-scale", "0.5", "--seeds", "1", "2"]  # long enough to be interrupted in the first
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "NANOLLM_HOME": str(home)}
        options = {"cwd": home, "env": environment, "stdout": subprocess.PIPE, "text": True}
        # Processes started in the background ignore SIGINT, and their children inherit that.
        options["preexec_fn"] = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
        store = RunStore(home / "checkpoints")
        process = subprocess.Popen(command, **options)
        began = wait_for(lambda: any(run.status().step >= 2 for run in store.list()), process)
        assert began
        process.send_signal(signal.SIGINT)
        assert "run the same command to continue" in process.communicate(timeout=300)[0] and process.returncode == 0
        first, second = experiments(store.root)[0].runs()
        assert {first.status().state, second.status().state} == {"paused"} and not first.alive()
        paused_at = first.status().step
        assert 0 < paused_at < 500 and second.status().step == 0

        again = subprocess.run(command, **options, timeout=600)
        assert again.returncode == 0 and "report.html" in again.stdout
        (experiment,) = experiments(store.root)
        assert experiment.finished() and [run.id for run in experiment.runs()] == [first.id, second.id]
        resumed = [json.loads(line) for line in (first.folder / "metrics.jsonl").read_text().splitlines()]
        assert paused_at in [event["step"] for event in resumed if event["type"] == "resume"]  # not from the start

        kept = read_results(experiment.folder)
        assert [run["best_val_loss"] for run in kept["runs"]] == [run.status().val_loss for run in experiment.runs()]
        assert all(len(run["sample"]) == 400 for run in kept["runs"])
        assert kept["runs"][0]["peak_bytes"] > 10**8 or not Path("/proc").exists()
        assert kept["baselines"]["trigram"] < kept["baselines"]["unigram"] < kept["baselines"]["uniform"]
        assert re.search(r"perplexity", (experiment.folder / "report.html").read_text(encoding="utf-8"))

    @pytest.mark.long
    def test_a_failed_run_does_not_stop_the_others(self, home: Path) -> None:
        store = RunStore(home / "elsewhere")
        corpus = CorpusStore(home / "texts").add_file(home / "cats.txt")
        experiment = prepare(store, corpus, Plan(("nano",), 0.002, (1, 2)))
        first, second = experiment.runs()
        about = json.loads((first.folder / "run.json").read_text())
        about["corpus"]["sha256"] = "ab" * 32  # its text is missing
        (first.folder / "run.json").write_text(json.dumps(about))
        launcher = Launcher(store, home / "texts")
        moments = list(run_experiment(experiment, launcher))
        launcher.close()
        assert [run.status().state for run in (store.get(first.id), second)] == ["failed", "completed"]
        assert not moments[-1].active and not experiment.finished()


def test_peak_memory_is_read_from_proc(tmp_path: Path) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "status").write_text("Name:\tpython\nVmHWM:\t  2048 kB\nVmRSS:\t 1024 kB\n")
    assert peak_bytes(tmp_path) == 2048 * 1024
    assert peak_bytes(tmp_path / "nowhere") is None


@pytest.mark.parametrize(
    "flags",
    [
        ["--name", "../elsewhere"], ["--name", ".hidden"], ["--name", " "], ["--name", "a", "--run-dir", "b"],
        ["--num-steps-scale", "0"], ["--num-steps-scale", "nan"], ["--seeds", "-1"], ["--seeds", "1", "1"],
        ["--presets", "huge"], ["--presets", "nano", "nano"], ["--corpus", "missing.txt"], ["--run-dir", "."],
    ],
    ids=" ".join,
)  # fmt: skip
def test_an_invalid_request_gives_a_one_line_message(flags: list[str], tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "thesis.txt").touch()
    try:
        status = cli.main(["scale", *flags])
    except SystemExit as ended:  # raised by argparse
        status = ended.code
    printed = capsys.readouterr()
    assert status == 2 and printed.out == "" and len(printed.err.splitlines()) == 1
    assert not list(tmp_path.rglob(EXPERIMENT))


def wait_for(condition: Callable[[], bool], process: subprocess.Popen) -> bool:
    """Wait until the condition holds; return False if the process ends or five minutes pass first."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        if condition():
            return True
        time.sleep(0.05)
    return False
