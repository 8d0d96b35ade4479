"""The benchmark measures what it says: both clients really rotate, and its tables have what they promise."""

from __future__ import annotations

import io
import itertools
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from bench import __main__ as bench
from bench import floor
from bench.fleet import Fleet, calculated, fleet_table, outlook, possible, rotate_all
from bench.measure import (
    SCRIPT,
    SDKS,
    Client,
    Figures,
    clients,
    import_cpu,
    most_in_flight,
    most_within,
    run,
    run_together,
    site,
    typical,
)
from sandbox.log import Request
from sandbox.plant import VAULT

ROOT = Path(__file__).parents[1]
PERFORMANCE = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
SYSTEMS = {
    "keepersecurity.com": "Keeper",
    "seeq.example.com": "Seeq",
    "login.microsoftonline.com": "Entra",
    "plant-vault.vault.azure.net": "Key Vault",
}


@pytest.fixture(scope="module")
def both() -> Iterator[tuple[Client, Client]]:
    """Return the package's client and the plain one."""
    with clients() as pair:
        yield pair


def shown(table: Table) -> str:
    """Return a table as it is printed."""
    text = io.StringIO()
    Console(file=text, width=160).print(table)
    return text.getvalue()


def request(started: float, ended: float) -> Request:
    """Return a request that arrived at one moment and was answered at another."""
    return Request(1, "seeq.example.com", "DELETE", "/", "", {}, b"", started=started, ended=ended)


def figures(**differing: float) -> Figures:
    """Return figures of 1 each, but for those named."""
    return Figures(**{**dict.fromkeys(Figures.__dataclass_fields__, 1.0), **differing})


def test_the_median_of_each_figure_counts_or_the_least() -> None:
    """One run that was disturbed moves neither; figures are taken one by one."""
    runs = [figures(seconds=2.0, cpu=9.0), figures(seconds=9.0, cpu=3.0), figures(seconds=4.0, cpu=5.0)]

    assert figures(seconds=4.0, cpu=5.0) == typical(runs)
    assert figures(seconds=2.0, cpu=3.0) == typical(runs, bench.TAKES["least"])


@pytest.mark.parametrize("which", [0, 1], ids=["package", "plain"])
def test_a_measured_client_really_rotates(both: tuple[Client, Client], which: int) -> None:
    """The new key logs in and stands in Keeper and Key Vault, the old one is gone, and every figure was taken."""
    with site(0) as plant:
        target = plant.targets[0]
        taken = run(both[which], plant)

        new = plant.key_held(target)
        assert plant.old_key_id != new
        assert not plant.logs_in(plant.old_key_id, plant.old_password)
        assert plant.logs_in(new, plant.key_vault.value(VAULT, target.password_name) or "")
        assert new == plant.keeper.value(target.user_uid, "access_key_id")
        assert [] == [name for name, value in vars(taken).items() if value <= 0]
        assert len(plant.wire.log) == taken.requests
        assert taken.start_cpu < taken.cpu


def test_the_plain_client_asks_for_nothing_beside_its_steps(both: tuple[Client, Client]) -> None:
    """It is honest: its requests are the rotation's steps and what the SDKs add of their own, each once."""
    with site(0) as plant:
        run(both[1], plant)

        assert {"Seeq": 5, "Keeper": 2, "Entra": 2, "Key Vault": 3} == Counter(
            SYSTEMS[each.host] for each in plant.wire.log
        )
        assert {200, 401} == {each.status for each in plant.wire.log}


def test_the_document_justifies_every_request_of_the_package(both: tuple[Client, Client]) -> None:
    """The table in docs/performance.md has a line for each request of a run, by the system it goes to."""
    with site(0) as plant:
        run(both[0], plant)

        listed = re.findall(r"^\| \d+ \| (Keeper|Seeq|Entra|Key Vault) \|", PERFORMANCE, re.MULTILINE)
        assert Counter(SYSTEMS[each.host] for each in plant.wire.log) == Counter(listed)


def test_a_run_that_does_not_rotate_is_no_measurement(both: tuple[Client, Client]) -> None:
    """A client that fails, or says that it has rotated without having done so, gives an error and no figures."""
    package, plain = both
    with site(0) as plant, pytest.raises(RuntimeError, match="plain client: exit status 1"):
        run(Client(plain.name, plain.file, package.stdin), plant)

    with site(0) as plant:
        plant.add_key("held by no store")
        with pytest.raises(RuntimeError, match="2 live keys"):
            plant.key_held(plant.targets[0])


@pytest.mark.thorough
def test_rotations_started_together_are_of_different_applications(both: tuple[Client, Client]) -> None:
    """Each of them rotates its own application's key, and the table shows the count, the ratio and the refusals."""
    with site(0, applications=2) as plant:
        before = {target.application_id: plant.seeq.live_keys(target.application_id) for target in plant.targets}
        seconds, peak_mb = run_together(both[0], plant)

        assert 2 == len(before)
        assert min(seconds, peak_mb) > 0
        for target in plant.targets:
            assert plant.key_held(target) not in {key.key_id for key in before[target.application_id]}
        crowds = [bench.Crowd(count, 1.5 * count, 50.0, 1.0, plant.wire.log) for count in (2, 4)]
        text = shown(bench.crowd_table(crowds, figures(seconds=2.0), 0.25, 0))
        assert "Rotations started at once" in text
        assert re.search(r"all / one +│ +1\.50 │ +3\.00", text)
        assert re.search(r"answered 429.*│ +0 │ +0 ", text)
        assert re.search(rf"importing the SDKs +│ +{2 * 0.25 / (os.cpu_count() or 1):.2f} ", text)
        assert [] == [host for host in SYSTEMS if host not in text]


