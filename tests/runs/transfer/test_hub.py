"""push and pull against a local fake of the Hugging Face Hub."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlparse

import pytest

from nanollm.runs.store import RunStore
from nanollm.runs.transfer.archive import archive_files
from nanollm.runs.transfer.hub import model_card
from tests.conftest import ROOT

SHA = "1" * 40


class Hub(ThreadingHTTPServer):
    """A fake Hub with repositories in memory, by owner/name."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), HubHandler)
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.requested: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class HubHandler(BaseHTTPRequestHandler):
    """Answers the requests that huggingface_hub sends for push and pull."""

    server: Hub

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requested.append(self.path)
        if self.headers.get("Authorization") != "Bearer hf_a_key":
            return self._send_json({"error": "Invalid username or password."}, 401)
        if self.path == "/api/repos/create":
            request = json.loads(body)
            name = f"{request.get('organization') or 'alice'}/{request['name']}"
            self.server.repositories.setdefault(name, {})
            return self._send_json({"url": f"{self.server.address}/{name}", "name": name})
        if self.path == "/api/validate-yaml":
            return self._send_json({"errors": [], "warnings": []})
        if self.path.endswith("/preupload/main"):
            files = json.loads(body)["files"]
            return self._send_json(
                {"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]}
            )
        if self.path.endswith("/commit/main"):
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self._files()[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            address = f"{self.server.address}{self.path.removeprefix('/api/models').removesuffix('/main')}/{SHA}"
            return self._send_json({"commitUrl": address, "commitOid": SHA, "success": True})
        return self._send_json({"error": self.path}, 404)

    def do_GET(self) -> None:
        self.server.requested.append(self.path)
        path = urlparse(self.path).path
        name = "/".join(path.removeprefix("/api/models").strip("/").split("/")[:2])
        if name not in self.server.repositories:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        files = self.server.repositories[name]
        if path.startswith("/api/models/"):
            if "/tree/" in path:
                return self._send_json(
                    [{"type": "file", "path": f, "size": len(c), "oid": SHA} for f, c in files.items()]
                )
            siblings = [{"rfilename": file, "size": len(content)} for file, content in files.items()]
            return self._send_json({"id": name, "sha": SHA, "siblings": siblings, "private": False, "tags": []})
        content = files[path.rsplit("/", 1)[1]]
        return self._send(content, {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": SHA})

    do_HEAD = do_GET

    def _files(self) -> dict[str, bytes]:
        return self.server.repositories["/".join(self.path.split("/")[3:5])]

    def _send_json(self, facts: dict | list, status: int = 200) -> None:
        self._send(json.dumps(facts).encode(), {"Content-Type": "application/json"}, status)

    def _send(self, content: bytes, headers: dict[str, str], status: int = 200) -> None:
        self.send_response(status)
        for header, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(header, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub()
    threading.Thread(target=hub.serve_forever, args=[0.02], daemon=True).start()
    yield hub
    hub.shutdown()
    hub.server_close()


# Runs several commands in one process and prints their output and exit statuses.
COMMANDS = """
import io, json, sys
from contextlib import redirect_stderr, redirect_stdout
from nanollm.cli import main as cli
done = []
for arguments in json.loads(sys.argv[1]):
    with redirect_stdout(io.StringIO()) as output, redirect_stderr(io.StringIO()) as errors:
        status = cli.main(arguments)
    done.append((status, output.getvalue(), errors.getvalue()))
print(json.dumps(done))
"""


def nanollm(hub: Hub, home: Path, *commands: Sequence[str], key: str = "hf_a_key") -> list[tuple[int, str, str]]:
    """Run commands in a separate process, because huggingface_hub reads its environment at import."""
    environment = {
        **os.environ,
        **{"PYTHONPATH": str(ROOT), "NANOLLM_HOME": str(home), "HF_HOME": str(home / "hf"), "HF_ENDPOINT": hub.address},
        **{"HF_TOKEN": key, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"},
    }
    command = [sys.executable, "-c", COMMANDS, json.dumps(commands)]
    done = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return [tuple(result) for result in json.loads(done.stdout)]


def test_push_and_pull_are_lossless_and_skip_other_files(hub: Hub, tmp_path: Path) -> None:
    shipped = RunStore(ROOT / "checkpoints").get("pretrained-nano")
    files = {"evil.py": b"raise SystemExit", ".gitattributes": b"*.safetensors filter=lfs"}
    hub.repositories["alice/tale"] = files
    pushed, pulled = nanollm(hub, tmp_path, ["push", str(shipped.folder), "alice/tale"], ["pull", "alice/tale"])
    assert pushed[0] == 0 and f"{hub.address}/alice/tale" in pushed[1], pushed
    assert files["README.md"].decode() == model_card(shipped, "alice/tale") and "sample.py" in files

    assert pulled[0] == 0, pulled
    (run,) = RunStore(tmp_path / "checkpoints").list()
    assert (run.title, run.events(), run.model_config) == (shipped.title, shipped.events(), shipped.model_config)
    assert [s.path.read_bytes() for s in run.snapshots()] == [s.path.read_bytes() for s in shipped.snapshots()]
    assert not (run.folder / "evil.py").exists() and not (run.folder / "README.md").exists()
    assert all("evil" not in path for path in hub.requested)


def test_forged_archives_and_hub_errors_give_a_one_line_message(hub: Hub, tmp_path: Path) -> None:
    shipped = RunStore(ROOT / "checkpoints").get("pretrained-nano")
    forged = dict(archive_files(shipped))
    forged["checkpoint_00000005.safetensors"] = forged["checkpoint_00000004.safetensors"]
    hub.repositories["alice/forged"] = forged
    expected = {
        ("pull", "alice/forged"): "belongs to another run",
        ("pull", "alice/none"): "The Hugging Face Hub request failed",
        ("pull", "no name at all"): "is not a valid repository name",
        ("push", str(shipped.folder), "alice/tale"): "hf auth login",
    }
    for (status, output, errors), words in zip(
        nanollm(hub, tmp_path, *expected, key="hf_wrong"), expected.values(), strict=True
    ):
        assert status == 2 and output == ""
        assert words in errors and errors.count("\n") == 1
    assert set(hub.repositories) == {"alice/forged"} and RunStore(tmp_path / "checkpoints").list() == []


def test_the_model_card_contains_the_figures_of_the_run() -> None:
    run = RunStore(ROOT / "checkpoints").get("pretrained-nano")
    card = model_card(run, "alice/tale")
    loss = run.status().val_loss
    assert loss is not None
    for words in (
        run.title,
        f"{run.model_config.num_parameters:,}",
        f"{loss:.4f}",
        "sample.py",
        "Tiny Shakespeare",
        "pull alice/tale",
    ):
        assert words in card
    assert card.startswith("---\ntags:")
