"""What several commands share."""

from __future__ import annotations

import sys
import threading
from typing import TextIO


class Progress:
    """One line on a terminal that says how far the work has come; nothing anywhere else."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._shows = self._stream.isatty()
        self._lock = threading.Lock()

    def say(self, line: str) -> None:
        """Show a line in place of the one before."""
        if self._shows:
            with self._lock:
                self._stream.write(f"\r\x1b[K{line[:100]}")
                self._stream.flush()

    def end(self) -> None:
        """Leave the terminal as it was."""
        self.say("")
