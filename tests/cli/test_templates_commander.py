"""`templates`: the project file and the batches, taken by Keeper Commander's own code."""

from __future__ import annotations

import argparse
import json
import logging
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pam_scripts.cli.templates.schedule import DEFAULT, with_spread_minute
from pam_scripts.cli.templates.schedule import schedule as schedule_argument
from sandbox.plant import Plant, running
from sandbox.publishing import PublishPlant
from sandbox.services import keeper
from tests.cli.conftest import Command, attach, write
from tests.support.commander import ADMIN, ADMIN_TITLE, FOLDER, FOLDER_NAME, Vault, schedule

STEM = "rotate_seeq_application_key"
FORTY = [f"Report {number:02}" for number in range(40)]
PYTHON = "/opt/pam-scripts/bin/python"
FILE_UID = "FileRecordsUid12345678"


@pytest.fixture
def vault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Vault:
    """Return a vault, in a directory that has the file to attach, as Commander is started in."""
    (tmp_path / "dist").mkdir()
    for stem in (STEM, "publish_secret"):
        write(tmp_path / "dist" / f"{stem}.py", "")
    monkeypatch.chdir(tmp_path)
    return Vault(monkeypatch)


def forty(tmp_path: Path) -> Path:
    """Write a CSV of forty applications."""
    lines = [f"{name},ID-{number}" for number, name in enumerate(FORTY)]
    return write(tmp_path / "keys.csv", "\n".join(["login,application_id", *lines, ""]))


def ask(command: Command, *arguments: str, output: Path, sandbox: Any = None) -> str:  # noqa: ANN401
    """Run the command, which succeeds; return what it says beside its results."""
    result = command("templates", "--output", str(output), *arguments, sandbox=sandbox)
    assert 0 == result.returncode, result.stderr
    return result.stderr


# -- the project file -----------------------------------------------------------------------------


def test_commander_makes_forty_records_of_the_project_file(
    tmp_path: Path, command: Command, vault: Vault, caplog: pytest.LogCaptureFixture
) -> None:
    """Each with its fields, the script, its command, the admin record by its title, and a schedule of its own."""
    fill = ("--csv", str(forty(tmp_path)), "--set", "expiry_days=75", "--folder", FOLDER_NAME, "--compact")
    ask(command, "--script", STEM, *fill, "--schedule", "0 0 3 ? * 1", output=tmp_path / "out")

    with caplog.at_level(logging.INFO):
        made = vault.extend(tmp_path / "out" / f"{STEM}.project.json")

    assert [f"Seeq application key {name}" for name in FORTY] == [one.title for one in made]
    assert FORTY == [one.login for one in made]
    expected = {("text", "expiry_days"): "75", ("text", "NOOP"): "True", ("text", "Private Key Type"): "ssh-rsa"}
    assert [{("text", "application_id"): f"ID-{number}", **expected} for number in range(40)] == [
        one.custom for one in made
    ]
    assert {(f"dist/{STEM}.py", PYTHON, (ADMIN,))} == {
        (one.script.file, one.script.script_command, tuple(one.script.record_refs)) for one in made
    }
    assert {("scripts_only", "on", FOLDER)} == {
        (one.settings.rotation, one.settings.enabled, one.folder) for one in made
    }
    crons = [one.settings.schedule.cron for one in made]
    assert [[{"type": "CRON", "cron": cron, "tz": "Etc/UTC"}] for cron in crons] == [schedule(cron) for cron in crons]
    assert {"0 M 3 ? * 1"} == {" ".join(["0", "M", *cron.split()[2:]]) for cron in crons}
    assert max(Counter(crons).values()) <= 5
    # An unused password is what is missing; nothing else is remarked on.
    remarks = {record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING}
    assert {"PAM User is missing required field `password`"} == remarks


@pytest.mark.parametrize("value", ["$GEN:rand,9", "$JSON:{}", "$BASE64:eA==", "=x=y", "a=b", "-x", "ä, {$PATH}"])
def test_commander_takes_a_value_as_it_is(value: str, tmp_path: Path, command: Command, vault: Vault) -> None:
    """It obeys what begins with a dollar sign and cuts what begins with an equals sign, in any field and the login."""
    source = write(tmp_path / "keys.csv", f'login,application_id,rotation_reason\n"{value}",ID-1,"{value}"\n')
    ask(command, "--script", STEM, "--csv", str(source), output=tmp_path / "out")

    [made] = vault.extend(tmp_path / "out" / f"{STEM}.project.json")

    assert [value, value] == [made.login, made.custom["text", "rotation_reason"]]


