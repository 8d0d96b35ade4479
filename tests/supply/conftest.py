"""What these tests share: where `make supply` installed the tools that they hold our files to."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

from tests.conftest import ROOT

INSTALLED = ROOT / ".venv-supply"

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def tool() -> Run:
    """Return what runs one of the tools, in the repository; without them the test is left out."""
    if not (INSTALLED / ".ready").exists():
        pytest.skip("the tools for packages and forms are not installed here; `make supply` installs them")

    def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(INSTALLED / "bin" / program), *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)

    return run
