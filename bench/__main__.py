"""The benchmark: `python -m bench`, or `make bench`. What it measures, and why: docs/performance.md.

It prints figures and ratios, and judges nothing: how long something takes is the machine's affair, too.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from rich.console import Console
from rich.table import Table

from bench import floor
from bench.fleet import fleet_table, outlook, rotate_all
from bench.measure import (
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

# Name of each figure, how it is written, and the floor's own.
FIGURES = (
    ("requests", "requests", "{:.0f}"),
    ("new TLS connections", "connections", "{:.0f}"),
    ("wall time, s", "seconds", "{:.2f}"),
    ("CPU time, s", "cpu", "{:.2f}"),
    ("CPU time to the first request, s", "start_cpu", "{:.2f}"),
    ("peak memory, MiB", "peak_mb", "{:.0f}"),
)

# What is taken of several runs. On a busy machine the least is what the others' work disturbed least.
TAKES: Mapping[str, Callable[[Iterable[float]], float]] = {"median": statistics.median, "least": min}

# Key Vault counts its limits by ten seconds:
# https://learn.microsoft.com/azure/key-vault/general/service-limits
LIMIT_PERIOD = 10


@dataclass(frozen=True)
class Crowd:
    """What many rotations at once came to.

    peak_mb: the heaviest's memory. sandbox_cpu: the sandbox's own CPU time meanwhile, in seconds.
    log: what the sandbox saw of them.
    """

    count: int
    seconds: float
    peak_mb: float
    sandbox_cpu: float
    log: Sequence[Request]


@dataclass(frozen=True)
class Backlog:
    """What a rotation came to that deleted many old keys."""

    old_keys: int
    figures: Figures
    deletions_at_once: int
    refused: int


def main() -> int:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure what a rotation costs.")
    parser.add_argument("--runs", type=int, default=5, help="runs of each kind")
    parser.add_argument("--take", choices=TAKES, default="median", help="which of their values counts")
    parser.add_argument("--round-trips", type=float, nargs="+", default=[0, 20, 100], metavar="MS")
    parser.add_argument(
        "--together", type=int, nargs="*", default=[2, 4, 8, 20], metavar="N", help="rotations started at once"
    )
    parser.add_argument("--old-keys", type=int, default=500, metavar="N", help="keys to delete in one run; 0: none")
    parser.add_argument(
        "--one-process",
        nargs="*",
        default=["1:1", "20:20", "100:50", "200:30:1"],
        metavar="N:AT_ONCE[:PAUSE]",
        help="rotations in one process, so many at a time; with Keeper's limit, its pause in seconds",
    )
    options = parser.parse_args()
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
    console.print(
        f"Python {platform.python_version()}; {options.take} of {options.runs}; clients and sandbox share "
        f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}"
    )
    farthest = max(options.round_trips)
    away = farthest / 1000
    with clients() as (ours, plain):
        for client in (ours, plain):
            with site(0) as plant:
                run(client, plant)  # compiles what is imported, and makes the services' certificates
        results = {
            milliseconds: side_by_side((ours, plain), milliseconds / 1000, options.runs, TAKES[options.take])
            for milliseconds in options.round_trips
        }
        console.print(comparison(results))
        console.print(f"The floor's chain: {floor.SET_UP} round trips to connect; {'; '.join(floor.chain())}")
        alone = results[farthest][ours.name]
        if options.together:
            crowds = [many_at_once(ours, count, away) for count in options.together]
            console.print(crowd_table(crowds, alone, import_cpu(), away))
        if options.one_process:
            asked = [[float(part) for part in one.split(":")] for one in options.one_process]
            fleets = [rotate_all(int(one[0]), away, at_once=int(one[1]), silence=sum(one[2:])) for one in asked]
            console.print(fleet_table(fleets, alone, away))
            for line in (line for fleet in fleets if fleet.silence for line in outlook(fleet, alone)):
                console.print(line)
        if options.old_keys:
            console.print(backlog_table(many_old_keys(ours, options.old_keys, away), alone, away))
    console.print(f"load at the end {os.getloadavg()[0]:.1f}")
    return 0


def side_by_side(
    each: Sequence[Client], round_trip: float, runs: int, take: Callable[[Iterable[float]], float]
) -> Mapping[str, Figures]:
    """Run the clients by turns, so that whatever else the machine does meets all alike; return what is typical."""
    figures: dict[str, list[Figures]] = {client.name: [] for client in each}
    for _ in range(runs):
        for client in each:
            with site(round_trip) as plant:
                figures[client.name].append(run(client, plant))
    return {name: typical(measured, take) for name, measured in figures.items()}


def many_at_once(client: Client, count: int, round_trip: float) -> Crowd:
    """Rotate the keys of so many applications, all started together."""
    with site(round_trip, applications=count) as plant:
        before = time.process_time()
        seconds, peak_mb = run_together(client, plant)
        return Crowd(count, seconds, peak_mb, time.process_time() - before, plant.wire.log)


def many_old_keys(client: Client, old_keys: int, round_trip: float) -> Backlog:
    """Rotate the key of an application that has so many old ones."""
    with site(round_trip, old_keys=old_keys) as plant:
        figures = run(client, plant)
        deletions = [request for request in plant.wire.log if request.method == "DELETE"]
        return Backlog(old_keys, figures, most_in_flight(deletions, round_trip), _refused(plant.wire.log))


def comparison(results: Mapping[float, Mapping[str, Figures]]) -> Table:
    """Make the table of this package, the plain client and the floor, by round trip in milliseconds."""
    table = Table("round trip", "figure", title="One rotation")
    for heading in ("this package", "plain client", "floor", "package / floor", "plain / floor", "package / plain"):
        table.add_column(heading, justify="right")
    for milliseconds, figures in results.items():
        lowest = {
            "requests": len(floor.STEPS),
            "connections": floor.connections(),
            "seconds": floor.round_trips() * milliseconds / 1000,
        }
        for name, attribute, form in FIGURES:
            package, plain = (getattr(figures[client], attribute) for client in ("this package", "plain client"))
            bottom = lowest.get(attribute)
            table.add_row(
                f"{milliseconds:g} ms",
                name,
                form.format(package),
                form.format(plain),
                "" if bottom is None else form.format(bottom),
                _ratio(package, bottom),
                _ratio(plain, bottom),
                _ratio(package, plain),
                end_section=name == FIGURES[-1][0],
            )
    return table


def crowd_table(crowds: Sequence[Crowd], alone: Figures, importing: float, round_trip: float) -> Table:
    """Make the table of many rotations at once, a column for each number of them. importing: see `import_cpu`."""
    cpus = os.cpu_count() or 1
    table = Table("figure", title=f"Rotations started at once, {round_trip * 1000:g} ms away, on {cpus} CPUs")
    for crowd in crowds:
        table.add_column(str(crowd.count), justify="right")

    def row(name: str, figure: Callable[[Crowd], str]) -> None:
        table.add_row(name, *map(figure, crowds))

    row("for each CPU", lambda crowd: f"{crowd.count / cpus:g}")
    row("wall time of all, s", lambda crowd: f"{crowd.seconds:.2f}")
    row("wall time of one alone, s", lambda _: f"{alone.seconds:.2f}")
    row("all / one", lambda crowd: _ratio(crowd.seconds, alone.seconds))
    row("CPU time on each CPU, s, of which", lambda crowd: f"{crowd.count * alone.cpu / cpus:.2f}")
    row("  importing the SDKs", lambda crowd: f"{crowd.count * importing / cpus:.2f}")
    row("CPU time of the sandbox meanwhile, s", lambda crowd: f"{crowd.sandbox_cpu:.2f}")
    row("peak memory of the heaviest, MiB", lambda crowd: f"{crowd.peak_mb:.0f}")
    row("requests", lambda crowd: str(len(crowd.log)))
    row("answered 429, or 'throttled'", lambda crowd: str(_refused(crowd.log)))
    for host in sorted({request.host for crowd in crowds for request in crowd.log}):
        row(f"most requests in {LIMIT_PERIOD} s to {host}", partial(_busiest, host))
    return table


def _busiest(host: str, crowd: Crowd) -> str:
    return str(most_within([request for request in crowd.log if request.host == host], LIMIT_PERIOD))


def backlog_table(backlog: Backlog, alone: Figures, round_trip: float) -> Table:
    """Make the table of a rotation with many old keys, beside one with a single one."""
    table = Table("figure", title=f"An application with {backlog.old_keys} old keys, {round_trip * 1000:g} ms away")
    for heading in (f"{backlog.old_keys} old keys", "1 old key", "ratio"):
        table.add_column(heading, justify="right")
    for name, attribute, form in FIGURES:
        many, one = getattr(backlog.figures, attribute), getattr(alone, attribute)
        table.add_row(name, form.format(many), form.format(one), _ratio(many, one))
    table.add_row("deletions under way at one time", str(backlog.deletions_at_once), "1", "")
    table.add_row("answered 429, or 'throttled'", str(backlog.refused), "", "")
    return table


def _refused(log: Sequence[Request]) -> int:
    # Keeper says 403 where others say 429; nothing else in a rotation that succeeds is a 403.
    return sum(request.status in (429, 403) for request in log)


def _ratio(measured: float, to: float | None) -> str:
    return f"{measured / to:.2f}" if to else ""


if __name__ == "__main__":
    raise SystemExit(main())
