"""How commands add the text that their argument names to the corpus store."""

from __future__ import annotations

import sys

from nanollm.cli.progress import progress_bar
from nanollm.data.builtin import BUILTINS, add_by_name, builtin_by_id
from nanollm.data.corpus import CorpusInfo, CorpusStore
from nanollm.errors import InputError

TEXT_HELP = f"a text file, or one of {', '.join(builtin.id for builtin in BUILTINS)}"


def add_text(corpora: CorpusStore, text: str, encoding: str | None = None) -> CorpusInfo:
    """Add a text file or built-in text to the store, with a progress bar for downloads. Raises InputError."""
    if encoding is not None and builtin_by_id(text):
        raise InputError("--encoding applies to text files only: omit it for a built-in text.")

    def show_progress(received: int, size: int) -> None:
        end = "\n" if received == size else ""
        print(f"\rDownloading {text} {progress_bar(received / size)}\033[K", end=end, file=sys.stderr, flush=True)

    return add_by_name(corpora, text, encoding=encoding, progress=show_progress if sys.stderr.isatty() else None)
