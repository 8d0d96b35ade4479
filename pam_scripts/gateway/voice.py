"""What a run says: plain lines for the Gateway's log, never a secret value."""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import TextIO

from pam_scripts.core.errors import PamScriptError
from pam_scripts.core.secret import Secret


def prepare_output() -> None:
    """Make standard output and error take any character, and keep the logs of libraries out of them.

    What libraries log could carry values, and a run's stderr is for its own lines.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    logging.getLogger().addHandler(logging.NullHandler())


class Voice:
    """Where a run's lines go: stdout for what happened, stderr for what is wrong; never a secret value.

    Lost lines never disturb a run: a log that went away is no reason to stop half-way.
    """

    def say(self, line: str) -> None:
        """Report a step."""
        self._print(line, sys.stdout)

    def warn(self, line: str) -> None:
        """Report what does not stop the run, but that somebody should see."""
        self._print(f"warning: {line}", sys.stderr)

    def fail(self, error: PamScriptError) -> None:
        """Report the one failure a run ends with."""
        self._print(f"error: {error}", sys.stderr)

    @staticmethod
    def _print(line: str, stream: TextIO) -> None:
        line = " ".join(Secret.redact(line).splitlines())
        with contextlib.suppress(OSError, ValueError):
            stream.write(f"{line}\n")
            stream.flush()
