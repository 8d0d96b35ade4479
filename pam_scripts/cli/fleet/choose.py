"""Which records a command works on: options, what they choose, and the question before anything is changed."""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby

from pam_scripts.assembly.script import Script
from pam_scripts.cli.common import days
from pam_scripts.cli.scripts import SCRIPTS
from pam_scripts.cli.shared import Shared
from pam_scripts.core.errors import BadInput, PamScriptError
from pam_scripts.core.fields import Record, split_address
from pam_scripts.core.secret import presentable
from pam_scripts.core.times import read_moment, utc_now
from pam_scripts.core.words import count
from pam_scripts.gateway.command_line import add_sources
from pam_scripts.gateway.payload import Job
from pam_scripts.rotation.ops_log import ROTATED_AT


@dataclass(frozen=True, repr=False)
class Part:
    """One of so many parts that records are divided into by their UIDs. number: from 1."""

    number: int
    of: int

    def has(self, uid: str) -> bool:
        """Say whether a record is in this part: the same on every host, whatever else is shared."""
        digest = hashlib.sha256(uid.encode()).digest()
        return int.from_bytes(digest[:8], "big") % self.of == self.number - 1


@dataclass(frozen=True, repr=False)
class Chosen:
    """A record that was chosen. script: what its fields say that it belongs to."""

    record: Record
    script: Script

    @property
    def uid(self) -> str:
        """The record's UID."""
        return self.record.uid


@dataclass(frozen=True, repr=False)
class Choice:
    """What options come to. failed: what is wrong with records that were named and cannot be worked on, by UID."""

    chosen: Sequence[Chosen]
    failed: dict[str, PamScriptError] = field(default_factory=dict)


def add_choice(one: argparse.ArgumentParser) -> None:
    """Add the options that choose records, and the one that answers the question."""
    which = one.add_argument_group("which records", "One of these at least; several narrow the choice.")
    which.add_argument(
        "records", metavar="RECORD", type=str.strip, nargs="*", default=[], help="UID of a PAM User record"
    )
    which.add_argument("--all", action="store_true", help="every record of a rotation that is shared")
    which.add_argument(
        "--script", metavar="NAME", choices=[script.stem for script in SCRIPTS], help="those that belong to this script"
    )
    which.add_argument(
        "--due",
        metavar="DAYS",
        type=days,
        help="those whose key ends within so many days, or has ended; of keys without an end, those that are as old",
    )
    which.add_argument("--admin", metavar="UID", type=str.strip, help="those that this record is the login of")
    which.add_argument("--server", metavar="HOST", type=_host, help="those that need this server, vault or cloud")
    which.add_argument(
        "--part", metavar="I/N", type=_part, help="of all these the I-th of N parts, told apart by their UIDs"
    )
    add_sources(one)
    one.add_argument("--yes", action="store_true", help="do not ask before it begins")


def choose(options: argparse.Namespace, shared: Shared) -> Choice:
    """Return the records that the options of `add_choice` choose, in the order of scripts and titles.

    Raises BadInput where no option chooses any. Nobody is asked.
    """
    narrowing = (options.script, options.due, options.admin, options.server)
    if options.all and options.records:
        raise BadInput("name records, or --all of them", next_step="leave one of the two out")
    if not (options.all or options.records or any(narrowing)):
        raise BadInput(
            "no records are chosen", next_step="name some, or say --all, --script, --due, --admin or --server"
        )
    failed: dict[str, PamScriptError] = {}
    chosen = []
    for uid, script in _named(options.records, shared, failed) if options.records else shared.ours():
        one = Chosen(shared.flat(uid), script)
        if _is_meant(one, options, shared):
            chosen.append(one)
    order = [script.stem for script in SCRIPTS]
    return Choice(sorted(chosen, key=lambda one: (order.index(one.script.stem), _title(one).lower(), one.uid)), failed)


def listed(chosen: Iterable[Chosen]) -> Iterator[str]:
    """Yield the lines that say what is chosen: by script, with numbers, fit for 80 columns."""
    numbered = enumerate(chosen, 1)
    for script, group in groupby(numbered, key=lambda pair: pair[1].script):
        ours = list(group)
        yield f"{script.stem}: {count(len(ours), 'record')}"
        for number, one in ours:
            yield f"  {number:>4}  {shortened(_title(one), 48):<48}  {presentable(one.uid)}"


def confirm(options: argparse.Namespace, question: str) -> None:
    """Ask on a terminal whether it may begin; raise BadInput for any answer but yes, and where nobody can be asked."""
    if options.yes:
        return
    if not (sys.stdin and sys.stdin.isatty() and sys.stderr and sys.stderr.isatty()):
        raise BadInput(
            "nobody is here to be asked", state="nothing was begun", next_step="say --yes to begin without a question"
        )
    sys.stderr.write(f"{presentable(question)} [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise BadInput("not confirmed", state="nothing was begun")


def shortened(text: str, width: int) -> str:
    """Return a text of at most so many characters, with dots where some were left out."""
    return text if len(text) <= width else f"{text[: width - 1]}\N{HORIZONTAL ELLIPSIS}"


def _named(uids: Iterable[str], shared: Shared, failed: dict[str, PamScriptError]) -> Iterator[tuple[str, Script]]:
    for uid in dict.fromkeys(uids):
        try:
            yield uid, shared.script(uid)
        except PamScriptError as error:
            failed[uid] = error


def _is_meant(one: Chosen, options: argparse.Namespace, shared: Shared) -> bool:
    """Say whether a record is one that all options choose which narrow the choice."""
    if options.part and not options.part.has(one.uid):
        return False
    if options.script and one.script.stem != options.script:
        return False
    if options.due and not is_due(one.record, one.script, timedelta(days=options.due), utc_now()):
        return False
    if not (options.admin or options.server):
        return True
    try:
        job = shared.job(one.uid)
    except BadInput:
        # Whose login it has, and where, is not known: no option can mean it.
        return False
    return (not options.admin or _is_login(options.admin, job)) and (
        not options.server or options.server in _hosts(one.script, job)
    )


def is_due(record: Record, script: Script, within: timedelta, now: datetime) -> bool:
    """Say whether a record's key ends so soon or, where no end is known, is so old; a key that never was is due."""
    label = script.issuer.SHAPE.expires_label
    ends = read_moment(record.get(label)) if label else None
    if ends:
        return ends <= now + within
    made = read_moment(record.get(ROTATED_AT.label))
    return made is None or made <= now - within


def _is_login(uid: str, job: Job) -> bool:
    return uid in {record.uid for record in (*job.attached, *([job.configuration] if job.configuration else []))}


def _hosts(script: Script, job: Job) -> set[str]:
    return {host.lower() for host in script.read(job).hosts}


def _title(one: Chosen) -> str:
    return presentable(one.record.title) or "(no title)"


def _host(text: str) -> str:
    """Return the host of an argument, which may be an address."""
    try:
        return split_address(text.strip() if "//" in text else f"//{text.strip()}").netloc.lower()
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no host") from None


def _part(text: str) -> Part:
    found = re.fullmatch(r"([0-9]{1,4})/([0-9]{1,4})", text.strip())
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise argparse.ArgumentTypeError(f"{text!r} is not I/N, with I from 1 to N")
    return Part(int(found[1]), int(found[2]))
