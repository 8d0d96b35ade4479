"""The records that are shared to the application, as the commands go through them."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from pam_scripts.cli.shared import Shared


class Counted(UserDict[str, Any]):
    """Records that count how often somebody goes through all of them."""

    times = 0

    def __iter__(self) -> Iterator[str]:
        """Return them, and count."""
        self.times += 1
        return super().__iter__()


def record(uid: str, record_type: str) -> SimpleNamespace:
    """Make a record as the SDK gives it, as far as a job is made of it."""
    return SimpleNamespace(uid=uid, type=record_type, title=uid, dict={"title": uid, "fields": [], "custom": []})


def test_the_configuration_is_looked_for_once_however_many_records_need_it() -> None:
    """An audit makes a job of each record: were all looked through for each, ten thousand would take minutes."""
    records = Counted({uid: record(uid, "pamUser") for uid in map(str, range(20))})
    records["C"] = record("C", "pamAzureConfiguration")
    shared = Shared(records)
    jobs = [shared.job(uid) for uid in map(str, range(20))]

    assert {"C"} == {job.configuration.uid for job in jobs if job.configuration}
    assert 20 == len(jobs)
    assert 1 == records.times
