"""What the tests of the audit share: a fleet on loopback, and one of a thousand that was audited."""

from __future__ import annotations

import json
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
class Audited:
    """A thousand records, audited once. records: what the JSON says of each, by uid. page: its HTML."""

    fleet: Fleet
    records: dict[str, dict[str, Any]]
    summary: dict[str, int]
    status: int
    log: list[Request]
    shown: str
    page: str


@pytest.fixture(scope="session")
def audited(tmp_path_factory: pytest.TempPathFactory, runtime_python: str) -> Audited:
    """Audit a fleet of a thousand with every illness."""
    directory = tmp_path_factory.mktemp("fleet")
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
        return Audited(fleet, records, told["summary"], cost.status, log, cost.output + page, page)
