"""When a record is rotated: a schedule as Keeper takes it, and how many records share it out among themselves."""

from __future__ import annotations

import argparse
import re
import zlib

DEFAULT = "0 0 4 1 */2 ?"
"""Four o'clock in UTC, on the first of every second month."""

_FIELDS = (
    ("seconds", 0, 59),
    ("minutes", 0, 59),
    ("hours", 0, 23),
    ("day of the month", 1, 31),
    ("month", 1, 12),
    ("day of the week", 1, 7),
)
_DAY_OF_MONTH, _DAY_OF_WEEK = 3, 5
_SINGLE = (0, 1)


def schedule(text: str) -> str:
    """Return an argument that is a schedule in Quartz's form; raise ArgumentTypeError where it is none.

    Keeper takes six fields, the seconds first. One of the two days must be `?`. Names of days and months are not
    taken. Seconds and minutes must be one number each: nothing rotates more than once an hour.
    """
    parts = text.split()
    if len(parts) != len(_FIELDS):
        raise argparse.ArgumentTypeError(
            f"{text!r} has {len(parts)} fields; Keeper takes six, the seconds first, as in '{DEFAULT}'"
        )
    if (parts[_DAY_OF_MONTH] == "?") == (parts[_DAY_OF_WEEK] == "?"):
        raise argparse.ArgumentTypeError(f"{text!r}: one of the days, of the month or of the week, must be ?")
    for index, (part, (name, lowest, highest)) in enumerate(zip(parts, _FIELDS, strict=True)):
        if part == "?" and index in (_DAY_OF_MONTH, _DAY_OF_WEEK):
            continue
        if not _is_within(part, lowest, highest) or (index in _SINGLE and not part.isdecimal()):
            kind = "one number" if index in _SINGLE else "*, numbers, a range or */number"
            raise argparse.ArgumentTypeError(f"{text!r}: {name} must be {kind}, from {lowest} to {highest}")
    return " ".join(parts)


def with_spread_minute(cron: str, title: str) -> str:
    """Return a schedule for one of many records: in a minute from the schedule's own to the end of that hour.

    The same title has the same minute each time, so that records which are added move no other.
    """
    seconds, minute, *rest = cron.split()
    return " ".join((seconds, str(int(minute) + zlib.crc32(title.encode()) % (60 - int(minute))), *rest))


def _is_within(part: str, lowest: int, highest: int) -> bool:
    """Whether one field is of a form that Keeper takes, with no number out of bounds."""
    if part == "*":
        return True
    if not re.fullmatch(r"\*/[0-9]+|[0-9]+(-[0-9]+|(,[0-9]+)*)", part):
        return False
    numbers = [int(number) for number in re.findall("[0-9]+", part)]
    if part.startswith("*"):
        return 0 < numbers[0] <= highest
    return all(lowest <= number <= highest for number in numbers) and ("-" not in part or numbers == sorted(numbers))
