"""Which records options choose, and the question before anything is changed."""

from __future__ import annotations

import argparse
import os
import pty
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from pam_scripts.cli import main as command
from pam_scripts.cli.fleet.choose import choose, confirm, is_due, listed
from pam_scripts.cli.scripts import SCRIPTS
from pam_scripts.cli.shared import Shared
from pam_scripts.core.deadline import Deadline
from pam_scripts.core.errors import BadInput
from pam_scripts.core.fields import Record
from pam_scripts.core.times import iso
from sandbox.plant import SEEQ_HOST
from tests.cli.audit.conftest import fleet_of
from tests.support.fleet import Fleet


def options(*arguments: str) -> argparse.Namespace:
    """Return what the command line says."""
    return command.parser().parse_args(["rotate", *arguments])


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> tuple[Fleet, Shared]:
    """Return twelve records of all scripts, three of them ill, and what was read of them."""
    directory = tmp_path_factory.mktemp("fleet")
    with (
        fleet_of(directory, 14, "expired", "expires-soon", "no-admin") as made,
        pytest.MonkeyPatch.context() as patched,
    ):
        for name, value in made.environment().items():
            patched.setenv(name, value)
        return made, Shared.fetch(Deadline(60))


def chosen(fleet: tuple[Fleet, Shared], *arguments: str) -> list[str]:
    """Return the UIDs of the records that the command line chooses."""
    return [one.uid for one in choose(options(*arguments), fleet[1]).chosen]


def ours(fleet: tuple[Fleet, Shared]) -> set[str]:
    """Return the UIDs of all records of rotations."""
    return {*fleet[0].healthy, *fleet[0].uids.values()}


def test_all_are_the_records_of_rotations_and_no_others(fleet: tuple[Fleet, Shared]) -> None:
    """A database user and a web site of the same folder are left alone; each record comes once, by script and title."""
    found = choose(options("--all"), fleet[1]).chosen
    order = [script.stem for script in SCRIPTS]

    assert ours(fleet) == {one.uid for one in found}
    assert len(found) == len({one.uid for one in found})
    keys = [(order.index(one.script.stem), one.record.title.lower()) for one in found]
    assert sorted(keys) == keys


def stems(fleet: tuple[Fleet, Shared]) -> set[str]:
    """Return the scripts that the fleet has records of."""
    return {fleet[1].script(one).stem for one in ours(fleet)}


def test_a_script_narrows_the_choice(fleet: tuple[Fleet, Shared]) -> None:
    """Only what belongs to it; with nothing else said, of all records."""
    assert len(stems(fleet)) > 3
    for script in stems(fleet):
        found = chosen(fleet, "--script", script)
        assert {one for one in ours(fleet) if fleet[1].script(one).stem == script} == {*found}


def test_what_ends_soon_is_due(fleet: tuple[Fleet, Shared]) -> None:
    """Keys that have ended, and those that end within so many days; of keys without an end, those so old."""
    found = chosen(fleet, "--due", "10", "--script", "rotate_seeq_application_key")

    assert {fleet[0].uids["expired"], fleet[0].uids["expires-soon"]} == {*found}
    assert chosen(fleet, "--due", "100", "--script", "rotate_azure_app_secret")
    users = ("--script", "rotate_seeq_user_key")
    assert [] == chosen(fleet, "--due", "3650", *users)
    assert chosen(fleet, *users) == chosen(fleet, "--due", "1", *users)


@pytest.mark.parametrize(
    ("field", "days", "due"),
    [
        ({"expires": timedelta(days=5)}, 5, True),
        ({"expires": timedelta(days=5, hours=1)}, 5, False),
        ({"expires": timedelta(days=-1)}, 1, True),
        ({"rotated_at": timedelta(days=-5)}, 5, True),
        ({"rotated_at": timedelta(days=-4)}, 5, False),
        ({}, 1, True),
    ],
)
def test_an_end_goes_before_an_age_and_never_rotated_is_due(field: dict[str, timedelta], days: int, due: bool) -> None:
    """The record says when; a date field's milliseconds are read as well."""
    now = datetime.fromisoformat("2026-11-22T05:50:00+00:00")
    (script,) = [script for script in SCRIPTS if script.stem == "rotate_seeq_application_key"]
    for written in (iso, lambda at: int(at.timestamp() * 1000)):
        values = {label: written(now + away) for label, away in field.items()}
        record = Record.from_flat({"uid": "U", "title": "T", **values})
        assert due == is_due(record, script, timedelta(days=days), now)


