"""The services, one module each: state in memory, the published wire in front of it."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Protocol

from starlette.types import ASGIApp


class Service(Protocol):
    """What every service says of itself, so that whoever puts a sandbox together need not know it."""

    @property
    def hosts(self) -> tuple[str, ...]:
        """The names that it is served at; `*.` in front stands for any one name there."""

    @property
    def app(self) -> ASGIApp:
        """The ASGI application that answers there."""

    def secrets(self) -> AbstractSet[str]:
        """Return every secret value that the service ever issued or was given, dead ones too.

        None of them may show in what a program prints. What a service only keeps or hands on may be left
        to the one that issued it.
        """


class Refusal(Exception):
    """A request that a service refuses.

    status: of HTTP. code: the service's own word for what is wrong; message: what it says of it. headers: those
    beside the usual ones. more: what else its answer says, where a service says more.
    """

    def __init__(
        self, status: int, code: str, message: str, *, headers: Mapping[str, str] | None = None, **more: object
    ) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers
        self.more = more
