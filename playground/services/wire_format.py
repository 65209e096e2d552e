"""Values for the browser: arrays packed as base64 of little-endian bytes, which the components' scripts unpack.

Generated text is sent in pieces: an update appends one and repeats none (Gradio sends only what was appended to a
list), so the amount of data grows linearly with the text.
"""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from nanollm.charts.attention import color_limit

CANDIDATES = 40  # alternatives per character, at most
MIN_CANDIDATES = 8  # alternatives per character, at least
# The probability that the alternatives may omit. At temperature 2 the displayed probabilities are then off by about 2%.
OMITTED_PROBABILITY = 1e-3
BIT_STEPS = 1024  # quantization steps per bit of surprisal: a relative error of a probability below 0.1%
NARROW = 256  # vocabularies up to this size use one byte per id
MAX_UINT16 = 0xFFFF


def pack_scores(
    text: str, probabilities: np.ndarray, ranks: np.ndarray, ids: np.ndarray, candidates: np.ndarray, vocab_size: int
) -> dict[str, str]:
    """Pack N scored characters with the alternatives to each: {"text": …, "scores": base64}.

    probabilities (N,) are what the model assigned to each character, ranks (N,) count from 1, ids and candidates (N, k)
    are the most likely characters and their probabilities, in descending order. Each character keeps as many
    alternatives as needed to omit less than OMITTED_PROBABILITY, but at least MIN_CANDIDATES. Layout, one array after
    the other: surprisal in bits u16 (N), ranks u16 (N), surprisal of the alternatives u16 (C), their ids u8 (C) (u16
    for vocabularies over NARROW), number of alternatives per character u8 (N).
    """
    k = candidates.shape[1]
    before = np.cumsum(candidates, axis=1) - candidates  # (N, k): total probability of the more likely ones
    kept = (before < 1 - OMITTED_PROBABILITY) | (np.arange(k) < MIN_CANDIDATES)
    kept &= (np.arange(k) < CANDIDATES) & (candidates > 0)
    arrays = (
        _surprisal_steps(probabilities),
        np.minimum(ranks, MAX_UINT16).astype("<u2"),
        _surprisal_steps(candidates[kept]),
        ids[kept].astype("u1" if vocab_size <= NARROW else "<u2"),
        kept.sum(axis=1).astype("u1"),
    )
    return {"text": text, "scores": _base64(b"".join(array.tobytes() for array in arrays))}


def shaded_value(
    stamp: int, characters: tuple[str, ...], pieces: list[dict[str, str]], *, prompt: int = 0, **more: Any
) -> list[dict[str, Any]]:
    """Build the value of a shaded_text: a header with the vocabulary and the prompt's length, then the packed pieces.

    A different `stamp` marks a different text. `more` holds fields for the scripts: the request, whether it finished.
    The value is a list because Gradio repeats a generator's last value at its end. If the generator then yields
    gr.skip(), a value of another type, Gradio repeats that instead and leaves the browser's text as it is.
    """
    return [{"stamp": stamp, "characters": "".join(characters), "prompt": prompt, **more}, *pieces]


def pack_attention(weights: np.ndarray, characters: list[str]) -> dict[str, Any]:
    """Pack attention weights (L, H, T, T) of T characters for the attention_text component.

    Each byte is 255 times the square root of a weight, so that the many small weights stay distinguishable. Only the
    T (T + 1) / 2 weights on and below the diagonal are sent, row by row: the attention is causal.
    """
    layers, heads, T = weights.shape[:3]
    rows, columns = np.tril_indices(T)
    causal = weights[:, :, rows, columns]  # (L, H, T (T + 1) / 2)
    roots = np.rint(255 * np.sqrt(np.clip(causal, 0.0, 1.0))).astype(np.uint8)
    return {
        "weights": _base64(roots.tobytes()),
        "brightest": [color_limit(head) for layer in weights for head in layer],
        "layers": layers,
        "heads": heads,
        "characters": characters,
    }


def _surprisal_steps(probabilities: np.ndarray) -> np.ndarray:
    """Quantize -log2 of probabilities to u16 of the same shape."""
    with np.errstate(divide="ignore"):
        return np.minimum(np.rint(-np.log2(probabilities) * BIT_STEPS), MAX_UINT16).astype("<u2")


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
