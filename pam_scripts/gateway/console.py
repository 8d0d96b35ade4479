"""What a run says: plain lines for the Gateway's log, never a secret value."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import sys
import threading
from typing import TextIO

from pam_scripts.core import host
from pam_scripts.core.errors import PamScriptError
from pam_scripts.core.secret import Secret, presentable

# Lines that may wait for whoever reads them; more are lost.
_MOST_WAITING = 10_000


def prepare_output() -> None:
    """Make standard output and error take any character, and keep the logs of libraries out of them.

    What libraries log could carry values, and a run's stderr is for its own lines.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    logging.getLogger().addHandler(logging.NullHandler())


class Console:
    """Where a run's lines go: stdout for what happened, stderr for what is wrong; never a secret value.

    Lost lines never disturb a run, nor does a reader that is slow, or does not read: lines wait for it in a thread of
    their own. A log that went away is no reason to stop half-way.
    """

    def __init__(self, prefix: str = "", writers: _Writers | None = None) -> None:
        """Make one. prefix: of every line. writers: those of a console whose lines these are to stand among."""
        self._prefix = prefix
        self._writers = writers if writers is not None else _Writers()

    def prefixed(self, prefix: str) -> Console:
        """Return a console whose lines stand among these, each after a prefix."""
        return Console(prefix, self._writers)

    def say(self, line: str) -> None:
        """Report a step."""
        self._print(presentable(line), sys.stdout)

    def say_json(self, line: str) -> None:
        """Report a line of JSON that is made of presentable parts."""
        self._print(Secret.redact_whole(line), sys.stdout)

    def warn(self, line: str) -> None:
        """Report what does not stop the run, but that somebody should see."""
        self._print(f"warning: {presentable(line)}", sys.stderr)

    def fail(self, error: PamScriptError) -> None:
        """Report a failure of a command."""
        self._print(f"error: {presentable(str(error))}", sys.stderr)

    def end(self, error: PamScriptError, record: str) -> None:
        """Report the one failure that a run ends with. record: as messages name it, empty where none was read."""
        self._print(f"error: {presentable(error.as_line(record))}", sys.stderr)

    def finish(self, seconds: float | None = None) -> None:
        """Wait for the lines to be written, so many seconds at most for each stream; None: for as long as it takes."""
        self._writers.finish(seconds)

    def _print(self, line: str, stream: TextIO | None) -> None:
        with contextlib.suppress(OSError, ValueError):
            if stream is not None:
                self._writers.put(f"{self._prefix}{line}", stream)


class _Writers:
    """Where lines go, by the file behind a stream."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_file: dict[int, _Writer] = {}

    def put(self, line: str, stream: TextIO) -> None:
        try:
            # A terminal has its own encoding, and somebody before it.
            file = None if stream.isatty() else stream.fileno()
        except OSError:
            file = None
        if file is None:
            self.write(line, stream)
            return
        with self._lock:
            if file not in self._by_file:
                self._by_file[file] = _Writer(file)
        text = f"{line}{host.HERE.line_end}"
        self._by_file[file].put(text.encode(host.HERE.encoding(stream.encoding), "backslashreplace"))

    def write(self, line: str, stream: TextIO) -> None:
        stream.write(f"{line}\n")
        stream.flush()

    def finish(self, seconds: float | None) -> None:
        for writer in list(self._by_file.values()):
            writer.finish(seconds)


class _Writer:
    """Lines on their way to one file.

    Written past Python's own stream, which would flush once more at the process's end: that may block, or fail and
    change the exit status.
    """

    def __init__(self, file: int) -> None:
        self._file = file
        self._lines: queue.Queue[bytes] = queue.Queue(_MOST_WAITING)
        threading.Thread(target=self._write, daemon=True).start()

    def put(self, line: bytes) -> None:
        with contextlib.suppress(queue.Full):
            self._lines.put_nowait(line)

    def finish(self, seconds: float | None) -> None:
        with self._lines.all_tasks_done:
            self._lines.all_tasks_done.wait_for(lambda: not self._lines.unfinished_tasks, seconds)

    def _write(self) -> None:
        while True:
            line = self._lines.get()
            with contextlib.suppress(OSError):
                while line:
                    line = line[os.write(self._file, line) :]
            self._lines.task_done()
