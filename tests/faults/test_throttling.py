"""Many rotations at once on one Gateway, while Keeper counts its calls as it really does."""

from __future__ import annotations

from pathlib import Path

from bench.measure import SCRIPT, Site
from sandbox.plant import on_loopback
from tests.support.amount import EXHAUSTIVE
from tests.support.warm import Warm

# A rotation makes six calls, three of each of two kinds: thirty-six are more than the hundred that are served of one.
_ROTATIONS = 36

if EXHAUSTIVE:  # it takes a minute, most of it silence

    def test_more_rotations_at_once_than_keeper_serves_all_end_well(warm: Warm, dist: Path) -> None:
        """Those that are turned away are silent together, and every one ends with 0, in its true state."""
        with on_loopback(Site, applications=_ROTATIONS) as plant:
            runs = [
                warm.start(
                    dist / f"{SCRIPT}.py",
                    plant.gateway.payload(target.user_uid, attached=plant.attached),
                    environment=plant.environment(),
                )
                for target in plant.targets
            ]
            results = [run.wait() for run in runs]

            assert [0] * _ROTATIONS == [result.returncode for result in results]
            for target in plant.targets:
                plant.key_held(target)
            assert any(request.status == 403 for request in plant.wire.log), "Keeper has turned some away"
