"""Times as systems write and read them; all of them in UTC."""

from __future__ import annotations

import re
from datetime import datetime, timezone


def utc_now() -> datetime:
    """Return the present time with its zone."""
    return datetime.now(timezone.utc)


def iso(moment: datetime) -> str:
    """Write a time as ISO 8601 in UTC, to the second: 2026-11-22T05:50:00Z."""
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_iso(text: str) -> datetime:
    """Read an ISO 8601 time as systems write it: nanoseconds, `Z` or an offset; no zone means UTC.

    Raises ValueError for anything else. Python 3.10's own reader takes neither nine digits nor `Z`.
    """
    match = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:?\d\d)?", text.strip())
    if not match:
        raise ValueError(f"not an ISO 8601 time: {text!r}")
    whole, fraction, zone = match.groups()
    zone = "+00:00" if zone in (None, "Z") else zone
    zone = zone if ":" in zone else f"{zone[:3]}:{zone[3:]}"
    return datetime.fromisoformat(f"{whole}.{(fraction or '0')[:6]:0<6}{zone}")


def read_moment(text: str) -> datetime | None:
    """Read a time as `parse_iso`, or as Keeper's date fields have it; None for a text that is no time.

    Those hold Unix milliseconds.
    """
    try:
        if re.fullmatch(r"\d{9,14}", text):
            return datetime.fromtimestamp(int(text) // 1000, timezone.utc)
        return parse_iso(text) if text else None
    except ValueError:
        return None
