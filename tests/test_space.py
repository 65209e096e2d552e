"""Start the page as a Hugging Face Space does: the committed files without tests, the Space's variables, no network."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

# Runs in a network namespace without connections: starts the page as a Space does, and uses its endpoints.
VISIT = """
import fcntl, json, os, signal, socket, struct, subprocess, sys, time, urllib.request

fcntl.ioctl(socket.socket(socket.AF_INET, socket.SOCK_DGRAM), 0x8914, struct.pack("16sh", b"lo", 0x41))  # loopback up
page = subprocess.Popen([sys.executable, "app.py"], stdout=open("output.txt", "w"), stderr=subprocess.STDOUT)
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

def ask(path, data=None):
    headers = {"x-nano-visitor": "v" * 43, "content-type": "application/json"}
    body = None if data is None else json.dumps({"data": data}).encode()
    request = urllib.request.Request("http://127.0.0.1:7860" + path, body, headers)
    return opener.open(request, timeout=300).read().decode()

def call(name, *data):
    event = json.loads(ask(f"/gradio_api/call/{name}", data))["event_id"]
    answer = ask(f"/gradio_api/call/{name}/{event}")
    assert "event: complete" in answer, answer
    return json.loads(answer.rsplit("data: ", 1)[1])[0]

deadline = time.monotonic() + 900
while True:
    assert page.poll() is None and time.monotonic() < deadline, open("output.txt").read()
    try:
        home = ask("/")
        break
    except OSError:
        time.sleep(0.2)
assert "visitor" in home  # public mode is the default on a Space
text = call("corpus", "the cat sat on the mat, and the rat ran.\\n" * 100, "cats")
run = call("start_run", text["sha256"], "sprint", {"num_steps": 10})["run"]
while (state := next(row["state"] for row in call("runs") if row["id"] == run)) != "completed":
    assert state in ("queued", "running") and time.monotonic() < deadline, state
    time.sleep(0.5)
assert call("sample", run, "the ", None, 20, 0.8, 40, 1).startswith("the ")
page.send_signal(signal.SIGTERM)
assert page.wait(20) == 0
print(open("output.txt").read())
"""


@pytest.mark.slow
def test_page_starts_and_trains_without_network(tmp_path: Path) -> None:
    if not shutil.which("unshare") or subprocess.run(["unshare", "-rn", "true"], capture_output=True).returncode:
        pytest.skip("network namespaces are not available")
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    for name in filter(None, files):
        if not name.startswith("tests/"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    space = {"SYSTEM": "spaces", "SPACE_ID": "owner/nano-llm", "SPACE_HOST": "owner-nano-llm.hf.space"}
    environment = {**space, "HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "PYTHONPATH": "."}
    command = ["unshare", "-rn", sys.executable, "-c", VISIT]
    visit = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=1200)
    assert visit.returncode == 0, visit.stderr + visit.stdout
    assert "nano-llm is at" in visit.stdout
