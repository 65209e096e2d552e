"""Where things lie, what visitors may do, and how Gradio is started."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nanollm.limits import LOCAL, PUBLIC, Limits

ROOT = Path(__file__).resolve().parent.parent


def _home() -> Path:
    return Path(os.environ.get("NANOLLM_HOME", ROOT)).absolute()  # as the stores have it: paths are shown below it


def _public() -> bool:
    return "SPACE_ID" in os.environ or os.environ.get("NANOLLM_PUBLIC") == "1"


@dataclass(frozen=True)
class Settings:
    """One server's settings. Run folders lie in `home`/checkpoints, people's texts in `home`/data/corpora."""

    home: Path = field(default_factory=_home)
    public: bool = field(default_factory=_public)  # visitors are strangers to each other, and there are many

    @property
    def concurrent_generations(self) -> int:
        """Models that write at the same time. Strangers who write take turns: their threads rest most of the time."""
        return 24 if self.public else 4

    @property
    def queue_size(self) -> int:
        """Events that may wait in Gradio's queue."""
        return 256 if self.public else 64

    @property
    def delete_cache(self) -> tuple[int, int]:
        """How often Gradio looks through its files, and how old those are that it removes; in seconds."""
        return (600, 3600) if self.public else (3600, 86_400)

    @property
    def limits(self) -> Limits:
        """What one person may ask for."""
        return PUBLIC if self.public else LOCAL

    @property
    def checkpoints(self) -> Path:
        """The folder of run folders."""
        return self.home / "checkpoints"

    @property
    def corpora(self) -> Path:
        """The folder of texts that people brought."""
        return self.home / "data" / "corpora"

    @property
    def uploads(self) -> Path:
        """The folder for what a public page is sent and hands out; on a local one that is Gradio's own affair."""
        return self.home / "data" / "uploads"

    def launch_options(self) -> dict[str, Any]:
        """What demo.launch() is given besides the looks; host and port stay with Gradio's environment variables."""
        return dict(
            allowed_paths=[],
            blocked_paths=[str(self.checkpoints), str(self.corpora)],
            max_file_size=self.limits.text_bytes,
            run_history=False,
            enable_monitoring=False,
            show_error=False,
            ssr_mode=False,
            pwa=False,
            share=False,
            footer_links=[],
            state_session_capacity=200 if self.public else 500,
            max_threads=96 if self.public else 40,
        )
