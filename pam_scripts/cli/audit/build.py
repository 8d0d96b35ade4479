"""The build of a script that ran on a record, as its ops log names it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pam_scripts
from pam_scripts.core.errors import BadInput
from pam_scripts.core.times import read_moment


@dataclass(frozen=True, repr=False)
class Build:
    """One build at work. version: such as 1.0.0. digits: those for what its file holds, empty where it was no file.

    ran_at: when its run began, None where that is not told.
    """

    version: str
    digits: str
    ran_at: datetime | None = None

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Build | None:
        """Return the build that an entry of the ops log names, None where it names none."""
        told = re.match(r"pam-scripts (\d+(?:\.\d+)*)(?:\+([0-9a-f]{8}))? on ", entry["rotated_by"])
        return cls(told[1], told[2] or "", read_moment(entry["date"] or "")) if told else None

    @property
    def name(self) -> str:
        """What the build calls itself."""
        return f"{self.version}+{self.digits}" if self.digits else self.version

    @property
    def is_older(self) -> bool:
        """Whether its version is below that of this command."""
        return _numbers(self.version) < _numbers(pam_scripts.__version__)

    @property
    def is_of_this_version(self) -> bool:
        """Whether its version is that of this command."""
        return _numbers(self.version) == _numbers(pam_scripts.__version__)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in version.split("."))


def builds_in(directory: Path) -> dict[str, set[str]]:
    """Return by script the names of the builds whose files lie in a directory; raise BadInput where none does."""
    found: dict[str, set[str]] = {}
    try:
        for path in sorted(directory.glob("*.py")):
            with path.open(encoding="utf-8", errors="replace") as file:
                head = file.read(1000)
            if told := re.search(r"^# (\w+), build (\d+(?:\.\d+)*\+[0-9a-f]{8}):", head, re.MULTILINE):
                found.setdefault(told[1], set()).add(told[2])
    except OSError as error:
        raise BadInput(f"--builds {directory} cannot be read ({type(error).__name__})") from None
    if not found:
        raise BadInput(f"--builds {directory} has none of the files to attach", next_step="`make bundle` writes them")
    return found
