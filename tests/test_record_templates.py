"""The record templates, read by Keeper Commander's own importers and held against each script's fields."""

from __future__ import annotations

import csv
import importlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from keepercommander.importer.csv.csv import KeeperCsvImporter
from keepercommander.importer.json.json import KeeperJsonImporter
from keepercommander.record_types import FieldTypes

from pam_scripts.cli.scripts import SCRIPTS
from pam_scripts.core.fields import is_placeholder

if TYPE_CHECKING:
    from pam_scripts.core.fields import Field, Fields

TEMPLATES = Path(__file__).resolve().parents[1] / "record_templates"
STEMS = sorted({path.name.partition(".")[0] for path in TEMPLATES.glob("*_*.*")})
README = (TEMPLATES / "README.md").read_text(encoding="utf-8")
# By script: the titles of its PAM User record and of its admin record.
TITLES = {script.stem: (f"{script.record_title} NAME", script.admin_title) for script in SCRIPTS}
COMMANDER = {"csv": KeeperCsvImporter, "json": KeeperJsonImporter}
GATEWAY = {"NOOP": "True", "Private Key Type": "ssh-rsa"}
WEB_COLUMNS = ["Folder", "Title", "Login", "Password", "Website Address", "Notes", "Shared Folder"]


def fields(stem: str, name: str) -> Fields:
    """Return one of the field lists of the script with this name: `fields` or `admin_fields`."""
    return cast("Fields", getattr(importlib.import_module(f"pam_scripts.{stem}").SCRIPT, name))


def custom(stem: str, name: str) -> list[Field[Any]]:
    """Return the fields of a list that a template must bring itself.

    Login, password and URL are fields of the record type; NOOP and the key type are the Gateway's.
    """
    return [
        field
        for field in fields(stem, name)
        if field.type not in {"login", "password"} and field.label not in {"login", "password", "url", *GATEWAY}
    ]


def commander(stem: str, kind: str) -> tuple[Any, Any]:
    """Return the PAM User record and the admin record as Commander's importer reads them."""
    pam_user, admin = COMMANDER[kind]().execute(str(TEMPLATES / f"{stem}.commander.{kind}"))
    return pam_user, admin


def web(stem: str) -> list[dict[str, str]]:
    """Return the rows of the web vault's file: the fixed columns, and each named value by its name."""
    with (TEMPLATES / f"{stem}.web.csv").open(encoding="utf-8", newline="") as file:
        _, *rows = csv.reader(file)
    return [dict(zip(WEB_COLUMNS, row, strict=False)) | dict(zip(row[7::2], row[8::2], strict=True)) for row in rows]


def gateway(stem: str) -> dict[str, str]:
    """Return what older Gateways need where scripts only are to run; Keeper's own rotation must not be told so."""
    return {} if stem == "publish_secret" else GATEWAY


def check_admin_login(stem: str, login: str | None, password: str | None) -> None:
    """Of login and password those are to be filled in that the script's admin fields have; the others are empty."""
    wanted = {field.label for field in fields(stem, "admin_fields")}
    for label, value in (("login", login or ""), ("password", password or "")):
        assert is_placeholder(value) if label in wanted else not value, label


def check_values(values: dict[str, str], expected: list[Field[Any]]) -> None:
    """Defaults stand there as values; what a person or the script must fill in, as a placeholder.

    So does the time limit, whose default grows where consumers are named: a number would keep it from that.
    """
    for field in expected:
        if field.default and not field.output and field.label != "deadline_seconds":
            assert field.default == values[field.label], field.label
        else:
            assert is_placeholder(values[field.label]), field.label


def test_there_are_templates() -> None:
    """The tests below run over the sets in the directory: one for each script, and no other."""
    assert sorted(TITLES) == STEMS


@pytest.mark.parametrize("stem", STEMS)
def test_the_readme_names_both_records_of_each_set(stem: str) -> None:
    """Who looks for the records after an import knows them by the titles that the set gives them."""
    title, admin = TITLES[stem]

    assert f"| `{stem}` | {title} | {admin}: " in README


@pytest.mark.parametrize("kind", COMMANDER)
@pytest.mark.parametrize("stem", STEMS)
def test_commander_makes_a_pam_user_record_with_the_fields_of_the_script(stem: str, kind: str) -> None:
    """Labels and types are the script's own, none is dropped, none comes twice, Commander knows each type."""
    record, _ = commander(stem, kind)
    expected = [(field.label, field.type) for field in custom(stem, "fields")]
    expected += [(label, "text") for label in gateway(stem)]

    assert record.type == "pamUser"
    assert TITLES[stem][0] == record.title
    assert is_placeholder(record.login)
    assert not record.password
    assert sorted(expected) == sorted((field.label, field.type) for field in record.fields)
    assert {field.type for field in record.fields} <= set(FieldTypes)


