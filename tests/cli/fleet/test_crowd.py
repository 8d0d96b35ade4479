"""Many runs in one process: who may begin when, and that none of them ends another."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from pam_scripts.cli.fleet.crowd import Crowd, Open, Task
from pam_scripts.cli.fleet.screen import Unheard
from pam_scripts.core.errors import BadInput, Refused
from pam_scripts.core.fields import Record
from pam_scripts.gateway.payload import Job, job_from
from pam_scripts.gateway.run import NOTHING_CHANGED
from pam_scripts.rotation.roles import Run


@dataclass
class Work:
    """A script that does what it is told and notes who is at it. most: how many were at a time."""

    does: Callable[[Run], None] = lambda _run: None
    order: list[str] = field(default_factory=list)
    at_work: int = 0
    most: int = 0
    stem: str = "work"
    title: str = "Work"
    lock: threading.Lock = field(default_factory=threading.Lock)

    def seconds(self, _job: Job) -> int:
        """Return what a run may take."""
        return 30

    def untouched(self, _job: Job) -> str:
        """Return what state it leaves."""
        return NOTHING_CHANGED

    def remarks(self, _job: Job) -> Sequence[str]:
        """Return none."""
        return ()

    def prepare(self, job: Job) -> Callable[[Run], None]:
        """Return what does it."""

        def work(run: Run) -> None:
            with self.lock:
                self.order.append(job.user.uid)
                self.at_work += 1
                self.most = max(self.most, self.at_work)
            try:
                time.sleep(0.01)
                self.does(run)
            finally:
                with self.lock:
                    self.at_work -= 1

        return work

    def task(self, uid: str, *, hosts: Sequence[str] = (), after: Sequence[str] = (), not_before: float = 0.0) -> Task:
        """Return one run of it."""
        return Task(uid, f"Title {uid}", self, lambda _run: job(uid), Unheard, hosts, after, not_before)


def job(uid: str) -> Job:
    """Return a job of a record without any field."""
    return job_from([Record.from_flat({"uid": uid, "title": uid})], user_uid=uid, configuration_uid="")


def test_so_many_at_a_time_and_fewer_at_one_host() -> None:
    """Who needs a host that has no room lets others go first."""
    work = Work()
    Crowd(3, 20).carry_out([work.task(f"{number}") for number in range(9)])
    assert 3 == work.most

    narrow = Work()
    tasks = [narrow.task(f"a{number}", hosts=["a"]) for number in range(4)] + [narrow.task("b", hosts=["b"])]
    outcomes = Crowd(2, 1).carry_out(tasks)
    assert ["a0", "b"] == sorted(narrow.order[:2])
    assert [0] * 5 == [one.status for one in outcomes]


def test_who_comes_after_others_waits_for_their_end() -> None:
    """And who may not begin before a moment waits for that, while others go on."""
    work = Work()
    later = time.time() + 0.3
    tasks = [work.task("last", after=["first", "held"]), work.task("held", not_before=later), work.task("first")]
    Crowd(3, 20).carry_out(tasks)

    assert ["first", "held", "last"] == work.order
    assert time.time() >= later


class Closed(Open):
    """Lets nobody in the first ten times; asked_by: which threads have asked so far."""

    def __init__(self) -> None:
        self.asked_by: list[int] = []

    def seconds(self) -> float:
        """Say that one is to ask again at once, ten times."""
        if len(self.asked_by) == 10:
            return 0.0
        self.asked_by.append(threading.get_ident())
        return 0.01


def test_while_nobody_may_begin_one_thread_looks_for_all() -> None:
    """A hundred that wait for a pause of Keeper's cost what one costs."""
    gate, work = Closed(), Work()
    outcomes = Crowd(20, 20, gate=gate).carry_out([work.task(f"{number}") for number in range(20)])

    assert 1 == len(set(gate.asked_by))
    assert [0] * 20 == [one.status for one in outcomes]


def test_a_failure_is_its_own_and_so_is_a_defect() -> None:
    """Whatever one run ends with, the others end as they do, and each outcome has its status and error."""

    def fail(run: Run) -> None:
        if run.entry.record == "refused":
            raise Refused("no right", next_step="grant it")
        if run.entry.record == "defect":
            raise ZeroDivisionError

    work = Work(fail)
    tasks = [work.task(uid) for uid in ("refused", "defect", "well")]

    def unreadable(_run: Run) -> Job:
        raise BadInput("the record is gone")

    tasks.append(Task("gone", "", work, unreadable, Unheard))
    outcomes = {one.uid: one for one in Crowd(2, 20).carry_out(tasks)}

    assert {"refused": 1, "defect": 4, "well": 0, "gone": 2} == {uid: one.status for uid, one in outcomes.items()}
    assert "no right; nothing changed; grant it" == outcomes["refused"].error
    assert "unexpected ZeroDivisionError" in outcomes["defect"].error
    assert "the record is gone" in outcomes["gone"].error
    assert ["failed", "not certain, a person must look", "rotated", "bad input"] == [
        one.words for one in outcomes.values()
    ]


@pytest.mark.parametrize("stop_after", [1, 2])
def test_after_so_many_failures_nothing_more_begins(stop_after: int) -> None:
    """What has begun ends; the rest has no status."""

    def fail(_run: Run) -> None:
        raise Refused("no")

    crowd = Crowd(1, 20, stop_after=stop_after)
    outcomes = crowd.carry_out([Work(fail).task(f"{number}") for number in range(4)])

    assert [1] * stop_after + [None] * (4 - stop_after) == [one.status for one in outcomes]
    assert f"stopped after {stop_after} failed" == crowd.stopped_by
    assert "not begun" == outcomes[-1].words


def test_ids_of_one_run_share_their_last_digits_and_each_has_its_own_time() -> None:
    """The deadline is each one's own: one that is stopped leaves the other's as it was."""
    runs: list[Run] = []
    work = Work(runs.append)
    Crowd(2, 20, mark="0badcafe").carry_out([work.task("a"), work.task("b")])

    assert {"0badcafe"} == {run.rotation_id.rpartition("-")[2] for run in runs}
    assert runs[0].deadline is not runs[1].deadline
    runs[0].deadline.stop("one of them")
    assert runs[1].deadline.left() > 0


def test_a_run_that_had_not_begun_its_work_when_all_was_stopped_does_not() -> None:
    """The second signal may come while a job is read, before there is a deadline that could be stopped."""
    work = Work()
    crowd = Crowd(1, 20)

    def interrupt_twice(_run: Run) -> Job:
        crowd.interrupt("SIGINT")
        crowd.interrupt("SIGINT")
        return job("a")

    (outcome,) = crowd.carry_out([Task("a", "", work, interrupt_twice, Unheard)])

    assert 1 == outcome.status
    assert [] == work.order
    assert "stopped before it began" in outcome.error
