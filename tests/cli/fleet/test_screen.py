"""What a person sees while many runs are under way, and in the table at the end."""

from __future__ import annotations

import os
import pty
from collections.abc import Callable
from pathlib import Path

import pytest

from pam_scripts.cli.fleet.crowd import Crowd, Outcome, Task
from pam_scripts.cli.fleet.pace import Pace
from pam_scripts.cli.fleet.report import Result, as_json, table
from pam_scripts.cli.fleet.screen import Logged, Progress, Screen, line_of, log_of, make_logs, seconds_left
from pam_scripts.cli.scripts import SCRIPTS
from pam_scripts.core.errors import BadInput
from pam_scripts.core.secret import Secret
from pam_scripts.core.times import utc_now

LONG = "A title that is much longer than what fits into the column of a table"


def crowd(*statuses: int | None, waiting: int = 0, gate: Pace | None = None) -> Crowd:
    """Return runs that have come so far: those that have ended took 2 s each, None is under way."""
    made = Crowd(2, 20, gate=gate or Pace(3))
    for number, status in enumerate(statuses):
        made.outcomes[f"U{number}"] = Outcome(f"U{number}", f"Title {number}", "s", status, 2.0)
        if status is None:
            made.under_way[f"U{number}"] = None
    for number in range(waiting):
        uid = f"W{number}"
        made.outcomes[uid] = Outcome(uid, uid, "s")
        made.waiting.append(Task(uid, uid, SCRIPTS[0], lambda _run: pytest.fail("it is not begun"), Screen))
    return made


@pytest.fixture
def on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Callable[[], str]]:
    """Return what makes standard output and error a terminal, and gives what reads what was written there."""

    def open_one() -> Callable[[], str]:
        person, end = pty.openpty()
        stream = os.fdopen(end, "w")
        monkeypatch.setattr("sys.stderr", stream)
        monkeypatch.setattr("sys.stdout", stream)
        return lambda: os.read(person, 10_000).decode()

    return open_one


def test_progress_says_what_is_done_failed_under_way_and_waited_for() -> None:
    """Each in its number; nothing is said of what there is none of."""
    progress = Progress(Screen(), lambda _line: None, {}, tells_ends=False)

    assert "2 of 6 done, 1 failed, 2 under way, about 3.0 s left" == progress.line(crowd(0, 1, None, None, waiting=2))
    assert "1 of 1 done" == progress.line(crowd(0))
    assert "0 of 1 done, 1 under way" == progress.line(crowd(None))


def test_the_time_left_counts_the_pauses() -> None:
    """By what runs took that came so far as to say anything, in so many at a time, and Keeper's silence between."""
    assert 0.0 == seconds_left(crowd(2, None, waiting=3))
    assert 2.0 * (2 + 0.5) == seconds_left(crowd(0, None, waiting=3))
    slow = Pace(3, allowed=13, silence=100)
    assert 1 == slow.at_once
    assert 0.0 == slow.seconds()
    assert 2.0 * (2 + 0.5) + 3 * 105 == pytest.approx(seconds_left(crowd(0, None, waiting=3, gate=slow)))


def test_on_a_terminal_lines_stand_above_the_progress(on_a_terminal: Callable[[], Callable[[], str]]) -> None:
    """The line is wiped before another one is written, drawn again after it, and wiped off at the end."""
    written = on_a_terminal()
    screen = Screen()
    screen.progress("1 of 3 done", at_once=True)
    screen.prefixed("    1 | ").say("Verified")
    screen.progress("", at_once=True)

    wipe = "\r\x1b[K"
    assert f"{wipe}1 of 3 done{wipe}    1 | Verified\r\n{wipe}1 of 3 done{wipe}" == written()


def test_no_secret_reaches_the_line_of_progress(on_a_terminal: Callable[[], Callable[[], str]]) -> None:
    """A title may be one: it is covered there as everywhere."""
    written = on_a_terminal()
    Secret("a title that is a password")
    Screen().progress("waiting for a title that is a password", at_once=True)

    assert "***" in written()


def test_each_end_is_told_once() -> None:
    """However often it is looked at; with its number in the list."""
    said: list[str] = []
    progress = Progress(Screen(), said.append, {"U0": 7}, tells_ends=True)
    for _ in range(2):
        progress(crowd(0, None))

    assert [["7", "Title", "0", "looked", "2.0", "s"]] == [line.split() for line in said]


@pytest.mark.parametrize("status", [0, 1, 2, 3, 4, None])
def test_a_line_of_the_table_has_80_columns_at_most(status: int | None) -> None:
    """Whatever the title, and however long it took."""
    for seconds in (0.0, 9.99, 99.0, 5399.0, 1e6):
        assert len(line_of(99_999, Outcome("U" * 22, LONG, "s", status, seconds))) <= 80


def test_what_failed_is_told_the_gravest_first_without_its_name_twice() -> None:
    """Its title and UID stand above its error, which begins with neither; what was not begun is counted."""
    bad = Outcome("U1", "Reports", "s", 4, 1.0, error="record 'Reports' (U1): cause; next step " + "x" * 90)
    worse = [Outcome("U2", "Other", "s", 1, 1.0, error="cause"), bad, Outcome("U3", LONG, "s")]
    result = Result("rotate", "0badcafe", utc_now(), 12.0, worse)
    lines = list(table(result))

    assert 4 == result.status
    assert not result.is_whole
    assert "Run 0badcafe: 1 not begun, 1 failed, 1 not certain, a person must look, in 12 s" == lines[0]
    at = next(number for number, line in enumerate(lines) if line.startswith("What to look at"))
    assert ["2", "Reports", "U1"] == lines[at + 1].split()
    assert lines[at + 2].startswith("       cause; next step")
    assert "Other" in "".join(lines[at + 3 :])
    assert 1 == Result("rotate", "0badcafe", utc_now(), 0.0, [Outcome("U", "T", "s")]).status
    assert '"not_begun": 1' in as_json(result)


def test_logs_are_made_and_named_by_uid(tmp_path: Path) -> None:
    """Nothing in a UID leads elsewhere; lines of both streams stand in the file; one that is there is gone on with."""
    make_logs(tmp_path / "a" / "b")
    path = log_of(tmp_path / "a" / "b", "-x/../y")
    for _ in range(2):
        own = Logged(path)
        own.say("done")
        own.warn("look")
        own.finish()

    assert tmp_path / "a" / "b" / "-x____y.log" == path
    assert ["done", "warning: look"] * 2 == path.read_text().splitlines()


def test_a_directory_that_cannot_be_made_is_said_before_anything_is_begun(tmp_path: Path) -> None:
    """Bad input, with the path."""
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match="nothing was begun"):
        make_logs(tmp_path / "file")
