"""Keeper: the record that is rotated, through Secrets Manager; the truth that mirrors follow.

Its wire is in client.py. Fields are found by their label, in the custom fields only: the SDK's own
look-up falls back to the field's type and would hit another field. Every save starts from a record read
just before: Keeper refuses it where somebody has saved since. A save that was clearly answered is believed
until the record is read again, before anything is deleted; the last one, which holds no credential, for
good. The lease that keeps two rotations apart stands in the record itself and is taken by its revision.
"""

from __future__ import annotations

import base64
import copy
import json
import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pam_scripts.core.errors import ApiError, BadInput, PamScriptError, Yielded
from pam_scripts.core.fields import Field, Record, flat_value, normalised
from pam_scripts.core.gateway import Job, job_from
from pam_scripts.core.http import Session
from pam_scripts.core.ops_log import with_earlier
from pam_scripts.core.patience import iso, parse_iso, patiently, utc_now
from pam_scripts.core.roles import Copy, Credential, Publication, Run
from pam_scripts.core.secret import Secret

if TYPE_CHECKING:
    from pam_scripts.stores.keeper.client import Client

SYSTEM = "keeper"
LEASE = "rotation_lease"
OPS_LOG = "last_rotation"

# Seconds for which a record that was read may be what a save starts from. Keeper's check of revisions makes any
# age right; this keeps the moment short in which somebody's change would be lost where it should not be made.
_FRESH = 5.0

# What every rotation writes beside the credential: when, and the log.
LOG_FIELDS = (
    Field("rotated_at", "when the key was made, ISO 8601 in UTC", output=True),
    Field(OPS_LOG, "the ops log: the last ten rotations, the newest first", type="multiline", output=True),
)
OUTPUT_FIELDS = (Field("expires", "when the key ends, ISO 8601 in UTC", output=True), *LOG_FIELDS)

# Where a Gateway keeps its Secrets Manager configuration. It is the Gateway's own: read, never written.
CONFIG_VARIABLES = ("KSM_CONFIG", "GATEWAY_CONFIG")
CONFIG_FILES = ("/etc/keeper-gateway/gateway-config.json", "~/.keeper/gateway-config.json")
_CONFIG_KEYS = ("hostname", "clientId", "privateKey", "appKey")
_CONFIG_OPTIONAL = ("serverPublicKey", "serverPublicKeyId", "appOwnerPublicKey")


def read_config() -> dict[str, str]:
    """Return the Gateway's Secrets Manager configuration from the first place that has one.

    Raises BadInput where no place has one, or the first that does is not usable.
    """
    unreadable = ""
    for name in CONFIG_VARIABLES:
        if text := os.environ.get(name, "").strip():
            return _parse_config(text, f"the environment variable {name}")
    for name in CONFIG_FILES:
        path = Path(name).expanduser()
        try:
            return _parse_config(path.read_text(encoding="utf-8"), str(path))
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError) as error:
            unreadable = f" ({path} is there, but cannot be read: {type(error).__name__})"
    places = ", ".join([*CONFIG_VARIABLES, *CONFIG_FILES])
    raise BadInput(
        f"no Secrets Manager configuration was found{unreadable}",
        next_step=f"run as the Gateway's user, or provide it in one of: {places}",
    )


def _parse_config(text: str, place: str) -> dict[str, str]:
    try:
        plain = text if text.lstrip().startswith("{") else base64.b64decode(text, validate=True).decode()
        values = json.loads(plain)
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise BadInput(f"{place} is not a Secrets Manager configuration: neither JSON nor Base64 of it")
    missing = [key for key in _CONFIG_KEYS if not values.get(key)]
    if missing:
        raise BadInput(
            f"{place} is not a bound Secrets Manager configuration: it lacks {', '.join(missing)}",
            next_step="point to the Gateway's own configuration",
        )
    Secret(str(values["privateKey"]))
    Secret(str(values["appKey"]))
    return {key: str(values[key]) for key in (*_CONFIG_KEYS, *_CONFIG_OPTIONAL) if values.get(key)}


