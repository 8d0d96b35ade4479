"""The report of an audit: as a table for people, as JSON and as CSV."""

from __future__ import annotations

import csv
import io
import re
import sys
from pathlib import Path

import pytest

from pam_scripts.cli.audit import terminal
from pam_scripts.cli.audit.report import Report, table
from pam_scripts.core.times import utc_now
from tests.cli.audit.conftest import Audited, fleet_of
from tests.cli.audit.test_page import row
from tests.cli.conftest import Command
from tests.support.fleet import EVERY


def test_each_healthy_record_shows_its_keys_and_dates(audited: Audited) -> None:
    """Live keys, age, end, days left, and whether Key Vault or AWS has what Keeper has."""
    fleet = audited.fleet
    for uid in fleet.healthy:
        record = audited.records[uid]
        if not fleet.values[uid, "rotation_lease"]:
            mirrored = any(fleet.values[uid, label] for label in ("key_vault_name", "aws_secret_id"))
            assert record["mirror"] == ("same" if mirrored else "none"), record
        assert 0 <= record["age_days"] < EVERY
        if record["script"] == "publish_secret":
            assert (fleet.values[uid, "secret_name"], None, "") == (
                *(record["target"], record["live_keys"], record["key_id"]),
            )
            continue
        assert record["live_keys"] >= 1
        assert record["key_id"]
        if record["script"] != "rotate_seeq_user_key":
            assert 0 < record["days_left"] <= 90
    assert 1 == audited.status


def test_the_table_has_the_ill_first_with_what_to_do(tmp_path: Path, command: Command) -> None:
    """Below each record that is ill stands what is wrong, and an arrow with the way out; exit 1."""
    with fleet_of(tmp_path, 12, "vault-mixed", "old-keys", "expires-soon") as fleet:
        result = command("audit", sandbox=fleet)
        short = command("audit", "--problems", sandbox=fleet)

    lines = result.stdout.splitlines()
    marks = [line[:2] for line in lines[1:] if line[:2] in ("!!", "! ", "? ", "ok")]
    assert 1 == result.returncode
    assert ["!!", "! ", "? ", *["ok"] * 9] == marks
    assert "        -> rotate: that sets them all" in lines
    assert "      the key expires soon: " in result.stdout
    assert "ok  " not in short.stdout
    assert "12 records of rotations: 3 with problems (1 broken, 1 soon, 1 to look at)" in short.stdout


def test_csv_has_a_line_for_each_record_and_no_formula(tmp_path: Path, command: Command) -> None:
    """A title that a spreadsheet would take for a formula is made harmless."""
    with fleet_of(tmp_path, 10, "old-keys") as fleet:
        fleet.keeper.edit(fleet.uids["old-keys"], lambda data: data.update(title="=HYPERLINK(1)"))
        result = command("audit", "--csv", sandbox=fleet)

    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    ill = next(row for row in rows if row["record"] == fleet.uids["old-keys"])
    assert 10 == len(rows)
    assert ("'=HYPERLINK(1)", "old-keys", "look", "left over from a project") == (
        ill["title"],
        ill["codes"],
        ill["severity"],
        ill["other_labels"],
    )


@pytest.mark.parametrize("with_rich", [True, False])
@pytest.mark.parametrize("width", [80, 120])
def test_a_terminal_gets_lines_within_its_width_and_no_word_is_broken(
    width: int, with_rich: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every word stands whole in one line; only one that is longer than a line sticks out; a blank line between."""
    if not with_rich:
        monkeypatch.setitem(sys.modules, "rich.console", None)
    rows = [
        row(number, number, "broken" if number % 2 else None, f"Key of a long-winded title {number}")
        for number in range(9)
    ]
    rows.append(row(9, 9, "look", "x" * 150))
    report = Report(rows, utc_now(), 3)
    shown, plain = terminal.shown(report, width), table(report)

    lines = shown.splitlines()
    assert [] == [line for line in lines if len(line) > width and "x" * 150 not in line]
    assert len(rows) == lines.count("")
    assert [] == [one.record for one in rows if f"({one.record})" not in shown or one.record not in plain]
    for one in report.with_problems:
        for problem in one.problems:
            assert f"{problem.rule.title}: {problem.what}" in " ".join(shown.split())
            assert {*problem.way_out.split()} <= {*shown.split()}


def test_colours_change_no_word_and_go_where_none_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each state has its colour with rich, the words are those without; NO_COLOR means none; titles are no markup."""
    report = Report([row(1, 1, "broken", "[red]A title[/red] of somebody"), row(2, 2, "look"), row(3, 3)], utc_now(), 3)
    for name, value in (("FORCE_COLOR", "1"), ("TERM", "xterm-256color")):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_COLOR", raising=False)
    coloured = terminal.shown(report, 100)
    monkeypatch.setenv("NO_COLOR", "1")
    colourless = terminal.shown(report, 100)
    monkeypatch.setitem(sys.modules, "rich.console", None)
    plain = terminal.shown(report, 100)

    colours = r"\x1b\[[0-9;]*3[1-7]m"
    assert len(re.findall(colours, coloured)) >= 5
    assert [] == re.findall(colours, colourless)
    assert plain == re.sub(r"\x1b\[[0-9;]*m", "", coloured) == re.sub(r"\x1b\[[0-9;]*m", "", colourless)
    assert "[red]A title[/red] of somebody" in plain
