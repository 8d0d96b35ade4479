"""The records that are shared to the Gateway's application, fetched in one call."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pam_scripts.assembly.script import Script
from pam_scripts.cli.scripts import SCRIPTS, script_of
from pam_scripts.core.deadline import Deadline
from pam_scripts.core.errors import BadInput
from pam_scripts.core.fields import Record
from pam_scripts.core.http import Session
from pam_scripts.core.retry import retrying
from pam_scripts.gateway.payload import Job
from pam_scripts.stores.keeper.client import Client
from pam_scripts.stores.keeper.configuration import Access
from pam_scripts.stores.keeper.records import flatten, job_among, not_there, only_configuration


@dataclass(frozen=True, repr=False)
class Shared:
    """What the application may read.

    records: the SDK's records by UID. attached, configuration: UIDs that somebody named for the attached
    records and the PAM Configuration; empty for none. damaged: UIDs of records that cannot be decrypted. remarks:
    what is to be said of those, and of files and folders like them.
    """

    records: Mapping[str, Any]
    attached: Sequence[str] = ()
    configuration: str = ""
    damaged: Collection[str] = ()
    remarks: Sequence[str] = ()

    @classmethod
    def fetch(
        cls, deadline: Deadline, attached: Sequence[str] = (), configuration: str = "", client: Client | None = None
    ) -> Shared:
        """Fetch every shared record; raise BadInput where a named one is not among them. client: one that is there."""
        client = client or Access(Session(deadline)).client()
        fetched = retrying(deadline, lambda: client.fetch([]))
        missing = [uid for uid in (*attached, configuration) if uid and uid not in fetched.records]
        if missing:
            raise not_there(missing, fetched.left_out)
        return cls(fetched.records, attached, configuration, fetched.left_out, fetched.remarks)

    def flat(self, uid: str) -> Record:
        """Return one record as a script sees it."""
        return Record.from_flat(flatten(self.records[uid]))

    def script(self, uid: str) -> Script:
        """Return the script that a record belongs to; raise BadInput where it is not shared, or belongs to none."""
        if uid not in self.records:
            if uid in self.damaged:
                raise not_there([uid], self.damaged)
            raise BadInput(
                f"keeper: record {uid} is not shared to the Gateway's application",
                next_step="share the folder to the application, or check the UID",
            )
        script = script_of(self.flat(uid), self.records[uid].type or "")
        if script is None:
            raise BadInput(
                f"{self.flat(uid).shown} belongs to none of the scripts: it has none of the fields "
                f"{', '.join(label for script in SCRIPTS for label in script.identified_by)}",
                next_step="make it from record_templates/, or check the UID",
            )
        return script

    def job(self, uid: str, *, settings_first: bool = False) -> Job:
        """Put together what the Gateway would hand over for a record; raise BadInput as `job_among` does.

        settings_first: what the record's own script settings name goes before `attached`, not the other way round.
        """
        configuration = self.configuration or self._only_configuration
        if settings_first and (job := job_among(self.records, uid, (), configuration, self.damaged)).attached:
            return job
        return job_among(self.records, uid, self.attached, configuration, self.damaged)

    @functools.cached_property
    def _only_configuration(self) -> str:
        """Looked for once: whoever goes through all records would else look through all of them for each."""
        return only_configuration(self.records)

    def ours(self) -> Iterator[tuple[str, Script]]:
        """Go through the records that belong to a script."""
        for uid, record in self.records.items():
            if script := script_of(self.flat(uid), record.type or ""):
                yield uid, script
