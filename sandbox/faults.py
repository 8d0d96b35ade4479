"""Faults on the wire: which request is hit, and what its client then sees.

A rule names requests by host, method and path (shell patterns) and by their number among
those that match. What a fault does has two halves that are chosen apart, because they are
apart in the world: whether the request takes effect, and what answer comes back.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal

from sandbox.log import Request

Answer = Literal["real", "none", "hang", "broken", "html", "status"]
Hook = Callable[[Request], Awaitable[None]]


@dataclass(frozen=True)
class Fault:
    """What happens to one request.

    effect: the service carries the request out.
    answer: what the client gets: the `real` answer, `none` (the connection is reset), a `hang`
        that lasts until the client gives up, the real answer cut in half (`broken`), a proxy's
        error page with status 200 (`html`), or a bare `status`.
    status, retry_after: for `status`; `retry_after` goes into that header as it is.
    delay: seconds before anything else happens.
    before, after: awaited right before the answer would leave (the effect done) and right after.
    """

    effect: bool = True
    answer: Answer = "real"
    status: int = 0
    retry_after: str | None = None
    delay: float = 0.0
    before: Hook | None = None
    after: Hook | None = None


def no_effect_no_answer() -> Fault:
    """Lose the request on its way there."""
    return Fault(effect=False, answer="none")


def effect_no_answer() -> Fault:
    """Carry the request out, and lose the answer on its way back."""
    return Fault(answer="none")


def status(code: int, *, effect: bool = False, retry_after: str | None = None) -> Fault:
    """Answer with an HTTP status of the server's own, before the effect or after it."""
    return Fault(effect=effect, answer="status", status=code, retry_after=retry_after)


def broken_body(*, effect: bool = True) -> Fault:
    """Answer with the first half of the real body, as a success."""
    return Fault(effect=effect, answer="broken")


def html_body(*, effect: bool = False) -> Fault:
    """Answer 200 with a web page, as captive portals and misrouted proxies do."""
    return Fault(effect=effect, answer="html")


def hang(*, effect: bool = False) -> Fault:
    """Never answer; the connection stays open until the client leaves."""
    return Fault(effect=effect, answer="hang")


def delay(seconds: float) -> Fault:
    """Answer truly, but late."""
    return Fault(delay=seconds)


@dataclass
class Rule:
    """One fault and the requests it is for.

    host, method, path: shell patterns; `nth` counts the matching requests from 1, and None
    hits all of them. `number` is a request's place in the whole log, counted from 1. `where` is any
    other condition. `times` ends the rule after that many hits.
    """

    fault: Fault
    host: str = "*"
    method: str = "*"
    path: str = "*"
    where: Callable[[Request], bool] | None = None
    nth: int | None = None
    number: int | None = None
    times: int | None = None
    seen: int = field(default=0, init=False)
    hits: int = field(default=0, init=False)

    def takes(self, request: Request) -> bool:
        """Count the request, and say whether it is this rule's to spoil."""
        if not (
            fnmatch.fnmatchcase(request.host, self.host)
            and fnmatch.fnmatchcase(request.method, self.method)
            and fnmatch.fnmatchcase(request.path, self.path)
            and (self.where is None or self.where(request))
        ):
            return False
        self.seen += 1
        wanted = (
            (self.nth is None or self.seen == self.nth)
            and (self.number is None or request.number == self.number)
            and (self.times is None or self.hits < self.times)
        )
        self.hits += wanted
        return wanted
