"""The settings tables of TRAINING.md, generated from the help and bounds of the config fields.

python -m nanollm.cli.settings_reference               prints the tables
python -m nanollm.cli.settings_reference TRAINING.md   writes them into the file, between its two markers
"""

from __future__ import annotations

import sys
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

from nanollm.config import PRESETS, ModelConfig, TrainConfig, make_configs, preset

BEGIN, END = "<!-- settings: written by python -m nanollm.cli.settings_reference -->\n", "<!-- end of the settings -->"


def tables() -> str:
    """Two Markdown tables, of the model and the training settings, with the values of each preset."""
    return f"The model:\n\n{_table(ModelConfig)}\n\nThe training:\n\n{_table(TrainConfig)}\n"


def _table(config: type[ModelConfig] | type[TrainConfig]) -> str:
    rows = [_row(field) for field in fields(config) if field.name != "vocab_size"]  # the text determines it
    head = ["setting", "description", "allowed", *PRESETS]
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _row(field: Field[Any]) -> list[str]:
    values = []
    for name in PRESETS:
        model, train = make_configs(preset(name), vocab_size=65)
        values.append(_format(getattr(model if hasattr(model, field.name) else train, field.name)))
    return [f"`{field.name}`", str(field.metadata["help"]), _allowed(field), *values]


def _allowed(field: Field[Any]) -> str:
    if field.metadata["choices"]:
        return ", ".join(f"`{choice}`" for choice in field.metadata["choices"])
    if field.type == "bool":
        return "`true`, `false`"
    bounds = f"{_format(field.metadata['low'])} to {_format(field.metadata['high'])}"
    return f"`auto`, {bounds}" if "auto" in str(field.type) else bounds


def _format(value: Any) -> str:
    """Format a value for the tables: integers with thousands separators, floats without trailing zeros."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.10g}" if isinstance(value, float) else str(value)


def insert_tables(text: str) -> str:
    """The text with the tables inserted between its two markers. Raises ValueError if a marker is missing."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{tables()}\n{END}{after}"


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        path.write_text(insert_tables(path.read_text(encoding="utf-8")), encoding="utf-8")
    if len(sys.argv) == 1:
        print(tables(), end="")
