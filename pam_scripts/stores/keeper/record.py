"""One PAM User record as the truth of a rotation: the credential, the ops log, and the lease.

Fields are found by their label, in the standard fields and in the custom ones: the SDK's own look-up falls back to the
field's type and would hit another field. A label that stands twice is refused, since readers get the one and writers
may hit the other. Every save starts from a record read just before: Keeper refuses it where somebody has
saved since. A save that was clearly answered is believed until the record is read again, before anything is
deleted; the last one, which holds no credential, for good. The lease that keeps two rotations apart stands in the
record itself and is taken by its revision.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from pam_scripts.core.errors import ApiError, BadInput, PamScriptError, Refused, Yielded
from pam_scripts.core.fields import flat_value, normalised
from pam_scripts.core.secret import Secret
from pam_scripts.core.times import iso, utc_now
from pam_scripts.rotation.labels import begun_at
from pam_scripts.rotation.lease import LEASE, is_held, read_lease, write_lease
from pam_scripts.rotation.ops_log import OPS_LOG, ROTATED_AT, interrupted, made_for, read_entries, with_earlier
from pam_scripts.rotation.roles import Credential, Publication, Snapshot, SourceOfTruth
from pam_scripts.rotation.shape import Shape
from pam_scripts.stores.keeper import SYSTEM
from pam_scripts.stores.keeper.refusals import NOT_EDITABLE, NOT_READABLE, NOT_SHARED

if TYPE_CHECKING:
    from pam_scripts.stores.keeper.client import Client

_SECTIONS = ("fields", "custom")
# https://docs.keeper.io/en/keeperpam/secrets-manager/about/field-record-types
_TEXT_TYPES = ("text", "secret", "multiline", "login", "password", "note", "url", "email", "pinCode", "licenseNumber")
_HIDDEN_TYPES = ("secret", "password")
# Keeper keeps their moments as Unix milliseconds.
_DATE_TYPES = ("date", "birthDate", "expirationDate")

# Seconds for which a record that was read may be what a save starts from. Keeper's check of revisions makes any
# age right; this keeps the moment short in which somebody's change would be lost where it should not be made. A login
# with a new client secret takes up to 18 s, and silence after `throttled` 15: neither costs a call more.
_FRESH = 20.0


class _Overtaken(ApiError):
    """A save was declined, since somebody has saved the record since it was read."""


class RecordStore(SourceOfTruth):
    """One PAM User record as the truth of a rotation.

    longest_lease: a lease that ends later than that is ignored. known: the record as it was read already, and when, by
    the monotonic clock; None where it was not. holder: whom the lease names, where another rotation's id could be the
    same.
    """

    def __init__(  # noqa: PLR0913 - each is one fact of the store
        self,
        client: Client,
        uid: str,
        shape: Shape,
        rotation_id: str,
        longest_lease: timedelta,
        *,
        known: tuple[Any, float] | None = None,
        holder: str = "",
    ) -> None:
        self._client = client
        self._uid = uid
        self._shape = shape
        self._holder = holder or rotation_id
        self._longest_lease = longest_lease
        self._title = ""
        self._examined: int | None = None
        self._log = ""
        self._finishing = False
        self._to_confirm: Publication | None = None
        self._damaged: Sequence[str] = ()
        # The record as it was last read, and when; nothing once it was saved.
        self._latest = known

    @property
    def name(self) -> str:
        """The record as messages name it."""
        return f"Keeper record '{self._title}' ({self._uid})" if self._title else f"Keeper record {self._uid}"

    @property
    def places(self) -> Sequence[str]:
        """The credential's fields, on one line."""
        return [f"{self.name}: {', '.join(self._shape.record_labels)}"] if self._shape.record_labels else []

    @property
    def entries(self) -> Sequence[Mapping[str, Any]]:
        """The entries of its field `last_rotation`."""
        return read_entries(self._log)

    def parts(self, credential: Credential) -> Mapping[str, str]:
        """Return what stands in the fields once the record holds this credential."""
        values = {self._shape.id_label: credential.key_id, self._shape.value_label: credential.secret.reveal()}
        return {label: values[label] for label in self._shape.record_labels}

    def examine(self) -> Snapshot:
        """Read the record; raise BadInput where it could not be saved, or a field stands in it twice."""
        record = self._fresh_one or self._fetch(missing=BadInput)
        self._title = record.title or ""
        if not record.is_editable:
            raise BadInput(
                f"{SYSTEM}: record {self._uid} {NOT_EDITABLE.said}",
                next_step=NOT_EDITABLE.way_out,
            )
        self._refuse_unfit(record, BadInput)
        self._refuse_foreign_lease(record)
        self._examined = record.revision
        self._log = _value(record, OPS_LOG.label)
        _, until = read_lease(_value(record, LEASE))
        remark = (
            f"{self.name}: its lease until {iso(until)} is longer than any run can take, and is ignored"
            if until
            else ""
        )
        too_long = until and until > utc_now() and not is_held(until, utc_now(), self._longest_lease)
        return replace(self._copy(record), remarks=[*self._damaged, *([remark] if too_long else [])])

    def read(self) -> Snapshot:
        """Read the record; raise Refused where a field stands in it twice by now."""
        record = self._fetch()
        self._refuse_unfit(record)
        return self._copy(record)

    def write(self, publication: Publication) -> None:
        """Save the credential, unless it stands there already."""
        record = self._fresh()
        self._require_lease(record)
        before = copy.deepcopy(record.dict)
        self._enter(record, publication)
        if record.dict != before:
            self._save(record)

    def put_back(self, before: Snapshot, publication: Publication | None, _listed: object = None) -> None:
        """Restore the fields where they hold this publication, as they may have before."""
        if publication is None:
            return
        parts = self.parts(publication.credential)
        written = before.lacks(parts)
        record = self._fetch()
        # What stood here already may have been noted down anew, with another moment; so may what somebody has replaced.
        holds = _holds_any(record, written or parts)
        labels = self._outputs if holds else self._moments if self._is_noted(record, publication) else ()
        found = copy.deepcopy(record.dict)
        for label in labels:
            _restore(record, label, before.restore_point[label])
        if record.dict == found:
            return
        self._save(record)
        if _holds_any(self._fetch(), written):
            raise ApiError(SYSTEM, "put the record back", "it reads back unchanged")

    def made_for(self, key_id: str) -> str:
        """Return the id of the target that a key was made for, as the ops log says; empty where it does not."""
        return made_for(self._log, key_id)

    def take_lease(self, _rotation_id: str, until: datetime) -> None:
        """Take the lease by saving it into the record: of two savers the revision lets one through.

        Only into the record as it was examined: a rotation that came and went since has changed it.
        """
        record = self._fresh()
        if _lease_holder(record) == self._holder:
            return
        self._refuse_foreign_lease(record)
        # Where the record holds no credential there is nothing that could be put back over another's.
        if self._shape.record_labels and record.revision != self._examined:
            raise Yielded(f"{self.name}: someone else changed it after it was read", next_step="rotate again")
        before, _ = read_lease(_value(record, LEASE))
        if begun_at(before):
            # It never gave the lease back: once that is overwritten only the log tells of it.
            log = with_earlier(interrupted(before, self._uid), _value(record, OPS_LOG.label))
            _put(record, OPS_LOG.label, log, "multiline")
        _put(record, LEASE, write_lease(self._holder, until))
        self._save(record)

    def check_lease(self) -> None:
        """Raise Yielded unless the lease in the record is ours, as it was read just now or is read anew."""
        self._require_lease(self._fresh())

    def confirmed_by_finish(self, publication: Publication) -> bool:
        """Say so where the record, as it was read a moment ago, holds it: its revision tells whether it still does."""
        record = self._fresh_one
        if record and self._copy(record).holds(self.parts(publication.credential)):
            self._to_confirm = publication
        return self._to_confirm is not None

    def finish(self, entry: str) -> None:
        """Write the ops log and give the lease back, in one save; looks first, so it may be repeated.

        The newest entry comes first. The credential that `confirmed_by_finish` answered for is in the same save, in
        case someone has removed it since.

        Once the lease is given back another rotation may begin at once: from then on nothing in the record is ours to
        judge but that our lease is gone and our entry is there, and that only where the save may have been done.
        """
        record = self._fresh()
        log = _value(record, OPS_LOG.label)
        # Without our entry somebody has taken the lease before we gave it back.
        if self._finishing and _lease_holder(record) != self._holder and entry.strip() in log:
            return
        self._require_lease(record)
        if self._to_confirm and not self._copy(record).holds(self.parts(self._to_confirm.credential)):
            self._enter(record, self._to_confirm)
        _put(record, OPS_LOG.label, with_earlier(entry, log), "multiline")
        _restore(record, LEASE, None)
        try:
            self._save(record)
        except _Overtaken:
            # What it was to do is not done: where the lease is gone now, somebody else has taken it.
            raise
        except ApiError:
            self._finishing = True
            raise

    # -- within -----------------------------------------------------------------------------------

    @property
    def _outputs(self) -> tuple[str, ...]:
        return (*self._shape.record_labels, *self._moments)

    @property
    def _moments(self) -> tuple[str, ...]:
        return (*self._shape.expiry_labels, ROTATED_AT.label)

    def _is_noted(self, record: Any, publication: Publication) -> bool:  # noqa: ANN401
        """Say whether the record has the moment of this publication."""
        again = copy.copy(record)
        again.dict = copy.deepcopy(record.dict)
        _put_moment(again, ROTATED_AT.label, publication.rotated_at)
        return bool(again.dict == record.dict)

    def _fetch(self, missing: type[PamScriptError] | None = None) -> Any:  # noqa: ANN401
        fetched = self._client.fetch([self._uid])
        record = fetched.records.get(self._uid)
        if record is None:
            refusal = NOT_READABLE if self._uid in fetched.left_out else NOT_SHARED
            cause = f"record {self._uid} {refusal.said}"
            if missing:
                raise missing(f"{SYSTEM}: {cause}", next_step=refusal.way_out)
            raise ApiError(SYSTEM, "get secret", f"{cause} any more", code=HTTPStatus.NOT_FOUND)
        self._damaged = fetched.remarks
        self._title = record.title or ""
        self._latest = (record, time.monotonic())
        return record

    def _fresh(self) -> Any:  # noqa: ANN401
        """Return the record as it was last read, unless that was too long ago, or it was saved since."""
        return self._fresh_one or self._fetch()

    @property
    def _fresh_one(self) -> Any:  # noqa: ANN401
        record, read_at = self._latest or (None, 0.0)
        return record if record and time.monotonic() - read_at < _FRESH else None

    def _enter(self, record: Any, publication: Publication) -> None:  # noqa: ANN401
        for label, value in self.parts(publication.credential).items():
            _put(record, label, value, "secret" if label == self._shape.value_label else "text")
        for label in self._shape.expiry_labels:
            _put_moment(record, label, publication.expires_at)
        _put_moment(record, ROTATED_AT.label, publication.rotated_at)

    def _save(self, record: Any) -> None:  # noqa: ANN401
        self._refuse_unfit(record)
        self._latest = None
        try:
            self._client.update(record)
        except ApiError as error:
            # Which error stands for an outdated revision is nowhere written down: the revision itself tells.
            if error.transient or self._fetch().revision == record.revision:
                raise
            raise _Overtaken(SYSTEM, "update secret", "someone else saved the record at the same moment") from None

    def _copy(self, record: Any) -> Snapshot:  # noqa: ANN401
        parts = {label: value for label in self._shape.record_labels if (value := _value(record, label))}
        Secret(parts.get(self._shape.value_label, ""))
        restore_point = {label: copy.deepcopy(next(iter(_find(record, label)), None)) for label in self._outputs}
        whole = len(parts) == len(self._shape.record_labels)
        key_id = _value(record, self._shape.id_label) if whole and self._shape.id_label else ""
        return Snapshot(parts, key_id, "a value" if parts and not self._shape.id_label else "", restore_point)

    def _refuse_unfit(self, record: Any, error: type[PamScriptError] = Refused) -> None:  # noqa: ANN401
        """Raise where a field that is written stands in the record twice, or is of a type that cannot hold it."""
        moments = (*self._shape.expiry_labels, ROTATED_AT.label)
        for label in (*self._outputs, OPS_LOG.label, LEASE):
            found = _find(record, label)
            if len(found) > 1:
                raise error(
                    f"{self.name}: field '{label}' is in the record more than once",
                    next_step="delete the extra ones",
                )
            kinds = [str(item.get("type") or "text") for item in found]
            if not {*kinds} <= {*_TEXT_TYPES, *(_DATE_TYPES if label in moments else ())}:
                raise error(
                    f"{self.name}: field '{label}' is of type '{kinds[0]}', which cannot hold its value",
                    next_step="make it a text field, or a hidden field if it holds a secret value",
                )

    def _refuse_foreign_lease(self, record: Any) -> None:  # noqa: ANN401
        holder, until = read_lease(_value(record, LEASE))
        if until and holder != self._holder and is_held(until, utc_now(), self._longest_lease):
            raise Yielded(
                f"{self.name}: another rotation ({holder}) is at work on it until {iso(until)} at the latest",
                next_step="let it finish; if it was killed, rotate again after that time",
            )

    def _require_lease(self, record: Any) -> None:  # noqa: ANN401
        holder = _lease_holder(record)
        if holder != self._holder:
            lost = f"rotation {holder} has the lease" if holder else "the lease was removed by someone else"
            way_out = "let it finish, and rotate again only if it failed" if holder else "rotate again"
            raise Yielded(f"{self.name}: {lost}", next_step=way_out)