class Access:
    """The Gateway's own access to Secrets Manager: its configuration, and a connection on its way."""

    def __init__(self, session: Session) -> None:
        self._config = read_config()
        self._session = session
        session.connect(f"https://{self._config['hostname']}")

    def client(self) -> Client:
        """Return the client; raise BadInput where the configuration is damaged."""
        # Imported while the connection is made: the SDK, with its cryptography, is a fifth of a script's start-up.
        from pam_scripts.stores.keeper.client import Client  # noqa: PLC0415

        return Client(self._config, self._session)


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
    name. configuration: UID of the PAM configuration; where none is given, the only one that is
    shared to the application. Raises BadInput where a named record is not shared.
    """
    client = Access(Session(run.deadline)).client()
    return job_among(patiently(run.deadline, lambda: client.fetch([])), uid, attached, configuration)


def job_among(records: Mapping[str, Any], uid: str, attached: Sequence[str] = (), configuration: str = "") -> Job:
    """Put a job together from records that were fetched before, by UID; as `fetch_job` does."""
    if uid in records:
        attached = attached or _script_credentials(records[uid])
    if not configuration:
        configurations = [other for other, record in records.items() if _is_configuration(record)]
        configuration = configurations[0] if len(configurations) == 1 else ""
    wanted = [item for item in (uid, configuration, *attached) if item]
    missing = [item for item in wanted if item not in records]
    if missing:
        raise BadInput(
            f"{SYSTEM}: not shared to the Gateway's application: {', '.join(missing)}",
            next_step="share the folder to the application, or check the UID",
        )
    flat = [Record.from_flat(flatten(records[item])) for item in wanted]
    return job_from(flat, user_uid=uid, configuration_uid=configuration)


def _is_configuration(record: Any) -> bool:  # noqa: ANN401
    return bool(re.fullmatch(r"pam\w*Configuration", record.type or ""))


def _script_credentials(record: Any) -> list[str]:  # noqa: ANN401
    """Return the UIDs of the records attached to a record's scripts, as its `script` field keeps them."""
    fields = [item for item in record.dict.get("fields") or [] if item.get("type") == "script"]
    scripts = [value for item in fields for value in item.get("value") or [] if isinstance(value, dict)]
    return [uid for value in scripts for uid in value.get("recordRef") or []]


@dataclass(frozen=True)
class Labels:
    """Which fields of the record the credential stands in; empty for a part that stands in none."""

    key_id: str
    secret: str
    expires: str = "expires"
    rotated_at: str = "rotated_at"


