"""`rotate`: many records in one process, each as the Gateway has it rotated."""

from __future__ import annotations

import json
import re
import signal
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bench.measure import Site, Target
from pam_scripts.cli.fleet.choose import Chosen
from pam_scripts.cli.rotate import left_over
from pam_scripts.cli.scripts import SCRIPTS
from pam_scripts.core.fields import Record
from pam_scripts.core.times import iso, utc_now
from pam_scripts.rotation.ops_log import read_entries
from sandbox import faults
from sandbox.faults import Fault, Rule
from sandbox.log import Request
from sandbox.plant import on_loopback
from sandbox.publishing import PublishPlant
from sandbox.realm import REALM, KeycloakPlant
from sandbox.services import keeper
from sandbox.services.keycloak import MASTER
from tests.cli.conftest import Command, attach
from tests.cli.fleet.conftest import MakeSite, Start
from tests.support.invariants import LEASE, writes

TOKENS_OF_CLIENTS = f"/realms/{REALM}/protocol/openid-connect/token"
_RUN = re.compile(r"Run ([0-9a-f]{8}): ")


def run_of(output: str) -> str:
    """Return the run's eight digits, as they were printed first."""
    found = _RUN.match(output)
    assert found, output
    return found[1]


def rotated(site: Site, target: Target) -> bool:
    """Say whether a target has one live key, another than the one made by hand, and all stores hold it."""
    try:
        held = site.key_held(target)
    except RuntimeError:
        return False
    return all(key.label != "made by hand" for key in site.seeq.live_keys(target.application_id) if key.key_id == held)


def ids(site: Site) -> list[str]:
    """Return the id of each target's newest rotation, as the ops log has it."""
    logs = [site.keeper.value(target.user_uid, "last_rotation") or "" for target in site.targets]
    return [entries[0]["rotation_id"] for log in logs if (entries := read_entries(log))]


def lost_for(target: Target) -> Rule:
    """Have a new key of one application refused, for good."""
    return Rule(faults.status(403), path=f"*/{target.application_id}/generate-access-key")


def test_all_are_rotated_with_one_reading_one_login_and_one_token(command: Command, make_site: MakeSite) -> None:
    """Every record is true at the end; what can be shared is asked for once; nothing secret is said."""
    site = make_site(5)
    done = command("rotate", "--all", "--yes", sandbox=site)

    assert (0, "") == (done.returncode, done.stderr)
    assert [True] * 5 == [rotated(site, target) for target in site.targets]
    assert [run_of(done.stdout)] * 5 == [rotation_id.rpartition("-")[2] for rotation_id in ids(site)]
    requests = [request.path for request in site.wire.log]
    assert 1 + 5 == sum(path.endswith("/auth/login") for path in requests), "the admin once, each new key"
    assert 1 == sum("oauth2" in path for path in requests)
    assert 1 + 2 * 5 == sum(path.endswith("/get_secret") for path in requests), "all at once, and two for each"
    assert 3 * 5 == sum(path.endswith("/update_secret") for path in requests)
    assert [] == [len(value) for value in site.secrets() if value in done.stdout]
    table = done.stdout.partition("rotated, in")[2].splitlines()
    assert 5 == sum("rotated" in line for line in table)
    assert all(len(line) <= 80 for line in table)


def test_nobody_waits_for_a_connection_and_a_vault_says_once_whose_tokens_it_takes(
    command: Command, make_site: MakeSite
) -> None:
    """Each has a connection to Keeper and Seeq, and two to the vault, made ahead; one logs in to Entra for all."""
    site = make_site(5)
    site.wire.round_trip = 0.05
    done = command("rotate", "--all", "--yes", sandbox=site)

    assert (0, "") == (done.returncode, done.stderr)
    assert 5 + 5 + 2 * 5 + 1 == site.wire.tls_handshakes
    refused = [request.host for request in site.wire.log if request.status == 401]
    assert [site.vault_url.removeprefix("https://")] == refused


def test_a_fleet_logs_in_to_keycloak_once(command: Command) -> None:
    """The admin's token serves all records; each new secret is proven by a token of its own client."""
    with on_loopback(KeycloakPlant, mirrored=False) as plant:
        uids = [plant.user_uid, *(plant.add_record(name) for name in ("portal", "reports"))]
        for uid in uids:
            attach(plant, uid, plant.attached)
        done = command("rotate", "--all", "--yes", sandbox=plant)

        assert (0, "") == (done.returncode, done.stderr)
        asked = [one.path for one in plant.wire.log if one.path.endswith("/token")]
        assert {f"/realms/{MASTER}/protocol/openid-connect/token": 1, TOKENS_OF_CLIENTS: 3} == Counter(asked)
        held = [plant.keeper.value(uid, "keycloak_client_secret") for uid in uids]
        assert [plant.keycloak.client(REALM, name)["secret"] for name in ("erp", "portal", "reports")] == held


