"""Two faults in one run."""

from __future__ import annotations

import itertools
import random
from functools import partial

import pytest

from sandbox.faults import Rule
from tests.faults.conftest import Tally
from tests.faults.kinds import KINDS, NASTIEST, at
from tests.faults.spots import Spot, after
from tests.faults.subjects import MAIN
from tests.faults.trial import Bench, Outcome, Trial
from tests.support.amount import DRAWN, EXHAUSTIVE

# Each worker gets its share: that many tests, with that many trials each.
_PARTS = 6

# A first fault makes a run longer; the second may hit what the first one caused.
_LONGER = 20


def _meet(bench: Bench, first: tuple[Spot, str], second: tuple[int, str], drawn: str) -> Outcome:
    def faults(trial: Trial) -> list[Rule]:
        rules = at(*first, trial)
        return [*rules, after(rules[0], second[0], KINDS[second[1]](trial))]

    name = f"{first[1]} at {first[0]}, {second[1]} at the request that came {second[0]} later, direct{drawn}"
    return bench.meet(MAIN, name, faults, direct=True)


@pytest.mark.timeout(24 * 3600 if EXHAUSTIVE else 300)
@pytest.mark.parametrize("part", range(_PARTS))
def test_a_rotation_survives_two_faults(bench: Bench, tally: Tally, seed: int, part: int) -> None:
    """Any two of the nastiest faults, the second at any request of the run that met the first, keep every promise.

    The second is counted in requests from the first: the first one after it, the second one, and so on. Where
    a run makes requests side by side, which of them comes so many-eth may differ from run to run.
    """
    spots = bench.happy_path(MAIN)
    pairs = [
        ((spot, one), (later, other))
        for number, spot in enumerate(spots, 1)
        for later in range(1, len(spots) - number + 1 + _LONGER)
        for one, other in itertools.product(NASTIEST, repeat=2)
    ][part::_PARTS]
    drawn = ""
    if not EXHAUSTIVE:
        pairs = random.Random(seed).sample(pairs, DRAWN)  # noqa: S311 - a draw that can be drawn again
        drawn = f", FAULTS_SEED={seed}"
    tally("two faults", [partial(_meet, bench, first, second, drawn) for first, second in pairs], strikes=1)
