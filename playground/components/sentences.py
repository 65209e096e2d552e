"""Sentences and labels of components that several features use."""

from __future__ import annotations

OVER_10_000 = "over 10,000"
