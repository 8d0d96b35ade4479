"""What all runs of one process have between them: one reading of Keeper, one pace, connections and logins."""

from __future__ import annotations

import copy
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial

from pam_scripts.assembly.script import Resources, Script
from pam_scripts.cli.fleet.pace import Pace
from pam_scripts.cli.fleet.wrapped import WrappedScript
from pam_scripts.cli.shared import Shared
from pam_scripts.core.deadline import Deadline
from pam_scripts.core.errors import PamScriptError
from pam_scripts.core.http import Common, Session
from pam_scripts.gateway.payload import Job
from pam_scripts.rotation.roles import Run, SourceOfTruth
from pam_scripts.rotation.shape import Shape
from pam_scripts.stores.keeper.client import Client
from pam_scripts.stores.keeper.configuration import Access
from pam_scripts.stores.keeper.record import RecordStore

# Seconds after which the records are read anew when the next wave begins.
_FRESH = 10.0

# What one reading of all records may take, in seconds.
_SECONDS_TO_READ = 60.0


class SharedResources(Resources):
    """What runs share. Each has its own deadline, and its own clients over the shared connections.

    config: of the device. attached, configuration: UIDs that somebody named for all of them.
    """

    def __init__(
        self, config: Mapping[str, str], pace: Pace, *, at_once: int, attached: list[str], configuration: str
    ) -> None:
        self.pace = pace
        self._common = Common(connections=2 * at_once)
        self._config = dict(config)
        self._named = (attached, configuration)
        self._lock = threading.Lock()
        self._wave, self._read_at = pace.wave, time.monotonic()
        self.shared = self._read()

    @property
    def common(self) -> Common:
        """The connections that all runs share."""
        return self._common

    def job(self, uid: str) -> Job:
        """Return a record's job; all records are read anew where a wave of runs begins."""
        with self._lock:
            if self._wave != self.pace.wave and time.monotonic() - self._read_at > _FRESH:
                try:
                    self.shared = self._read()
                except PamScriptError:
                    # Each run reads its own record then, and says what it finds.
                    self._wave = self.pace.wave
            shared = self.shared
        return shared.job(uid)

    def truth(self, run: Run, uid: str, shape: Shape, longest_lease: timedelta, /) -> Callable[[], SourceOfTruth]:
        """Return the store of a record that was read already."""
        return partial(self._truth, run, uid, shape, longest_lease)

    def connect(self, runs: int) -> None:
        """Begin to connect to Keeper for so many runs at a time: all have a connection of their own to save with."""
        session = Session(Deadline(_SECONDS_TO_READ), common=self._common)
        session.connect_anew(f"https://{self._config['hostname']}", runs)

    # -- within -----------------------------------------------------------------------------------

    def _truth(self, run: Run, uid: str, shape: Shape, longest_lease: timedelta) -> SourceOfTruth:
        with self._lock:
            record = self.shared.records.get(uid)
            known = (copy.deepcopy(record), self._read_at) if record else None
        # Another process may go on with the same run in the same second, and then have the same id for it.
        holder = f"{run.rotation_id}-{secrets.token_hex(4)}"
        client = self._client(run.deadline)
        return RecordStore(client, uid, shape, run.rotation_id, longest_lease, known=known, holder=holder)

    def _client(self, deadline: Deadline) -> Client:
        return Access(Session(deadline, common=self._common), self._config).client(self.pace.call)

    def _read(self) -> Shared:
        read_at, self._wave = time.monotonic(), self.pace.wave
        deadline = Deadline(_SECONDS_TO_READ)
        shared = Shared.fetch(deadline, *self._named, client=self._client(deadline))
        self._read_at = read_at
        return shared


class WithResources(WrappedScript[Script]):
    """A script whose runs use the same resources."""

    def __init__(self, script: Script, resources: Resources) -> None:
        super().__init__(script)
        self._resources = resources

    def prepare(self, job: Job) -> Callable[[Run], None]:
        """Return what rotates as a job's records say."""
        return self.script.prepare(job, self._resources)
