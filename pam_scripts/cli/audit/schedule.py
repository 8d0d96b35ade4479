"""When rotations run by themselves, as Keeper Commander lists it: `pam rotation list --format json`.

The list gives each schedule as a text. Some texts are Commander's words ("WEEKLY on SUNDAY at 04:00 UTC with interval
count of 2"), the others are what the scheduler keeps, with the expression of Quartz somewhere in it. What cannot be
read counts as a schedule whose times nobody knows.
"""

from __future__ import annotations

import calendar
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from pam_scripts.core.errors import BadInput
from pam_scripts.core.files import is_plain_file

State = Literal["scheduled", "on demand", "disabled", "no configuration", "no gateway"]

_ON_DEMAND = ("[Manual Rotation]", "[empty]", "")
_NO_CONFIGURATION = "[No config found"
_NO_GATEWAY = "[Does not exist]"

# Days that an interval of one can take at most.
_LONGEST = {"HOURLY": 1, "DAILY": 1, "WEEKLY": 7, "MONTHLY": 31, "YEARLY": 366}
_WORDS = re.compile(r"([A-Z_]+)\b.* with interval count of (\d{1,4})")
_FIELD = r"[0-9A-Za-z*?,/#-]+"
_CRON = re.compile(rf"(?<![\w*?])(?:{_FIELD} ){{5,6}}{_FIELD}(?![\w*?])")
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")

# Years for which an expression is followed: past a leap day, wherever one begins.
_YEARS = 9


@dataclass(frozen=True, repr=False)
class Cron:
    """An expression of Quartz, by days: what it says of months, of days and of weekdays (Sunday is 1)."""

    at: time
    days: str
    months: str
    weekdays: str
    years: str = "*"

    @classmethod
    def read(cls, text: str) -> Cron | None:
        """Return the expression in a text, None where there is none that can be read."""
        found = _CRON.search(text)
        if not found:
            return None
        _, minute, hour, *rest = found[0].upper().split()
        # Whichever hour of a day it is, the day is what counts; one that is named is more exact.
        at = time(int(hour), int(minute)) if _is_in(hour, 23) and _is_in(minute, 59) else time()
        cron = cls(at, *rest)
        try:
            next(cron.from_day(date(2024, 1, 1)), None)
        except ValueError:
            return None
        return cron

    def from_day(self, start: date) -> Iterator[date]:
        """Yield the days on which it runs, from one on, for some years; raise ValueError where it cannot be read."""
        months = _numbers(self.months, 1, 12, _MONTHS)
        years = _numbers(self.years, 1970, 2099, ())
        for year in range(start.year, start.year + _YEARS):
            for month in range(1, 13):
                last = calendar.monthrange(year, month)[1]
                days = _days(self.days, last) & _days_by_weekday(self.weekdays, year, month)
                if year in years and month in months:
                    yield from (date(year, month, day) for day in sorted(days) if date(year, month, day) >= start)


@dataclass(frozen=True, repr=False)
class Schedule:
    """When one record's rotation runs by itself.

    state: whether it does, and what keeps it from it. days: the longest time between two rotations; None where it does
    not, or that cannot be read. cron: for a schedule that is an expression.
    """

    state: State
    days: int | None = None
    cron: Cron | None = None

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Schedule:
        """Read one entry of Commander's list."""
        told = str(entry.get("schedule") or "")
        if entry.get("disabled") is True:
            return cls("disabled")
        if str(entry.get("pam_configuration") or "").startswith(_NO_CONFIGURATION):
            return cls("no configuration")
        if entry.get("gateway") == _NO_GATEWAY:
            return cls("no gateway")
        if told.strip() in _ON_DEMAND:
            return cls("on demand")
        if words := _WORDS.fullmatch(told):
            longest = next((days for name, days in _LONGEST.items() if words[1].startswith(name)), None)
            return cls("scheduled", longest * max(int(words[2]), 1) if longest else None)
        cron = Cron.read(told)
        return cls("scheduled", _longest_gap(cron) if cron else None, cron)

    def next_after(self, moment: datetime) -> datetime | None:
        """Return when it runs next after a moment at the latest; None where that is not known."""
        if self.cron:
            return _next_run(self.cron, moment.astimezone(timezone.utc))
        return moment + timedelta(days=self.days) if self.days else None


