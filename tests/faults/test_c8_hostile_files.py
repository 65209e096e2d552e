"""Guarantee C8: malicious checkpoints and archives are refused with a message or harmless."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

from tests.conftest import ROOT
from tests.speed import assert_within


@pytest.mark.parametrize(("seed", "count"), [(1, 250), pytest.param(2, 5000, marks=pytest.mark.long)])
def test_c8_forged_and_damaged_files_are_refused_or_harmless(seed: int, count: int) -> None:
    command = [sys.executable, "-m", "tests.faults.fuzz_files", str(seed), str(count)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert found["refused"] > 0.7 * count
    assert_within(found["slowest"], 2, time.process_time)
