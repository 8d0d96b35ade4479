"""`compromised`: says what a key that is no secret any more opens and where it stands, then replaces it at once."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from pam_scripts.assembly.script import Script
from pam_scripts.cli.audit.deadlines import HostDeadlines
from pam_scripts.cli.audit.subject import Cadence, Subject
from pam_scripts.cli.audit.survey import survey
from pam_scripts.cli.common import Commands, fetch, progress
from pam_scripts.cli.fleet.choose import Chosen, add_choice, choose
from pam_scripts.cli.fleet.turns import ask, go_through, refuse_keepers_own, show
from pam_scripts.cli.fleet.wrapped import WrappedScript
from pam_scripts.core.deadline import Deadline
from pam_scripts.core.errors import OldKeysAlive
from pam_scripts.core.times import iso, utc_now
from pam_scripts.gateway.console import Console
from pam_scripts.gateway.payload import Job
from pam_scripts.gateway.request import KEEP_PREVIOUS_KEYS, ROTATION_REASON
from pam_scripts.rotation.roles import Rotation, Run
from pam_scripts.stores.previous import MirrorWithPrevious

# A use so soon after a rotation may be the login that the rotation itself proves the key with.
_OWN_LOGIN = timedelta(minutes=10)


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    one = commands.add_parser(
        "compromised",
        help="replace keys that somebody may know, at once, with no previous key kept",
        description="Say of each record when its key was last used, where it stands, and what else the same admin "
        "credential reaches; then rotate at once, with no previous key kept, whatever the record says.",
        epilog="Exit status: the worst of the records', as the scripts have them: after 0 the old keys are dead.",
    )
    add_choice(one)
    one.add_argument("--check", action="store_true", help="say it all, look at everything, and change nothing")
    one.set_defaults(work=work)


def work(options: argparse.Namespace, console: Console) -> int:
    """Say what there is to know of each record that is chosen, and rotate it; return the worst exit status."""
    shared = fetch(options, Deadline(60), console)
    choice = choose(options, shared)
    show(choice, console)
    with progress() as say:
        wanted = {one.uid for one in choice.chosen}
        subjects = survey(shared, HostDeadlines(Deadline(60), 20), Cadence(), utc_now(), say, only=wanted)
    for subject in subjects:
        for line in _about(subject, subjects) if subject.uid in wanted else ():
            console.say(line)
    ask(options, choice, "Rotate {} at once, with no previous key kept?")
    fields = {KEEP_PREVIOUS_KEYS.label: "0", ROTATION_REASON.label: "suspected compromise"}
    return go_through(choice, shared, _AtOnce, fields, console, check=options.check, done="rotated, no key kept")


class _AtOnce(WrappedScript[Script]):
    """The script of a record, which has to be rotated from here."""

    def __init__(self, chosen: Chosen) -> None:
        super().__init__(chosen.script)

    def prepare(self, job: Job) -> Callable[[Run], None]:
        """Return what rotates; raise BadInput for what is wrong with the record, and for Keeper's own password."""
        refuse_keepers_own(self.script, job, "replaced")
        begun: list[Rotation] = []

        def keeping_nothing(rotation: Rotation) -> Rotation:
            begun.append(_keeping_nothing(rotation))
            return begun[-1]

        work = self.script.prepare(job, change=keeping_nothing)

        def replace_it(run: Run) -> None:
            work(run)
            if not run.dry_run:
                _refuse_one_from_before(begun[-1])

        return replace_it


def _refuse_one_from_before(rotation: Rotation) -> None:
    """Raise OldKeysAlive where no key was made: an interrupted rotation's was set everywhere, and may be known, too."""
    if rotation.traits.earlier:
        raise OldKeysAlive(
            f"{rotation.traits.system}: {rotation.shown_target}: an interrupted rotation was brought to its end, and "
            f"its {rotation.traits.noun} stands in every store: no new one was made",
            state="whoever knows that one can still log in",
            next_step="run this command again, which makes a new one",
        )


