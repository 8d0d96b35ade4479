"""What all tests share: the bundle, the interpreter it runs with, and a plant on loopback."""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import settings

from pam_scripts.core.deadline import Deadline
from pam_scripts.core.http import Session
from pam_scripts.core.secret import Secret
from pam_scripts.issuers.seeq import server
from sandbox.plant import Plant, running
from tests.support.amount import THOROUGH
from tests.support.invariants import Script
from tests.support.warm import Warm
from tools import bundle, pythons

ROOT = Path(__file__).parents[1]

# How long an example takes says how busy the machine is.
settings.register_profile("any speed", deadline=None)
settings.load_profile("any speed")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option with which a test that is left out fails the run."""
    parser.addoption("--no-skips", action="store_true", help="fail where a test was skipped")
    parser.addoption(
        "--runtime-only", action="store_true", help="run what the interpreter of RUNTIME_PYTHON has a part in"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what takes long, but where more is asked for, and what would be the same once more.

    That is what runs in pytest's own process alone, where the rest is to be run under another interpreter.
    """
    if not THOROUGH:
        _leave_out(config, items, [item for item in items if item.get_closest_marker("thorough")])
    if config.getoption("--runtime-only"):
        _leave_out(config, items, [item for item in items if "runtime_python" not in getattr(item, "fixturenames", ())])


def _leave_out(config: pytest.Config, items: list[pytest.Item], left_out: Sequence[pytest.Item]) -> None:
    config.hook.pytest_deselected(items=left_out)
    gone = {*left_out}
    items[:] = [item for item in items if item not in gone]


def pytest_configure() -> None:
    """Look for no garbage while tests are collected: all that is made stays."""
    gc.disable()


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Have the collector look from now on, and never at what four thousand tests and the SDKs are made of."""
    gc.freeze()
    gc.enable()


def pytest_report_header() -> str:
    """Say which Pythons tests run a file under: no test is made for one that is not here, so none is skipped."""
    return pythons.told(pythons.supported())


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run of which something was left out, where nothing may be."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or not session.config.getoption("--no-skips"):
        return
    left_out = {str(report.longrepr[2]) for report in reporter.stats.get("skipped", [])}
    if left_out:
        reporter.write_line(f"left out, and --no-skips was said: {'; '.join(sorted(left_out))}", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(autouse=True)
def _one_process_for_each_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget what a process remembers for its life: secrets, which are blotted out of all text, and refused logins."""
    monkeypatch.setattr(Secret, "_redactor", type(Secret._redactor)())  # noqa: SLF001 - nobody else may empty it
    monkeypatch.setattr(server, "_REFUSED", {})


@pytest.fixture(scope="session")
def runtime_python() -> str:
    """Return the interpreter of the virtualenv that has the runtime requirements and nothing else."""
    path = ROOT / os.environ.get("RUNTIME_PYTHON", ".venv-runtime/bin/python")
    assert path.exists(), f"{path} is missing: `make test` makes it"
    return str(path)


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the bundles, as `make bundle` does, and return their directory."""
    directory = tmp_path_factory.mktemp("dist")
    bundle.build(ROOT, directory)
    return directory


@pytest.fixture(scope="session")
def warm(runtime_python: str) -> Iterator[Warm]:
    """Return a fork server under the interpreter that scripts run with."""
    with Warm(runtime_python) as server:
        yield server


@pytest.fixture(scope="session")
def make_script(dist: Path, runtime_python: str, warm: Warm) -> Callable[..., Script]:
    """Return a maker of scripts as they are attached: under an odd name, run in a fork, or cold as in life."""

    def make(stem: str, *, cold: bool = False) -> Script:
        odd = dist / f"pam {stem} \u00e9 7.tmp"
        shutil.copyfile(dist / f"{stem}.py", odd)
        return Script(odd, runtime_python, None if cold else warm)

    return make


@pytest.fixture(scope="session")
def script(make_script: Callable[..., Script]) -> Script:
    """Return the main script; a module about another script has a fixture of its own."""
    return make_script("rotate_seeq_application_key")


@pytest.fixture(scope="session")
def cold_script(make_script: Callable[..., Script]) -> Script:
    """Return the main script, started as the Gateway starts it: a new interpreter for every run."""
    return make_script("rotate_seeq_application_key", cold=True)


@pytest.fixture
def make_plant(tmp_path: Path) -> Iterator[Callable[..., Plant]]:
    """Return a maker of plants on loopback; all of them stop with the test."""
    started: list[contextlib.AbstractContextManager[Plant]] = []

    def make(**options: object) -> Plant:
        directory = tmp_path / f"plant{len(started)}"
        directory.mkdir()
        context = running(Plant(directory, **options))  # type: ignore[arg-type]  # checked by Plant itself
        started.append(context)
        return context.__enter__()

    yield make
    for context in started:
        context.__exit__(None, None, None)


@pytest.fixture
def wired(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> Session:
    """Return a session of this process whose requests reach the plant."""
    for name, value in plant.wire.environment().items():
        monkeypatch.setenv(name, value)
    return Session(Deadline(60))


@pytest.fixture
def plant(make_plant: Callable[..., Plant]) -> Plant:
    """Return the plant most tests need: mirrored, the admin's record attached."""
    return make_plant()
