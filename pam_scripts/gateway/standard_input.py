"""Standard input, read to its end within limits: whoever holds the pipe open must not hold the run."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time

from pam_scripts.core.deadline import Deadline
from pam_scripts.core.errors import BadInput

_SECONDS = 30.0
_MOST_BYTES = 20_000_000


def read_input(deadline: Deadline, seconds: float = _SECONDS) -> bytes:
    """Return all of standard input, nothing where it is a terminal.

    Raises BadInput where it is not closed in time, or too long, and OutOfTime where the run is told to stop.
    """
    if sys.stdin is None or sys.stdin.isatty():
        return b""
    file, pieces, ended = sys.stdin.fileno(), list[bytes](), threading.Event()

    def read() -> None:
        # Past Python's own stream, whose lock would be in the way of the process's end.
        with contextlib.suppress(OSError):
            while sum(map(len, pieces)) <= _MOST_BYTES and (piece := os.read(file, 1 << 16)):
                pieces.append(piece)
        ended.set()

    threading.Thread(target=read, daemon=True).start()
    until = time.monotonic() + seconds
    while not ended.wait(0.1):
        deadline.check()
        if time.monotonic() > until:
            raise BadInput(
                f"standard input was not closed within {seconds:g} s", next_step="pipe the payload in, and close it"
            )
    data = b"".join(pieces)
    if len(data) > _MOST_BYTES:
        raise BadInput(
            f"standard input has more than {_MOST_BYTES // 1_000_000} MB, which is no payload",
            next_step="pipe in the payload that the Gateway makes, and nothing else",
        )
    return data
