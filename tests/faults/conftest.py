"""Fixtures of the fault tests."""

from __future__ import annotations

from tests.tiny_runs import make as make
