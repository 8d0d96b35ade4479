"""Draw one real rotation in time: `python -m tools.timeline` makes docs/pictures/rotation.svg from the sandbox's log.

Times differ a little from run to run. So that the picture changes only with what it shows, it is drawn anew only where
a rotation's requests are no longer those that it names; `--always` draws it anyway.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from bench.measure import RUNTIME_PYTHON, Client, Site, clients, site
from sandbox.log import Request

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs/pictures/rotation.svg"
ROUND_TRIP = 0.1
RUNS = 5

_LEFT, _RIGHT, _TOP, _ROW, _WIDTH = 80, 20, 70, 22, 1100
_SYSTEMS = {"keeper": "Keeper", "seeq": "Seeq", "login": "Entra", "vault": "Key Vault"}
"""The lanes, from the top: a part of the host's name, and the system's name."""

_COLOURS = {"Keeper": "#b8860b", "Seeq": "#2e7d32", "Entra": "#6a1b9a", "Key Vault": "#1565c0"}

# What a request does, by system, method and path.
_WORDS = (
    ("Keeper", "POST", r"get_secret", "read"),
    ("Keeper", "POST", r"update_secret", "save"),
    ("Seeq", "POST", r"auth/login", "log in"),
    ("Seeq", "POST", r"generate-access-key", "create"),
    ("Seeq", "GET", r"applications", "list"),
    ("Seeq", "DELETE", r"", "delete"),
    ("Entra", "POST", r"token", "token"),
    ("Key Vault", "PUT", r"", "set"),
    ("Key Vault", "PATCH", r"", "disable"),
    ("Key Vault", "GET", r"versions", "list"),
    ("Key Vault", "GET", r"", "read"),
)


@dataclass(frozen=True)
class Bar:
    """One request as its client sees it. start, end: seconds since the first one left."""

    system: str
    word: str
    start: float
    end: float


def rotation(ours: Client) -> list[Bar]:
    """Rotate once, so far away, and return what was asked; raise RuntimeError where it did not rotate."""
    with site(ROUND_TRIP) as plant:
        result = plant.gateway.run(
            ours.file,
            ours.stdin(plant, plant.targets[0]),
            environment=plant.environment(),
            python=str(RUNTIME_PYTHON),
        )
        if not result.success:
            raise RuntimeError(f"exit status {result.returncode}: {result.stderr}")
        return list(_bars(plant))


def _bars(plant: Site) -> Iterator[Bar]:
    # The log's clock starts when a request has arrived: half a round trip before and after is its way.
    way = ROUND_TRIP / 2
    began = min(one.started for one in plant.wire.log) - way
    for one in sorted(plant.wire.log, key=lambda one: one.started):
        system, word = words(one)
        yield Bar(system, word, one.started - way - began, one.ended + way - began)


def words(request: Request) -> tuple[str, str]:
    """Return the system that a request goes to, and what it does there."""
    system = next(name for part, name in _SYSTEMS.items() if part in request.host)
    return system, next(
        word
        for name, method, path, word in _WORDS
        if (name, method) == (system, request.method) and re.search(path, request.path)
    )


def listed(bars: Sequence[Bar]) -> str:
    """Return what the picture names, whatever came first: each kind of request, and how many there are."""
    kinds = [f"{bar.system} {bar.word}" for bar in bars]
    return ", ".join(f"{kind} {kinds.count(kind)}" for kind in sorted({*kinds}))


def phases(bars: Sequence[Bar]) -> list[tuple[str, float]]:
    """Return the steps of the order, and when each begins."""

    def first(system: str, word: str, after: float = 0.0) -> float:
        return min(bar.start for bar in bars if (bar.system, bar.word) == (system, word) and bar.start >= after)

    create = first("Seeq", "create")
    verify = first("Seeq", "log in", create)
    publish = first("Keeper", "save", verify)
    again = first("Keeper", "read", first("Key Vault", "set"))
    delete = first("Seeq", "delete")
    confirm = first("Seeq", "list", delete)
    log = first("Keeper", "save", confirm)
    return [
        ("look", 0.0),
        ("create", create),
        ("verify", verify),
        ("publish", publish),
        ("look again", again),
        ("delete", delete),
        ("confirm", confirm),
        ("log", log),
    ]


def rows(bars: Sequence[Bar]) -> list[tuple[int, Bar]]:
    """Put each bar into the first row where nothing is under way, and return it with the row's number."""
    ends: list[float] = []
    placed = []
    for bar in bars:
        row = next((number for number, end in enumerate(ends) if end <= bar.start + 0.002), len(ends))
        ends[row:] = [bar.end, *ends[row + 1 :]]
        placed.append((row, bar))
    return placed


