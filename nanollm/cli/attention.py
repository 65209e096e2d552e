"""`python -m nanollm attention`: attention weights of a text as a table, an HTML page or JSON."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from nanollm.cli.lookup import add_model_arguments, find_checkpoint
from nanollm.errors import InputError


def add_commands(commands: Any) -> None:
    """Add `attention` to the subparsers."""
    parser = commands.add_parser("attention", help="show each head's attention", description=attention.__doc__)
    parser.set_defaults(command=attention)
    add_model_arguments(parser)
    parser.add_argument("text", help="the input text")
    parser.add_argument("--html", type=Path, help="write a self-contained HTML page with the heatmaps of all heads")
    parser.add_argument("--layer", type=int, default=1, help="layer selected on the page, from 1 (default: 1)")
    parser.add_argument("--head", type=int, default=1, help="head selected on the page, from 1 (default: 1)")
    parser.add_argument("--json", action="store_true", help="print all weights as JSON")


def attention(arguments: argparse.Namespace) -> int:
    """Show a model's attention on a text: for each head, the mean distance and the most attended distance."""
    path = find_checkpoint(arguments)
    import numpy as np

    from nanollm.charts.attention import write_attention_page
    from nanollm.explain.attention import attention_map
    from nanollm.train.checkpoint import load_model

    loaded = load_model(path)
    result = attention_map(loaded.model, loaded.tokenizer, arguments.text)
    layers, heads = result.weights.shape[:2]
    if not (1 <= arguments.layer <= layers and 1 <= arguments.head <= heads):
        raise InputError(
            f"--layer is {arguments.layer} and --head is {arguments.head}, but this model has layers 1 to {layers} "
            f"with heads 1 to {heads}: choose among them."
        )
    if arguments.html:
        selected = {"layer": arguments.layer - 1, "head": arguments.head - 1}
        write_attention_page(result.weights, result.characters, arguments.html, **selected)
    if arguments.json:
        print(json.dumps({"text": result.text, "skipped": result.skipped, "weights": result.weights.round(4).tolist()}))
        return 0
    by_distance = result.by_distance()  # (L, H, T)
    for layer, head in np.ndindex(layers, heads):
        profile = by_distance[layer, head]
        mean, peak = profile @ np.arange(len(profile)), int(profile.argmax())
        print(f"L{layer + 1}·H{head + 1}  mean distance {mean:5.1f}, peak at {peak} ({profile[peak]:.0%})")
    return 0