def test_an_admin_and_a_server_choose_what_depends_on_them(fleet: tuple[Fleet, Shared]) -> None:
    """By the records that are attached or the configuration; by the hosts that a rotation asks, with scheme or not."""
    made = fleet[0]
    seeq = {
        uid
        for uid in ours(fleet)
        if fleet[1].script(uid).stem.startswith("rotate_seeq") and uid != made.uids["no-admin"]
    }

    assert seeq == {*chosen(fleet, "--admin", made.admin_uid)}
    assert seeq == {*chosen(fleet, "--server", SEEQ_HOST)}
    assert seeq == {*chosen(fleet, "--server", f"https://{SEEQ_HOST.upper()}")}
    assert ours(fleet) == {*chosen(fleet, "--admin", made.configuration_uid)}
    assert [] == chosen(fleet, "--admin", made.admin_uid, "--script", "rotate_azure_app_secret")


def test_parts_are_all_of_it_and_share_nothing(fleet: tuple[Fleet, Shared]) -> None:
    """Whatever the number of parts, each record is in one of them: nobody need tell them who does what."""
    for of in (1, 2, 3, 7):
        parts = [chosen(fleet, "--all", "--part", f"{number}/{of}") for number in range(1, of + 1)]
        assert sorted(ours(fleet)) == sorted(uid for part in parts for uid in part)
    assert 1 < sum(1 for part in parts if part), "they are spread"


def test_named_records_are_narrowed_and_what_is_wrong_with_them_is_kept(fleet: tuple[Fleet, Shared]) -> None:
    """One that is not shared, or belongs to no script, fails by itself; the others are chosen."""
    uid = fleet[0].healthy[0]
    choice = choose(options(uid, uid, "NoSuchRecord", fleet[0].admin_uid), fleet[1])

    assert [uid] == [one.uid for one in choice.chosen]
    assert ["NoSuchRecord", fleet[0].admin_uid] == list(choice.failed)
    assert "not shared" in str(choice.failed["NoSuchRecord"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "no records are chosen"),
        (("--part", "1/2"), "no records are chosen"),
        (("--all", "SomeRecord"), "--all"),
    ],
)
def test_nothing_is_chosen_by_chance(fleet: tuple[Fleet, Shared], arguments: Sequence[str], said: str) -> None:
    """Without an option that says which there is no choice, and a contradiction is none."""
    with pytest.raises(BadInput, match=said):
        choose(options(*arguments), fleet[1])


@pytest.mark.parametrize(
    "arguments",
    [
        *(["--part", part] for part in ("0/3", "4/3", "1", "a/b", "1/0")),
        ["--due", "0"],
        *(["--server", server] for server in ("", "https://[::1", "two words", "seeq.example.com:0")),
        ["--script", "x"],
        ["--resume", "1234"],
        ["--at-once", "0"],
        ["--at-once", "501"],
    ],
)
def test_what_cannot_be_meant_is_refused(arguments: Sequence[str], capsys: pytest.CaptureFixture[str]) -> None:
    """With the option named, in words; nobody is asked."""
    with pytest.raises(SystemExit, match="2"):
        options("--all", *arguments)
    said = capsys.readouterr().err
    assert f"argument {arguments[0]}" in said
    assert "invalid _" not in said, "no name of our own code"


def test_what_is_chosen_is_listed_within_80_columns(fleet: tuple[Fleet, Shared]) -> None:
    """By script, each record with its number, title and UID."""
    lines = list(listed(choose(options("--all"), fleet[1]).chosen))

    assert all(len(line) <= 80 for line in lines)
    assert stems(fleet) == {line.partition(":")[0] for line in lines if line[0] != " "}
    assert ours(fleet) == {line.split()[-1] for line in lines if line[0] == " "}


@pytest.mark.parametrize(
    ("answer", "goes_on"), [("y\n", True), ("YES\n", True), ("n\n", False), ("\n", False), ("\x04", False)]
)
def test_a_person_is_asked(answer: str, goes_on: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal only a yes begins; the end of input is none."""
    person, terminal = pty.openpty()
    with os.fdopen(terminal, "r", closefd=False) as stdin, os.fdopen(terminal, "w", closefd=False) as stderr:
        monkeypatch.setattr("sys.stdin", stdin)
        monkeypatch.setattr("sys.stderr", stderr)
        os.write(person, answer.encode())
        if goes_on:
            confirm(options("--all"), "Rotate 3 records?")
        else:
            with pytest.raises(BadInput, match="not confirmed; nothing was begun"):
                confirm(options("--all"), "Rotate 3 records?")
        shown = b""
        # What was typed is echoed before.
        while b"Rotate 3 records? [y/N]" not in shown:
            shown += os.read(person, 1000)


def test_nobody_to_ask_is_no_yes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without a terminal it does not begin; with --yes it does not ask."""
    nothing = tmp_path / "nothing"
    nothing.touch()
    with nothing.open() as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        with pytest.raises(BadInput, match="say --yes"):
            confirm(options("--all"), "Rotate?")
        confirm(options("--all", "--yes"), "Rotate?")
