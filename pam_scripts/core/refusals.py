"""What a system's refusals mean: our words, the way out, and whether the same may go better later.

Each module that talks to a system has its table, `REFUSALS`. The code goes by it, `docs/reference/refusals.md` is made
from it, and a test provokes each row. What a server says freely beside its codes is not repeated.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pam_scripts.core.errors import ApiError, Refused


@dataclass(frozen=True, repr=False)
class Refusal:
    """One answer by which a system refuses.

    code: the system's own name for it, several where they mean the same; ours where it has none. words: what it means,
    as the one line says it; empty where the code itself stands there. way_out: what somebody should do, which is the
    line's next step. message_pattern: a pattern that the system's own message must match, where the code alone leaves
    open which refusal it is. transient: whether it may end by itself, so that asking again is worth it. answer: what
    the system answers, for the page, where the code does not say it. status: the exit status of a run that ends with
    it.
    """

    code: str | tuple[str, ...]
    words: str
    way_out: str
    message_pattern: str = ""
    transient: bool = False
    answer: str = ""
    status: int = Refused.status

    @property
    def codes(self) -> tuple[str, ...]:
        """The system's names for it."""
        return (self.code,) if isinstance(self.code, str) else self.code

    @property
    def said(self) -> str:
        """What stands in the one line."""
        return self.words or self.codes[0]

    def matches(self, code: str, message: str = "") -> bool:
        """Say whether an answer is this one. code: without regard to case. message: what the system says freely."""
        known = code.lower() in {one.lower() for one in self.codes}
        return known and bool(re.search(self.message_pattern, message, re.IGNORECASE))

    def as_error(self, what: str, detail: str = "") -> Refused:
        """Return the error for a state that a look has shown. what: system and object. detail: ends the words."""
        return Refused(f"{what}: {self.said}{detail}", next_step=self.way_out)


def find_refusal(code: str, refusals: Sequence[Refusal], message: str = "") -> Refusal | None:
    """Return what a system means by a code, the first that it can be; None for one that the table does not have."""
    return next((one for one in refusals if one.matches(code, message)), None)


def explain(error: ApiError, refusals: Sequence[Refusal]) -> Refusal | None:
    """Enter the way out into an error, and that no wait mends it where none does; return what its code means."""
    refusal = find_refusal(error.name, refusals)
    if refusal and error.declined:
        error.next_step = refusal.way_out
        error.permanent = not refusal.transient
    return refusal
