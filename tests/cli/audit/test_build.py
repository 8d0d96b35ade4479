"""The build that ran on a record last: what its ops log says, and the files that are meant to be attached."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from pam_scripts import __version__
from pam_scripts.cli.audit.build import Build, builds_in
from pam_scripts.cli.audit.rules import NO_ADMIN, NO_SCRIPT, OLD_BUILD, OTHER_BUILD, find_other_builds, judge
from pam_scripts.cli.audit.subject import Subject
from pam_scripts.cli.scripts import SCRIPTS
from pam_scripts.core.errors import BadInput
from pam_scripts.core.fields import Record
from pam_scripts.core.times import iso
from tools.bundle import build as build_all

ROOT = Path(__file__).parents[3]
NOW = datetime(2026, 11, 22, 10, tzinfo=timezone.utc)


def rotated_by(name: str, days_ago: int) -> Subject:
    """Return a record that a build ran on so many days ago."""
    entry = f"Date: {iso(NOW - timedelta(days=days_ago))}\nResult: rotated\nRotated by: pam-scripts {name} on host-7"
    return Subject("Uid", SCRIPTS[0], Record.from_flat({"last_rotation": entry}), NOW, record_type="pamUser")


@pytest.mark.parametrize(
    ("told", "name"),
    [
        ("pam-scripts 0.2.0+1a2b3c4d on host", "0.2.0+1a2b3c4d"),
        ("pam-scripts 0.2.0 on host", "0.2.0"),
        ("somebody by hand", None),
        ("", None),
    ],
)
def test_a_build_is_read_from_the_ops_log(told: str, name: str | None) -> None:
    """What names none, or something else, is no build."""
    build = Build.of({"rotated_by": told, "date": None})

    assert name == (build.name if build else None)


@pytest.mark.parametrize(("version", "is_older"), [("0.1.10", True), (__version__, False), ("99.0.0", False)])
def test_only_a_lower_version_is_older(version: str, is_older: bool) -> None:
    """Numbers are compared as numbers, and a newer one than this command's is nobody's fault."""
    found = {finding.rule for finding in judge(rotated_by(f"{version}+1a2b3c4d", 1))}

    assert is_older == (OLD_BUILD in found)


def test_the_build_that_ran_last_anywhere_is_meant_and_the_others_are_found() -> None:
    """Of three records of one script the one with another file is named, with both builds."""
    others = [rotated_by(f"{__version__}+11111111", 3), rotated_by(f"{__version__}+22222222", 2)]
    newest = rotated_by(f"{__version__}+22222222", 1)
    find_other_builds([*others, newest], {})

    assert [[OTHER_BUILD], [], []] == [[one.rule for one in subject.findings] for subject in (*others, newest)]
    assert "+11111111 ran last at 2026-11-19T10:00:00Z; expected is" in others[0].findings[0].what
    assert others[0].findings[0].what.endswith("+22222222")


def test_files_that_are_meant_are_read_from_their_directory(tmp_path: Path) -> None:
    """Each file's head says its script and its build; one with fewer mirrors has a build of its own."""
    whole = {each.name: each.build for each in build_all(ROOT, tmp_path)}
    small = {each.name: each.build for each in build_all(ROOT, tmp_path, "key_vault")}
    built = builds_in(tmp_path)

    stem = SCRIPTS[0].stem
    assert {whole[f"{stem}.py"], small[f"{stem}-with-key_vault.py"]} == built[stem]
    assert {script.stem for script in SCRIPTS} == set(built)
    subject = rotated_by(small[f"{stem}-with-key_vault.py"], 3)
    stranger = rotated_by(f"{__version__}+22222222", 1)
    find_other_builds([subject, stranger], built)
    assert ([], [OTHER_BUILD]) == (subject.findings, [one.rule for one in stranger.findings])


def test_a_directory_without_builds_is_refused(tmp_path: Path) -> None:
    """Nothing is called another build for a wrong directory's sake."""
    with pytest.raises(BadInput, match="none of the files to attach"):
        builds_in(tmp_path)


def test_a_record_without_a_script_is_not_asked_for_its_credential_too() -> None:
    """A credential is attached to a script: one finding leads further than two."""
    subject = Subject("Uid", SCRIPTS[0], Record.from_flat({}), NOW, record_type="pamUser")
    subject.findings.append(NO_ADMIN.found("there is none"))
    found = judge(subject)

    assert NO_SCRIPT in {finding.rule for finding in found}
    assert NO_ADMIN not in {finding.rule for finding in found}
    assert "pam rotation script add Uid" in next(one.way_out for one in found if one.rule == NO_SCRIPT)
