"""`check`: the dry run of the right script for each record. `payload`: what the Gateway would pipe into it."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence

from pam_scripts.cli.shared import Shared
from pam_scripts.core.errors import BadInput, PamScriptError
from pam_scripts.core.gateway import Job, Voice, carry_out
from pam_scripts.core.roles import Run
from pam_scripts.stores import keeper


def check(shared: Shared, uids: Sequence[str], voice: Voice) -> int:
    """Look at everything a rotation of these records would look at; return the worst exit status."""
    worst = 0
    for uid in uids:
        try:
            kind = shared.kind(uid)
        except PamScriptError as error:
            voice.fail(error)
            worst = max(worst, error.status)
            continue
        voice.say(f"Checking {shared.flat(uid).shown} with {kind.stem}")

        def get_job(_run: Run, uid: str = uid) -> Job:
            return shared.job(uid)

        worst = max(worst, carry_out(kind.stem, get_job, kind.fields, kind.script, voice, check=True))
    return worst


def payload(shared: Shared, uid: str) -> str:
    """Return the one Base64 line for a record. It carries every secret value of the records in it.

    For a script that takes the password that Keeper made, the record's present one stands for it.

    https://docs.keeper.io/en/keeperpam/privileged-access-manager/password-rotation/post-rotation-scripts/inputs-and-outputs
    """
    kind = shared.kind(uid)
    job = shared.job(uid)
    related = [job.configuration.uid] if job.configuration else []
    records = [keeper.flatten(shared.records[one]) for one in (*related, uid, *(record.uid for record in job.attached))]
    user = next(record for record in records if record["uid"] == uid)
    whole = {
        "providerRecordUid": job.configuration.uid if job.configuration else "",
        "resourceRecordUid": "",
        "userRecordUid": uid,
        "newPassword": None if kind.has_keys else user.get("password") or None,
        "oldPassword": None,
        "user": user.get("login", ""),
        "records": _encoded(records),
    }
    return _encoded(whole)


def refuse_terminal(is_terminal: bool, allowed: bool) -> None:
    """Raise BadInput where secrets would end up on a screen that nobody asked to have them on."""
    if is_terminal and not allowed:
        raise BadInput(
            "the payload carries secrets, and standard output is a terminal",
            next_step="pipe it into the script, or say --to-terminal",
        )


def _encoded(value: object) -> str:
    return base64.b64encode(json.dumps(value).encode()).decode()