def _lease_holder(record: Any) -> str:  # noqa: ANN401
    return read_lease(_value(record, LEASE))[0]


def _find(record: Any, label: str) -> list[dict[str, Any]]:  # noqa: ANN401
    items = [item for section in _SECTIONS for item in record.dict.get(section) or []]
    return [item for item in items if normalised(item.get("label") or "") == normalised(label)]


def _value(record: Any, label: str) -> str:  # noqa: ANN401
    found = _find(record, label)
    return flat_value(found[0].get("value")) if found else ""


def _holds_any(record: Any, parts: Mapping[str, str]) -> bool:  # noqa: ANN401
    """Say whether any of these parts stands in the record, be it in a second field of its label."""
    return any(flat_value(item.get("value")) == part for label, part in parts.items() for item in _find(record, label))


def _put(record: Any, label: str, value: str, kind: str = "text") -> None:  # noqa: ANN401
    """Set a field where it stands, or add a custom one of this type; a secret's field is made a hidden one."""
    found = _find(record, label)
    if not found:
        record.dict["custom"] = [
            *(record.dict.get("custom") or []),
            {"type": kind, "label": label, "value": [value]},
        ]
        return
    found[0]["value"] = [value]
    if kind == "secret" and found[0].get("type") not in _HIDDEN_TYPES:
        found[0]["type"] = kind


def _put_moment(record: Any, label: str, moment: datetime | None) -> None:  # noqa: ANN401
    """Set a field to a moment, as its type has it; without one it is emptied where it stands."""
    for item in _find(record, label):
        if not moment:
            item["value"] = []
        elif item.get("type") in _DATE_TYPES:
            item["value"] = [int(moment.timestamp()) * 1000]
        else:
            item["value"] = [iso(moment)]
    if moment and not _find(record, label):
        _put(record, label, iso(moment))


def _restore(record: Any, label: str, field: dict[str, Any] | None) -> None:  # noqa: ANN401
    """Make a field what it was: the same field at its place, or none."""
    found = _find(record, label)
    if field and found:
        found[0].clear()
        found[0].update(copy.deepcopy(field))
    elif field:
        record.dict["custom"] = [*(record.dict.get("custom") or []), copy.deepcopy(field)]
    elif found:
        for section in _SECTIONS:
            kept = [item for item in record.dict.get(section) or [] if item is not found[0]]
            if len(kept) < len(record.dict.get(section) or []):
                record.dict[section] = kept