def test_the_project_file_has_all_fields_of_a_template_with_their_types(
    tmp_path: Path, command: Command, vault: Vault
) -> None:
    """What a rotation writes is there with its own type, so that the vault hides what it must."""
    ask(command, "--script", STEM, "--credential", ADMIN_TITLE, output=tmp_path / "out")

    [made] = vault.extend(tmp_path / "out" / f"{STEM}.project.json")

    assert "<set by rotation>" == made.custom["secret", "access_key_password"]
    assert "<set by rotation>" == made.custom["multiline", "last_rotation"]


@pytest.mark.parametrize(("made_of", "profile"), [("keeper", None), ("uuid", "scripts_only")])
def test_scripts_only_is_set_where_keeper_itself_changes_nothing(
    made_of: str, profile: str | None, tmp_path: Path, command: Command, vault: Vault
) -> None:
    """A password that Keeper changes in its system keeps the rotation that does so."""
    vault.add("MirrorAdminUid12345678", "login", "Mirror admin")
    fill = ("--set", f"value_format={made_of}", "--set", "secret_name=plant/reports")
    ask(command, "--script", "publish_secret", *fill, output=tmp_path / "out")

    [made] = vault.extend(tmp_path / "out" / "publish_secret.project.json")

    assert profile == (made.settings.rotation if made.settings else None)
    assert ["MirrorAdminUid12345678"] == made.script.record_refs


def test_records_that_would_have_one_title_are_told_apart(tmp_path: Path, command: Command, vault: Vault) -> None:
    """Commander makes none of a file in which two have the same: the application's id makes the difference."""
    source = write(tmp_path / "keys.csv", "login,application_id\nReports,ID-1\nReports,ID-2\n")
    ask(command, "--script", STEM, "--csv", str(source), output=tmp_path / "out")

    made = vault.extend(tmp_path / "out" / f"{STEM}.project.json")

    assert ["Seeq application key Reports (ID-1)", "Seeq application key Reports (ID-2)"] == [one.title for one in made]


def test_one_application_twice_is_refused(tmp_path: Path, command: Command) -> None:
    """Two records of one title and one target are a mistake in the list; nothing is written."""
    source = write(tmp_path / "keys.csv", "login,application_id\nReports,ID-1\nReports,ID-1\n")
    result = command("templates", "--script", STEM, "--csv", str(source), "--output", str(tmp_path / "out"))

    assert 2 == result.returncode
    assert "more than one record would be called" in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_compact_record_has_what_was_filled_in(tmp_path: Path, command: Command) -> None:
    """In every format the other fields are left out; a rotation makes those that it writes."""
    source = write(tmp_path / "keys.csv", "title,login,application_id\nReports key,reports,ID-1\n")
    ask(command, "--script", STEM, "--csv", str(source), "--compact", output=tmp_path / "out")

    whole = json.loads((tmp_path / "out" / f"{STEM}.commander.json").read_text(encoding="utf-8"))
    expected = {"$text:application_id": "ID-1", "$text:NOOP": "True", "$text:Private Key Type": "ssh-rsa"}
    assert expected == whole["records"][0]["custom_fields"]


def test_seeqs_own_list_names_the_admin_record_it_was_read_with(
    tmp_path: Path, command: Command, plant: Plant, vault: Vault
) -> None:
    """The credential of the project file is the record that was named, by the title that it has in the vault."""
    plant.seeq.add_application("Report")
    plant.keeper.edit(plant.admin_uid, lambda data: data.update(title="Admin of plant 7"))
    vault.add("AnotherAdminUid1234567", "login", "Admin of plant 7")
    ask(command, "--from-seeq", plant.admin_uid, output=tmp_path / "out", sandbox=plant)

    [made] = vault.extend(tmp_path / "out" / f"{STEM}.project.json")

    assert ["AnotherAdminUid1234567"] == made.script.record_refs


# -- batches --------------------------------------------------------------------------------------


def add_records(plant: Plant, *, scripts: int) -> list[str]:
    """Add forty records; return their UIDs by title. scripts: how many have one attached, the first ones."""
    uids = []
    for number, name in enumerate(FORTY):
        # Commander's command line takes such a UID for an option where it stands alone.
        uid = keeper.new_uid() if number else f"-{keeper.new_uid()[1:]}"
        custom = [keeper.text("application_id", f"ID-{number}")]
        plant.keeper.add_record("pamUser", f"Key {name}", fields=[keeper.login(name)], custom=custom, uid=uid)
        if number < scripts:
            attach(plant, uid, [plant.admin_uid])
        uids.append(uid)
    plant.keeper.share(plant.user_uid, shared=False)
    return uids