@pytest.mark.parametrize("kind", COMMANDER)
@pytest.mark.parametrize("stem", STEMS)
def test_commander_keeps_defaults_and_placeholders(stem: str, kind: str) -> None:
    """Every field has a value, as Commander drops empty ones: the default, or a placeholder."""
    record, _ = commander(stem, kind)
    values = {field.label: field.value for field in record.fields}

    check_values(values, custom(stem, "fields"))
    assert gateway(stem) == {label: values[label] for label in GATEWAY if label in values}


@pytest.mark.parametrize("kind", COMMANDER)
@pytest.mark.parametrize("stem", STEMS)
def test_commander_makes_the_admin_record(stem: str, kind: str) -> None:
    """The admin record is a Login with the script's own admin fields, of their types, and no other."""
    _, record = commander(stem, kind)
    expected = custom(stem, "admin_fields")

    assert record.type == "login"
    assert TITLES[stem][1] == record.title
    check_admin_login(stem, record.login, record.password)
    assert sorted((field.label, field.type) for field in expected) == sorted(
        (field.label, field.type) for field in record.fields
    )
    check_values({field.label: field.value for field in record.fields}, expected)


@pytest.mark.parametrize("stem", STEMS)
def test_both_commander_files_make_the_same_records(stem: str) -> None:
    """It does not matter which of the two files is imported."""
    both = [
        [
            (
                *(each.type, each.title, each.login or "", each.password or ""),
                *((field.type, field.label, field.value) for field in each.fields),
            )
            for each in commander(stem, kind)
        ]
        for kind in COMMANDER
    ]

    assert both[0] == both[1]


@pytest.mark.parametrize("stem", STEMS)
def test_the_web_vaults_file_has_every_text_field_and_no_other(stem: str) -> None:
    """Typed fields are left out: imported from here they would be plain text, a password in sight."""
    record, admin = web(stem)
    expected = [field for field in custom(stem, "fields") if field.type == "text"]
    expected_of_admin = [field for field in custom(stem, "admin_fields") if field.type == "text"]

    assert {*WEB_COLUMNS, *gateway(stem), *(field.label for field in expected)} == set(record)
    assert {*WEB_COLUMNS, *(field.label for field in expected_of_admin)} == set(admin)
    check_values(record, expected)
    check_values(admin, expected_of_admin)
    check_admin_login(stem, admin["Login"], admin["Password"])


@pytest.mark.parametrize("stem", STEMS)
def test_what_the_web_vaults_file_leaves_out_comes_from_the_rotation_or_is_asked_for(stem: str) -> None:
    """A typed field is one that the rotation adds, or the README tells the reader to add it by hand."""
    section = README.partition("## With the web vault")[2].partition("\n## ")[0]
    by_hand = [field.label for field in custom(stem, "admin_fields") if field.type != "text"]

    assert all(field.output for field in custom(stem, "fields") if field.type != "text")
    assert [] == [label for label in by_hand if f"| {TITLES[stem][1]} | `{label}` |" not in section]


@pytest.mark.parametrize("stem", STEMS)
def test_the_web_vaults_file_makes_the_same_records_otherwise(stem: str) -> None:
    """Title, login, password and the values of text fields are those of the Commander files."""
    for row, record in zip(web(stem), commander(stem, "json"), strict=True):
        assert [record.title, record.login or "", record.password or ""] == [
            row[column] for column in ("Title", "Login", "Password")
        ]
        for field in record.fields:
            if field.type == "text":
                assert field.value == row[field.label]


@pytest.mark.parametrize("stem", STEMS)
def test_the_web_vaults_file_has_the_columns_of_the_import(stem: str) -> None:
    """The first row names seven fixed columns, then the pairs of name and value of the longest row."""
    with (TEMPLATES / f"{stem}.web.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)

    pairs = (max(map(len, rows)) - 7) // 2
    assert [
        *WEB_COLUMNS,
        *(f"{word}{n}" for n in range(1, pairs + 1) for word in ("Name", "Value")),
    ] == header
    assert not [name for row in rows for name in row[7::2] if name.startswith("$")]


@pytest.mark.parametrize("stem", STEMS)
def test_the_json_file_repeats_no_label(stem: str) -> None:
    """JSON readers keep the last of two equal names without a word, so none may come twice."""

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        assert len({name for name, _ in pairs}) == len(pairs)
        return dict(pairs)

    text = (TEMPLATES / f"{stem}.commander.json").read_text(encoding="utf-8")
    assert json.loads(text, object_pairs_hook=unique)["records"]