class RecordStore:
    """One PAM User record as the truth of a rotation."""

    def __init__(self, client: Client, uid: str, labels: Labels, rotation_id: str) -> None:
        self._client = client
        self._uid = uid
        self._labels = labels
        self._credential = [label for label in (labels.key_id, labels.secret) if label]
        self._rotation_id = rotation_id
        self._title = ""
        self._examined: int | None = None
        self._finishing = False
        # The record as it was last read, and when; nothing once it was saved.
        self._latest: tuple[Any, float] | None = None

    @property
    def name(self) -> str:
        """The record as messages name it."""
        return f"Keeper record '{self._title}' ({self._uid})" if self._title else f"Keeper record {self._uid}"

    @property
    def places(self) -> Sequence[str]:
        """The credential's fields, on one line."""
        return [f"{self.name}: {', '.join(self._credential)}"] if self._credential else []

    def parts(self, credential: Credential) -> Mapping[str, str]:
        """Return what stands in the fields once the record holds this credential."""
        values = {self._labels.key_id: credential.key_id, self._labels.secret: credential.secret.reveal()}
        return {label: values[label] for label in self._credential}

    def examine(self) -> Copy:
        """Read the record; raise BadInput where it could not be saved, or a field stands in it twice."""
        record = self._fetch(missing=BadInput)
        if not record.is_editable:
            raise BadInput(
                f"{self.name} is not editable for the Gateway's application",
                next_step="give the application 'Can Edit' on the shared folder",
            )
        for label in (*self._outputs, OPS_LOG):
            if len(_find(record, label)) > 1:
                raise BadInput(
                    f"{self.name}: field '{label}' stands in the record more than once",
                    next_step="delete the surplus ones",
                )
        self._refuse_foreign_lease(record)
        self._examined = record.revision
        return self._copy(record)

    def read(self) -> Copy:
        """Read the record."""
        return self._copy(self._fetch())

    def write(self, publication: Publication) -> None:
        """Save the credential, unless it stands there already."""
        record = self._fresh()
        self._require_lease(record)
        wanted = self.parts(publication.credential)
        rotated_at = _value(record, self._labels.rotated_at)
        if self._copy(record).holds(wanted) and (wanted or rotated_at == iso(publication.rotated_at)):
            return
        labels = self._labels
        for label, value in wanted.items():
            _put(record, label, value, "secret" if label == labels.secret else "text")
        if publication.expires_at:
            _put(record, labels.expires, iso(publication.expires_at))
        _put(record, labels.rotated_at, iso(publication.rotated_at))
        self._save(record)

    def put_back(self, before: Copy, publication: Publication | None) -> None:
        """Restore the fields where they hold this publication."""
        if publication is None:
            return
        written = self.parts(publication.credential)
        record = self._fetch()
        if not self._copy(record).holds_any(written):
            return
        for label, field in before.origin.items():
            _restore(record, label, field)
        self._save(record)
        if self._copy(self._fetch()).holds_any(written):
            raise ApiError(SYSTEM, "put the record back", "it reads back unchanged")

    def claim(self, rotation_id: str, until: datetime) -> None:
        """Take the lease by saving it into the record: of two savers the revision lets one through.

        Only into the record as it was examined: a rotation that came and went since has changed it.
        """
        record = self._fresh()
        if _lease_holder(record) == rotation_id:
            return
        self._refuse_foreign_lease(record)
        # Where the record holds no credential there is nothing that could be put back over another's.
        if self._credential and record.revision != self._examined:
            raise Yielded(f"{self.name}: somebody changed it just now", next_step="rotate again")
        _put(record, LEASE, f"{rotation_id} until {iso(until)}")
        self._save(record)

    def check_claim(self) -> None:
        """Raise Yielded unless the lease in the record is ours, as it was read just now or is read anew."""
        self._require_lease(self._fresh())

    def finish(self, entry: str) -> None:
        """Write the ops log and give the lease back, in one save; looks first, so it may be repeated.

        Newest first, the earlier entries after it.

        Once the lease is given back another rotation may begin at once: from then on nothing in the
        record is ours to judge but that our lease is gone, and that only where the save was not answered.
        """
        record = self._fresh()
        if self._finishing and _lease_holder(record) != self._rotation_id:
            return
        self._require_lease(record)
        _put(record, OPS_LOG, with_earlier(entry, _value(record, OPS_LOG)), "multiline")
        _restore(record, LEASE, None)
        self._finishing = True
        self._save(record)

    # -- within -----------------------------------------------------------------------------------

    @property
    def _outputs(self) -> tuple[str, ...]:
        return (*self._credential, self._labels.expires, self._labels.rotated_at)

    def _fetch(self, missing: type[PamScriptError] | None = None) -> Any:  # noqa: ANN401
        record = self._client.fetch([self._uid]).get(self._uid)
        if record is None:
            cause = f"record {self._uid} is not shared to the Gateway's application"
            if missing:
                raise missing(
                    f"{SYSTEM}: {cause}",
                    next_step="share its folder to the application, with 'Can Edit'",
                )
            raise ApiError(SYSTEM, "get secret", f"{cause} any more", code=HTTPStatus.NOT_FOUND)
        self._title = record.title or ""
        self._latest = (record, time.monotonic())
        return record

    def _fresh(self) -> Any:  # noqa: ANN401
        """Return the record as it was last read, unless that was too long ago, or it was saved since."""
        record, read_at = self._latest or (None, 0.0)
        return record if record and time.monotonic() - read_at < _FRESH else self._fetch()

    def _save(self, record: Any) -> None:  # noqa: ANN401
        self._latest = None
        try:
            self._client.update(record)
        except ApiError as error:
            # Which error stands for an outdated revision is nowhere written down: the revision itself tells.
            if error.transient or self._fetch().revision == record.revision:
                raise
            raise ApiError(SYSTEM, "update secret", "somebody else saved the record at the same moment") from None

    def _copy(self, record: Any) -> Copy:  # noqa: ANN401
        parts = {label: value for label in self._credential if (value := _value(record, label))}
        Secret(parts.get(self._labels.secret, ""))
        origin = {label: copy.deepcopy(next(iter(_find(record, label)), None)) for label in self._outputs}
        whole = len(parts) == len(self._credential)
        key_id = _value(record, self._labels.key_id) if whole and self._labels.key_id else ""
        return Copy(parts, key_id, "a value" if parts and not self._labels.key_id else "", origin)

    def _refuse_foreign_lease(self, record: Any) -> None:  # noqa: ANN401
        holder, until = _lease(record)
        if holder and holder != self._rotation_id and until > utc_now():
            raise Yielded(
                f"{self.name}: another rotation ({holder}) is at work on it until {iso(until)} at the latest",
                next_step="let it finish; if it was killed, rotate again after that time",
            )

    def _require_lease(self, record: Any) -> None:  # noqa: ANN401
        holder, _ = _lease(record)
        if holder != self._rotation_id:
            raise Yielded(f"{self.name}: {f'rotation {holder} has' if holder else 'somebody has ended'} the lease")


