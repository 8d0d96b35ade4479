"""The services' own clock: real time, which a test may move."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone


class Clock:
    """UTC now, plus what a test has added; shared by all services of one sandbox."""

    def __init__(self) -> None:
        self.offset = timedelta()

    def now(self) -> datetime:
        """Say what time it is for the services."""
        return datetime.now(timezone.utc) + self.offset

    def advance(self, **period: float) -> None:
        """Move the services' clock; takes what `timedelta` takes: days=91, minutes=5."""
        self.offset += timedelta(**period)
