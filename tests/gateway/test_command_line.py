"""The command line of an attachable script."""

from __future__ import annotations

import sys

import pytest

from pam_scripts.gateway import command_line


def test_a_uid_that_begins_with_a_hyphen_is_no_option(monkeypatch: pytest.MonkeyPatch) -> None:
    """For every option that takes one, written either way."""
    uid, other, third = "-cSk-1hh_5Zzq0bJ2mE4Qw", "--Sk-1hh_5Zzq0bJ2mE4Qw", "-_aaaaaaaaaaaaaaaaaaaa"
    given = [
        "script",
        "--check",
        "--record",
        uid,
        "--credential",
        other,
        f"--credential={uid}",
        "--configuration",
        third,
    ]
    monkeypatch.setattr(sys, "argv", given)

    asked = command_line.read("a script")
    assert (True, uid, [other, uid], third) == (asked.check, asked.record, asked.credential, asked.configuration)


def test_an_option_that_is_none_is_still_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only what is as long as a UID is taken for one."""
    monkeypatch.setattr(sys, "argv", ["script", "--chekc"])

    with pytest.raises(SystemExit, match="2"):
        command_line.read("a script")
    assert "--chekc" in capsys.readouterr().err
