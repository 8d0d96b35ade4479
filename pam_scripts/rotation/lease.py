"""The lease: what a record says of the rotation that is at work on it, so that no other one begins."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from pam_scripts.core.times import iso, parse_iso

LEASE = "rotation_lease"
"""The label of the record's field."""

LEASE_MARGIN = timedelta(seconds=60)
"""A lease outlives its run by this much, for requests still under way and clocks that differ."""


def write_lease(holder: str, until: datetime) -> str:
    """Return the text of a lease. holder: the rotation's id."""
    return f"{holder} until {iso(until)}"


def read_lease(text: str) -> tuple[str, datetime | None]:
    """Return who holds the lease that a record's field states, and until when; nobody, where it is not readable."""
    match = re.fullmatch(r"(\S+) until (\S+)", text)
    try:
        return (match[1], parse_iso(match[2])) if match else ("", None)
    except ValueError:
        return "", None


def is_held(until: datetime | None, now: datetime, longest: timedelta) -> bool:
    """Say whether a lease counts: not after its time, nor where no run could have taken it for so long."""
    return until is not None and now < until <= now + longest
