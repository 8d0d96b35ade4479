"""The records that are shared to the Gateway's application, fetched in one call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pam_scripts.cli.kinds import KINDS, Kind, kind_of
from pam_scripts.core.errors import BadInput
from pam_scripts.core.fields import Record
from pam_scripts.core.gateway import Job
from pam_scripts.core.http import Session
from pam_scripts.core.patience import Deadline, patiently
from pam_scripts.stores import keeper


@dataclass(frozen=True)
class Shared:
    """What the application may read.

    records: the SDK's records by UID. attached, configuration: UIDs that somebody named for the attached
    records and the PAM configuration; empty for none.
    """

    records: Mapping[str, Any]
    attached: Sequence[str] = ()
    configuration: str = ""

    @classmethod
    def fetch(cls, deadline: Deadline, attached: Sequence[str] = (), configuration: str = "") -> Shared:
        """Fetch every shared record; raise BadInput where a named one is not among them."""
        client = keeper.Access(Session(deadline)).client()
        records = patiently(deadline, lambda: client.fetch([]))
        missing = [uid for uid in (*attached, configuration) if uid and uid not in records]
        if missing:
            raise BadInput(
                f"keeper: not shared to the Gateway's application: {', '.join(missing)}",
                next_step="share the folder to the application, or check the UID",
            )
        return cls(records, attached, configuration)

    def flat(self, uid: str) -> Record:
        """Return one record as a script sees it."""
        return Record.from_flat(keeper.flatten(self.records[uid]))

    def kind(self, uid: str) -> Kind:
        """Return the script that a record belongs to; raise BadInput where it is not shared, or no script's."""
        if uid not in self.records:
            raise BadInput(
                f"keeper: record {uid} is not shared to the Gateway's application",
                next_step="share the folder to the application, or check the UID",
            )
        kind = kind_of(self.flat(uid), self.records[uid].type or "")
        if kind is None:
            raise BadInput(
                f"{self.flat(uid).shown} is no script's: it has none of the fields "
                f"{', '.join(mark for kind in KINDS for mark in kind.marks)}",
                next_step="make it from record_templates/, or check the UID",
            )
        return kind

    def job(self, uid: str, *, own_first: bool = False) -> Job:
        """Put together what the Gateway would hand over for a record; raise BadInput as `keeper.job_among` does.

        own_first: what the record's own script settings name goes before `attached`, not the other way round.
        """
        if own_first and (job := keeper.job_among(self.records, uid, (), self.configuration)).attached:
            return job
        return keeper.job_among(self.records, uid, self.attached, self.configuration)

    def ours(self) -> Iterator[tuple[str, Kind]]:
        """Go through the records that belong to a script."""
        for uid, record in self.records.items():
            if kind := kind_of(self.flat(uid), record.type or ""):
                yield uid, kind
