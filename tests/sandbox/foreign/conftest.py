"""What the tests with foreign clients share: where these are installed, and how they are led to the sandbox."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from sandbox.clock import Clock
from sandbox.services.keeper import Keeper
from sandbox.wire import Wire

HERE = Path(__file__).parent
INSTALLED = Path(__file__).parents[3] / ".foreign"

Json = Any
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def installed() -> Path:
    """Return where `make foreign` put the clients; without them the test is left out."""
    if not (INSTALLED / ".ready").exists():
        pytest.skip("the vendors' own clients are not installed here; `make foreign` installs them")
    return INSTALLED


@pytest.fixture
def keeper() -> Keeper:
    """Make a vault with one folder."""
    return Keeper(Clock())


@pytest.fixture
def wire(keeper: Keeper, tmp_path: Path) -> Iterator[Wire]:
    """Serve the vault at its real host names."""
    wire = Wire(tmp_path)
    wire.serve(keeper)
    wire.start()
    yield wire
    wire.stop()


@pytest.fixture
def run(installed: Path, tmp_path: Path) -> Run:
    """Return what runs one program of the clients, alone with a home of its own and the way to a wire."""

    def run(
        wire: Wire, program: str, *arguments: str, given: str = "", environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        led = {
            **wire.environment(),
            "AWS_CA_BUNDLE": str(wire.ca_file),
            "NODE_EXTRA_CA_CERTS": str(wire.ca_file),
            "NODE_PATH": str(installed / "node" / "node_modules"),
        }
        path = os.pathsep.join((str(installed / "python" / "bin"), os.environ["PATH"]))
        alone = {"PATH": path, "HOME": str(tmp_path), "LANG": "C.UTF-8"}
        return subprocess.run(
            [program, *arguments],
            env={**alone, **led, **(environment or {})},
            cwd=tmp_path,
            input=given,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    return run


def answer(result: subprocess.CompletedProcess[str]) -> Json:
    """Return what a program that succeeded wrote as JSON, None for nothing."""
    assert 0 == result.returncode, result.stderr
    return json.loads(result.stdout) if result.stdout.strip() else None
