"""What the tests of the audit share: a fleet on loopback, and one of a thousand that was audited."""

from __future__ import annotations

import fcntl
import json
import os
import pickle
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bench.audit import measure
from sandbox.log import Request
from sandbox.plant import running
from tests.support.fleet import ILLNESSES, Fleet


def fleet_of(directory: Path, size: int, *ill: str) -> AbstractContextManager[Fleet]:
    """Have a fleet listen for as long as the `with` statement lasts."""
    return running(Fleet(directory, size, ill))


@dataclass(frozen=True)
class Planted:
    """What a fleet was planted with, without the fleet. values: of the records' fields, by uid and label."""

    uids: Mapping[str, str]
    healthy: list[str]
    tenant_id: str
    secrets: set[str]
    values: Mapping[tuple[str, str], str | None]

    @classmethod
    def of(cls, fleet: Fleet) -> Planted:
        """Note down what tests ask of a fleet that is gone."""
        labels = ("container_apps", "rotation_lease", "key_vault_name", "aws_secret_id", "secret_name")
        values = {(uid, label): fleet.keeper.value(uid, label) for uid in fleet.healthy for label in labels}
        return cls(dict(fleet.uids), list(fleet.healthy), fleet.tenant_id, set(fleet.secrets()), values)


@dataclass(frozen=True)
class Audited:
    """A thousand records, audited once. records: what the JSON says of each, by uid. page: its HTML."""

    fleet: Planted
    records: dict[str, dict[str, Any]]
    summary: dict[str, int]
    status: int
    log: list[Request]
    shown: str
    page: str


@pytest.fixture(scope="session")
def audited(tmp_path_factory: pytest.TempPathFactory, runtime_python: str) -> Audited:
    """Audit a fleet of a thousand with every illness: once for all workers, as it takes twelve seconds."""
    own = tmp_path_factory.getbasetemp()
    shared = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "audited"
    with shared.with_suffix(".lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not shared.exists():
            shared.write_bytes(pickle.dumps(_audit(tmp_path_factory.mktemp("fleet"), runtime_python)))
    found: Audited = pickle.loads(shared.read_bytes())  # noqa: S301 - see above
    return found


def _audit(directory: Path, runtime_python: str) -> Audited:
    html = directory / "audit.html"
    schedules = directory / "rotations.json"
    with fleet_of(directory, 1000, *ILLNESSES) as fleet:
        schedules.write_text(json.dumps(fleet.rotations), encoding="utf-8")
        options = ("--json", "--html", str(html), "--schedules", str(schedules))
        cost = measure(fleet, 0, *options, python=runtime_python)
        log = list(fleet.wire.log)
        told = json.loads(cost.output)
        records = {record["record"]: record for record in told["records"]}
        page = html.read_text(encoding="utf-8")
        return Audited(Planted.of(fleet), records, told["summary"], cost.status, log, cost.output + page, page)
