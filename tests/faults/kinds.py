"""The kinds of fault that every request meets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol

from sandbox import faults
from sandbox.faults import Fault, Rule
from sandbox.log import Request
from tests.faults.spots import Spot
from tests.faults.trial import Trial
from tests.support.warm import Run


class HasRun(Protocol):
    """What a kind of fault needs that strikes the process."""

    async def the_run(self) -> Run:
        """Return the run."""


Kind = Callable[[HasRun], Fault]


def _killed_before(trial: HasRun) -> Fault:
    async def kill(_request: Request) -> None:
        run = await trial.the_run()
        run.kill()
        while not run.ended:  # noqa: ASYNC110 - a process ends without telling
            await asyncio.sleep(0.001)

    return Fault(answer="none", before=kill)


def _killed_after(trial: HasRun) -> Fault:
    async def kill(_request: Request) -> None:
        (await trial.the_run()).kill()

    return Fault(after=kill)


def _stopped(trial: HasRun) -> Fault:
    async def stop(_request: Request) -> None:
        (await trial.the_run()).terminate()
        # Long enough for the signal to be dealt with before the answer comes.
        await asyncio.sleep(0.02)

    return Fault(before=stop)


KINDS: Mapping[str, Kind] = {
    "no effect, no answer": lambda _: faults.no_effect_no_answer(),
    "effect, no answer": lambda _: faults.effect_no_answer(),
    "500 before": lambda _: faults.status(500),
    "500 after effect": lambda _: faults.status(500, effect=True),
    "503 with Retry-After": lambda _: faults.status(503, retry_after="1"),
    "429 with Retry-After": lambda _: faults.status(429, retry_after="1"),
    "401": lambda _: faults.status(401),
    "403": lambda _: faults.status(403),
    "404": lambda _: faults.status(404),
    "broken body": lambda _: faults.broken_body(),
    "web page": lambda _: faults.html_body(),
    "web page after effect": lambda _: faults.html_body(effect=True),
    "hang": lambda _: faults.hang(),
    "hang after effect": lambda _: faults.hang(effect=True),
    "killed before the answer": _killed_before,
    "killed after the answer": _killed_after,
    "stopped by SIGTERM": _stopped,
}

KILLS = ("killed before the answer", "killed after the answer")

# Where a proxy in between changes what the client sees.
LOST = ("no effect, no answer", "effect, no answer", "hang")

# An answer that says no, or nothing of use, with nothing more behind it: it differs little from request to request.
PLAIN = (
    "401",
    "403",
    "404",
    "429 with Retry-After",
    "500 before",
    "503 with Retry-After",
    "broken body",
    "web page",
)

# Beyond what is asked for everywhere: the same fault as one above, seen from its other side.
EXTRA = ("web page after effect", "hang after effect")

NASTIEST = ("effect, no answer", "no effect, no answer", "500 after effect")


def at(spot: Spot, kind: str, trial: Trial) -> list[Rule]:
    """Return one fault of a kind at one request, as `Bench.meet` asks for it."""
    return [spot.rule(KINDS[kind](trial))]
