"""Keeper records as scripts see them, and the job that the Gateway would make of them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from pam_scripts.core.errors import BadInput
from pam_scripts.core.fields import Record
from pam_scripts.core.http import Session
from pam_scripts.core.retry import retrying
from pam_scripts.gateway.payload import Job, job_from
from pam_scripts.rotation.roles import Run
from pam_scripts.stores.keeper import CANNOT_BE_DECRYPTED, SHARE_ANEW, SYSTEM
from pam_scripts.stores.keeper.configuration import Access

_CONVERT = "convert it to a Login record first, in the vault or by Commander's `convert UID`"


def flatten(record: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return a record as the Gateway's payload has it: label, or type where there is none, to value.

    A key that comes again gets a number, several values stay a list, and the scripts themselves are left out.
    """
    flat: dict[str, Any] = {"uid": record.uid, "title": record.title or ""}
    for item in [*(record.dict.get("fields") or []), *(record.dict.get("custom") or [])]:
        if item.get("type") == "script":
            continue
        name = item.get("label") or item.get("type") or ""
        key, number = name, 2
        while key in flat:
            key, number = f"{name}{number}", number + 1
        values = item.get("value") or [""]
        flat[key] = values[0] if len(values) == 1 else values
    return flat


def fetch_job(run: Run, uid: str, attached: Sequence[str], configuration: str) -> Job:
    """Put together what the Gateway would hand over for a record, from Secrets Manager alone.

    attached: UIDs of attached records; where none is given, those that the record's script settings
    name. configuration: UID of the PAM Configuration; where none is given, the only one that is
    shared to the application. Raises BadInput where a named record is not shared.
    """
    client = Access(Session(run.deadline)).client()
    fetched = retrying(run.deadline, lambda: client.fetch([]))
    for line in fetched.remarks:
        run.warn(line)
    configuration = configuration or only_configuration(fetched.records)
    return job_among(fetched.records, uid, attached, configuration, fetched.left_out)


def not_there(uids: Iterable[str], damaged: Collection[str]) -> BadInput:
    """Return the error for records that are wanted and not there. damaged: UIDs of those that cannot be decrypted."""
    wanted = list(uids)
    if unread := [uid for uid in wanted if uid in damaged]:
        return BadInput(f"{SYSTEM}: record {', '.join(unread)} {CANNOT_BE_DECRYPTED}", next_step=SHARE_ANEW)
    return BadInput(
        f"{SYSTEM}: not shared to the Gateway's application: {', '.join(wanted)}",
        next_step="share the folder to the application, or check the UID; a General record is not handed out: "
        f"{_CONVERT}",
    )


def job_among(
    records: Mapping[str, Any],
    uid: str,
    attached: Sequence[str] = (),
    configuration: str = "",
    damaged: Collection[str] = (),
) -> Job:
    """Put a job together from records that were fetched before, by UID; as `fetch_job` does.

    configuration: empty where there is to be none. damaged: UIDs of those that could not be decrypted.
    """
    if uid in records:
        attached = attached or _script_credentials(records[uid])
    wanted = [item for item in (uid, configuration, *attached) if item]
    missing = [item for item in wanted if item not in records]
    if missing:
        raise not_there(missing, damaged)
    general = [item for item in wanted if _is_general(records[item])]
    if general:
        raise BadInput(
            f"{SYSTEM}: General records, whose fields no script sees: {', '.join(general)}", next_step=_CONVERT
        )
    flat = [Record.from_flat(flatten(records[item])) for item in wanted]
    return job_from(flat, user_uid=uid, configuration_uid=configuration)


def _is_general(record: Any) -> bool:  # noqa: ANN401
    """Say whether a record is one from before records had types."""
    return not record.type or record.type.lower() == "general"


def _is_configuration(record: Any) -> bool:  # noqa: ANN401
    return bool(re.fullmatch(r"pam\w*Configuration", record.type or ""))


def _script_credentials(record: Any) -> list[str]:  # noqa: ANN401
    """Return the UIDs of the records attached to a record's scripts, as its `script` field keeps them."""
    # Several scripts may name the same one.
    return list(
        dict.fromkeys(
            uid for value in attached_scripts(record.dict.get("fields") or []) for uid in value.get("recordRef") or []
        )
    )


def only_configuration(records: Mapping[str, Any]) -> str:
    """Return the UID of the PAM configuration among records, empty for none and for several."""
    found = configurations(records)
    return found[0] if len(found) == 1 else ""


def configurations(records: Mapping[str, Any]) -> list[str]:
    """Return the UIDs of the PAM Configurations among records."""
    return [uid for uid, record in records.items() if _is_configuration(record)]


def attached_scripts(fields: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the scripts that are attached to a record, as its fields have them: `fileRef`, `command`, `recordRef`."""
    held = [item.get("value") for item in fields if item.get("type") == "script"]
    return [value for values in held if isinstance(values, list) for value in values if isinstance(value, dict)]
