"""What `make docs` writes is what the code says: the pages of docs/reference/, and the record templates."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from pam_scripts.assembly.script import Script
from pam_scripts.cli.audit.rules import RULES
from pam_scripts.cli.scripts import SCRIPTS
from pam_scripts.core.fields import Record
from pam_scripts.core.secret import Secret
from pam_scripts.gateway.payload import Job
from pam_scripts.issuers.seeq import application_keys
from tests.conftest import ROOT
from tools import reference


def job(user: Mapping[str, str], admin: Mapping[str, str]) -> Job:
    """Return a job with these fields in its PAM User record and in the record attached to it."""
    attached = [Record.from_flat({"uid": "ADMIN", "title": "Admin", **admin})]
    return Job(Record.from_flat({"uid": "USER", "title": "User", **user}), None, attached, Secret("from Keeper"))


def test_every_generated_file_is_as_the_code_has_it() -> None:
    """None is missing, differs, or is left over from before."""
    old = reference.old(ROOT, reference.made())

    assert not old, f"not what the code says now, run `make docs` and look at what it changes: {', '.join(old)}"


def test_a_field_that_changes_makes_its_page_and_its_templates_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check finds a change in the contract: no other pages, but each file that tells of the field."""
    fields = [replace(field, meaning="another meaning", prompt="") for field in application_keys.FIELDS]
    monkeypatch.setattr(application_keys, "FIELDS", [application_keys.FIELDS[0], *fields[1:]])

    stem = "rotate_seeq_application_key"
    endings = ("commander.csv", "commander.json", "project.json", "web.csv")
    templates = [f"record_templates/{stem}.{ending}" for ending in endings]
    assert [f"docs/reference/{stem}.md", *templates] == reference.old(ROOT, reference.made())


def test_what_is_old_is_renewed_and_a_page_that_is_no_more_is_deleted(tmp_path: Path) -> None:
    """In an empty directory all is written; then only what differs, and what has no place there goes."""
    files = reference.made()

    assert sorted(files) == reference.renew(tmp_path)
    (tmp_path / "docs/reference/findings.md").write_text("old")
    (tmp_path / "docs/reference/rotate_nothing.md").write_text("left over")
    (tmp_path / "record_templates/README.md").write_text("written by hand")
    assert ["docs/reference/findings.md", "docs/reference/rotate_nothing.md"] == reference.renew(tmp_path)
    assert [] == reference.old(tmp_path, files)
    assert not (tmp_path / "docs/reference/rotate_nothing.md").exists()
    assert (tmp_path / "record_templates/README.md").exists()


def test_each_page_says_that_it_is_generated_and_by_which_command() -> None:
    """Whoever opens a page to change it reads in its first lines where to change it."""
    assert [] == [name for name, text in reference.pages().items() if "`make docs`" not in text.split("\n\n")[1]]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_the_smallest_record_is_enough_and_nothing_in_it_is_too_much(script: Script) -> None:
    """A run would begin with the fields of the page's first table; without any one of the PAM User's it would not."""
    user, admin = reference.SMALLEST[script.stem]

    assert [] == script.read(job(user, admin)).problems
    for label in user:
        fewer = {other: value for other, value in user.items() if other != label}
        assert script.read(job(fewer, admin)).problems, label


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_the_smallest_admin_record_has_what_the_contract_requires(script: Script) -> None:
    """Where the script itself needs a login, every required field of it is there, and only fields of it."""
    _, admin = reference.SMALLEST[script.stem]
    required = {field.label for field in script.issuer.ADMIN_FIELDS if field.required}

    assert required <= set(admin) <= {field.label for field in script.issuer.ADMIN_FIELDS}


def test_every_severity_is_explained() -> None:
    """The page of findings has a word for each severity that a rule has."""
    used = {severity for rule in RULES for severity in (rule.severity, rule.at_worst) if severity}

    assert used == {name for name, _ in reference.SEVERITIES}


def test_the_pages_do_not_depend_on_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A narrow window, or one with colours, changes nothing."""
    before = reference.pages()
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("FORCE_COLOR", "1")

    assert before == reference.pages()


def test_the_page_of_refusals_has_every_table_that_a_module_declares() -> None:
    """A module that says what its system refuses, as `REFUSALS`, is on the page: no row escapes it and its test."""
    declaring = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in sorted((ROOT / "pam_scripts").rglob("*.py"))
        if re.search(r"^REFUSALS\b", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    declared = [row for name in declaring for row in importlib.import_module(name.removesuffix(".__init__")).REFUSALS]

    assert declared
    assert {*declared} == {row for rows in reference.REFUSALS.values() for row in rows}
