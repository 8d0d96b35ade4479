"""What differs between systems, with the facts of each put in: none of this needs a Windows host."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from pam_scripts.cli.common import write
from pam_scripts.core import host
from pam_scripts.core.errors import BadInput
from pam_scripts.core.host import POSIX, WINDOWS, Host
from pam_scripts.gateway.console import Console
from sandbox.plant import Plant
from tests.support.in_process import InProcess
from tests.support.invariants import assert_silent, assert_true_state

each_host = pytest.mark.parametrize("facts", [POSIX, WINDOWS], ids=["posix", "windows"])


@pytest.mark.parametrize(
    ("facts", "encoding", "written"),
    [
        (POSIX, "utf-8", "key of Zoë → 1\n".encode()),
        (POSIX, "ascii", b"key of Zo\\xeb \\u2192 1\n"),
        (WINDOWS, "cp1252", b"key of Zo\\xeb \\u2192 1\r\n"),
        (WINDOWS, "utf-8", "key of Zoë → 1\r\n".encode()),
    ],
)
def test_a_line_is_read_as_it_was_meant(
    facts: Host, encoding: str, written: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PowerShell reads the OEM code page, where Python writes the ANSI one: ASCII is the same in both."""
    monkeypatch.setattr(host, "HERE", facts)
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as read, open(writing, "w", encoding=encoding) as stream:  # noqa: PTH123 - no path
        monkeypatch.setattr("sys.stdout", stream)
        console = Console()
        console.say("key of Zoë → 1")
        console.finish()
        stream.close()

        assert written == read.read()


@each_host
def test_a_reader_that_goes_away_is_no_failure(facts: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows calls that an invalid argument, which elsewhere is a failure that is told."""
    monkeypatch.setattr(host, "HERE", facts)
    # Takes eight bytes at a time, and calls anything else an invalid argument.
    with os.fdopen(os.eventfd(0), "w", encoding="utf-8") as stream:
        monkeypatch.setattr("sys.stdout", stream)
        told = "" if facts is WINDOWS else r"standard output cannot be written to \(OSError\)"
        with pytest.raises(BadInput, match=told) if told else contextlib.nullcontext():
            write("one")


@each_host
def test_a_file_that_others_may_read_is_told_of_where_its_mode_says_so(facts: Host, tmp_path: Path) -> None:
    """On Windows a mode says nothing, and nobody is told to change it."""
    path = tmp_path / "gateway-config.json"
    path.write_text("{}", encoding="utf-8")
    path.chmod(0o644)
    told, way_out = facts.rights(path)

    assert (f"chmod 600 {path}" in way_out) is facts.has_modes
    assert ("-rw-r--r--" in told) is facts.has_modes
    path.chmod(0o600)
    assert "" == facts.rights(path)[1]


@pytest.fixture
def _signals_given_back() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@each_host
@pytest.mark.usefixtures("_signals_given_back")
def test_a_run_is_told_of_the_signals_that_its_system_has(facts: Host) -> None:
    """Those are taken that there are, and no others; a name that this system lacks is passed over."""
    told: list[str] = []
    unheard = signal.getsignal(signal.SIGHUP)
    facts.on_stop(told.append)

    signal.raise_signal(signal.SIGTERM)
    if "SIGHUP" in facts.signals:
        signal.raise_signal(signal.SIGHUP)

    assert [name for name in ("SIGTERM", "SIGHUP") if name in facts.signals] == told
    assert (signal.getsignal(signal.SIGHUP) is unheard) is ("SIGHUP" not in facts.signals)
    assert "SIGBREAK" in WINDOWS.signals


@each_host
def test_a_key_is_rotated_on_each_kind_of_host(facts: Host, plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the payload that PowerShell pipes to the exit status, with nothing left behind."""
    monkeypatch.setattr(host, "HERE", facts)
    mark = b"" if facts.has_modes else b"\xef\xbb\xbf"
    result = InProcess("rotate_seeq_application_key").run(plant, mark + plant.payload() + facts.line_end.encode())

    assert (0, "") == (result.returncode, result.stderr)
    assert_true_state(plant)
    assert_silent(plant, result)
