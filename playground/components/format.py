"""Formatting of numbers for the page: perplexities, byte sizes, percentages, ordinals."""

from __future__ import annotations

import math

from playground.components import sentences


def perplexity(loss: float | None) -> str:
    """Format e^loss, the perplexity of a loss in nats: as uncertain as a fair choice among so many characters."""
    if loss is None:
        return "–"
    return f"{math.exp(loss):.1f}" if loss < math.log(10_000) else sentences.OVER_10_000


def byte_size(number: float) -> str:
    """Format a number of bytes in MB or GB."""
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number / 1e6:.0f} MB"


def percent(share: float) -> str:
    """Format a share (0 to 1) as 12% or <1%, as the page's scripts do (services/format.js)."""
    return f"{share:.0%}" if share >= 0.01 or share == 0 else "<1%"


def signed(amount: float, digits: int = 3) -> str:
    """Format a difference with its sign: +0.031, −0.002."""
    return f"{amount:+.{digits}f}".replace("-", "−")


def ordinal(number: int) -> str:
    """Format 1st, 2nd, 3rd, 4th, … 11th, … 21st."""
    teen = 10 < number % 100 < 20
    return f"{number}{'th' if teen else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"
