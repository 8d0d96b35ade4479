"""How long an audit waits for each system: one that does not answer must not use up the time of the others."""

from __future__ import annotations

import threading
import time
from typing import Any
from urllib.parse import urlsplit

import requests

from pam_scripts.core.deadline import Deadline
from pam_scripts.core.errors import OutOfTime
from pam_scripts.core.http import Session


class HostDeadlines:
    """The time that each system is given, by its host: shared by everybody who asks in one audit.

    whole: the audit's own deadline. seconds: how long a host may leave requests without an answer, all of them
    together; any answer, a refusal too, and it has them anew. silent: the hosts that were given up.
    """

    def __init__(self, whole: Deadline, seconds: float) -> None:
        self.whole = whole
        self.seconds = seconds
        self._lock = threading.Lock()
        self._unanswered: dict[str, float] = {}
        self._silent: dict[str, None] = {}

    @property
    def silent(self) -> list[str]:
        """The hosts that were given up, in the order of their names."""
        with self._lock:
            return sorted(self._silent)

    def asked(self, host: str) -> None:
        """Count from now on, where its last request was answered."""
        with self._lock:
            self._unanswered.setdefault(host, time.monotonic())

    def answered(self, host: str) -> None:
        """Count no further."""
        with self._lock:
            self._unanswered.pop(host, None)

    def left(self, host: str) -> float:
        """Return the seconds that a host has left, 0 for none."""
        now = time.monotonic()
        with self._lock:
            since = self._unanswered.get(host, now)
        return min(self.whole.left(), max(0.0, self.seconds - (now - since)))

    def give_up(self, host: str) -> OutOfTime:
        """Return the error for a host that has no time left, and remember it."""
        with self._lock:
            self._silent[host] = None
        return OutOfTime(
            f"not looked at: {host} did not answer within {self.seconds:g} s",
            next_step=f"look whether {host} answers, and from this host; then audit again",
        )


class _HostsDeadline(Deadline):
    """The deadline of the host that is being asked. host: changes with each request."""

    def __init__(self, deadlines: HostDeadlines) -> None:
        super().__init__(deadlines.whole.seconds)
        self.call_seconds = min(deadlines.whole.call_seconds, deadlines.seconds)
        self.host = ""
        self._deadlines = deadlines

    def left(self) -> float:
        """Return the seconds left for the host, and for the whole audit."""
        return self._deadlines.left(self.host)

    def check(self) -> None:
        """Raise OutOfTime where the audit has no time left, or the host none."""
        self._deadlines.whole.check()
        if not self.left():
            raise self._deadlines.give_up(self.host)


class HostTimedSession(Session):
    """A session whose requests go by the deadline of the host that they are for. For one thread at a time."""

    def __init__(self, deadlines: HostDeadlines, ca_bundle: str = "") -> None:
        self._host = _HostsDeadline(deadlines)
        self._deadlines = deadlines
        super().__init__(self._host, ca_bundle)

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:  # noqa: ANN401 - passed on
        """Send a request; raise OutOfTime where its host has used up its time."""
        host = self._host.host = urlsplit(request.url or "").netloc
        self._deadlines.asked(host)
        try:
            response = super().send(request, **kwargs)
        except requests.RequestException:
            self._host.check()
            raise
        self._deadlines.answered(host)
        return response
