"""Schedules of rotations, read from what Keeper Commander's own code lists."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from keepercommander import utils
from keepercommander.commands import discoveryrotation
from keepercommander.proto import pam_pb2

from pam_scripts.cli.audit.rules import NO_SCHEDULE, judge
from pam_scripts.cli.audit.schedule import Schedule, read_schedules
from pam_scripts.cli.audit.subject import Cadence, Subject
from pam_scripts.cli.scripts import SCRIPTS
from pam_scripts.core.errors import BadInput
from pam_scripts.core.fields import Record
from pam_scripts.core.times import iso
from tests.cli.audit.conftest import fleet_of
from tests.cli.conftest import Command

NOW = datetime(2026, 11, 22, 10, tzinfo=timezone.utc)
UIDS = [utils.generate_uid() for _ in range(6)]
CONFIGURATION, GATEWAY = utils.generate_uid(), b"gateway"
CRON = '[{"type": "CRON", "cron": "0 0 4 1 */2 ?", "tz": "Etc/UTC"}]'


def listed(monkeypatch: pytest.MonkeyPatch) -> str:
    """Return what Commander itself prints of six rotations, its servers' answers given."""
    stored: list[dict[str, Any]] = [
        {"scheduleData": "RotateActionJob|WEEKLY.SUNDAY.04:00.2"},
        {"scheduleData": "RotateActionJob|DAILY.04:00.30"},
        {"scheduleData": f"RotateActionJob|{CRON}"},
        {"noSchedule": True},
        {"configurationUid": b"removed"},
        {"scheduleData": ""},
    ]
    common = {"configurationUid": utils.base64_url_decode(CONFIGURATION), "controllerUid": GATEWAY}
    schedules = [
        pam_pb2.PAMRotationSchedule(recordUid=utils.base64_url_decode(uid), **{**common, **one})
        for uid, one in zip(UIDS, stored, strict=True)
    ]
    answers = {
        "router_get_rotation_schedules": lambda *_: SimpleNamespace(schedules=schedules),
        "router_get_connected_gateways": lambda *_: None,
        "pam_configurations_get_all": lambda *_: [{"record_uid": CONFIGURATION}],
        "record_exists_in_vault": lambda *_: True,
        "get_vault_record_title_type": lambda _, uid: (f"Title of {uid}", "pamUser"),
    }
    for name, answer in answers.items():
        monkeypatch.setattr(discoveryrotation, name, answer)
    gateways = [SimpleNamespace(controllerUid=GATEWAY, controllerName="Plant gateway")]
    monkeypatch.setattr(discoveryrotation.gateway_helper, "get_all_gateways", lambda _: gateways)
    return str(discoveryrotation.PAMListRecordRotationCommand().execute(None, format="json"))


@pytest.mark.parametrize(
    ("encoding", "before"), [("utf-8", ""), ("utf-8-sig", ""), ("utf-16", ""), ("utf-8", "Logging in to Keeper\n")]
)
def test_what_commander_prints_is_read(
    encoding: str, before: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its words and its expressions alike, also as PowerShell redirects them, and behind lines of its own."""
    path = tmp_path / "rotations.json"
    path.write_text(before + listed(monkeypatch), encoding=encoding)
    schedules = read_schedules(path)

    told = [(schedules[uid].state, schedules[uid].days) for uid in UIDS]
    assert [
        ("scheduled", 14),
        ("scheduled", 30),
        ("scheduled", 62),
        ("on demand", None),
        ("no configuration", None),
        ("on demand", None),
    ] == told


@pytest.mark.parametrize(
    ("cron", "days", "due"),
    [
        ("0 0 4 1 */2 ?", 62, "2027-01-01T04:00:00Z"),
        ("0 30 4 ? * SUN", 7, "2026-11-29T04:30:00Z"),
        ("0 0 4 ? * 2#1", 35, "2026-12-07T04:00:00Z"),
        ("0 0 4 L * ?", 31, "2026-11-30T04:00:00Z"),
        ("0 0 4 1 1 ? *", 366, "2027-01-01T04:00:00Z"),
        ("0 0 4 15 JAN,JUL ?", 184, "2027-01-15T04:00:00Z"),
        ("0 0 4 1/10 * ?", 10, "2026-12-01T04:00:00Z"),
        ("0 0 4 15W * ?", None, None),
        ("whenever it suits", None, None),
    ],
)
def test_an_expression_says_the_longest_gap_and_the_next_time(cron: str, days: int | None, due: str | None) -> None:
    """As Quartz reads it, Sunday being 1; what cannot be read is a schedule all the same."""
    schedule = Schedule.of({"schedule": cron, "gateway": "G", "pam_configuration": "C"})

    assert ("scheduled", days) == (schedule.state, schedule.days)
    moment = schedule.next_after(NOW)
    assert due == (iso(moment) if moment else None)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '[{"title": "x"}]', "no list"])
def test_another_file_is_refused_with_the_command_that_writes_it(text: str, tmp_path: Path) -> None:
    """An empty audit of schedules must not look like a healthy one."""
    path = tmp_path / "rotations.json"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(BadInput) as refused:
        read_schedules(path)
    assert "pam rotation list --format json" in str(refused.value)


@pytest.mark.parametrize(("days_ago", "late"), [(20, False), (23, True)])
def test_a_rotation_is_overdue_by_its_own_schedule(days_ago: int, late: bool) -> None:
    """Without --every: on the first of each month one was due, and a rotation after that one is in time."""
    schedule = Schedule.of({"schedule": "0 0 4 1 * ?", "gateway": "G", "pam_configuration": "C"})
    record = Record.from_flat({"rotated_at": iso(NOW - timedelta(days=days_ago))})
    cadence = Cadence(schedules={"Uid": schedule})
    subject = Subject("Uid", SCRIPTS[-1], record, NOW, cadence, record_type="pamUser")

    assert late == ("overdue" in {finding.rule.code for finding in judge(subject)})


def test_the_way_out_is_a_command_with_the_records_uid() -> None:
    """It can be typed as it stands, and gives the rotation a schedule that Commander takes."""
    cadence = Cadence(schedules={"Uid": Schedule("on demand")})
    subject = Subject("Uid", SCRIPTS[0], Record.from_flat({}), NOW, cadence, record_type="pamUser")
    way_out = next(finding.way_out for finding in judge(subject) if finding.rule == NO_SCHEDULE)

    assert '`pam rotation edit --record Uid --schedulecron "0 0 4 1 */2 ?" --force`' == way_out
    assert discoveryrotation.validate_cron_expression("0 0 4 1 */2 ?", for_rotation=True)[0]


def test_the_command_reads_the_list_and_needs_no_every(tmp_path: Path, command: Command) -> None:
    """A rotation that is late by its own schedule is found; so is a file that is not there, before anybody is asked."""
    path = tmp_path / "rotations.json"
    with fleet_of(tmp_path, 8, "overdue", "no-schedule") as fleet:
        path.write_text(json.dumps(fleet.rotations), encoding="utf-8")
        result = command("audit", "--json", "--schedules", str(path), sandbox=fleet)
        asked = len(fleet.wire.log)
        missing = command("audit", "--schedules", str(tmp_path / "nothing"), sandbox=fleet)
        assert asked == len(fleet.wire.log)

    codes = {
        one["record"]: [problem["code"] for problem in one["problems"]] for one in json.loads(result.stdout)["records"]
    }
    assert {uid: [name] for name, uid in fleet.uids.items()} == {uid: found for uid, found in codes.items() if found}
    assert 2 == missing.returncode
    assert "--schedules" in missing.stderr
