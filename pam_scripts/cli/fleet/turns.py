"""One record after the other: for commands whose every run somebody reads."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence

from pam_scripts.assembly.script import Script
from pam_scripts.cli.fleet.choose import Choice, Chosen, confirm, listed
from pam_scripts.cli.fleet.crowd import Crowd, Outcome, Task
from pam_scripts.cli.shared import Shared
from pam_scripts.core.errors import BadInput
from pam_scripts.core.words import count
from pam_scripts.gateway.console import Console
from pam_scripts.gateway.payload import Job
from pam_scripts.gateway.run import Script as Runnable
from pam_scripts.rotation.roles import Run


def show(choice: Choice, console: Console) -> None:
    """Say what was chosen, and what is wrong with records that cannot be worked on."""
    for error in choice.failed.values():
        console.fail(error)
    for line in listed(choice.chosen):
        console.say(line)


def ask(options: argparse.Namespace, choice: Choice, what: str) -> None:
    """Ask whether this may be done to all that is chosen; raise BadInput where not, or where there is nothing.

    what: the question, with {} for the number of records.
    """
    if not choice.chosen:
        raise BadInput("no record is left to work on", next_step="look at what was chosen, and at the lines above")
    if not options.check:
        number = len(choice.chosen)
        confirm(options, what.format(count(number, "record")))


def go_through(  # noqa: PLR0913 - each is one thing that commands differ in
    choice: Choice,
    shared: Shared,
    script: Callable[[Chosen], Runnable],
    fields: Mapping[str, str],
    console: Console,
    *,
    check: bool,
    done: str,
) -> int:
    """Do it to each record in turn, say at the end how many ended how, and return the worst exit status.

    script: what does it. fields: what stands in for fields of the record, by label. done: what a record was, as the
    last lines say it.
    """

    def task(one: Chosen) -> Task:
        def job(_run: Run) -> Job:
            return with_fields(shared.job(one.uid), fields)

        return Task(one.uid, one.record.title, script(one), job, lambda: console)

    outcomes = Crowd(at_once=1, at_each=1, check=check).carry_out([task(one) for one in choice.chosen])
    _tell(outcomes, "would be " if check else "", done, console)
    failed = [error.status for error in choice.failed.values()]
    return max([*failed, *(1 if one.status is None else one.status for one in outcomes)], default=0)


def with_fields(job: Job, fields: Mapping[str, str]) -> Job:
    """Return a job whose record has these values in its fields, by label."""
    user = job.user
    for label, value in fields.items():
        user = user.having(label, value)
    return Job(user, job.configuration, job.attached, job.new_password, job.old_password)


def refuse_keepers_own(script: Script, job: Job, what: str) -> None:
    """Raise BadInput for a password that Keeper itself makes. what: what can be done to it in Keeper alone."""
    if script.is_begun_by_keeper(job.user):
        raise BadInput(
            f"{job.user.shown}: its value is the password that Keeper itself makes and changes in its system first: "
            f"it is {what} in Keeper, not from here",
            next_step="press Rotate in the record: its script then publishes the new password",
        )


def _tell(outcomes: Sequence[Outcome], verb: str, done: str, console: Console) -> None:
    well = [one for one in outcomes if one.status == 0]
    for one in outcomes:
        if one not in well:
            console.say(f"{one.words}: {one.shown}")
    console.say(f"{len(well)} of {len(outcomes)} {verb}{done}")
