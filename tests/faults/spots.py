"""Where a fault strikes: one request of a run, named so that it is found again in every fresh plant.

A request's place in the log says nothing once several are under way at a time. What it asks for does,
with what is made up anew in every plant left out, and how many of the kind came before it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from sandbox.faults import Fault, Rule
from sandbox.log import Request

# What is random in paths: UUIDs, versions of a secret, ids of Seeq's keys.
_RANDOM = re.compile(
    r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}|(?<=/)[0-9a-f]{32}(?=/|$)|(?<=/accesskeys/)[^/]+"
)


def address(request: Request) -> str:
    """Say what a request asks of whom, in the same words in every plant."""
    # AWS has one path for everything, and names the action in a header.
    action = request.headers.get("x-amz-target", "").rpartition(".")[2]
    return _RANDOM.sub("{id}", f"{request}{action}")


@dataclass(frozen=True)
class Spot:
    """The `nth` request, from 1, with an address."""

    address: str
    nth: int

    def __str__(self) -> str:
        return f"{self.address} #{self.nth}"

    @property
    def is_by_chance(self) -> bool:
        """Whether time decides if it is made: how often consumers are asked until they are well."""
        asked_at_least = 3 if re.match(r"GET .*/revisions/[^/]+$", self.address) else 1
        return self.nth > asked_at_least and bool(re.match(r"GET .*(/health|/revisions/[^/]+)$", self.address))

    def rule(self, fault: Fault) -> Rule:
        """Return what has a fault strike here."""
        return Rule(fault, where=lambda request: address(request) == self.address, nth=self.nth)


def spots(log: Iterable[Request]) -> list[Spot]:
    """Return where the requests of a log were made, in the order in which they came."""
    seen: Counter[str] = Counter()
    found = []
    for request in log:
        at = address(request)
        seen[at] += 1
        found.append(Spot(at, seen[at]))
    return found


def after(first: Rule, count: int, fault: Fault) -> Rule:
    """Return what has a fault strike the request that comes as so many-eth, from 1, after another fault has struck."""
    return Rule(fault, where=lambda _: first.hits > 0, nth=count)