def read_schedules(path: Path) -> dict[str, Schedule]:
    """Return by the UID of the record what a file with Commander's list says; raise BadInput where it is none."""
    way_out = "write it with Keeper Commander: pam rotation list --format json"
    try:
        if not is_plain_file(path):
            raise BadInput(f"--schedules {path} is no plain file", next_step=way_out)
        # PowerShell writes UTF-16 where it redirects.
        raw = path.read_bytes()
        text = raw.decode("utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
        # A shell's own lines may stand before and after it.
        entries, _ = json.JSONDecoder().raw_decode(text, max(text.find("["), 0))
    except OSError as error:
        raise BadInput(f"--schedules {path} cannot be read ({type(error).__name__})", next_step=way_out) from None
    except ValueError:
        raise BadInput(f"--schedules {path} has no JSON list", next_step=way_out) from None
    if not isinstance(entries, list) or not all(isinstance(one, dict) and one.get("record_uid") for one in entries):
        raise BadInput(f"--schedules {path} is not a list of rotations with record_uid", next_step=way_out)
    return {str(one["record_uid"]): Schedule.of(one) for one in entries}


def _next_run(cron: Cron, moment: datetime) -> datetime | None:
    runs = (datetime.combine(day, cron.at, timezone.utc) for day in cron.from_day(moment.date()))
    return next((run for run in runs if run > moment), None)


@cache
def _longest_gap(cron: Cron) -> int | None:
    days = list(cron.from_day(date(2024, 1, 1)))
    return max(((later - day).days for day, later in pairwise(days)), default=None)


def _is_in(text: str, highest: int) -> bool:
    return bool(re.fullmatch(r"\d{1,2}", text)) and int(text) <= highest


@cache
def _numbers(text: str, lowest: int, highest: int, names: tuple[str, ...]) -> frozenset[int]:
    """Return the numbers that a field stands for; raise ValueError where it is none."""
    found: set[int] = set()
    for part in text.split(","):
        span, slash, step = part.partition("/")
        first, dash, last = span.partition("-")
        if first in ("*", "?"):
            begin, end = lowest, highest
        else:
            begin = _number(first, names)
            end = _number(last, names) if dash else highest if slash else begin
        found.update(range(begin, end + 1, int(step) if slash else 1))
    if not found or not found <= set(range(lowest, highest + 1)):
        raise ValueError(text)
    return frozenset(found)


def _number(text: str, names: tuple[str, ...]) -> int:
    return names.index(text) + 1 if text in names else int(text)


def _days(text: str, last: int) -> set[int]:
    """Return the days of a month of so many days; `L` is its last one."""
    return {last} if text == "L" else {day for day in _numbers(text, 1, 31, ()) if day <= last}


def _days_by_weekday(text: str, year: int, month: int) -> set[int]:
    """Return the days of a month that are of these weekdays; `6#3` is the third Friday, `6L` the last one."""
    last = calendar.monthrange(year, month)[1]
    by_weekday: dict[int, list[int]] = {}
    for day in range(1, last + 1):
        # Python counts from Monday as 0, Quartz from Sunday as 1.
        by_weekday.setdefault((date(year, month, day).weekday() + 1) % 7 + 1, []).append(day)
    if one := re.fullmatch(r"(\w+)#([1-5])", text):
        return set(by_weekday[_weekday(one[1])][int(one[2]) - 1 : int(one[2])])
    if one := re.fullmatch(r"([1-7]|SUN|MON|TUE|WED|THU|FRI|SAT)L", text):
        return {by_weekday[_weekday(one[1])][-1]}
    return {day for weekday in _numbers(text, 1, 7, _WEEKDAYS) for day in by_weekday[weekday]}


def _weekday(text: str) -> int:
    (number,) = _numbers(text, 1, 7, _WEEKDAYS)
    return number
