"""The log of every request the sandbox saw, for tests that check what was sent."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass
class Request:
    """One request as it arrived, and what came of it.

    number: its place in the log, from 1. status: the answer's HTTP status, 0 while there is
    none and where the answer was withheld. started, ended: monotonic seconds.
    connection: tells apart the TCP connections that requests arrived on. client: the name that the
    client gave the proxy, empty where it gave none or came direct.
    """

    number: int
    host: str
    method: str
    path: str
    query: str
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    connection: int = 0
    client: str = ""
    status: int = 0
    fault: str = ""
    started: float = field(default_factory=time.monotonic, repr=False)
    ended: float = field(default=0.0, repr=False)

    @property
    def url(self) -> str:
        """The URL as a proxy's or server's access log would keep it."""
        return f"https://{self.host}{self.path}" + (f"?{self.query}" if self.query else "")

    def __str__(self) -> str:
        return f"{self.method} {self.host}{self.path}"
