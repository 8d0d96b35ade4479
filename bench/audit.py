"""What an audit costs: requests and seconds at 10, 100 and 1,000 records. `python -m bench.audit`.

The command runs as in life, in a process of its own, against a fleet in the sandbox whose every exchange
takes a round trip of 100 ms. The interpreter's own start, about a second, is in the figures.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from sandbox.plant import on_loopback
from tests.support.fleet import EVERY, Fleet

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Cost:
    """What one audit took. status: the command's exit status; connections: TLS handshakes."""

    records: int
    status: int
    requests: int
    connections: int
    seconds: float
    output: str


def measure(fleet: Fleet, round_trip: float, *arguments: str, python: str = sys.executable) -> Cost:
    """Audit a fleet that listens. round_trip: seconds that every exchange takes."""
    fleet.wire.round_trip = round_trip
    environment = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    requests, connections, started = len(fleet.wire.log), fleet.wire.tls_handshakes, time.monotonic()
    done = subprocess.run(  # noqa: S603 - the command under measurement
        [python, "-m", "pam_scripts", "audit", "--every", str(EVERY), *arguments],
        cwd=ROOT,
        env={**environment, **fleet.environment()},
        capture_output=True,
        text=True,
        check=False,
    )
    return Cost(
        len(fleet.healthy) + len(fleet.uids),
        done.returncode,
        len(fleet.wire.log) - requests,
        fleet.wire.tls_handshakes - connections,
        time.monotonic() - started,
        done.stdout + done.stderr,
    )


def main() -> int:
    """Print one line for each size; return 1 where an audit found something in a healthy fleet."""
    parser = argparse.ArgumentParser(prog="python -m bench.audit", description="Measure what an audit costs.")
    parser.add_argument("sizes", nargs="*", type=int, default=[10, 100, 1000], help="records (10 100 1000)")
    parser.add_argument("--round-trip", type=float, default=0.1, metavar="S", help="seconds (%(default)s)")
    options = parser.parse_args()
    sys.stdout.write("records  requests  connections  seconds\n")
    worst = 0
    for size in options.sizes:
        with on_loopback(Fleet, size=size, ill=()) as fleet:
            cost = measure(fleet, options.round_trip)
        worst = max(worst, cost.status)
        sys.stdout.write(f"{cost.records:7}  {cost.requests:8}  {cost.connections:11}  {cost.seconds:7.1f}\n")
    return worst


if __name__ == "__main__":
    raise SystemExit(main())
