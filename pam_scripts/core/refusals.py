"""What systems refuse, as data: each module that talks to one declares in `REFUSALS` what is said of each refusal.

The code goes by these values, `docs/reference/refusals.md` is made from them, and a test provokes every one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pam_scripts.core.errors import Refused


@dataclass(frozen=True)
class Refusal:
    """One thing that a system refuses, and what a run says of it.

    system: as messages begin. code: the system's own name for the refusal, or ours where it has none; there is one of
    each in a system. answer: what the system answers, as the page shows it, with the HTTP status where there is one.
    line: our words for it, as they stand in the one line; empty where its own code stands there. way_out: what to
    grant, change or run, which is the line's next step. status: the exit status of a run that ends with it.
    """

    system: str
    code: str
    answer: str
    line: str
    way_out: str
    status: int = Refused.status

    @property
    def key(self) -> str:
        """What tells it from all others."""
        return f"{self.system}: {self.code}"

    @property
    def said(self) -> str:
        """What stands in the one line."""
        return self.line or self.code

    def of(self, what: str, detail: str = "") -> Refused:
        """Return the error for a state that a look has shown. what: is looked at. detail: ends the words."""
        return Refused(f"{self.system}: {what}: {self.said}{detail}", next_step=self.way_out)


def ways_out(refusals: Iterable[Refusal]) -> Mapping[str, str]:
    """Return the way out of each refusal, by its code."""
    return {refusal.code: refusal.way_out for refusal in refusals}
