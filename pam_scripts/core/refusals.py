"""What a system's own names for its refusals mean: our words, the way out, and whether the same may go better later.

Each module that talks to a system has its table, `REFUSALS`. What a server says freely beside them is not repeated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pam_scripts.core.errors import ApiError


@dataclass(frozen=True)
class Refusal:
    """One answer by which a system refuses.

    code: the system's own name for it. words: what it means. way_out: what somebody should do. passes: whether it may
    end by itself, so that asking again is worth it.
    """

    code: str
    words: str
    way_out: str
    passes: bool = False


def meant(code: str, refusals: Sequence[Refusal]) -> Refusal | None:
    """Return what a system means by a code, without regard to case; None for one that the table does not have."""
    return next((one for one in refusals if one.code.lower() == code.lower()), None)


def explain(error: ApiError, refusals: Sequence[Refusal]) -> Refusal | None:
    """Enter the way out into an error, and that no wait mends it where none does; return what its code means."""
    refusal = meant(error.name, refusals)
    if refusal and error.declined:
        error.next_step = refusal.way_out
        error.hopeless = not refusal.passes
    return refusal