def test_a_failure_stops_nobody_else(command: Command, make_site: MakeSite) -> None:
    """The gravest exit status counts; JSON has the facts of every run; the page names what failed."""
    site = make_site(3)
    failing = site.targets[1]
    site.wire.rules = [lost_for(failing)]
    done = command("rotate", "--all", "--yes", "--json", sandbox=site)

    told = json.loads(done.stdout)
    by_uid: dict[str, Any] = {one["record"]: one for one in told["records"]}
    assert 1 == done.returncode
    assert [target != failing for target in site.targets] == [rotated(site, target) for target in site.targets]
    assert (1, "failed") == (by_uid[failing.user_uid]["exit_status"], by_uid[failing.user_uid]["result"])
    assert "403 Forbidden" in by_uid[failing.user_uid]["error"]
    assert {"records": 3, "exit_status_0": 2, "exit_status_1": 1} == {k: n for k, n in told["summary"].items() if n}
    assert [] == site.keeper.uids("nothing")
    assert [None] * 3 == [site.keeper.value(target.user_uid, LEASE) for target in site.targets]


def test_after_so_many_failures_nothing_more_is_begun_and_a_resume_goes_on(
    command: Command, make_site: MakeSite
) -> None:
    """What was not begun is untouched and status 1; the same run goes on with what it has not done, and no more."""
    site = make_site(4)
    first, *_ = order = sorted(site.targets, key=lambda target: _title(site, target))
    site.wire.rules = [lost_for(order[1])]
    stopped = command("rotate", "--all", "--yes", "--at-once", "1", "--stop-after", "1", sandbox=site)

    mark = run_of(stopped.stdout)
    assert 1 == stopped.returncode
    assert [True, False, False, False] == [rotated(site, target) for target in order]
    assert "stopped after 1 failed" in stopped.stdout
    assert 2 == stopped.stdout.count("not begun\n"), stopped.stdout
    assert f"--resume {mark}" in stopped.stdout.splitlines()[-1]

    site.wire.rules = []
    before = site.key_held(first)
    resumed = command("rotate", "--all", "--yes", "--resume", mark, sandbox=site)
    assert (0, "") == (resumed.returncode, resumed.stderr)
    assert [True] * 4 == [rotated(site, target) for target in order]
    assert before == site.key_held(first), "what was done is left alone"
    assert "left out: 1 record" in resumed.stdout
    assert {mark} == {rotation_id.rpartition("-")[2] for rotation_id in ids(site)}


def _title(site: Site, target: Target) -> str:
    return str(site.keeper.record(target.user_uid)["title"]).lower()


def signals(  # noqa: PLR0913 - each is one fact of it
    site: Site,
    start: Start,
    numbers: Sequence[signal.Signals],
    arguments: Sequence[str] = (),
    *,
    command: Sequence[str] = ("rotate", "--all", "--yes"),
    path: str = "*/generate-access-key",
) -> Any:  # noqa: ANN401 - of the gateway
    """Have the requests of a path wait until so many signals were given, one after the other was dealt with."""
    runs: list[Any] = []

    async def give(_request: Request) -> None:
        import asyncio  # noqa: PLC0415 - within the sandbox's own loop
        import os  # noqa: PLC0415

        while not runs:  # noqa: ASYNC110 - the other thread has no loop to be awaited in
            await asyncio.sleep(0.001)
        for number in numbers:
            os.kill(runs[0].pid, number)
            # The main thread looks up several times a second.
            await asyncio.sleep(0.3)

    site.wire.rules = [Rule(Fault(before=give), path=path, nth=1), Rule(faults.delay(0.4 * len(numbers)), path=path)]
    runs.append(start(site, *command, *arguments))
    return runs[0].wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_lets_finish_what_has_begun(start: Start, make_site: MakeSite, number: signal.Signals) -> None:
    """The one under way is rotated, true and confirmed; nothing more is begun; the status says that it is not all."""
    site = make_site(3)
    done = signals(site, start, [number], ["--at-once", "1"])

    assert 1 == done.returncode, done.stderr
    assert 1 == sum(rotated(site, target) for target in site.targets)
    assert f"stopped by {number.name}: 1 under way are finished, nothing more is begun" in done.stdout
    assert 2 == done.stdout.count("not begun\n")
    untouched = [target for target in site.targets if not rotated(site, target)]
    assert [site.seeq.live_keys(target.application_id)[0].label for target in untouched] == ["made by hand"] * 2


