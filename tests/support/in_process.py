"""A run of a script in the tests' own process: the same code from the job to the exit status, without a fork.

For what is decided before anything is touched. What a process adds (the payload's way in, signals, the
deadline, the end) is tried with the bundles.
"""

from __future__ import annotations

import contextlib
import io
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pam_scripts.assembly.script import Script
from pam_scripts.core.errors import BadInput
from pam_scripts.core.http import Session
from pam_scripts.gateway import run
from pam_scripts.gateway.payload import Job, read_job
from pam_scripts.gateway.voice import Voice
from pam_scripts.rotation.roles import Run

_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)]


@dataclass(frozen=True)
class Said:
    """What came of a run: its exit status, and what it printed."""

    status: int
    stdout: str
    stderr: str


def carry_out(script: run.Script, get_job: Callable[[Run], Job]) -> Said:
    """Do a job as the Gateway has it done, and return what came of it."""
    with (
        _signals_as_they_are(),
        contextlib.redirect_stdout(io.StringIO()) as out,
        contextlib.redirect_stderr(io.StringIO()) as err,
    ):
        status = run.carry_out(script, get_job, Voice(), check=False)
    return Said(status, out.getvalue(), err.getvalue())


def carry_out_payload(script: Script, stdin: bytes) -> Said:
    """Do the job that stands in a payload."""
    return carry_out(script, lambda _run: read_job(stdin))


class UpToItsParts:
    """A script that makes all its parts, as a rotation does, and then asks nobody.

    reached: whether a run came so far, past all that is refused.
    """

    def __init__(self, script: Script) -> None:
        self._script = script
        self.stem, self.title = script.stem, script.title
        self.reached = False

    def problems(self, job: Job) -> Sequence[BadInput]:
        """Return the script's own."""
        return self._script.problems(job)

    def seconds(self, job: Job) -> int:
        """Return the script's own."""
        return self._script.seconds(job)

    def untouched(self, job: Job) -> str:
        """Return the script's own."""
        return self._script.untouched(job)

    def work(self, job: Job, run: Run) -> None:
        """Make the issuer, the mirrors and the consumers."""
        self.reached = True
        asked, session = self._script.read(job), Session(run.deadline, run.ca_bundle)
        if asked.issuer:
            asked.issuer.build(run, session)
        for mirror in asked.mirrors:
            mirror.build(session)
        for consumer in asked.consumers:
            consumer.build(session)


@contextlib.contextmanager
def _signals_as_they_are() -> Iterator[None]:
    """Give the signals back to whoever had them: a run takes them for as long as its process lives."""
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
