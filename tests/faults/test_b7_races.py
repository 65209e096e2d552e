"""Guarantee B7: if two servers start or resume a run at the same moment, exactly one worker trains it."""

from __future__ import annotations

import subprocess
import sys

from nanollm.runs import run_files
from nanollm.runs.store import RunStore
from tests.conftest import ROOT
from tests.run_folders import make
from tests.speed import until

RACES = 100

# Locks a run like a worker, appends to a list and waits for its end; starts fast enough for many races.
FAKE_WORKER = """
import fcntl, json, os, sys, time
folder = sys.argv[1]
lock = open(folder + "/worker.lock", "w")
fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
if json.load(open(folder + "/status.json"))["state"] != "queued":
    sys.exit(2)
with open(os.path.dirname(folder) + "/owners.txt", "a") as owners:
    owners.write(str(os.getpid()) + " ")
def write(state):
    with open(folder + "/.status", "w") as file:
        json.dump({"state": state, "step": 0}, file)
    os.replace(folder + "/.status", folder + "/status.json")
write("running")
finish = folder + "/control/finish"
while not os.path.exists(finish):
    time.sleep(0.002)
os.unlink(finish)
write("paused")
"""

SERVER = f"""
import sys
from nanollm.runs.process import launcher
from nanollm.runs.store import RunStore
launcher.worker_command = lambda folder, corpora: [sys.executable, "-I", "-S", "-c", {FAKE_WORKER!r}, str(folder)]
server = launcher.Launcher(RunStore(sys.argv[1]))
for line in sys.stdin:
    for _ in range(2):
        server.resume(line.strip())
    print("done", flush=True)
"""


def test_b7_only_one_worker_trains_a_run_resumed_by_two_servers(store: RunStore) -> None:
    run = make(store)
    command = [sys.executable, "-c", SERVER, str(store.root)]
    pipes: dict = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    with subprocess.Popen(command, **pipes) as one, subprocess.Popen(command, **pipes) as other:
        for race in range(1, RACES + 1):
            for server in (one, other):
                server.stdin.write(f"{run.id}\n")
                server.stdin.flush()
            assert [server.stdout.readline() for server in (one, other)] == ["done\n"] * 2
            until(lambda: run.status().state == "running")
            assert len((store.root / "owners.txt").read_text().split()) == race
            (run.folder / run_files.CONTROL / "finish").touch()
            until(lambda: not run.alive() and run.status().state == "paused")
        for server in (one, other):
            server.stdin.close()
    assert run_files.read_json(run.folder / run_files.STATUS)["state"] == "paused"
