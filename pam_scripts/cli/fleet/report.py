"""What came of many runs: a table for people, and JSON for machines."""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pam_scripts.cli.fleet.choose import shortened
from pam_scripts.cli.fleet.crowd import Outcome
from pam_scripts.cli.fleet.screen import line_of, shown_seconds
from pam_scripts.core.errors import ENDS
from pam_scripts.core.secret import Secret, presentable
from pam_scripts.core.times import iso
from pam_scripts.rotation.ops_log import Entry

NOT_BEGUN = 1
"""The exit status for records that nothing was begun on: nothing has changed, and it is not done."""

_WIDTH = 80


@dataclass(frozen=True, repr=False)
class Result:
    """What came of one run of the command.

    mark: the last eight digits of its rotations' ids. passed: records that only Keeper can rotate. done_before: those
    that the run has done before it went on. seconds: it took.
    """

    command: str
    mark: str
    made_at: datetime
    seconds: float
    outcomes: Sequence[Outcome]
    passed: Sequence[str] = ()
    done_before: Sequence[str] = ()

    @property
    def status(self) -> int:
        """The gravest of all exit statuses: 4 before 3, 2 and 1."""
        return max((NOT_BEGUN if one.status is None else one.status for one in self.outcomes), default=0)

    @property
    def counts(self) -> Mapping[str, int]:
        """How many records ended how, in words, the gravest last."""
        return Counter(one.words for one in sorted(self.outcomes, key=_gravity))

    @property
    def is_whole(self) -> bool:
        """Whether there is nothing left to do."""
        return all(one.status == 0 for one in self.outcomes)


def table(result: Result) -> Iterator[str]:
    """Yield the lines that say what came of each record, and at the end what is to be done; fit for 80 columns."""
    told = ", ".join(f"{count} {words}" for words, count in result.counts.items()) or "nothing to do"
    yield f"Run {result.mark}: {told}, in {shown_seconds(result.seconds)}"
    if result.outcomes:
        yield ""
        yield f"{'#':>5}  {'RECORD':<38}  {'RESULT':<22}  {'TIME':>7}"
    for number, one in enumerate(result.outcomes, 1):
        yield line_of(number, one)
    bad = [(number, one) for number, one in enumerate(result.outcomes, 1) if one.status]
    if bad:
        yield ""
        yield "What to look at, the gravest first:"
    for number, one in sorted(bad, key=lambda pair: -(pair[1].status or 0)):
        yield f"{number:>5}  {shortened(presentable(one.title), 48):<48}  {presentable(one.uid)}"
        yield from _wrapped(cause(one), "       ")
        yield f"       exit status {one.status}: {ENDS[one.status or 0]}"


def cause(one: Outcome) -> str:
    """Return what a run failed with, without the record's name before it: that stands beside it."""
    return presentable(one.error).removeprefix(f"{presentable(one.shown)}: ")


def as_json(result: Result) -> str:
    """Return the whole as one JSON document: each record with the facts of its run, as the ops log names them."""
    statuses = Counter(one.status for one in result.outcomes)
    summary = {
        "records": len(result.outcomes),
        **{f"exit_status_{status}": statuses[status] for status in (0, *ENDS)},
        "not_begun": statuses[None],
        "passed": len(result.passed),
        "done_before": len(result.done_before),
    }
    whole = {
        "command": result.command,
        "run": result.mark,
        "made_at": iso(result.made_at),
        "seconds": round(result.seconds, 3),
        "summary": summary,
        "records": [_facts(one) for one in result.outcomes],
        "passed": list(result.passed),
        "done_before": list(result.done_before),
    }
    return Secret.redact_whole(json.dumps(whole, indent=2, ensure_ascii=False))


def _facts(one: Outcome) -> dict[str, Any]:
    entry = one.entry or Entry(script=one.script)
    begun = one.status is not None
    return {
        **entry.facts(),
        # Where a run did not come so far, its facts name neither.
        "record": one.uid,
        "record_title": presentable(one.title),
        "begun": begun,
        "exit_status": one.status,
        "result": entry.result if begun else None,
        "error": presentable(one.error),
        "seconds": round(one.seconds, 3),
        "warnings": [presentable(line) for line in one.warnings],
    }


def _gravity(one: Outcome) -> tuple[int, bool]:
    """Return what sorts outcomes by how grave they are."""
    return (NOT_BEGUN if one.status is None else one.status), one.status is not None


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text, _WIDTH, initial_indent=indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
