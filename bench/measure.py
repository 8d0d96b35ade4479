"""One measured run: a client, started as the Gateway starts a script, against a sandbox of its own.

The sandbox counts requests and connections; the system's own accounts give the process's time and memory.
A run that did not rotate is no measurement: whatever a client says, the systems are asked.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from sandbox.gateway import Running
from sandbox.log import Request
from sandbox.plant import SEEQ_HOST, VAULT, Plant, on_loopback
from sandbox.services import keeper
from tools import bundle

ROOT = Path(__file__).parents[1]
RUNTIME_PYTHON = ROOT / ".venv-runtime" / "bin" / "python"
SCRIPT = "rotate_seeq_application_key"
HERE = Path(__file__).parent
# What any client of Keeper, Seeq and Key Vault imports that is made with the official SDKs.
SDKS = "requests, keeper_secrets_manager_core, azure.keyvault.secrets"


@dataclass(frozen=True)
class Target:
    """One application whose key is rotated: its Keeper record's UID and its two secrets' names in the vault."""

    application_id: str
    user_uid: str
    id_name: str
    password_name: str


class Site(Plant):
    """A plant with one application or more, all alike, the first of them with one old key or more."""

    def __init__(self, directory: Path, *, applications: int = 1, old_keys: int = 1) -> None:
        super().__init__(directory)
        for number in range(1, old_keys):
            self.add_key(f"left over {number}", created_days_ago=60)
        self.targets = [self._target()]
        for number in range(1, applications):
            self._add_application(f"Reports {number}")

    def key_held(self, target: Target) -> str:
        """Return the id of the one live key that all stores hold; raise RuntimeError where that is not so."""
        live = {key.key_id: key.password for key in self.seeq.live_keys(target.application_id)}
        in_keeper = tuple(
            self.keeper.value(target.user_uid, label) for label in ("access_key_id", "access_key_password")
        )
        in_vault = tuple(self.key_vault.value(VAULT, name) for name in (target.id_name, target.password_name))
        if (
            list(live.items()) != [in_keeper]
            or in_vault != in_keeper
            or not self.seeq.logs_in(*next(iter(live.items())))
        ):
            raise RuntimeError(f"the run left {len(live)} live keys, or a store without the new one")
        return next(iter(live))

    def _marks(self) -> Mapping[str, str]:
        """Return the mark of a rotation before: the first of all, which has to look for it, is not the usual one."""
        return {"seeq-application-id": self.application_id}

    def _target(self) -> Target:
        return Target(self.application_id, self.user_uid, self.id_name, self.password_name)

    def _add_application(self, name: str) -> None:
        self.owner_id = self.application_id = self.seeq.add_application(name)
        self.old_key_id, self.old_password = self.add_key("made by hand", created_days_ago=30)
        self._mirror(f"seeq-app-{self.application_id}")
        self._add_user_record(
            f"Seeq application key: {name}", name, [keeper.text("application_id", self.application_id)]
        )
        self.targets.append(self._target())


@dataclass(frozen=True)
class Client:
    """Something that rotates: its name, the file that the Gateway is given, and what is piped into it."""

    name: str
    file: Path
    stdin: Callable[[Site, Target], bytes]


@dataclass(frozen=True)
class Figures:
    """What a run cost.

    seconds: from the process's start to its end. cpu: its time in user and system mode, in seconds, and
    start_cpu as much of it as went before the first request arrived. peak_mb: the most memory it held at
    a time, MiB. connections: new TLS connections.
    """

    requests: float
    connections: float
    seconds: float
    cpu: float
    peak_mb: float
    start_cpu: float


@contextlib.contextmanager
def clients() -> Iterator[tuple[Client, Client]]:
    """Build the bundle in a directory of its own; give the package's client, then the plain one."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        bundle.build(ROOT, Path(directory))
        yield (
            Client("this package", Path(directory) / f"{SCRIPT}.py", _payload),
            Client("plain client", HERE / "plain_client.py", _settings),
        )


@contextlib.contextmanager
def site(round_trip: float, *, applications: int = 1, old_keys: int = 1) -> Iterator[Site]:
    """Have a site listen, so many seconds away."""
    with on_loopback(Site, applications=applications, old_keys=old_keys) as plant:
        plant.wire.round_trip = round_trip
        yield plant


