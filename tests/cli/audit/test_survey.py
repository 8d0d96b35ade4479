"""The audit of a fleet: every illness named with its way out, no false alarm, at a cost that grows with pages."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bench.audit import measure
from pam_scripts.cli.audit.rules import RULES
from sandbox.faults import Rule, no_effect_no_answer
from sandbox.fleet import EVERY, ILLNESSES, VAULT, Fleet
from sandbox.log import Request
from sandbox.plant import SEEQ_HOST, on_loopback
from sandbox.publishing import STAGE_VAULT, PublishPlant
from tests.cli.conftest import Command, attach
from tests.conftest import ROOT
from tests.invariants import Script, writes

ROUND_TRIP = 0.1
MOST_REQUESTS = 150
MOST_SECONDS = 15


@contextmanager
def fleet_of(directory: Path, size: int, *ill: str) -> Iterator[Fleet]:
    """Have a fleet listen for as long as the `with` statement lasts."""
    fleet = Fleet(directory, size, ill)
    fleet.wire.start()
    try:
        yield fleet
    finally:
        fleet.wire.stop()


@dataclass(frozen=True)
class Audited:
    """A thousand records, audited once. records: what the JSON says of each, by uid."""

    fleet: Fleet
    records: dict[str, dict[str, Any]]
    summary: dict[str, int]
    status: int
    log: list[Request]
    shown: str


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory, runtime_python: str) -> Iterator[Audited]:
    """Audit a fleet of a thousand with every illness."""
    directory = tmp_path_factory.mktemp("fleet")
    html = directory / "audit.html"
    with fleet_of(directory, 1000, *ILLNESSES) as fleet:
        cost = measure(fleet, 0, "--json", "--html", str(html), python=runtime_python)
        log = list(fleet.wire.log)
        told = json.loads(cost.output)
        records = {record["record"]: record for record in told["records"]}
        shown = cost.output + html.read_text(encoding="utf-8")
        yield Audited(fleet, records, told["summary"], cost.status, log, shown)


@pytest.mark.parametrize("illness", [*ILLNESSES, "same-target+"])
def test_each_illness_is_named_with_its_way_out(illness: str, audited: Audited) -> None:
    """A record that is ill in one way has that finding and no other, and is told what to do."""
    problems = audited.records[audited.fleet.uids[illness]]["problems"]
    code = re.sub(r"\+|-\d+$", "", illness)

    assert [code] == [problem["code"] for problem in problems]
    assert all(problem["what"] and problem["way_out"] for problem in problems)


def test_there_are_more_than_twenty_illnesses_and_each_kind_of_finding_has_one(audited: Audited) -> None:
    """Every finding that the audit knows is found in the fleet, but those that a test below is about."""
    found = {problem["code"] for record in audited.records.values() for problem in record["problems"]}

    assert len(audited.fleet.uids) > 20
    assert {rule.code for rule in RULES} - {"not-readable", "admin-own-key"} == found


def test_nothing_is_said_of_the_healthy(audited: Audited) -> None:
    """No false alarm: every other record is there, without a problem."""
    healthy = audited.fleet.healthy

    assert len(healthy) > 900
    assert [] == [audited.records[uid] for uid in healthy if audited.records[uid]["problems"]]
    assert 1000 == len(audited.records) == audited.summary["records"]
    assert len(healthy) == audited.summary["healthy"]


def test_each_healthy_record_shows_its_keys_and_dates(audited: Audited) -> None:
    """Live keys, age, end, days left, and whether Key Vault has what Keeper has."""
    fleet = audited.fleet
    for uid in fleet.healthy:
        record = audited.records[uid]
        if not fleet.keeper.value(uid, "rotation_lease"):
            assert record["mirror"] == ("same" if fleet.keeper.value(uid, "key_vault_name") else "none"), record
        assert 0 <= record["age_days"] < EVERY
        if record["script"] == "publish_secret":
            assert (fleet.keeper.value(uid, "secret_name"), None, "") == (
                *(record["target"], record["live_keys"], record["key_id"]),
            )
            continue
        assert record["live_keys"] >= 1
        assert record["key_id"]
        if record["script"] != "rotate_seeq_user_key":
            assert 0 < record["days_left"] <= 90
    assert 1 == audited.status


def test_the_cost_grows_with_pages(audited: Audited) -> None:
    """A thousand records take at most 150 requests, and so few in a row that 100 ms away they pass within 15 s."""
    in_a_row = Counter(request.connection for request in audited.log).most_common(1)[0][1]
    assert len(audited.log) <= MOST_REQUESTS
    # Three round trips to connect; the measured time itself is printed by `python -m bench.audit`.
    assert (in_a_row + 3) * ROUND_TRIP <= MOST_SECONDS


def test_keeper_is_asked_once_and_nothing_is_changed(audited: Audited) -> None:
    """One call to Secrets Manager, and no request anywhere that could change anything."""
    assert 1 == sum(request.host == "keepersecurity.com" for request in audited.log)
    assert [] == writes(audited.log)


def test_no_secret_value_is_read_from_a_vault_and_none_is_shown(audited: Audited) -> None:
    """Vaults are asked for lists only, and no value that was ever issued stands in a report or a URL."""
    vaults = {request.path for request in audited.log if request.host.endswith(".vault.azure.net")}
    shown = audited.shown + "\n".join(request.url for request in audited.log)

    assert {"/secrets", "/deletedsecrets"} == vaults
    assert [] == [len(value) for value in audited.fleet.secret_values() if value in shown]


# -- shapes ---------------------------------------------------------------------------------------


def test_a_healthy_fleet_ends_with_status_0(tmp_path: Path, command: Command) -> None:
    """Nothing wrong: exit 0, one line for each record and the sentence that says so."""
    with fleet_of(tmp_path, 20) as fleet:
        result = command("audit", "--every", str(EVERY), sandbox=fleet)

    assert (0, "") == (result.returncode, result.stderr)
    assert 20 == sum(line.startswith("ok  ") for line in result.stdout.splitlines())
    assert "20 records of rotations: nothing wrong; 4 other records" in result.stdout


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


def test_what_happens_on_the_way_is_shown_on_a_terminal_only(tmp_path: Path, runtime_python: str) -> None:
    """On a terminal stderr tells how far it is; the line is gone at the end."""
    with fleet_of(tmp_path, 20) as fleet:
        status, shown = audit_on_a_terminal(runtime_python, fleet.environment())

    assert 0 == status
    assert f"vault {VAULT}: " in shown
    assert shown.endswith("\r\x1b[K")


def test_an_error_has_a_line_of_its_own_on_a_terminal(runtime_python: str) -> None:
    """What was said of the way is wiped off before the error is told."""
    status, shown = audit_on_a_terminal(runtime_python, {"HOME": "/nonexistent"})

    assert 2 == status
    assert "\r\x1b[Kerror: " in shown
    assert shown.endswith("\r\n")


def audit_on_a_terminal(python: str, environment: Mapping[str, str]) -> tuple[int, str]:
    """Return the status of an audit whose stderr is a terminal, and all that this terminal got."""
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [python, "-m", "pam_scripts", "audit"],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=theirs,
        check=False,
    )
    os.close(theirs)
    shown = b""
    while chunk := _read(ours):
        shown += chunk
    os.close(ours)
    return done.returncode, shown.decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # how a terminal says that its other side is closed
        return b""


# -- after real rotations -------------------------------------------------------------------------


def test_what_a_failed_publication_leaves_is_found_and_the_next_one_clears_it(
    command: Command, make_script: Callable[[str], Script]
) -> None:
    """One vault of two refused: the failure as the script logged it, and the vault that lags; then nothing any more."""
    script = make_script("publish_secret")
    with on_loopback(PublishPlant) as plant:
        attach(plant, plant.user_uid, plant.attached)
        assert 0 == script.run(plant).returncode
        assert ([], "same") == found(plant, command)

        plant.rotate_password()
        plant.key_vault.grant(STAGE_VAULT, plant.azure_app.client_id, rights=("get", "list"))
        assert 4 == script.run(plant).returncode
        assert (["vault-differs", "last-failed"], "differs") == found(plant, command)

        plant.rotate_password()
        plant.key_vault.grant(STAGE_VAULT, plant.azure_app.client_id)
        assert 0 == script.run(plant).returncode
        assert ([], "same") == found(plant, command)


def test_a_failed_rotation_that_was_put_back_is_no_difference(
    command: Command, make_script: Callable[[str], Script]
) -> None:
    """Only the failure is told: Keeper and both vaults hold what they held before it."""
    script = make_script("publish_secret")
    with on_loopback(PublishPlant, value_format="hex:24") as plant:
        attach(plant, plant.user_uid, plant.attached)
        assert 0 == script.run(plant).returncode
        plant.key_vault.grant(STAGE_VAULT, plant.azure_app.client_id, rights=("get", "list"))
        assert 1 == script.run(plant).returncode

        assert (["last-failed"], "same") == found(plant, command)


def found(plant: PublishPlant, command: Command) -> tuple[list[str], str]:
    """Return what an audit finds wrong with the plant's one record, and how its mirrors compare."""
    (record,) = json.loads(command("audit", "--json", sandbox=plant).stdout)["records"]
    return [problem["code"] for problem in record["problems"]], record["mirror"]


