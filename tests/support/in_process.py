"""A run of a script in the tests' own process: the same code from the job to the exit status, without a fork.

For what is decided before anything is touched. What a process adds (the payload's way in, signals, the
deadline, the end) is tried with the bundles; so is whatever an SDK keeps for as long as its process lives, such
as what a vault has once said of its tenant.
"""

from __future__ import annotations

import contextlib
import io
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import pytest

from pam_scripts.assembly.script import RotationSpec, Script, open_session
from pam_scripts.cli.fleet.wrapped import WrappedScript
from pam_scripts.cli.scripts import SCRIPTS
from pam_scripts.gateway import run
from pam_scripts.gateway.console import Console
from pam_scripts.gateway.payload import Job, read_job
from pam_scripts.rotation.roles import Run
from sandbox.gateway import RotationResult
from sandbox.plant import AnyPlant

_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)]


class InProcess:
    """A script that is run here, where `invariants.Script` runs the attached file.

    stem: the name of its module. made: what is made of the script before it is run: a roll back.
    """

    def __init__(self, stem: str, made: Callable[[Script], run.Script] = lambda script: script) -> None:
        self._script = made(next(script for script in SCRIPTS if script.stem == stem))

    def run(
        self, plant: AnyPlant, stdin: bytes | None = None, *, environment: Mapping[str, str | None] | None = None
    ) -> RotationResult:
        """Run it once with the plant's payload, or another; as `invariants.Script.run`."""
        payload = plant.payload() if stdin is None else stdin
        with pytest.MonkeyPatch.context() as patched:
            for name, value in {**plant.environment(), **(environment or {})}.items():
                if value is None:
                    patched.delenv(name, raising=False)
                else:
                    patched.setenv(name, value)
            return carry_out(self._script, lambda _run: read_job(payload))


def carry_out(script: run.Script, get_job: Callable[[Run], Job]) -> RotationResult:
    """Do a job as the Gateway has it done, and return what came of it."""
    started = time.monotonic()
    with (
        _signals_as_they_are(),
        contextlib.redirect_stdout(io.StringIO()) as out,
        contextlib.redirect_stderr(io.StringIO()) as err,
    ):
        status = run.carry_out(script, get_job, Console(), check=False)
    seconds = time.monotonic() - started
    return RotationResult(script.stem, status == 0, out.getvalue(), err.getvalue(), status, seconds)


class UpToItsParts(WrappedScript[Script]):
    """A script that makes all its parts, as a rotation does, and then asks nobody.

    reached: whether a run came so far, past all that is refused.
    """

    def __init__(self, script: Script) -> None:
        super().__init__(script)
        self.reached = False

    def prepare(self, job: Job) -> Callable[[Run], None]:
        """Return what makes the issuer, the mirrors and the consumers; raise what the script's own raises."""
        spec = self.script.read(job)
        for problem in spec.problems:
            raise problem
        return partial(self._make_parts, spec)

    def _make_parts(self, spec: RotationSpec, run: Run) -> None:
        self.reached = True
        session = open_session(run.deadline, spec.ca_bundle, spec.specs)
        if spec.issuer:
            spec.issuer.build(run, session)
        for mirror in spec.mirrors:
            mirror.build(session)
        for consumer in spec.consumers:
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
