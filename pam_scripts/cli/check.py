"""`check`: the dry run of the right script for each record."""

from __future__ import annotations

import argparse

from pam_scripts.cli.common import Commands, add_sources, fetch
from pam_scripts.core.deadline import Deadline
from pam_scripts.core.errors import PamScriptError
from pam_scripts.gateway.payload import Job
from pam_scripts.gateway.run import carry_out
from pam_scripts.gateway.voice import Voice
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
    one.add_argument("records", metavar="RECORD", type=str.strip, nargs="+", help="UID of a PAM User record")
    add_sources(one)
    one.set_defaults(work=work)


def work(options: argparse.Namespace, voice: Voice) -> int:
    """Look at everything that a rotation of each record would look at; return the worst exit status."""
    shared = fetch(options, Deadline(60), voice)
    worst = 0
    for uid in options.records:
        try:
            script = shared.script(uid)
        except PamScriptError as error:
            voice.fail(error)
            worst = max(worst, error.status)
            continue
        voice.say(f"Checking {shared.flat(uid).shown} with {script.stem}")

        def get_job(_run: Run, uid: str = uid) -> Job:
            return shared.job(uid)

        worst = max(worst, carry_out(script, get_job, voice, record=shared.flat(uid).shown, check=True))
    return worst