@pytest.mark.parametrize(
    "command",
    [("rotate", "--all", "--yes"), ("audit",), ("compromised", "--all", "--yes")],
    ids=lambda one: str(one[0]),
)
def test_a_command_that_is_told_to_stop_while_it_reads_the_records_says_so(
    start: Start, make_site: MakeSite, command: Sequence[str]
) -> None:
    """Nothing has begun by then: one line, status 1, no trace of Python's, and nothing was written."""
    site = make_site(2)
    done = signals(site, start, [signal.SIGTERM], command=command, path="*/get_secret")

    assert (1, "error: stopped by SIGTERM; nothing is under way\n") == (done.returncode, done.stderr)
    assert [] == writes(site.wire.log)


def test_a_second_signal_puts_back_what_can_be(start: Start, make_site: MakeSite) -> None:
    """All under way end early, each store as it was and the new key deleted; the process itself ends in order."""
    site = make_site(3)
    done = signals(site, start, [signal.SIGINT, signal.SIGINT], ["--at-once", "2"])

    assert 1 == done.returncode, done.stderr
    assert [False] * 3 == [rotated(site, target) for target in site.targets]
    for target in site.targets:
        assert ["made by hand"] == [key.label for key in site.seeq.live_keys(target.application_id)]
        site.key_held(target)
        assert site.keeper.value(target.user_uid, LEASE) is None
    assert "stopped by SIGINT" in done.stderr


def test_a_check_looks_at_all_and_changes_nothing(command: Command, make_site: MakeSite) -> None:
    """The dry run of them all: nothing is written, no record is read a second time, nobody is asked for a yes."""
    site = make_site(3)
    site.wire.round_trip = 0.05
    done = command("rotate", "--all", "--check", sandbox=site)

    assert (0, "") == (done.returncode, done.stderr)
    assert 1 + 3 + 2 * 3 + 1 == site.wire.tls_handshakes, "one to Keeper is enough"
    assert [] == writes(site.wire.log)
    assert 1 == sum(request.path.endswith("/get_secret") for request in site.wire.log)
    assert 3 == done.stdout.count("Dry run: nothing was changed")
    assert "3 looked, in" in done.stdout


def test_it_does_not_begin_unasked(command: Command, make_site: MakeSite) -> None:
    """Without --yes and a terminal: status 2, what is chosen is listed, and nobody but Keeper was asked."""
    site = make_site(1)
    done = command("rotate", "--all", sandbox=site)

    assert 2 == done.returncode
    assert site.targets[0].user_uid in done.stdout
    assert "say --yes" in done.stderr
    assert {keeper.HOST} == {request.host for request in site.wire.log}


@pytest.mark.parametrize("named", [True, False])
def test_a_password_that_keeper_makes_is_not_rotated_here(named: bool, command: Command) -> None:
    """It says so, and what to do; where it was asked for by name the status is 2; a check looks at it all the same."""
    with on_loopback(PublishPlant, value_format="keeper") as plant:
        attach(plant, plant.user_uid, plant.attached)
        before = plant.holdings()
        done = command("rotate", plant.user_uid if named else "--all", "--yes", sandbox=plant)
        looked = command("rotate", "--all", "--check", sandbox=plant)

        assert (2 if named else 0) == done.returncode
        assert "Keeper must change it first" in done.stdout
        assert before == plant.holdings()
        assert 0 == looked.returncode, looked.stderr


def test_each_records_lines_stand_in_a_file_of_its_own(command: Command, make_site: MakeSite, tmp_path: Path) -> None:
    """One line for each that has ended, and the page; the directory is made; what failed is in its file."""
    site = make_site(2)
    good, bad = site.targets
    site.wire.rules = [lost_for(bad)]
    logs, html = tmp_path / "new" / "logs", tmp_path / "run.html"
    done = command("rotate", "--all", "--yes", "--logs", str(logs), "--html", str(html), sandbox=site)

    written = {target: (logs / f"{target.user_uid}.log").read_text() for target in site.targets}
    page = html.read_text()
    assert 1 == done.returncode
    assert "Key rotation completed successfully!" in written[good]
    assert "error: " in written[bad]
    assert "Authenticated" not in done.stdout
    assert run_of(done.stdout) in page
    assert all(target.user_uid in page for target in site.targets)
    assert "403 Forbidden" in page
    assert "<script" not in page
    assert [] == [len(value) for value in site.secrets() if value in page + "".join(written.values()) + done.stdout]