def test_importing_the_sdks_is_measured_with_those_that_the_package_imports() -> None:
    """What no client that is made with them can do without; they are there to be imported."""
    package = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "pam_scripts").rglob("*.py"))

    assert import_cpu(1) > 0
    assert [] == [name for name in SDKS.split(", ") if not re.search(rf"(import|from) {re.escape(name)}\b", package)]


@pytest.mark.thorough
def test_many_old_keys_are_all_deleted_and_counted(both: tuple[Client, Client]) -> None:
    """The run with old keys deletes each of them, and its table sets it beside a run with one."""
    backlog = bench.many_old_keys(both[0], 3, 0)

    assert 0 < backlog.deletions_at_once <= 3
    assert 0 == backlog.refused
    text = shown(bench.backlog_table(backlog, figures(), 0))
    assert [] == [name for name, *_ in bench.FIGURES if name not in text]
    assert "deletions under way at one time" in text


def test_the_comparison_has_a_row_for_each_figure_and_round_trip() -> None:
    """Each figure is set beside the floor, where there is one, and beside the plain client."""
    one = {"this package": figures(seconds=3.2), "plain client": figures(seconds=6.4)}
    table = bench.comparison({0: one, 100: one})

    assert 2 * len(bench.FIGURES) == table.row_count
    wall = next(line for line in shown(table).splitlines() if "100 ms" in line and "wall time" in line)
    assert ["3.20", "6.40", "1.40", "2.29", "4.57", "0.50"] == re.findall(r"\d+\.\d\d", wall)
    assert "∞" not in shown(table)


def test_the_floor_is_a_chain_in_which_each_waits_for_the_one_before() -> None:
    """Every step waits for steps that exist, and the chain leads from a first request to the very last."""
    unknown = {other for step in floor.STEPS.values() for other in step.waits_for} - set(floor.STEPS)
    longest = floor.chain()

    assert set() == unknown
    assert () == floor.STEPS[longest[0]].waits_for
    assert "write ops log" == longest[-1]
    assert all(before in floor.STEPS[name].waits_for for before, name in itertools.pairwise(longest))
    assert floor.SET_UP + len(longest) == floor.round_trips()
    assert set(SYSTEMS.values()) == {step.system for step in floor.STEPS.values()}


def test_the_floor_follows_from_what_waits_for_what() -> None:
    """What waits for nothing goes side by side; what waits adds its round trip."""
    steps = {
        "a": floor.Step("Seeq", (), ""),
        "b": floor.Step("Keeper", (), ""),
        "c": floor.Step("Keeper", ("a", "b"), ""),
    }
    assert floor.SET_UP + 2 == floor.round_trips(steps)
    assert 2 == floor.connections(steps)


def test_requests_under_way_are_counted_from_the_clients_side() -> None:
    """Two that arrive one after the other overlap where the way is long, and do not where there is none."""
    log = [request(0.0, 0.01), request(0.05, 0.06), request(0.2, 0.21)]

    assert 1 == most_in_flight(log, 0)
    assert 2 == most_in_flight(log, 0.1)
    assert 0 == most_in_flight([], 0.1)
    assert 2 == most_within(log, 0.1)
    assert 3 == most_within(log, 10)


@pytest.mark.thorough
def test_many_in_one_process_are_measured_and_really_rotated() -> None:
    """One process, one login and one token for all; the table sets it beside one attached rotation and the limit."""
    measured = rotate_all(3, 0, at_once=3)

    assert 0 == measured.throttled
    assert 1 + 3 == sum(one.path.endswith("/auth/login") for one in measured.log)
    assert [] == [name for name in ("seconds", "cpu", "peak_mb", "connections") if getattr(measured, name) <= 0]
    limited = replace(measured, count=200, silence=1.0, seconds=17.0)
    text = shown(fleet_table([replace(measured, seconds=2.6), limited], figures(seconds=1.0), 0.1))
    (beside_one,) = (line for line in text.splitlines() if "all / one attached" in line)
    (beside_limit,) = (line for line in text.splitlines() if "leaves possible" in line)
    assert ["2.60", "17.00"] == re.findall(r"\d+\.\d\d", beside_one)
    assert ["1.31"] == re.findall(r"\d+\.\d\d", beside_limit), "seven waves of a second each, and six pauses"


def test_what_keepers_limit_leaves_possible_is_calculated() -> None:
    """33 rotations fit into a hundred saves; ours come in waves of 30, each with a pause before it."""
    assert 1.5 == possible(33, 10, 1.5)
    assert 10 + 2 * 1.5 == possible(34, 10, 1.5)
    assert 2 * (10.5 + 1.5) == calculated(60, 10, 1.5)
    one = Fleet(60, 30, 1.0, 2 * (1.05 + 2.0), 1.0, 60.0, 1, ())
    assert "60 with a pause of 10 s, calculated: 25 s" in outlook(one, figures(seconds=1.5))[0]
    assert "8640 records in an hour" in outlook(one, figures())[-1]


def test_every_file_it_runs_is_there(both: tuple[Client, Client]) -> None:
    """The package's client is the bundle of the main script, not the modules it is made from."""
    assert f"{SCRIPT}.py" == both[0].file.name
    assert "MODULES = {" in both[0].file.read_text(encoding="utf-8")
