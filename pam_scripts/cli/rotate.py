"""`rotate`: the very rotation that the Gateway has done, of many records in one process, now."""

from __future__ import annotations

import argparse
import re
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from pam_scripts.assembly.script import RotationSpec
from pam_scripts.cli.common import Commands, write
from pam_scripts.cli.fleet import page, report
from pam_scripts.cli.fleet.choose import Choice, Chosen, add_choice, choose, confirm, listed
from pam_scripts.cli.fleet.crowd import Crowd, Outcome, Task
from pam_scripts.cli.fleet.pace import Pace
from pam_scripts.cli.fleet.report import Result
from pam_scripts.cli.fleet.resources import SharedResources, WithResources
from pam_scripts.cli.fleet.screen import Logged, Progress, Screen, Unheard, log_of, make_logs
from pam_scripts.core.errors import BadInput
from pam_scripts.core.fields import Record
from pam_scripts.core.secret import Secret, presentable
from pam_scripts.core.times import utc_now
from pam_scripts.core.words import count
from pam_scripts.gateway.console import Console
from pam_scripts.gateway.payload import Job
from pam_scripts.gateway.request import DIAGNOSE
from pam_scripts.rotation.lease import LEASE, is_held, read_lease
from pam_scripts.rotation.ops_log import OPS_LOG, read_entries
from pam_scripts.stores.keeper.client import quiet_for
from pam_scripts.stores.keeper.configuration import find_config, is_gateways

# Calls of one endpoint that a run makes where nothing goes wrong: of a rotation its three saves, and as many readings.
_CALLS = 3
_CALLS_OF_A_LOOK = 1


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    one = commands.add_parser(
        "rotate",
        help="rotate many records now, in one process, with the Gateway's configuration or without a Gateway",
        description="The very rotation that the Gateway has a script do, of each record that is chosen. What is chosen "
        "is listed first. A failure stops nobody else.",
        epilog="Exit status: the gravest of the records', 4 before 3, 2 and 1, as the scripts have them; 1 as well "
        "where something was not begun; 0: all is done and confirmed.",
    )
    add_choice(one)
    add_run(one)
    one.add_argument("--check", action="store_true", help="look at everything that a rotation would, change nothing")
    one.add_argument(
        "--resume",
        metavar="RUN",
        type=_mark,
        default=None,
        help="go on with this run: leave out what it has rotated, by the newest success in each record's ops log",
    )
    one.set_defaults(work=work)


def add_run(one: argparse.ArgumentParser) -> None:
    """Add the options that say how many runs are gone through, and what is told of them."""
    how = one.add_argument_group("how")
    how.add_argument("--at-once", metavar="N", type=_number, default=8, help="so many at a time (default: %(default)s)")
    how.add_argument(
        "--at-each",
        metavar="N",
        type=_number,
        default=20,
        help="so many of them at a time with any one Seeq server, tenant or vault (default: %(default)s)",
    )
    how.add_argument(
        "--stop-after", metavar="N", type=_number, default=0, help="begin nothing more after so many failures"
    )
    told = one.add_argument_group("what is told")
    told.add_argument("--logs", metavar="DIR", type=Path, help="write each record's lines to a file of its own there")
    told.add_argument("--json", action="store_true", help="JSON in place of the lines, at the end")
    told.add_argument("--html", metavar="FILE", type=Path, help="also write one self-contained page")


def work(options: argparse.Namespace, console: Console) -> int:
    """Rotate, or look; return the gravest exit status."""
    screen = Screen()
    try:
        return _work(options, screen)
    finally:
        screen.progress("", at_once=True)
        screen.finish()
        console.finish()


