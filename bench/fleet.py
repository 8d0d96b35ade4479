"""Many rotations in one process, by `pam-scripts rotate`: beside one attached run, and beside Keeper's limit."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from bench.measure import ROOT, Figures, Site, launched, site
from pam_scripts.cli.fleet.pace import CALLS_ALLOWED, SILENCE, Pace
from sandbox.log import Request

# Of one endpoint a rotation makes so many calls: three saves, of which none can be left out.
CALLS = 3

# The command as a person starts it, with Keeper's pause as long as the sandbox's.
_COMMAND = """
import sys
from pam_scripts.cli.fleet import pace
from pam_scripts.cli.main import main
pace.SILENCE = float(sys.argv[1])
sys.exit(main(sys.argv[2:]))
"""


@dataclass(frozen=True)
class Fleet:
    """What many rotations in one process came to.

    silence: Keeper's pause in seconds, 0 where its limit was off. cpu: of the process, in seconds. peak_mb: the most
    MiB that it held. connections: new TLS connections. log: what the sandbox saw of them.
    """

    count: int
    at_once: int
    silence: float
    seconds: float
    cpu: float
    peak_mb: float
    connections: int
    log: Sequence[Request]

    @property
    def throttled(self) -> int:
        """How many of Keeper's answers turned a call away."""
        return sum(1 for request in self.log if "/rest/sm/" in request.path and request.status != 200)  # noqa: PLR2004 - done


def rotate_all(count: int, round_trip: float, *, at_once: int, silence: float = 0.0) -> Fleet:
    """Rotate the keys of so many applications in one process; raise RuntimeError where one was not rotated."""
    with site(round_trip, applications=count) as plant, tempfile.TemporaryDirectory(prefix="bench-") as directory:
        _attach_all(plant)
        if silence:
            plant.keeper.silence = silence
        else:
            plant.keeper.calls_allowed = sys.maxsize
        report = Path(directory) / "report"
        chosen = ["--all", "--yes", "--logs", directory, "--at-once", str(at_once), "--at-each", str(at_once)]
        # Without a limit there is no pause to wait for between two waves either.
        pause = str(silence or 1e-6)
        done = subprocess.run(  # noqa: S603 - our own
            [*launched(report), "-c", _COMMAND, pause, "rotate", *chosen],
            env={"PATH": os.environ.get("PATH", os.defpath), **plant.environment()},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"exit status {done.returncode}: {(done.stderr or done.stdout)[-2000:]}")
        for target in plant.targets:
            plant.key_held(target)
        told = json.loads(report.read_text())
        seconds = told["ended"] - told["started"]
        connections, log = plant.wire.tls_handshakes, plant.wire.log
        return Fleet(count, at_once, silence, seconds, told["cpu"], told["peak_mb"], connections, log)


def possible(count: int, silence: float, alone: float) -> float:
    """Return the seconds that Keeper's limit leaves possible: full waves, each as long as one rotation, and pauses."""
    waves = math.ceil(count / (CALLS_ALLOWED // CALLS))
    return (waves - 1) * silence + waves * alone


def calculated(count: int, silence: float, wave_seconds: float) -> float:
    """Return the seconds that our own waves come to, each with the pause before it."""
    return math.ceil(count / Pace(CALLS).at_once) * (silence * 1.05 + wave_seconds)


def fleet_table(fleets: Sequence[Fleet], alone: Figures, round_trip: float) -> Table:
    """Make the table of many rotations in one process, a column for each. alone: one attached rotation."""
    table = Table("figure", title=f"Rotations in one process, {round_trip * 1000:g} ms away")
    for fleet in fleets:
        table.add_column(f"{fleet.count}", justify="right")

    def row(name: str, figure: Callable[[Fleet], str]) -> None:
        table.add_row(name, *(figure(fleet) for fleet in fleets))

    row("at once", lambda one: str(one.at_once))
    row("Keeper's pause, s", lambda one: f"{one.silence:g}" if one.silence else "limit off")
    row("wall time, s", lambda one: f"{one.seconds:.2f}")
    row("all / one attached", lambda one: f"{one.seconds / alone.seconds:.2f}")
    row("CPU time for each, ms", lambda one: f"{one.cpu / one.count * 1000:.0f}")
    row("peak memory, MiB", lambda one: f"{one.peak_mb:.0f}")
    row("requests", lambda one: str(len(one.log)))
    row("new TLS connections", lambda one: str(one.connections))
    row("calls that Keeper turned away", lambda one: str(one.throttled))
    row(
        "all / what the limit leaves possible",
        lambda one: f"{one.seconds / possible(one.count, one.silence, alone.seconds):.2f}" if one.silence else "",
    )
    return table


def outlook(fleet: Fleet, alone: Figures) -> list[str]:
    """Return what the measured waves come to with Keeper's real pause, by calculation."""
    waves = math.ceil(fleet.count / Pace(CALLS).at_once)
    wave_seconds = max(0.0, fleet.seconds / waves - fleet.silence * 1.05)
    lines = [
        f"{count} with a pause of {SILENCE:g} s, calculated: {took:.0f} s, "
        f"{took / possible(count, SILENCE, alone.seconds):.2f} times what the limit leaves possible"
        for count in (fleet.count, 1000)
        for took in [calculated(count, SILENCE, wave_seconds)]
    ]
    hourly = Pace(CALLS).at_once * 3600 / (SILENCE * 1.05 + wave_seconds)
    return [*lines, f"so one device rotates some {hourly:.0f} records in an hour, a wave taking {wave_seconds:.1f} s"]


def _attach_all(plant: Site) -> None:
    """Attach the script with its credential to each record, as the vault stores it."""
    value = {"fileRef": "A" * 22, "command": "python3", "recordRef": list(plant.attached)}
    field = {"type": "script", "label": "rotationScripts", "value": [value]}
    for target in plant.targets:
        plant.keeper.edit(target.user_uid, lambda data: data["fields"].append(dict(field)))
