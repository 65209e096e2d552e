"""What Gradio remembers of each open tab, without all that it need not remember.

For links that bring back a session from the server's disk, which this page does not have, Gradio keeps in each session
the configuration of every component with what last went in or came out: each text that somebody pasted, each one that
was written. Here a session is what its handlers keep in gr.State, and the components that they changed.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from gradio.state_holder import SessionState, StateHolder


class Sessions(StateHolder):
    """Gradio's own memory of the last `capacity` sessions, each without its configurations."""

    def __init__(self, blocks: Any) -> None:
        """Take over for a page that is about to be served."""
        super().__init__()
        self.set_blocks(blocks)

    def __getitem__(self, session_id: str) -> SessionState:
        if session_id not in self.session_data:
            # Of a page without components of its own, none is copied.
            session = SessionState(SimpleNamespace(default_config=self.blocks.default_config, blocks={}))  # type: ignore[arg-type]
            session.config_values = _Nothing()
            self.session_data[session_id] = session
        return super().__getitem__(session_id)


class _Nothing(dict[int, Any]):
    """Knows every key, and an empty configuration for each; takes none."""

    def __contains__(self, key: object) -> bool:
        return True

    def __missing__(self, key: int) -> dict[str, Any]:
        return {}

    def __setitem__(self, key: int, value: Any) -> None:
        pass