def _keeping_nothing(rotation: Rotation) -> Rotation:
    """Have no mirror keep the value before, which services would accept."""
    mirrors = [one.keeping_nothing() if isinstance(one, MirrorWithPrevious) else one for one in rotation.mirrors]
    return replace(rotation, mirrors=mirrors)


# -- what there is to know ----------------------------------------------------------------------------


def _about(subject: Subject, subjects: Sequence[Subject]) -> Iterator[str]:
    """Yield the lines on one record: a heading each, and what belongs to it below."""
    yield ""
    yield f"{subject.record.shown}:"
    for finding in subject.findings:
        yield f"  not known: {finding.what}"
    for title, lines in (
        ("used", _uses(subject)),
        ("stands in", _places(subject)),
        ("the same admin credential reaches", _reach(subject, subjects)),
        ("its limits", _limits(subject)),
    ):
        yield f"  {title}:"
        yield from (f"    {line}" for line in lines)


def _uses(subject: Subject) -> Iterator[str]:
    if not subject.script.has_keys:
        yield "not known: no system knows of the value but those who read it"
        return
    if not subject.seen:
        yield "not known: its issuer could not be asked"
        return
    if subject.rotated_at:
        yield f"the last rotation was at {iso(subject.rotated_at)}"
    tells = subject.seen.tells_use
    for key in subject.alive:
        whose = "in Keeper" if key.id == subject.key_id else "alive beside it"
        yield f"{key.id} ({whose})" + (f": {_use(subject, subject.seen.last_used.get(key.id))}" if tells else "")
    yield (
        "the issuer does not say by whom" if tells else "its issuer does not say by whom, or when; its sign-in log may"
    )


def _use(subject: Subject, last: datetime | None) -> str:
    if last is None:
        return "never used"
    if subject.rotated_at and last < subject.rotated_at:
        return f"last used {iso(last)}, not since then"
    soon = subject.rotated_at and last - subject.rotated_at < _OWN_LOGIN
    return f"last used {iso(last)}" + (", perhaps by the rotation itself" if soon else "")


def _places(subject: Subject) -> Iterator[str]:
    yield "this record, for all who may read it"
    asked = subject.spec
    for spec in asked.mirrors if asked else ():
        yield f"{spec.name}:"
        both = [each.query for each in (spec, spec.previous) if each and each.query]
        yield from (f"  {name}" for query in both for name in query.secrets)
    for consumer in asked.consumers if asked else ():
        if consumer.query:
            yield f"container app {consumer.query.name}"
    if not (asked and asked.mirrors):
        yield "no mirror; which copies people have made is not known"


def _reach(subject: Subject, subjects: Sequence[Subject]) -> Iterator[str]:
    others = [one for one in subjects if one is not subject and _logins(one) & _logins(subject)]
    if not others:
        yield "no other record that is shared here"
    for one in others:
        yield f"{one.record.shown}, for {one.script.stem}"


def _logins(subject: Subject) -> set[Hashable]:
    """Return who logs in for a record: at its issuer, its mirrors, its consumers."""
    asked = subject.spec
    if not asked:
        return set()
    queries = [*(spec.query for spec in asked.mirrors), *(spec.query for spec in asked.consumers)]
    groups = [asked.issuer.group if asked.issuer else None, *(query.group for query in queries if query)]
    return {getattr(group, "identity", getattr(group, "login", group)) for group in groups} - {None}


def _limits(subject: Subject) -> Iterator[str]:
    asked = subject.spec
    if not asked:
        yield "not known"
        return
    set_ones = {
        (limit.label, record, names) for spec in asked.specs for limit in spec.limits for record, names in limit.lists
    }
    for label, record, names in sorted(set_ones):
        yield f"{label} of {record}: {', '.join(names)}"
    if asked.unlimited:
        yield f"none in {', '.join(asked.unlimited)}:"
        yield "  there it reaches whatever its rights reach"