def _lease(record: Any) -> tuple[str, datetime]:  # noqa: ANN401
    """Return who holds the lease and until when; nobody, where it is missing or unreadable."""
    match = re.fullmatch(r"(\S+) until (\S+)", _value(record, LEASE))
    try:
        return (match[1], parse_iso(match[2])) if match else ("", utc_now())
    except ValueError:
        return "", utc_now()


def _lease_holder(record: Any) -> str:  # noqa: ANN401
    return _lease(record)[0]


def _find(record: Any, label: str) -> list[dict[str, Any]]:  # noqa: ANN401
    custom = record.dict.get("custom") or []
    return [item for item in custom if normalised(item.get("label") or "") == normalised(label)]


def _value(record: Any, label: str) -> str:  # noqa: ANN401
    found = _find(record, label)
    return flat_value(found[0].get("value")) if found else ""


def _put(record: Any, label: str, value: str, kind: str = "text") -> None:  # noqa: ANN401
    """Set a custom field, adding it with its type where it is missing; a secret's field is made a hidden one."""
    found = _find(record, label)
    if not found:
        record.dict["custom"] = [
            *(record.dict.get("custom") or []),
            {"type": kind, "label": label, "value": [value]},
        ]
        return
    found[0]["value"] = [value]
    if kind == "secret":
        found[0]["type"] = kind


def _restore(record: Any, label: str, field: dict[str, Any] | None) -> None:  # noqa: ANN401
    """Make a custom field what it was: the same field at its place, or none."""
    custom = record.dict.get("custom") or []
    at = next((i for i, item in enumerate(custom) if normalised(item.get("label") or "") == normalised(label)), None)
    if at is None:
        custom = [*custom, field] if field else custom
    else:
        custom = [*custom[:at], *([copy.deepcopy(field)] if field else []), *custom[at + 1 :]]
    record.dict["custom"] = custom
