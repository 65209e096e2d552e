"""Settings of a server: folders, limits, and how Gradio is started."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nanollm.limits import LOCAL, PUBLIC, Limits

ROOT = Path(__file__).resolve().parent.parent


def _home() -> Path:
    return Path(
        os.environ.get("NANOLLM_HOME", ROOT)
    ).absolute()  # absolute, like the paths of the stores, which are shown relative to it


def _public() -> bool:
    return "SPACE_ID" in os.environ or os.environ.get("NANOLLM_PUBLIC") == "1"


@dataclass(frozen=True)
class Settings:
    """One server's settings. Run folders are in `home`/checkpoints, uploaded texts in `home`/data/corpora."""

    home: Path = field(default_factory=_home)
    public: bool = field(default_factory=_public)  # many visitors, who must not see each other's data

    @property
    def concurrent_generations(self) -> int:
        """Number of generations that run at the same time. On a public page most of their threads wait for a turn."""
        return 24 if self.public else 4

    @property
    def queue_size(self) -> int:
        """Number of events that may wait in Gradio's queue."""
        return 256 if self.public else 64

    @property
    def delete_cache(self) -> tuple[int, int]:
        """How often Gradio cleans its cache, and the age of the files that it removes; in seconds."""
        return (600, 3600) if self.public else (3600, 86_400)

    @property
    def limits(self) -> Limits:
        return PUBLIC if self.public else LOCAL

    @property
    def checkpoints(self) -> Path:
        return self.home / "checkpoints"

    @property
    def corpora(self) -> Path:
        return self.home / "data" / "corpora"

    @property
    def uploads(self) -> Path:
        """The folder for uploads and downloads of a public page; a local one uses Gradio's default."""
        return self.home / "data" / "uploads"

    def launch_options(self) -> dict[str, Any]:
        """Return the arguments of demo.launch() except theme and scripts; host and port are Gradio's defaults."""
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
