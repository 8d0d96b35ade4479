"""Times as systems write them."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from pam_scripts.core.times import iso, parse_iso, read_moment


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-22T05:50:00Z", datetime(2026, 11, 22, 5, 50, tzinfo=timezone.utc)),
        ("2026-11-22T05:50:00", datetime(2026, 11, 22, 5, 50, tzinfo=timezone.utc)),
        ("2026-11-22T05:50:00.123456789Z", datetime(2026, 11, 22, 5, 50, 0, 123456, timezone.utc)),
        ("2026-11-22T05:50:00.5Z", datetime(2026, 11, 22, 5, 50, 0, 500000, timezone.utc)),
        ("2026-11-22T07:50:00+02:00", datetime(2026, 11, 22, 5, 50, tzinfo=timezone.utc)),
        ("2026-11-22T07:50:00.1+0200", datetime(2026, 11, 22, 5, 50, 0, 100000, timezone.utc)),
        ("2026-11-21T21:50:00-08:00", datetime(2026, 11, 22, 5, 50, tzinfo=timezone.utc)),
        (" 2026-11-22T05:50:00Z\n", datetime(2026, 11, 22, 5, 50, tzinfo=timezone.utc)),
    ],
)
def test_times_are_read_as_systems_write_them(text: str, expected: datetime) -> None:
    """Nanoseconds, any offset with or without colon, `Z`, and no zone at all, which means UTC."""
    found = parse_iso(text)

    assert expected == found
    assert found.tzinfo is not None


@pytest.mark.parametrize(
    "text", ["", "now", "2026-11-22", "22.11.2026 05:50", "2026-13-01T00:00:00Z", "2026-11-22T25:00:00Z", "1795326600"]
)
def test_what_is_no_time_is_an_error(text: str) -> None:
    """Anything else is refused by ValueError, whatever it looks like."""
    with pytest.raises(ValueError, match=r".+"):
        parse_iso(text)


def test_times_are_written_in_utc_to_the_second() -> None:
    """What is written can be read back, whatever zone it was in."""
    moment = datetime(2026, 11, 22, 7, 50, 0, 999999, timezone(timedelta(hours=2)))

    assert "2026-11-22T05:50:00Z" == iso(moment)
    assert moment.replace(microsecond=0) == parse_iso(iso(moment))


def test_a_moment_is_read_as_text_and_as_keepers_date_fields_have_it() -> None:
    """A date field in the vault holds Unix milliseconds; what is no time is none."""
    moment = datetime(2026, 11, 22, 5, 50, tzinfo=timezone.utc)

    assert [moment, moment] == [read_moment("2026-11-22T05:50:00Z"), read_moment(f"{moment.timestamp() * 1000:.0f}")]
    assert [None, None, None] == [read_moment(text) for text in ("", "soon", "20261122")]
