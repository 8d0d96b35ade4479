"""`rollback`: brings back the credential before the present one."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

from pam_scripts.assembly.script import Script
from pam_scripts.cli.common import Commands, fetch
from pam_scripts.cli.fleet.choose import Chosen, add_choice, choose
from pam_scripts.cli.fleet.turns import ask, go_through, refuse_keepers_own, show
from pam_scripts.cli.fleet.wrapped import WrappedScript
from pam_scripts.core.deadline import Deadline
from pam_scripts.gateway.console import Console
from pam_scripts.gateway.payload import Job
from pam_scripts.gateway.request import ROTATION_REASON
from pam_scripts.rotation.roles import Run
from pam_scripts.rotation.roll_back import rolled_back


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    one = commands.add_parser(
        "rollback",
        help="bring back the credential before the present one, everywhere",
        description="Bring back the credential before the present one, where it is still alive ('keep_previous_keys' "
        "of 1 or more): its value is read from a mirror's older version, proven by a login, and published by the steps "
        "of a rotation. The key that is rolled back from is deleted at the end.",
        epilog="Exit status: the worst of the records'; 0 rolled back and confirmed, 1 the key before is not alive, or "
        "it failed: nothing changed, or all put back, 2 no mirror has its value, or bad input, 3 rolled back, but the "
        "other key is still alive, 4 a person must look.",
    )
    add_choice(one)
    one.add_argument("--keep", action="store_true", help="leave the key alive that is rolled back from")
    one.add_argument(
        "--further", action="store_true", help="go back once more, where a roll back was the last that was done"
    )
    one.add_argument("--check", action="store_true", help="look at everything, say what would be brought back")
    one.set_defaults(work=work)


def work(options: argparse.Namespace, console: Console) -> int:
    """Roll back each record that is chosen; return the worst exit status."""
    shared = fetch(options, Deadline(60), console)
    choice = choose(options, shared)
    show(choice, console)
    ask(options, choice, "Roll back {}?")

    def script(chosen: Chosen) -> RollBack:
        return RollBack(chosen.script, keep=options.keep, further=options.further)

    reason = {ROTATION_REASON.label: "roll back"}
    return go_through(choice, shared, script, reason, console, check=options.check, done="rolled back")


class RollBack(WrappedScript[Script]):
    """A script, made to roll back. keep, further: as `rolled_back` has them."""

    def __init__(self, script: Script, *, keep: bool = False, further: bool = False) -> None:
        super().__init__(script)
        self._keep, self._further = keep, further

    def prepare(self, job: Job) -> Callable[[Run], None]:
        """Return what rolls back; raise BadInput for what is wrong with the record, and for Keeper's own password."""
        refuse_keepers_own(self.script, job, "rolled back")
        return self.script.prepare(job, change=partial(rolled_back, keep=self._keep, further=self._further))
