"""One thing that is wrong with a rotation, and the rule that names it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pam_scripts.core.errors import PamScriptError

Severity = Literal["broken", "soon", "look"]
"""broken: does not work now, or the next rotation fails. soon: will be broken. look: a person should decide."""

SEVERITIES: tuple[Severity, ...] = ("broken", "soon", "look")


@dataclass(frozen=True, repr=False)
class Rule:
    """One kind of finding.

    code: its name for machines. title: its name for people. severity: how urgent it is; at_worst: how urgent in
    cases that are worse than others, None where all are alike. meaning: what is the matter, in one sentence.
    way_out: what to do in general; a finding may know it better.
    """

    code: str
    title: str
    severity: Severity
    meaning: str
    way_out: str
    at_worst: Severity | None = None

    def found(self, what: str, way_out: str = "", *, at_worst: bool = False) -> Finding:
        """Return a finding. what: what exactly is wrong. at_worst: whether this is one of the worse cases."""
        severity = self.at_worst if at_worst and self.at_worst else self.severity
        return Finding(self, severity, what, way_out or self.way_out)

    def found_by(self, error: PamScriptError, way_out: str = "", *, subject: str = "") -> Finding:
        """Return the finding for an error that a script would end with. subject: words at its start to leave out."""
        what = error.cause.removeprefix(f"{subject}: ") if subject else error.cause
        what, _, inner = what.partition("; ")
        return self.found(what, error.next_step or inner or way_out)


@dataclass(frozen=True, repr=False)
class Finding:
    """One thing that is wrong: by which rule, how urgent, what exactly, and what to do about it."""

    rule: Rule
    severity: Severity
    what: str
    way_out: str
