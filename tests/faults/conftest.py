"""What the proof shares: one fork server and one set of bundles for each worker, and the table at the end."""

from __future__ import annotations

import os
import random
import zlib
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.faults.trial import INVARIANTS, Bench, Convergence, Outcome
from tests.support.warm import Warm

# Mostly waiting: more at a time than there are cores.
_SIDE_BY_SIDE = 4
_SHOWN = 12


class Tally(Protocol):
    """Carries out trials, and has them counted in a row of the table."""

    def __call__(self, row: str, trials: Iterable[Callable[[], Outcome]], *, strikes: int = 0) -> list[Outcome]:
        """Fail on any violation, and where fewer faults than `strikes` found their request in a trial."""


@pytest.fixture(scope="session")
def bench(warm: Warm, dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Return what every trial needs."""
    # Each worker's own directory stands in one that is the session's.
    own = tmp_path_factory.getbasetemp()
    shared = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "converges"
    shared.mkdir(exist_ok=True)
    return Bench(warm, dist, Convergence(shared))


@pytest.fixture(scope="session")
def seed(request: pytest.FixtureRequest) -> int:
    """Return the seed of whatever is drawn, one for all workers; `FAULTS_SEED` sets it, and failures name it."""
    session = getattr(request.config, "workerinput", {}).get("testrunuid") or str(random.SystemRandom().random())
    return int(os.environ.get("FAULTS_SEED") or zlib.crc32(session.encode()) % 10**6)


@pytest.fixture
def tally(record_property: Callable[[str, object], None]) -> Tally:
    """Return what carries out trials side by side, has them counted in the table, and fails on a violation."""

    def carry_out(row: str, trials: Iterable[Callable[[], Outcome]], *, strikes: int = 0) -> list[Outcome]:
        with ThreadPoolExecutor(_SIDE_BY_SIDE) as threads:
            outcomes = [future.result() for future in [threads.submit(trial) for trial in trials]]
        assert outcomes, "a proof over nothing proves nothing"
        counts = Counter(name for outcome in outcomes for name in {each.invariant for each in outcome.violations})
        exits = Counter(code for outcome in outcomes for code in outcome.exits)
        seconds = sum(outcome.seconds for outcome in outcomes)
        record_property("faults", [row, len(outcomes), dict(counts), dict(exits), round(seconds, 1)])
        bad = [outcome for outcome in outcomes if outcome.violations]
        text = "\n".join(str(outcome) for outcome in bad[:_SHOWN])
        assert not bad, f"{len(bad)} of {len(outcomes)} trials:\n{text}"
        missed = [outcome.name for outcome in outcomes if outcome.struck < strikes]
        assert not missed, f"the fault found no request in {len(missed)} of {len(outcomes)} trials: {missed[:_SHOWN]}"
        return outcomes

    return carry_out


def pytest_terminal_summary(terminalreporter: Any) -> None:  # noqa: ANN401 - pytest's own type is private
    """Print the table: cases, violations of each invariant, how the runs ended, seconds of all runs together."""
    rows: dict[str, tuple[int, Counter[str], Counter[int], float]] = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, value in getattr(report, "user_properties", ()):
                if name == "faults" and report.when == "call":
                    row, cases, counts, exits, seconds = value
                    so_far = rows.get(row, (0, Counter(), Counter(), 0.0))
                    ended = Counter({int(code): number for code, number in exits.items()})
                    rows[row] = (
                        so_far[0] + cases,
                        so_far[1] + Counter(counts),
                        so_far[2] + ended,
                        so_far[3] + seconds,
                    )
    if not rows:
        return
    width = max(len(row) for row in rows)
    terminalreporter.section("what must hold, always")
    heads = "".join(f"{name:>16}" for name in INVARIANTS)
    terminalreporter.write_line(f"{'':{width}}  cases{heads}  seconds  exits")
    for row, (cases, counts, exits, seconds) in sorted(rows.items()):
        cells = "".join(f"{counts[name]:>16}" for name in INVARIANTS)
        ends = ", ".join(f"{code}: {number}" for code, number in sorted(exits.items()))
        terminalreporter.write_line(f"{row:{width}}  {cases:>5}{cells}  {seconds:>7.0f}  {ends}")