def _work(options: argparse.Namespace, screen: Screen) -> int:
    say: Callable[[str], None] = (lambda _line: None) if options.json else screen.say
    if options.logs:
        make_logs(options.logs)
    place, config = find_config()
    pace = Pace(_CALLS_OF_A_LOOK if options.check else _CALLS, lambda: quiet_for(config["clientId"]))
    screen.progress("keeper: asking for all records", at_once=True)
    resources = SharedResources(
        config, pace, at_once=options.at_once, attached=options.credential, configuration=options.configuration
    )
    screen.progress("", at_once=True)
    for remark in resources.shared.remarks:
        screen.warn(remark)
    choice = choose(options, resources.shared)
    mark = options.resume or secrets.token_hex(4)
    chosen, passed = _begun_here(choice, check=options.check)
    done = [one for one in chosen if options.resume and is_done(one.record, options.resume)]
    chosen = [one for one in chosen if one not in done]
    _tell_choice(options, chosen, passed, done, mark, say)
    if is_gateways(place):
        say("The configuration is a Gateway's: its calls are counted with these, and where Keeper turns calls away,")
        say("rotations wait for it. A device of its own in the same application, as KSM_CONFIG, is never turned away.")
    if not options.check and chosen:
        confirm(options, f"Rotate {count(len(chosen), 'record')}?")
    numbers = {one.uid: number for number, one in enumerate(chosen, 1)}

    def console_of(uid: str) -> Callable[[], Console]:
        if options.logs:
            return lambda: Logged(log_of(options.logs, uid))
        return Unheard if options.json else lambda: screen.prefixed(f"{numbers[uid]:>5} | ")

    tasks = tasks_for(chosen, resources, console_of, options.resume or "")
    if len(tasks) > pace.at_once:
        pace.be_silent_first()
    progress = Progress(screen, say, numbers, tells_ends=bool(options.logs))
    crowd = Crowd(
        options.at_once,
        options.at_each,
        check=options.check,
        stop_after=options.stop_after,
        mark=mark,
        gate=pace,
        told=progress,
    )
    if not options.check:
        resources.connect(min(options.at_once, pace.at_once, len(tasks)))
    started = time.monotonic()
    outcomes = [*crowd.carry_out(tasks), *_failed(choice)]
    screen.progress("", at_once=True)
    outcomes += [_passed(one) for one in passed if one.uid in options.records]
    result = Result(
        "check" if options.check else "rotate",
        mark,
        utc_now(),
        time.monotonic() - started,
        outcomes,
        [one.uid for one in passed],
        [one.uid for one in done],
    )
    tell(options, result, say)
    return result.status


def tell(options: argparse.Namespace, result: Result, say: Callable[[str], None]) -> None:
    """Tell what came of it all, in the ways that the options of `add_run` ask for."""
    if options.json:
        write(report.as_json(result))
    else:
        say("")
        for line in report.table(result):
            say(line)
        if not result.is_whole and result.command == "rotate":
            say("")
            say(f"To go on with what is not done, the same command with --resume {result.mark}")
    if options.html:
        try:
            options.html.write_text(Secret.redact_whole(page.page(result)), encoding="utf-8")
        except OSError as error:
            raise BadInput(f"{options.html} cannot be written to ({type(error).__name__})") from None


def tasks_for(
    chosen: Sequence[Chosen],
    resources: SharedResources,
    console_of: Callable[[str], Callable[[], Console]],
    mark: str = "",
) -> list[Task]:
    """Return what is to be done for each record: a record that others log in with comes after them.

    mark: of a run that is gone on with; what a process of it has left with a lease is done once that has ended.
    """
    asked, users = {}, {one.uid: set[str]() for one in chosen}
    for one in chosen:
        try:
            job = resources.shared.job(one.uid)
        except BadInput:
            # The run itself says so.
            continue
        asked[one.uid] = one.script.read(job)
        for login in job.attached:
            # Two that log in with each other come in the order of the list.
            if (
                login.uid in users
                and one.uid not in _all_before(users, login.uid)
                and login.uid not in _all_before(users, one.uid)
            ):
                users[login.uid].add(one.uid)
    return [
        Task(
            one.uid,
            one.record.title,
            WithResources(one.script, resources),
            _job(resources, one.uid),
            console_of(one.uid),
            _bounded(asked.get(one.uid)),
            sorted(users[one.uid]),
            left_over(one, mark),
        )
        for one in chosen
    ]