def run(client: Client, plant: Site) -> Figures:
    """Rotate the key of the site's first application once."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        started = Started(client, plant, plant.targets[0], Path(directory))
        start_cpu: list[float] = []

        async def note_start(_request: Request) -> None:
            if not start_cpu:
                start_cpu.append(started.cpu_by_now())

        plant.wire.gate = note_start
        report = started.wait()
        plant.key_held(plant.targets[0])
        return Figures(
            requests=len(plant.wire.log),
            connections=plant.wire.tls_handshakes,
            seconds=report["ended"] - report["started"],
            cpu=report["cpu"],
            peak_mb=report["peak_mb"],
            start_cpu=start_cpu[0],
        )


def run_together(client: Client, plant: Site) -> tuple[float, float]:
    """Rotate the keys of all of the site's applications at once.

    Returns the seconds from the first start to the last end, and the most MiB that one of them held.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        started = [Started(client, plant, target, Path(directory)) for target in plant.targets]
        reports = [each.wait() for each in started]
        for target in plant.targets:
            plant.key_held(target)
        seconds = max(report["ended"] for report in reports) - min(report["started"] for report in reports)
        return seconds, max(report["peak_mb"] for report in reports)


def import_cpu(runs: int = 5) -> float:
    """Return the CPU time, in seconds, of a process that imports the SDKs and does nothing else; the least of some."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        report = Path(directory) / "report"
        taken: list[float] = []
        for _ in range(runs):
            subprocess.run([*launched(report), "-c", f"import {SDKS}"], check=True)  # noqa: S603 - our own
            taken.append(json.loads(report.read_text())["cpu"])
        return min(taken)


def typical(runs: Sequence[Figures], take: Callable[[Iterable[float]], float] = statistics.median) -> Figures:
    """Return one value of each figure for all the runs: the median, or what else is to be taken."""
    return Figures(**{each.name: take([getattr(one, each.name) for one in runs]) for each in fields(Figures)})


def most_in_flight(requests: Sequence[Request], round_trip: float) -> int:
    """Return how many of these requests were under way at one time, seen from the client.

    The sandbox's clock starts when a request has arrived; half a round trip before and after is its way.
    """
    way = round_trip / 2
    moments = [(one.started - way, 1) for one in requests] + [(one.ended + way, -1) for one in requests]
    return max(_running_total(change for _, change in sorted(moments)), default=0)


def most_within(requests: Sequence[Request], seconds: float) -> int:
    """Return how many of these requests arrived within the busiest period of so many seconds."""
    moments = [(one.started, 1) for one in requests] + [(one.started + seconds, -1) for one in requests]
    return max(_running_total(change for _, change in sorted(moments)), default=0)


class Started:
    """A run that was started as the Gateway starts one, with a launcher in place of the interpreter."""

    def __init__(self, client: Client, plant: Site, target: Target, directory: Path) -> None:
        self._report = directory / target.user_uid
        self._running: Running = plant.gateway.start(
            client.file,
            client.stdin(plant, target),
            environment=plant.environment(),
            python=_stand_in(directory / f"{target.user_uid}-python", self._report),
            timeout=300,
        )
        self._client = client.name

    def cpu_by_now(self) -> float:
        """Return the seconds of CPU time that the client's process has used so far."""
        # How clock_getcpuclockid(3) makes the number of another process's clock on Linux.
        pid = int(Path(f"{self._report}.pid").read_text())
        return time.clock_gettime((~pid << 3) | 2)

    def wait(self) -> Mapping[str, float]:
        """Wait for its end, and return the launcher's report; raise RuntimeError where it failed."""
        result = self._running.wait()
        if not result.success:
            raise RuntimeError(f"{self._client}: exit status {result.returncode}: {result.stderr[-2000:]}")
        report: dict[str, float] = json.loads(self._report.read_text())
        return report


def _stand_in(path: Path, report: Path) -> str:
    """Write a command that takes an interpreter's arguments, and starts the real one under the launcher."""
    path.write_text(f'#!/bin/sh\nexec {shlex.join(launched(report))} "$@"\n')
    path.chmod(0o700)
    return str(path)


def launched(report: Path) -> list[str]:
    """Return what starts the runtime's interpreter under the launcher; its arguments follow."""
    return [sys.executable, "-IS", str(HERE / "launcher.py"), str(report), str(RUNTIME_PYTHON)]


def _payload(plant: Site, target: Target) -> bytes:
    return plant.gateway.payload(target.user_uid, attached=plant.attached)


def _settings(plant: Site, target: Target) -> bytes:
    given = {
        "server": f"https://{SEEQ_HOST}",
        "login": "rotation.admin",
        "password": plant.admin_password,
        "application": target.application_id,
        "record": target.user_uid,
        "vault": plant.vault_url,
        "tenant": plant.tenant_id,
        "client": plant.azure_app.client_id,
        "secret": plant.azure_secret,
        "prefix": "seeq-app",
    }
    return json.dumps(given).encode()


def _running_total(changes: Iterable[int]) -> Iterator[int]:
    total = 0
    for change in changes:
        total += change
        yield total