# -- in other worlds ------------------------------------------------------------------------------


def test_without_a_configuration_it_ends_with_status_2(command: Command) -> None:
    """A scheduler can tell findings, 1, from an audit that was not done."""
    result = command("audit", home="/nonexistent")

    assert 2 == result.returncode
    assert "no Secrets Manager configuration was found" in result.stderr
    assert "nothing was audited" in result.stderr


def test_a_server_that_lists_applications_without_keys_is_asked_for_each(tmp_path: Path, command: Command) -> None:
    """The findings are the same; only the cost is that of the records."""
    with fleet_of(tmp_path, 30, "old-keys", "expired") as fleet:
        fleet.seeq.applications_list_keys = False
        result = command("audit", "--json", sandbox=fleet)
        singles = [request for request in fleet.wire.log if request.path.startswith("/api/applications/")]

    records = {record["record"]: record for record in json.loads(result.stdout)["records"]}
    assert ["expired"] == [problem["code"] for problem in records[fleet.uids["expired"]]["problems"]]
    assert ["old-keys"] == [problem["code"] for problem in records[fleet.uids["old-keys"]]["problems"]]
    assert [] == [uid for uid in fleet.healthy if records[uid]["problems"]]
    assert len(singles) == sum(record["script"] == "rotate_seeq_application_key" for record in records.values())