def test_no_title_tells_the_agent_of_a_build_pipeline_what_to_do(command: Command, make_site: MakeSite) -> None:
    """Whoever may name a record could else have the agent upload a file with a token, whichever lines name it."""
    site = make_site(1)
    site.keeper.edit(
        site.targets[0].user_uid, lambda data: data.update(title="##vso[task.uploadfile]/tmp/token ::add-mask::a")
    )
    site.wire.rules = [lost_for(site.targets[0])]
    lines = command("rotate", "--all", "--yes", sandbox=site)
    facts = command("rotate", "--all", "--check", "--json", sandbox=site)

    told = [lines.stdout, lines.stderr, facts.stdout, facts.stderr]
    assert "# #vso[task.uploadfile]/tmp/token : :add-mask::a" in lines.stdout
    assert "# #vso[task.uploadfile]" in facts.stdout
    assert [] == [text for text in told if "##vso[" in text or re.search(r"(?m)^\s*::", text)]


def test_a_login_that_others_use_is_replaced_after_them(command: Command, make_site: MakeSite) -> None:
    """Else they would log in with what is gone: the record that is attached to another comes last."""
    site = make_site(3)
    login, *others = sorted(site.targets, key=lambda target: _title(site, target))
    for other in others:

        def use_it(data: dict[str, Any]) -> None:
            (value,) = next(item for item in data["fields"] if item["type"] == "script")["value"]
            value["recordRef"].append(login.user_uid)

        site.keeper.edit(other.user_uid, use_it)
    done = command("rotate", "--all", "--yes", "--json", sandbox=site)

    assert 0 == done.returncode, done.stdout
    made = [request.path for request in site.wire.log if request.path.endswith("/generate-access-key")]
    assert login.application_id in made[-1]


def test_a_configuration_of_a_gateway_is_told(command: Command, make_site: MakeSite) -> None:
    """Its calls are counted with these: who waits is to know why."""
    site = make_site(1)
    given = {"GATEWAY_CONFIG": site.keeper.config_base64(), "KSM_CONFIG": ""}
    done = command("rotate", "--all", "--check", sandbox=site, environment=given)

    assert 0 == done.returncode, done.stderr
    assert "The configuration is a Gateway's" in done.stdout


def test_what_the_record_asks_for_beside_a_rotation_is_told(command: Command, make_site: MakeSite) -> None:
    """A dry run is looked at and called so; a diagnosis is none of this command's; neither is called rotated."""
    site = make_site(2)
    dry, asking = site.targets
    site.set_field("dry_run", "True", dry.user_uid)
    site.set_field("diagnose", "True", asking.user_uid)
    done = command("rotate", "--all", "--yes", "--json", sandbox=site)

    by_uid = {one["record"]: one for one in json.loads(done.stdout)["records"]}
    assert 2 == done.returncode
    assert (0, "looked") == (by_uid[dry.user_uid]["exit_status"], by_uid[dry.user_uid]["result"])
    assert (2, "failed") == (by_uid[asking.user_uid]["exit_status"], by_uid[asking.user_uid]["result"])
    assert "'diagnose' is set" in by_uid[asking.user_uid]["error"]
    assert [] == writes(site.wire.log)


@pytest.mark.parametrize(
    ("lease", "held"),
    [
        ("20261127T010101Z-0badcafe-1a2b3c4d until {soon}", True),
        ("20261127T010101Z-0badcafe until {soon}", True),
        ("20261127T010101Z-1a2b3c4d until {soon}", False),
        ("20261127T010101Z-1a2b3c4d-0badcafe until {soon}", False),
        ("20261127T010101Z-0badcafe-1a2b3c4d until {past}", False),
        ("20261127T010101Z-0badcafe-1a2b3c4d until {never}", False),
        ("20261127T010101Z-0badcafe until whenever", False),
        ("", False),
    ],
)
def test_only_what_a_process_of_the_same_run_has_left_is_waited_for(lease: str, held: bool) -> None:
    """Its lease names the run; one that has ended, that no run could have, or that is somebody else's keeps nobody."""
    now = utc_now().replace(microsecond=0)
    soon, past, never = (now + timedelta(seconds=seconds) for seconds in (90, -1, 10**6))
    text = lease.format(soon=iso(soon), past=iso(past), never=iso(never))
    (script,) = [script for script in SCRIPTS if script.stem == "rotate_seeq_application_key"]
    one = Chosen(Record.from_flat({"uid": "U", "title": "T", LEASE: text}), script)

    assert (soon.timestamp() if held else 0.0) == left_over(one, "0badcafe")
    assert 0.0 == left_over(one, "")
