"""What `doctor` says of each thing that it looks at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, repr=False)
class Observation:
    """One thing that was looked at: how it is, and the way out where it is not well."""

    state: Literal["ok", "warning", "wrong"]
    name: str
    found: str
    way_out: str = ""

    def __str__(self) -> str:
        way_out = f"; {self.way_out}" if self.way_out else ""
        return f"{self.state:<8} {self.name}: {self.found}{way_out}"