def test_a_batch_attaches_where_none_is_and_sets_every_rotation(
    tmp_path: Path, command: Command, plant: Plant, vault: Vault
) -> None:
    """By UID, one line a command; what has its script gets no second one; every schedule is one that Keeper takes."""
    uids = add_records(plant, scripts=15)
    ask(command, "--batch", "set-up", "--credential", plant.admin_uid, output=tmp_path / "out", sandbox=plant)

    taken = vault.run_batch(tmp_path / "out" / f"{STEM}.set-up.txt")

    added = [arguments for name, arguments in taken if name == "script add"]
    settled = [arguments for name, arguments in taken if name == "edit"]
    both = {"script": f"dist/{STEM}.py", "script_command": PYTHON, "add_credential": [plant.admin_uid]}
    assert [{**both, "record": uid} for uid in uids[15:]] == added
    crons = [arguments.pop("schedule_cron_data")[0] for arguments in settled]
    profile = {"config": plant.configuration_uid, "rotation_profile": "scripts_only", "enable": True, "force": True}
    assert [{**profile, "record_name": uid} for uid in uids] == settled
    assert [with_spread_minute(DEFAULT, f"Key {name}") for name in FORTY] == crons
    assert [[{"type": "CRON", "cron": cron, "tz": "Etc/UTC"}] for cron in crons] == [schedule(cron) for cron in crons]


def test_an_upgrade_attaches_the_new_file_before_the_old_one_goes(
    tmp_path: Path, command: Command, plant: Plant, vault: Vault
) -> None:
    """With the command and the credentials that each record had; the old one goes by its own UID, in a second batch."""
    uids = add_records(plant, scripts=2)
    asked = ("--batch", "upgrade", "--script", STEM, "--file", "older builds/it's the file.py")
    said = ask(command, *asked, output=tmp_path / "out", sandbox=plant)

    adding, deleting = (tmp_path / "out" / f"{STEM}.upgrade-{step}.txt" for step in ("1-add", "2-delete"))
    both = {"script": "older builds/it's the file.py", "script_command": "python3", "add_credential": [plant.admin_uid]}
    assert [("script add", {**both, "record": uid}) for uid in uids[:2]] == vault.run_batch(adding)
    assert [("script delete", {"script": FILE_UID, "record": uid}) for uid in uids[:2]] == vault.run_batch(deleting)
    assert 38 == said.count("has no script attached, and is left out")


def test_a_record_with_several_scripts_is_left_to_a_person(tmp_path: Path, command: Command, plant: Plant) -> None:
    """Which of them is the old one is not for a batch to guess."""
    uids = add_records(plant, scripts=2)
    attach(plant, uids[1], [])
    said = ask(command, "--batch", "upgrade", output=tmp_path / "out", sandbox=plant)

    assert f"({uids[1]}) has 2 scripts attached, and is left out" in said
    assert uids[1] not in (tmp_path / "out" / f"{STEM}.upgrade-1-add.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("word", ["command", "fileRef", "recordRef"])
def test_what_stands_in_a_record_adds_no_command_to_a_batch(
    word: str, tmp_path: Path, command: Command, plant: Plant
) -> None:
    """Who edits a record writes what they like there, and who runs the batch may do more: that record is left out."""
    uids = add_records(plant, scripts=2)
    more = f"x\nrm -f {plant.admin_uid}\n"

    def edit(data: dict[str, Any]) -> None:
        script = next(item for item in data["fields"] if item["type"] == "script")["value"][0]
        script[word] = [more] if word == "recordRef" else more

    plant.keeper.edit(uids[0], edit)
    said = ask(command, "--batch", "upgrade", output=tmp_path / "out", sandbox=plant)

    assert f"({uids[0]}) has a script whose command or UIDs have a line end" in said
    for batch in (tmp_path / "out").iterdir():
        lines = batch.read_text(encoding="utf-8").splitlines()
        assert [] == [line for line in lines if not line.startswith(("# ", "pam rotation "))]
        assert any(uids[1] in line for line in lines)


def test_a_record_that_was_not_converted_is_left_out(tmp_path: Path, command: Command, plant: Plant) -> None:
    """Commander attaches no script to a Login: there is no line for it, and what to do is said."""
    custom = [keeper.text("application_id", "ID-1"), keeper.text("access_key_id")]
    uid = plant.keeper.add_record("login", "Key Report", fields=[keeper.login("Report")], custom=custom)
    said = ask(command, "--batch", "set-up", output=tmp_path / "out", sandbox=plant)

    assert f"({uid}) is not a PAM User record, and is left out; convert it in the vault" in said
    batch = (tmp_path / "out" / f"{STEM}.set-up.txt").read_text(encoding="utf-8")
    assert (False, True) == (uid in batch, plant.user_uid in batch)


def test_taking_out_leaves_the_rotation_of_all_others_on(
    tmp_path: Path, command: Command, plant: Plant, vault: Vault
) -> None:
    """Schedule and script go. `--disable` would turn off all of the PAM Configuration's rotations."""
    uids = add_records(plant, scripts=3)
    ask(command, "--batch", "take-out", "--record", uids[1], output=tmp_path / "out", sandbox=plant)

    [(first, edited), second] = vault.run_batch(tmp_path / "out" / f"{STEM}.take-out.txt")

    expected = {"record_name": uids[1], "rotation_profile": "scripts_only", "schedule_only": True, "on_demand": True}
    assert ("edit", {**expected, "force": True}) == (first, edited)
    assert ("script delete", {"script": FILE_UID, "record": uids[1]}) == second


def test_a_password_that_keeper_changes_keeps_its_way_of_rotation(
    tmp_path: Path, command: Command, vault: Vault
) -> None:
    """Its record gets the schedule alone: with scripts only, Keeper would change the password no more."""
    with running(PublishPlant(tmp_path)) as plant:
        ask(command, "--batch", "set-up", output=tmp_path / "out", sandbox=plant)

    taken = vault.run_batch(tmp_path / "out" / "publish_secret.set-up.txt")

    [edited] = [arguments for name, arguments in taken if name == "edit"]
    assert edited["schedule_only"]
    assert "rotation_profile" not in edited


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        pytest.param(("--batch", "take-out"), "add --record UID for each", id="whose"),
        pytest.param(("--batch", "set-up", "--compact"), "are for templates", id="templates-only"),
        pytest.param(("--record", "X"), "are for --batch only", id="batch-only"),
        pytest.param(("--file", "x.py"), "--file names the file of one script", id="one-file"),
    ],
)
def test_what_does_not_go_together_is_refused(
    arguments: tuple[str, ...], part: str, tmp_path: Path, command: Command
) -> None:
    """Nothing is written, nobody is asked, and the way out is named."""
    result = command("templates", "--output", str(tmp_path / "out"), *arguments)

    assert 2 == result.returncode
    assert part in result.stderr
    assert not (tmp_path / "out").exists()


