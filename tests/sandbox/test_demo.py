"""`make demo`: what a newcomer sees first is run like everything else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from rich.console import Console

from sandbox import __main__ as demo
from tests.support.invariants import Script


@pytest.mark.parametrize("name", [*demo.DEMOS, demo.PUBLISH])
def test_each_scripts_demo_ends_well_and_shows_no_secret(
    name: str, dist: Path, cold_script: Script, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The script's own lines stand between before and after, the verdict is good, and values are dots."""
    monkeypatch.setattr(demo, "RUNTIME_PYTHON", Path(cold_script.python))
    # The demo's consumer asks from this process: what it sets for that is to be gone afterwards.
    for variable in ("HTTPS_PROXY", "REQUESTS_CA_BUNDLE"):
        monkeypatch.setenv(variable, "")
    console, script = Console(width=200), dist / f"{name}.py"

    ended = (
        demo.show_publishing(script, console) if name == demo.PUBLISH else demo.show(demo.DEMOS[name], script, console)
    )
    shown = capsys.readouterr().out
    assert 0 == ended, shown
    assert shown.index("Before") < shown.index("Key rotation completed successfully!") < shown.rindex("After")
    assert not re.search(r"the-password-of-last-year|correct horse", shown)
