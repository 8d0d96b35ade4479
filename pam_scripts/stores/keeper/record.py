"""One PAM User record as the truth of a rotation: the credential, the ops log, and the lease.

Fields are found by their label, in the custom fields only: the SDK's own look-up falls back to the field's type
and would hit another field. Every save starts from a record read just before: Keeper refuses it where somebody has
saved since. A save that was clearly answered is believed until the record is read again, before anything is
deleted; the last one, which holds no credential, for good. The lease that keeps two rotations apart stands in the
record itself and is taken by its revision.
"""

from __future__ import annotations

import copy
import re
import time
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from pam_scripts.core.errors import ApiError, BadInput, PamScriptError, Yielded
from pam_scripts.core.fields import TEXT, Field, flat_value, normalised
from pam_scripts.core.secret import Secret
from pam_scripts.core.times import iso, parse_iso, utc_now
from pam_scripts.rotation.ops_log import made_for, read_entries, with_earlier
from pam_scripts.rotation.roles import Copy, Credential, Publication, Truth
from pam_scripts.rotation.shape import Shape
from pam_scripts.stores.keeper import SYSTEM

if TYPE_CHECKING:
    from pam_scripts.stores.keeper.client import Client

LEASE = "rotation_lease"
ROTATED_AT = Field("rotated_at", "when the key was made, ISO 8601 in UTC", TEXT, output=True)
OPS_LOG = Field(
    "last_rotation", "the ops log: the last ten rotations, the newest first", TEXT, output=True, type="multiline"
)

# Seconds for which a record that was read may be what a save starts from. Keeper's check of revisions makes any
# age right; this keeps the moment short in which somebody's change would be lost where it should not be made.
_FRESH = 5.0


class RecordStore(Truth):
    """One PAM User record as the truth of a rotation."""

    def __init__(self, client: Client, uid: str, shape: Shape, rotation_id: str) -> None:
        self._client = client
        self._uid = uid
        self._shape = shape
        self._rotation_id = rotation_id
        self._title = ""
        self._examined: int | None = None
        self._log = ""
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
        return [f"{self.name}: {', '.join(self._shape.record_labels)}"] if self._shape.record_labels else []

    @property
    def ended(self) -> Collection[str]:
        """The rotations that the ops log tells of."""
        return {entry.get("Rotation", "") for entry in read_entries(self._log)} - {""}

    def parts(self, credential: Credential) -> Mapping[str, str]:
        """Return what stands in the fields once the record holds this credential."""
        values = {self._shape.id_label: credential.key_id, self._shape.value_label: credential.secret.reveal()}
        return {label: values[label] for label in self._shape.record_labels}

    def examine(self) -> Copy:
        """Read the record; raise BadInput where it could not be saved, or a field stands in it twice."""
        record = self._fetch(missing=BadInput)
        if not record.is_editable:
            raise BadInput(
                f"{self.name} is not editable for the Gateway's application",
                next_step="give the application 'Can Edit' on the shared folder",
            )
        for label in (*self._outputs, OPS_LOG.label):
            if len(_find(record, label)) > 1:
                raise BadInput(
                    f"{self.name}: field '{label}' stands in the record more than once",
                    next_step="delete the surplus ones",
                )
        self._refuse_foreign_lease(record)
        self._examined = record.revision
        self._log = _value(record, OPS_LOG.label)
        return self._copy(record)

    def read(self) -> Copy:
        """Read the record."""
        return self._copy(self._fetch())

    def write(self, publication: Publication) -> None:
        """Save the credential, unless it stands there already."""
        record = self._fresh()
        self._require_lease(record)
        wanted = self.parts(publication.credential)
        rotated_at = _value(record, ROTATED_AT.label)
        if self._copy(record).holds(wanted) and (wanted or rotated_at == iso(publication.rotated_at)):
            return
        for label, value in wanted.items():
            _put(record, label, value, "secret" if label == self._shape.value_label else "text")
        if publication.expires_at and self._shape.expires_label:
            _put(record, self._shape.expires_label, iso(publication.expires_at))
        _put(record, ROTATED_AT.label, iso(publication.rotated_at))
        self._save(record)

    def put_back(self, before: Copy, publication: Publication | None) -> None:
        """Restore the fields where they hold this publication."""
        if publication is None:
            return
        written = self.parts(publication.credential)
        record = self._fetch()
        if not self._copy(record).holds_any(written):
            return
        for label, field in before.restore_point.items():
            _restore(record, label, field)
        self._save(record)
        if self._copy(self._fetch()).holds_any(written):
            raise ApiError(SYSTEM, "put the record back", "it reads back unchanged")

    def made_for(self, key_id: str) -> str:
        """Return the id of the target that a key was made for, as the ops log says; empty where it does not."""
        return made_for(self._log, key_id)

    def claim(self, rotation_id: str, until: datetime) -> None:
        """Take the lease by saving it into the record: of two savers the revision lets one through.

        Only into the record as it was examined: a rotation that came and went since has changed it.
        """
        record = self._fresh()
        if _lease_holder(record) == rotation_id:
            return
        self._refuse_foreign_lease(record)
        # Where the record holds no credential there is nothing that could be put back over another's.
        if self._shape.record_labels and record.revision != self._examined:
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
        _put(record, OPS_LOG.label, with_earlier(entry, _value(record, OPS_LOG.label)), "multiline")
        _restore(record, LEASE, None)
        self._finishing = True
        self._save(record)

    # -- within -----------------------------------------------------------------------------------

    @property
    def _outputs(self) -> tuple[str, ...]:
        return (*self._shape.record_labels, *self._shape.expiry_labels, ROTATED_AT.label)

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
        parts = {label: value for label in self._shape.record_labels if (value := _value(record, label))}
        Secret(parts.get(self._shape.value_label, ""))
        restore_point = {label: copy.deepcopy(next(iter(_find(record, label)), None)) for label in self._outputs}
        whole = len(parts) == len(self._shape.record_labels)
        key_id = _value(record, self._shape.id_label) if whole and self._shape.id_label else ""
        return Copy(parts, key_id, "a value" if parts and not self._shape.id_label else "", restore_point)

    def _refuse_foreign_lease(self, record: Any) -> None:  # noqa: ANN401
        holder, until = read_lease(_value(record, LEASE))
        if until and holder != self._rotation_id and until > utc_now():
            raise Yielded(
                f"{self.name}: another rotation ({holder}) is at work on it until {iso(until)} at the latest",
                next_step="let it finish; if it was killed, rotate again after that time",
            )

    def _require_lease(self, record: Any) -> None:  # noqa: ANN401
        holder = _lease_holder(record)
        if holder != self._rotation_id:
            lost = f"rotation {holder} has the lease" if holder else "the lease was removed by someone else"
            raise Yielded(f"{self.name}: {lost}")


def read_lease(text: str) -> tuple[str, datetime | None]:
    """Return who holds the lease that a record's field states, and until when; nobody, where it is not readable."""
    match = re.fullmatch(r"(\S+) until (\S+)", text)
    try:
        return (match[1], parse_iso(match[2])) if match else ("", None)
    except ValueError:
        return "", None


def _lease_holder(record: Any) -> str:  # noqa: ANN401
    return read_lease(_value(record, LEASE))[0]


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
