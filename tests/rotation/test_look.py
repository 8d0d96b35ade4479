"""The first look, by itself."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, cast

from pam_scripts.core.deadline import Deadline
from pam_scripts.core.times import utc_now
from pam_scripts.rotation.lease import LEASE_MARGIN
from pam_scripts.rotation.look import take_lease
from pam_scripts.rotation.roles import Plan, Rotation, Run, Traits


class Office:
    """An issuer, as far as the lease goes by it."""

    traits = Traits(system="office", noun="key")


class Shelf:
    """A truth that notes down until when it was claimed."""

    until: datetime

    def take_lease(self, _rotation_id: str, until: datetime) -> None:
        """Take the lease."""
        self.until = until


def test_a_lease_counts_from_when_it_is_taken() -> None:
    """A look may take long: the rest of the run must not outlive its lease."""
    run = Run("R", utc_now() - timedelta(minutes=10), Deadline(100), print, print)
    shelf = Shelf()
    now = utc_now()

    take_lease(Rotation(cast("Any", Office()), cast("Any", shelf), [], Plan("U", None), run))
    assert timedelta() <= shelf.until - now - timedelta(seconds=100) - LEASE_MARGIN < timedelta(seconds=5)