def left_over(one: Chosen, mark: str) -> float:
    """Return until when a record is held by a process of this run that may have been killed, in seconds since 1970.

    0 where it is not, or by somebody else: that is for the rotation to say.
    """
    holder, until = read_lease(one.record.get(LEASE))
    # The rotation's id comes first in it: a time, and the run.
    ours = bool(mark) and holder.split("-")[1:2] == [mark]
    return until.timestamp() if ours and until and is_held(until, utc_now(), one.script.longest_lease) else 0.0


def is_done(record: Record, mark: str) -> bool:
    """Say whether a run has rotated a record: by the newest success in its ops log. mark: the run's."""
    rotated = (entry for entry in read_entries(record.get(OPS_LOG.label)) if entry["result"] == "rotated")
    return next((entry["rotation_id"].endswith(f"-{mark}") for entry in rotated), False)


# -- within -------------------------------------------------------------------------------------------


def _begun_here(choice: Choice, *, check: bool) -> tuple[list[Chosen], list[Chosen]]:
    """Return the records that can be worked on here, and those that only Keeper can rotate."""
    passed = [one for one in choice.chosen if one.script.is_begun_by_keeper(one.record) and not check]
    return [one for one in choice.chosen if one not in passed], passed


def _tell_choice(  # noqa: PLR0913, PLR0917 - each is one thing to be told
    options: argparse.Namespace,
    chosen: Sequence[Chosen],
    passed: Sequence[Chosen],
    done: Sequence[Chosen],
    mark: str,
    say: Callable[[str], None],
) -> None:
    what = "to look at" if options.check else "to rotate"
    say(f"Run {mark}: {count(len(chosen), 'record')} {what}, at most {options.at_once} at a time")
    for line in listed(chosen):
        say(line)
    say("")
    if done:
        say(f"Done by this run before, and left out: {count(len(done), 'record')}")
    if passed:
        say(f"Not rotated here: {count(len(passed), 'record')} of publish_secret with a password that Keeper makes.")
        say("Keeper must change it first: press Rotate in the record, or `pam action rotate`.")
        for one in passed:
            say(f"        {presentable(one.record.shown)}")


def _all_before(users: dict[str, set[str]], uid: str) -> set[str]:
    """Return all that come before a record, and before those, and so on."""
    found: set[str] = set()
    waiting = {uid}
    while waiting:
        more = users[waiting.pop()] - found
        found |= more
        waiting |= more
    return found


def _job(resources: SharedResources, uid: str) -> Callable[[object], Job]:
    def job(_run: object) -> Job:
        job = resources.job(uid)
        if DIAGNOSE.read(job.user):
            raise BadInput(
                f"{job.user.shown}: '{DIAGNOSE.label}' is set", next_step="take it out, and rotate the record again"
            )
        return job

    return job


def _bounded(asked: RotationSpec | None) -> list[str]:
    """Return the hosts that no more than so many runs ask at a time: those of the keys, and of their copies."""
    if not asked:
        return []
    hosts = [*([asked.issuer.hosts] if asked.issuer else []), *(mirror.hosts for mirror in asked.mirrors)]
    # The host that is asked comes first; those that it takes to log in come after it.
    return list(dict.fromkeys(host for each in hosts for host in list(each)[:1]))


def _failed(choice: Choice) -> list[Outcome]:
    return [Outcome(uid, "", "", error.status, error=str(error)) for uid, error in choice.failed.items()]


def _passed(one: Chosen) -> Outcome:
    error = "its password is Keeper's to make; press Rotate in the record, or `pam action rotate`"
    return Outcome(one.uid, one.record.title, one.script.stem, BadInput.status, error=error)


def _mark(text: str) -> str:
    """Return the argument that names a run; raise ArgumentTypeError where it is none."""
    if not re.fullmatch(r"[0-9a-f]{8}", text.strip().lower()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a run's eight digits")
    return text.strip().lower()


def _number(text: str) -> int:
    """Return an argument that counts; raise ArgumentTypeError where it is none from 1 to 500."""
    if not text.isdecimal() or not 0 < int(text) <= 500:  # noqa: PLR2004 - more threads than any host bears
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 500")
    return int(text)
