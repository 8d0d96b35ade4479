"""A script of which a command changes what its runs do, and nothing else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from pam_scripts.gateway.payload import Job
from pam_scripts.gateway.run import Script
from pam_scripts.rotation.roles import Run

AnyScript = TypeVar("AnyScript", bound=Script)


class WrappedScript(ABC, Generic[AnyScript]):
    """Passes on all that a run asks of a script, but for `prepare`, which whoever derives from it writes.

    script: the one that it is made of.
    """

    def __init__(self, script: AnyScript) -> None:
        self.script = script

    @property
    def stem(self) -> str:
        """The script's own."""
        return self.script.stem

    @property
    def title(self) -> str:
        """The script's own."""
        return self.script.title

    def seconds(self, job: Job) -> int:
        """Return the script's own."""
        return self.script.seconds(job)

    def untouched(self, job: Job) -> str:
        """Return the script's own."""
        return self.script.untouched(job)

    def remarks(self, job: Job) -> Sequence[str]:
        """Return the script's own."""
        return self.script.remarks(job)

    @abstractmethod
    def prepare(self, job: Job) -> Callable[[Run], None]:
        """Return what does the job, as `gateway.run.Script` has it."""