# -- schedules ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "cron",
    [
        pytest.param("0 4 1 */2 ?", id="five"),
        pytest.param("0 0 4 1 */2 ? 2027", id="seven"),
        pytest.param("0 0 4 1 */2 *", id="both-days"),
        pytest.param("0 0 4 ? * ?", id="no-day"),
        pytest.param("* 0 4 1 */2 ?", id="every-second"),
        pytest.param("0 */5 4 1 */2 ?", id="every-five-minutes"),
        pytest.param("0 60 4 1 */2 ?", id="minute-60"),
        pytest.param("0 0 4 1 1/2 ?", id="commander-has-no-such-step"),
        pytest.param("0 0 4 ? * MON", id="name"),
        pytest.param("0 0 4 5-1 * ?", id="backwards"),
    ],
)
def test_a_schedule_that_keeper_does_not_take_is_refused(cron: str) -> None:
    """Commander itself only logs it, and sets the rotation without a schedule."""
    with pytest.raises(argparse.ArgumentTypeError):
        schedule_argument(cron)


_NUMBERS = {name: st.integers(*bounds).map(str) for name, bounds in {"hour": (0, 23), "day": (1, 31)}.items()}
_CRONS = st.builds(
    "{} {} {} {} {} {}".format,
    st.integers(0, 59),
    st.integers(0, 59),
    st.one_of(_NUMBERS["hour"], st.just("*"), st.sampled_from(["*/6", "8,20", "8-18"])),
    st.one_of(_NUMBERS["day"], st.sampled_from(["*", "1,15", "1-5", "?"])),
    st.one_of(st.integers(1, 12).map(str), st.sampled_from(["*", "*/2", "*/3", "1,7", "3-9"])),
    st.one_of(st.integers(1, 7).map(str), st.sampled_from(["*", "?", "2-6"])),
)


@given(_CRONS, st.text())
def test_a_schedule_that_is_taken_is_one_that_keeper_takes(cron: str, title: str) -> None:
    """In whatever minute a record gets; and it is the same one each time."""
    try:
        taken = schedule_argument(cron)
    except argparse.ArgumentTypeError:
        return

    own = with_spread_minute(taken, title)

    assert [{"type": "CRON", "cron": own, "tz": "Etc/UTC"}] == schedule(own)
    assert with_spread_minute(taken, title) == own
    assert int(taken.split()[1]) <= int(own.split()[1])