def test_an_admin_credential_that_is_a_key_of_the_target_is_named(tmp_path: Path, command: Command) -> None:
    """A rotation would delete the very key that it is logged in with."""
    with fleet_of(tmp_path, 10, "old-keys") as fleet:
        uid = fleet.uids["old-keys"]
        application = fleet.keeper.value(uid, "application_id") or ""
        key = fleet.seeq.live_keys(application)[0]
        admin = fleet.add_admin("A key as admin", key.key_id, key.password)
        fleet.keeper.edit(uid, lambda data: data["fields"][2]["value"][0].update(recordRef=[admin]))
        result = command("audit", "--json", sandbox=fleet)

    problems = next(one["problems"] for one in json.loads(result.stdout)["records"] if one["record"] == uid)
    assert "admin-own-key" in {problem["code"] for problem in problems}


def test_one_server_that_does_not_answer_hides_nothing_of_the_others(tmp_path: Path, command: Command) -> None:
    """Records of the silent server say so; those of Azure are audited as ever."""
    with fleet_of(tmp_path, 20) as fleet:
        fleet.wire.rules.append(Rule(no_effect_no_answer(), host=SEEQ_HOST))
        result = command("audit", "--json", sandbox=fleet)

    records = json.loads(result.stdout)["records"]
    codes = {(one["script"].split("_")[1], *(problem["code"] for problem in one["problems"])) for one in records}
    assert {("azure",), ("secret",), ("seeq", "not-readable")} == codes


def test_attached_records_can_be_named_for_records_that_name_none(tmp_path: Path, command: Command) -> None:
    """`--credential` stands for what a record's own script settings leave out."""
    with fleet_of(tmp_path, 10, "no-admin") as fleet:
        result = command("audit", "--json", "--credential", fleet.admin_uid, sandbox=fleet)

    assert 0 == result.returncode, result.stdout
