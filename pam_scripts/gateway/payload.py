"""The Keeper Gateway's payload: what a script is asked to do, and the records that came with it.

https://docs.keeper.io/en/keeperpam/privileged-access-manager/password-rotation/post-rotation-scripts/inputs-and-outputs
"""

from __future__ import annotations

import base64
import codecs
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pam_scripts.core.errors import BadInput
from pam_scripts.core.fields import Record
from pam_scripts.core.secret import Secret

_HOW = "run it as a PAM script of a record, or try `--check --record UID`"


@dataclass(frozen=True, repr=False)
class Job:
    """What the Gateway asks for: the PAM User record to rotate, and what came with it.

    attached: the records attached to the script; never the PAM User record, never the PAM Configuration, and
    never the related resource, whose login is for another purpose. new_password: what Keeper made for the record;
    empty where it made none. old_password: the one before it.
    """

    user: Record
    configuration: Record | None
    attached: Sequence[Record]
    new_password: Secret = field(default_factory=lambda: Secret(""))
    old_password: Secret = field(default_factory=lambda: Secret(""))

    def owners_of(self, uid: str) -> list[Record]:
        """Return the records whose owners decide what the credential in a record is used for.

        uid: the record's, empty for the host's own identity. Those are the record itself and the PAM Configuration,
        and never the PAM User record, also where it is the one with the credential.
        """
        configuration = [self.configuration] if self.configuration else []
        return [*(record for record in self.attached if record.uid == uid), *configuration]


def read_job(data: bytes) -> Job:
    """Read the Gateway's payload: one line of Base64 JSON, `records` in it Base64 JSON again.

    PowerShell adds a byte order mark, a carriage return or blanks, or writes UTF-16. Raises BadInput naming the field.
    """
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    text = data.decode("utf-16" if wide else "utf-8", errors="replace")
    text = text.replace("\ufeff", "").replace("\x00", "").strip()
    if not text:
        raise BadInput("standard input is empty", next_step=_HOW)
    payload = _decoded(text, "standard input")
    if not isinstance(payload, dict):
        raise BadInput("standard input: the payload is not a JSON object", next_step=_HOW)
    for name in ("newPassword", "oldPassword"):
        if isinstance(payload.get(name), str):
            Secret(payload[name])
    encoded = payload.get("records")
    if not encoded or not isinstance(encoded, str):
        raise BadInput("the payload's field 'records' is missing, or not Base64 text", next_step=_HOW)
    listed = _decoded(encoded, "the payload's field 'records'")
    if not isinstance(listed, list) or not all(isinstance(item, dict) for item in listed):
        raise BadInput("the payload's field 'records' is not a list of records", next_step=_HOW)
    return job_from(
        [Record.from_flat(item) for item in listed],
        user_uid=_uid(payload, "userRecordUid"),
        configuration_uid=_uid(payload, "providerRecordUid"),
        resource_uid=_uid(payload, "resourceRecordUid"),
        new_password=payload.get("newPassword"),
        old_password=payload.get("oldPassword"),
    )


def job_from(  # noqa: PLR0913 - each is one field of the payload
    records: Sequence[Record],
    *,
    user_uid: str,
    configuration_uid: str,
    resource_uid: str = "",
    new_password: object = None,
    old_password: object = None,
) -> Job:
    """Tell the records of a job apart by their UIDs; raise BadInput where the PAM User record is not among them."""
    if not user_uid:
        raise BadInput("the payload's field 'userRecordUid' is missing", next_step=_HOW)
    user = next((record for record in records if record.uid == user_uid), None)
    if user is None:
        raise BadInput(f"the payload's field 'records' lacks the PAM User record {user_uid}", next_step=_HOW)
    configuration = next((record for record in records if configuration_uid and record.uid == configuration_uid), None)
    known = [uid for uid in (user_uid, configuration_uid, resource_uid) if uid]
    attached = [record for record in records if record.uid not in known]
    passwords = [Secret(each if isinstance(each, str) else "") for each in (new_password, old_password)]
    return Job(user, configuration, attached, *passwords)


def _decoded(text: str, what: str) -> Any:  # noqa: ANN401 - whatever JSON it is
    try:
        # Blanks and line ends inside are what a console made of one long line.
        plain = base64.b64decode("".join(text.split()), validate=True)
    except ValueError:
        raise BadInput(f"{what} is not Base64", next_step=_HOW) from None
    try:
        return json.loads(plain.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise BadInput(f"{what} is not JSON in Base64", next_step=_HOW) from None


def _uid(payload: Mapping[str, Any], name: str) -> str:
    value = payload.get(name)
    return value.strip() if isinstance(value, str) else ""
