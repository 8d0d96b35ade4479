"""What an audit costs: requests, seconds, memory at 10, 100 and 1,000 records. `python -m bench.audit`.

The command runs as in life, in a process of its own, against a fleet in the sandbox whose every exchange
takes a round trip of 100 ms. The interpreter's own start, about a second, is in the figures. With `--everywhere` each
key has a mirror in AWS, too, and a container app that reads it.
"""

from __future__ import annotations

import argparse
import gzip
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from sandbox.plant import on_loopback
from tests.support.fleet import EVERY, Fleet

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Cost:
    """What one audit took. status: the command's exit status; connections: TLS handshakes.

    memory: the most that any audit so far has held, in MiB.
    """

    records: int
    status: int
    requests: int
    connections: int
    seconds: float
    memory: float
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
        resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
        done.stdout + done.stderr,
    )


def main() -> int:
    """Print one line for each size; return 1 where an audit found something in a healthy fleet."""
    parser = argparse.ArgumentParser(prog="python -m bench.audit", description="Measure what an audit costs.")
    parser.add_argument("sizes", nargs="*", type=int, default=[10, 100, 1000], help="records (10 100 1000)")
    parser.add_argument("--round-trip", type=float, default=0.1, metavar="S", help="seconds (%(default)s)")
    parser.add_argument("--everywhere", action="store_true", help="with mirrors in AWS, and container apps")
    options = parser.parse_args()
    sys.stdout.write("records  requests  connections  seconds  MiB  page, kB  compressed\n")
    worst = 0
    for size in options.sizes:
        with (
            tempfile.TemporaryDirectory() as directory,
            on_loopback(Fleet, size=size, ill=(), everywhere=options.everywhere) as fleet,
        ):
            page = Path(directory) / "audit.html"
            cost = measure(fleet, options.round_trip, "--html", str(page))
            text = page.read_bytes()
        worst = max(worst, cost.status)
        told = f"{cost.records:7}  {cost.requests:8}  {cost.connections:11}  {cost.seconds:7.1f}  {cost.memory:3.0f}"
        sys.stdout.write(f"{told}  {len(text) / 1000:8.0f}  {len(gzip.compress(text)) / 1000:10.0f}\n")
        sys.stdout.flush()
    return worst


if __name__ == "__main__":
    raise SystemExit(main())
