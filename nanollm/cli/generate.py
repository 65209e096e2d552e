"""`python -m nanollm.inference.generate`: sample from a checkpoint file."""

from __future__ import annotations

import argparse
from pathlib import Path

from nanollm.cli.exit_status import status_of
from nanollm.cli.sampling import write
from nanollm.cli.sampling_arguments import add_sampling_arguments
from nanollm.errors import InputError
from nanollm.train.checkpoint import FINAL_NAME, load_model


def main() -> int:
    """Write with a checkpoint; by default the newest checkpoint_final.safetensors under checkpoints/."""
    parser = argparse.ArgumentParser(prog="python -m nanollm.inference.generate", description=main.__doc__)
    parser.add_argument("checkpoint", nargs="?", help="a .safetensors checkpoint (default: the newest finished one)")
    add_sampling_arguments(parser)
    arguments = parser.parse_args()
    return status_of(lambda: _write(arguments))


def _write(arguments: argparse.Namespace) -> int:
    for piece in write(load_model(arguments.checkpoint or _newest()), arguments):
        print(piece, end="", flush=True)
    return 0


def _newest() -> Path:
    found = sorted(Path("checkpoints").glob(f"*/{FINAL_NAME}"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise InputError("No finished run lies under checkpoints/: train one first, or name a checkpoint.")
    return found[-1]
