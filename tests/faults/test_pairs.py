"""Two faults in one run."""

from __future__ import annotations

import itertools
import random
from functools import partial

import pytest

from tests.faults.conftest import EXHAUSTIVE, Tally
from tests.faults.kinds import KINDS, NASTIEST
from tests.faults.subjects import MAIN, Subject
from tests.faults.trial import Bench, Outcome

# Each worker gets its share: that many tests, with that many trials each.
_PARTS = 6
_SAMPLE = 8

# A first fault makes a run longer; the second may hit what the first one caused.
_LONGER = 20


def _meet(bench: Bench, subject: Subject, first: tuple[int, str], second: tuple[int, str], drawn: str) -> Outcome:
    name = f"{first[1]} at request {first[0]}, {second[1]} at request {second[0]}, direct{drawn}"
    return bench.meet(
        subject,
        name,
        lambda trial: [(number, KINDS[kind](trial)) for number, kind in (first, second)],
        direct=True,
    )


@pytest.mark.timeout(24 * 3600 if EXHAUSTIVE else 300)
@pytest.mark.parametrize("part", range(_PARTS))
def test_a_rotation_survives_two_faults(bench: Bench, tally: Tally, seed: int, part: int) -> None:
    """Any two of the nastiest faults, the second at any request of the run that met the first, keep every promise."""
    last = len(bench.count_requests(MAIN))
    pairs = [
        ((n, one), (m, other))
        for n, m in itertools.combinations(range(1, last + 1 + _LONGER), 2)
        for one, other in itertools.product(NASTIEST, repeat=2)
        if n <= last
    ][part::_PARTS]
    drawn = ""
    if not EXHAUSTIVE:
        pairs = random.Random(seed).sample(pairs, _SAMPLE)  # noqa: S311 - a draw that can be drawn again
        drawn = f", FAULTS_SEED={seed}"
    tally("two faults", [partial(_meet, bench, MAIN, first, second, drawn) for first, second in pairs])