def draw(bars: Sequence[Bar]) -> str:
    """Return the picture as SVG."""
    last = max(bar.end for bar in bars)
    scale = (_WIDTH - _LEFT - _RIGHT) / last

    def x(seconds: float) -> str:
        return f"{_LEFT + seconds * scale:.0f}"

    body, y = [], _TOP
    for system in _SYSTEMS.values():
        placed = rows([bar for bar in bars if bar.system == system])
        body.append(f'<text x="{_LEFT - 12}" y="{y + 15}" text-anchor="end" font-weight="bold">{system}</text>')
        for row, bar in placed:
            top, width = y + row * _ROW, (bar.end - bar.start) * scale - 2
            told = f"{system}: {bar.word}, from {bar.start:.2f} s to {bar.end:.2f} s"
            at = f'x="{x(bar.start)}" y="{top}" width="{width:.0f}" height="{_ROW - 3}"'
            middle = f'x="{x((bar.start + bar.end) / 2)}" y="{top + 13}"'
            body.append(f'<g><title>{told}</title><rect {at} rx="3" fill="{_COLOURS[system]}"/>')
            body.append(f'<text {middle} text-anchor="middle" fill="#fff">{escape(bar.word)}</text></g>')
        y += (max(row for row, _ in placed) + 1) * _ROW + 12
        body.append(f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y - 8}" y2="{y - 8}" stroke="#ddd"/>')
    steps = phases(bars)
    ends = [start for _, start in steps[1:]] + [last]
    for number, ((name, start), end) in enumerate(zip(steps, ends, strict=True)):
        shade = "#f4f4f4" if number % 2 else "#fafafa"
        width = (end - start) * scale
        body.insert(0, f'<rect x="{x(start)}" y="40" width="{width:.0f}" height="{y - 40}" fill="{shade}"/>')
        body.append(f'<text x="{x((start + end) / 2)}" y="56" text-anchor="middle" font-style="italic">{name}</text>')
    times = [tenth / 10 for tenth in range(0, int(last * 10) + 1, 2)]
    body += [f'<text x="{x(one)}" y="{y + 14}" text-anchor="middle" fill="#555">{one:.1f} s</text>' for one in times]
    away = f"every request {ROUND_TRIP * 1000:.0f} ms away"
    title = f"One rotation with a mirror in Key Vault, {away}, from the first question to the last answer: {last:.1f} s"
    size, font = f"0 0 {_WIDTH} {y + 24}", 'font-family="sans-serif" font-size="11"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{size}" {font} role="img">',
            f"<title>{title}</title>",
            f"<desc>{listed(bars)}</desc>",
            f'<rect width="{_WIDTH}" height="{y + 24}" rx="6" fill="#fff"/>',
            f'<text x="{_LEFT}" y="26" font-size="14">{title}</text>',
            *body,
            "</svg>\n",
        ]
    )


def shown(picture: str) -> str:
    """Return what a picture names, as `listed`; empty for none."""
    found = re.search(r"<desc>(.*)</desc>", picture)
    return found[1] if found else ""


def main() -> int:
    """Draw the picture where it is old; return 0."""
    parser = argparse.ArgumentParser(prog="python -m tools.timeline", description="Draw one rotation in time.")
    parser.add_argument("--always", action="store_true", help="draw it also where its requests are as they were")
    always = parser.parse_args().always
    before = PICTURE.read_text(encoding="utf-8") if PICTURE.exists() else ""
    with clients() as (ours, _):
        runs = [rotation(ours)]
        if not always and shown(before) == listed(runs[0]):
            return 0
        # The quickest of some is what others' work on this machine has held up least.
        runs += [rotation(ours) for _ in range(RUNS - 1)]
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    PICTURE.write_text(draw(min(runs, key=lambda bars: max(bar.end for bar in bars))), encoding="utf-8")
    sys.stdout.write(f"{PICTURE.relative_to(ROOT)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
