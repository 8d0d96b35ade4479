"""`check`: the dry run of the right script for each record."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import Any

from pam_scripts.cli.common import Commands, fetch, write
from pam_scripts.cli.shared import Shared
from pam_scripts.core.deadline import Deadline
from pam_scripts.core.errors import ENDS, PamScriptError
from pam_scripts.core.secret import presentable
from pam_scripts.core.times import iso, utc_now
from pam_scripts.gateway.command_line import add_sources
from pam_scripts.gateway.console import Console
from pam_scripts.gateway.payload import Job
from pam_scripts.gateway.run import carry_out
from pam_scripts.rotation.ops_log import Entry
from pam_scripts.rotation.roles import Run


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    one = commands.add_parser(
        "check",
        help="look at everything that a rotation would look at, and change nothing",
        description="The dry run of the right script for each record, chosen by the record's fields.",
        epilog="Exit status: the worst of the records'; 0 means that a rotation would go through all that could be "
        "looked at.",
    )
    which = one.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "records", metavar="RECORD", type=str.strip, nargs="*", default=[], help="UID of a PAM User record"
    )
    which.add_argument(
        "--all", action="store_true", help="every record of a rotation that is shared to the application"
    )
    one.add_argument("--json", action="store_true", help="JSON in place of the lines, at the end")
    add_sources(one)
    one.set_defaults(work=work)


def work(options: argparse.Namespace, console: Console) -> int:
    """Look at everything that a rotation of each record would look at; return the worst exit status."""
    shared = fetch(options, Deadline(60), console)
    uids = sorted(uid for uid, _ in shared.ours()) if options.all else list(dict.fromkeys(options.records))
    heard = _RecordingConsole() if options.json else None
    statuses = {uid: _check(shared, uid, heard or console, f"{at}/{len(uids)}") for at, uid in enumerate(uids, 1)}
    if heard:
        write(_as_json(heard.looks, statuses))
    else:
        _tell_tally(shared, statuses, console)
    return max(statuses.values(), default=0)


class _RecordingConsole(Console):
    """Keeps what runs say, for JSON. looks: a record each, with the facts of its run."""

    def __init__(self) -> None:
        super().__init__()
        self.looks: list[dict[str, Any]] = []
        self._warnings: list[str] = []

    def say(self, line: str) -> None:
        """Leave it out: the run's facts say it."""

    def say_json(self, line: str) -> None:
        """Keep the facts of the run that ends, with what it warned of."""
        self.looks.append({**json.loads(line), "warnings": self._warnings})
        self._warnings = []

    def warn(self, line: str) -> None:
        """Keep a warning for the run's facts."""
        self._warnings.append(presentable(line))

    def fail(self, error: PamScriptError) -> None:
        """Keep a failure that no run came to."""
        self.say_json(Entry(date=utc_now(), exit_status=error.status, error=str(error), dry_run=True).line())

    def end(self, error: PamScriptError, record: str) -> None:
        """Leave it out: the run's facts have it."""


def _check(shared: Shared, uid: str, console: Console, place: str) -> int:
    """Look at one record, and return the exit status. place: which of how many it is."""
    try:
        script = shared.script(uid)
    except PamScriptError as error:
        console.fail(error)
        return error.status
    console.say(f"Checking {place}: {shared.flat(uid).shown} with {script.stem}")

    def get_job(_run: Run) -> Job:
        return shared.job(uid)

    return carry_out(
        script,
        get_job,
        console,
        record=shared.flat(uid).shown,
        check=True,
        json_line=isinstance(console, _RecordingConsole),
    )


def _tell_tally(shared: Shared, statuses: Mapping[str, int], console: Console) -> None:
    """Say how many records ended how, and which are to be looked at, the worst first."""
    for status in sorted({*statuses.values()} - {0}, reverse=True):
        named = _with_status(statuses, status)
        console.say(f"Exit status {status}, {ENDS[status]}: {len(named)} of {len(statuses)}")
        for uid in named:
            console.say(f"  {shared.flat(uid).shown if uid in shared.records else f'record {uid}'}")
    console.say(f"{len(_with_status(statuses, 0))} of {len(statuses)} records: a rotation would go through")


def _as_json(looks: Sequence[Mapping[str, Any]], statuses: Mapping[str, int]) -> str:
    # The facts of a run that did not come so far do not name its record.
    records = [{**look, "record": uid} for look, uid in zip(looks, statuses, strict=True)]
    counts = {f"exit_status_{status}": len(_with_status(statuses, status)) for status in (0, *ENDS)}
    whole = {"made_at": iso(utc_now()), "summary": {"records": len(statuses), **counts}, "records": records}
    return json.dumps(whole, indent=2, ensure_ascii=False)


def _with_status(statuses: Mapping[str, int], status: int) -> list[str]:
    return [uid for uid, one in statuses.items() if one == status]
