"""`audit` on the command line."""

from __future__ import annotations

import argparse
import shutil
import sys
from functools import partial
from pathlib import Path

from pam_scripts.cli.audit import page, report, terminal
from pam_scripts.cli.audit.build import builds_in
from pam_scripts.cli.audit.deadlines import HostDeadlines
from pam_scripts.cli.audit.schedule import read_schedules
from pam_scripts.cli.audit.subject import Cadence
from pam_scripts.cli.audit.survey import survey
from pam_scripts.cli.common import Commands, days, fetch, progress, write
from pam_scripts.core.deadline import Deadline
from pam_scripts.core.errors import BadInput, PamScriptError
from pam_scripts.core.secret import Secret
from pam_scripts.core.times import utc_now
from pam_scripts.gateway.command_line import add_sources
from pam_scripts.gateway.console import Console


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    one = commands.add_parser(
        "audit",
        help="find what is wrong with all rotations, each with the way out",
        description="Look at every record of a rotation that is shared to the Gateway's application, at its keys and "
        "at its mirrors, and say what is wrong. No secret value is read but the admins' own.",
        epilog="Exit status: 0 nothing is wrong; 1 something is; 2 the audit itself could not be done.",
    )
    shape = one.add_mutually_exclusive_group()
    shape.add_argument("--json", action="store_true", help="JSON in place of the table")
    shape.add_argument("--csv", action="store_true", help="CSV in place of the table")
    shape.add_argument("--problems", action="store_true", help="only the records with problems in the table")
    one.add_argument("--html", metavar="FILE", type=Path, help="also write one self-contained page")
    one.add_argument(
        "--every",
        metavar="DAYS",
        type=days,
        help="the days between two rotations of your schedule, for records whose own is not known: finds keys that end "
        "first, and rotations that are late",
    )
    one.add_argument(
        "--schedules",
        metavar="FILE",
        type=Path,
        help="what Keeper Commander's `pam rotation list --format json` prints: each record's own schedule in place of "
        "--every; finds rotations without a schedule, too",
    )
    one.add_argument(
        "--warn-days",
        metavar="DAYS",
        type=days,
        default=Cadence().warn_days,
        help="report a key as expiring soon this many days ahead (default: %(default)s)",
    )
    one.add_argument(
        "--seconds",
        metavar="N",
        type=days,
        default=600,
        help="time that the whole audit may take (default: %(default)s)",
    )
    one.add_argument(
        "--system-seconds",
        metavar="N",
        type=days,
        default=45,
        help="how long one system may leave what it is asked unanswered before it is given up and named (default: "
        "%(default)s)",
    )
    one.add_argument(
        "--builds",
        metavar="DIR",
        type=Path,
        help="the directory with the files that are meant to be attached, as `make bundle` wrote them (default: of "
        "each script the build that ran last anywhere)",
    )
    add_sources(one, "stands for attached records where a record's own script settings name none; may be repeated")
    one.set_defaults(work=work)


def work(options: argparse.Namespace, console: Console) -> int:
    """Audit all shared records; return 0 where nothing is wrong, 1 where something is, 2 where it cannot be done."""
    deadline = Deadline(options.seconds)
    deadlines = HostDeadlines(deadline, options.system_seconds)
    try:
        built = builds_in(options.builds) if options.builds else {}
        schedules = read_schedules(options.schedules) if options.schedules else None
        with progress() as say:
            say("keeper: asking for all records")
            shared = fetch(options, deadline, console)
            # A lease that ends while systems are asked was held when the record was read.
            now = utc_now()
            subjects = survey(shared, deadlines, Cadence(options.every, options.warn_days, schedules), now, say)
    except PamScriptError as error:
        # 1 is what a scheduler takes for findings.
        error.state = error.state or "nothing was audited"
        console.fail(error)
        return BadInput.status
    result = report.Report.of(subjects, now, len(shared.records) - len(subjects), built, deadlines.silent)
    if options.html:
        _write_page(options.html, page.page(result))
    if options.json:
        write(report.as_json(result))
    elif options.csv:
        write(report.as_csv(result).rstrip("\n"))
    else:
        is_terminal = sys.stdout is not None and sys.stdout.isatty()
        width = shutil.get_terminal_size().columns
        shown = partial(terminal.shown, width=width) if is_terminal else report.table
        write(shown(result, only_problems=options.problems))
    return 1 if result.with_problems else 0


def _write_page(path: Path, text: str) -> None:
    try:
        path.write_text(Secret.redact_whole(text), encoding="utf-8")
    except OSError as error:
        raise BadInput(f"{path} cannot be written to ({type(error).__name__})") from None
