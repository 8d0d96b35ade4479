"""`templates`: the files of record_templates/, and the same filled in for many keys."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from keepercommander.importer.csv.csv import KeeperCsvImporter

from pam_scripts.cli.scripts import SCRIPTS
from sandbox.plant import Plant
from tests.cli.conftest import Command, write
from tests.conftest import ROOT

TEMPLATES = ROOT / "record_templates"


def records(path: Path) -> list[dict[str, Any]]:
    """Return the records of a JSON file."""
    whole: dict[str, list[dict[str, Any]]] = json.loads(path.read_text(encoding="utf-8"))
    return whole["records"]


def test_every_script_is_known() -> None:
    """The command knows each script that can be attached, and no other."""
    scripts = sorted(path.stem for path in (ROOT / "pam_scripts").glob("*.py") if not path.name.startswith("__"))

    assert scripts == sorted(script.stem for script in SCRIPTS)


def test_the_files_in_the_repository_are_what_it_writes(tmp_path: Path, command: Command) -> None:
    """One definition makes them: whoever changes a field runs `pam-scripts templates --output record_templates`."""
    result = command("templates", "--output", str(tmp_path))

    stems = {script.stem for script in SCRIPTS}
    expected = {path.name: path.read_bytes() for path in TEMPLATES.iterdir() if path.name.partition(".")[0] in stems}
    assert (0, "") == (result.returncode, result.stderr)
    assert expected == {path.name: path.read_bytes() for path in tmp_path.iterdir()}


def test_a_csv_fills_in_a_record_for_each_line(tmp_path: Path, command: Command) -> None:
    """Columns are fields; what is empty stays the default; --set enters the same into all; one admin record follows."""
    source = write(
        tmp_path / "keys.csv",
        "title,login,application_id,expiry_days\nReports key,reports,ID-1,30\n=Plan,planning,ID-2,\n",
    )
    result = command(
        *("templates", "--script", "rotate_seeq_application_key", "--output", str(tmp_path / "out")),
        *("--csv", str(source), "--set", "key_vault_name=plant-vault"),
    )

    assert (0, "") == (result.returncode, result.stderr)
    made = records(tmp_path / "out" / "rotate_seeq_application_key.commander.json")
    assert ["Reports key", "=Plan", "Seeq admin"] == [record["title"] for record in made]
    fields = [record["custom_fields"] for record in made[:2]]
    assert ["ID-1", "ID-2"] == [one["$text:application_id"] for one in fields]
    assert ["30", "90"] == [one["$text:expiry_days"] for one in fields]
    assert ["plant-vault"] * 2 == [one["$text:key_vault_name"] for one in fields]
    imported = list(KeeperCsvImporter().do_import(str(tmp_path / "out" / "rotate_seeq_application_key.commander.csv")))
    assert ["Reports key", "=Plan", "Seeq admin"] == [record.title for record in imported]
    with (tmp_path / "out" / "rotate_seeq_application_key.web.csv").open(newline="", encoding="utf-8") as file:
        assert 4 == len(list(csv.reader(file)))


EXCEL = "Title;Application ID;Expiry Days;\r\nReports key;ID-1;30;\r\n;;;\r\nPlan, the 2nd;ID-2;;\r\n;;;\r\n"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\xef\xbb\xbf" + EXCEL.encode(), id="semicolons"),
        pytest.param(b"sep=;\r\n" + EXCEL.encode(), id="with-its-separator"),
        pytest.param(EXCEL.replace(";", "\t").encode("utf-16"), id="unicode-text"),
        pytest.param(
            b"\xef\xbb\xbf" + EXCEL.replace("Plan, the 2nd", '"Plan, the 2nd"').replace(";", ",").encode(), id="commas"
        ),
    ],
)
def test_a_csv_as_excel_writes_it_does(data: bytes, tmp_path: Path, command: Command) -> None:
    """With a byte order mark, semicolons, blank rows, a blank column, and headers as people write them."""
    (tmp_path / "keys.csv").write_bytes(data)
    result = command(
        *("templates", "--script", "rotate_seeq_application_key", "--output", str(tmp_path / "out")),
        *("--csv", str(tmp_path / "keys.csv"), "--set", "Key Vault Name=plant-vault"),
    )

    assert (0, "") == (result.returncode, result.stderr)
    made = records(tmp_path / "out" / "rotate_seeq_application_key.commander.json")
    assert ["Reports key", "Plan, the 2nd", "Seeq admin"] == [record["title"] for record in made]
    labels = ("application_id", "expiry_days", "key_vault_name")
    entered = [[record["custom_fields"][f"$text:{label}"] for label in labels] for record in made[:2]]
    assert [["ID-1", "30", "plant-vault"], ["ID-2", "90", "plant-vault"]] == entered


def test_an_object_id_is_found_under_the_name_that_azure_gives_it(tmp_path: Path, command: Command) -> None:
    """What the portal's own lists call it is the field's label in other letters."""
    source = write(tmp_path / "keys.csv", "Application Object ID\n4f0c9f0e-0000-4000-8000-000000000001\n")
    result = command(
        *("templates", "--script", "rotate_azure_app_secret", "--csv", str(source)),
        *("--output", str(tmp_path / "out")),
    )

    assert (0, "") == (result.returncode, result.stderr)
    [made, _] = records(tmp_path / "out" / "rotate_azure_app_secret.commander.json")
    assert "4f0c9f0e-0000-4000-8000-000000000001" == made["custom_fields"]["$text:application_object_id"]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("application_id;Application ID\nX;Y\n", "its header names application_id more than once"),
        ("application_id;\nX;Y\n", "line 2: it has more or fewer cells"),
        ("\n\napplication_id\n\n", "no line below its header"),
        ("aplication_id\nX\n", "has no field aplication_id"),
        ("application_id,title\nX\n", "line 2: it has more or fewer cells"),
        ("application_id\n", "no line below its header"),
        ("access_key_password\nsecret\n", "has no field access_key_password"),
    ],
)
def test_a_csv_that_does_not_fit_is_refused(text: str, part: str, tmp_path: Path, command: Command) -> None:
    """A mistyped column is named, and nothing is written."""
    source = write(tmp_path / "keys.csv", text)
    result = command(
        *("templates", "--script", "rotate_seeq_application_key", "--csv", str(source)),
        *("--output", str(tmp_path / "out")),
    )

    assert 2 == result.returncode
    assert part in result.stderr
    assert not (tmp_path / "out").exists()


def test_seeqs_own_list_fills_in_what_has_no_record_yet(tmp_path: Path, command: Command, plant: Plant) -> None:
    """More applications than a page holds, without those that have a record, are archived, or have no keys."""
    wanted = {plant.seeq.add_application(f"Report {number}"): f"Report {number}" for number in range(130)}
    plant.seeq.archive_application(plant.seeq.add_application("Archived"))
    plant.seeq.add_application("Federated", oidc_directory_id="D1")
    result = command(
        *("templates", "--from-seeq", plant.admin_uid, "--output", str(tmp_path / "out")),
        sandbox=plant,
    )

    assert (0, "") == (result.returncode, result.stderr)
    made = records(tmp_path / "out" / "rotate_seeq_application_key.commander.json")[:-1]
    assert wanted == {record["custom_fields"]["$text:application_id"]: record["login"] for record in made}
    texts = "".join(path.read_text(encoding="utf-8") for path in (tmp_path / "out").iterdir())
    assert [] == [len(value) for value in plant.secrets() if value in texts + result.stdout]


def test_which_script_is_meant_must_be_said(tmp_path: Path, command: Command) -> None:
    """Filled-in records are one script's: without its name nothing is written."""
    result = command("templates", "--output", str(tmp_path / "out"), "--set", "expiry_days=30")

    assert 2 == result.returncode
    assert "--script" in result.stderr
    assert not (tmp_path / "out").exists()
