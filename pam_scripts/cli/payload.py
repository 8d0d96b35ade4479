"""`payload`: what the Gateway would pipe into a record's script."""

from __future__ import annotations

import argparse
import base64
import json
import sys

from pam_scripts.cli.common import Commands, fetch, write
from pam_scripts.cli.shared import Shared
from pam_scripts.core.deadline import Deadline
from pam_scripts.core.errors import BadInput
from pam_scripts.gateway.command_line import add_sources
from pam_scripts.gateway.console import Console
from pam_scripts.stores.keeper.records import flatten


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    one = commands.add_parser(
        "payload",
        help="build what the Gateway pipes into a script, to try one by hand",
        description="Write the Gateway's payload for a record to standard output: one line of Base64.",
        epilog="The payload carries every secret value of the records in it, the admin's password among them, and "
        "Base64 hides nothing. Pipe it straight into a script (pam-scripts payload UID | python dist/SCRIPT.py); "
        "never keep it in a file. Beware: the script then rotates, unless 'dry_run' is 'True' in the record. "
        "For publish_secret the record's present password stands for the one that Keeper would just have made.",
    )
    one.add_argument("record", metavar="RECORD", type=str.strip, help="UID of a PAM User record")
    one.add_argument("--to-terminal", action="store_true", help="write the secrets to a terminal all the same")
    add_sources(one)
    one.set_defaults(work=work)


def work(options: argparse.Namespace, console: Console) -> int:
    """Write the payload; raise BadInput where it would end up on a screen that nobody asked to have it on."""
    # Before anything is fetched: nobody must wait for a refusal.
    if sys.stdout.isatty() and not options.to_terminal:
        raise BadInput(
            "the payload carries secrets, and standard output is a terminal",
            next_step="pipe it into the script, or say --to-terminal",
        )
    write(_payload(fetch(options, Deadline(60), console), options.record), with_secrets=True)
    return 0


def _payload(shared: Shared, uid: str) -> str:
    """Return the one Base64 line for a record. It carries every secret value of the records in it.

    For a script that takes the password that Keeper made, the record's present one stands for it.

    https://docs.keeper.io/en/keeperpam/privileged-access-manager/password-rotation/post-rotation-scripts/inputs-and-outputs
    """
    script = shared.script(uid)
    job = shared.job(uid)
    related = [job.configuration.uid] if job.configuration else []
    records = [flatten(shared.records[one]) for one in (*related, uid, *(record.uid for record in job.attached))]
    user = next(record for record in records if record["uid"] == uid)
    whole = {
        "providerRecordUid": job.configuration.uid if job.configuration else "",
        "resourceRecordUid": "",
        "userRecordUid": uid,
        "newPassword": None if script.has_keys else user.get("password") or None,
        "oldPassword": None,
        "user": user.get("login", ""),
        "records": _encoded(records),
    }
    return _encoded(whole)


def _encoded(value: object) -> str:
    return base64.b64encode(json.dumps(value).encode()).decode()
