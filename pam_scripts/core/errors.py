"""Every failure this package reports, each with the exit status it ends the script with.

A message has up to three parts, joined by semicolons: what went wrong (system, action, object,
cause), the state left behind, and the next step. None of them ever carries a secret value.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import ClassVar

from pam_scripts.core.secret import Secret

ENDS: Mapping[int, str] = {
    1: "failed",
    2: "bad input",
    3: "old keys are still alive",
    4: "not certain, a person must look",
}
"""By exit status: the words that a run's one line ends with."""

# By exit status: what to do where nobody knows it better.
_NEXT_STEPS: Mapping[int, str] = {
    1: "fix that, then rotate again",
    2: "correct that, then rotate again",
    3: "rotate again",
    4: "check what is named here, then rotate again",
}


class PamScriptError(Exception):
    """A failure in words for the person who reads the Gateway's log.

    status: the exit status: 1 failed, with nothing changed or all put back.
    state: what is left behind; empty until the one who knows it has said so.
    next_step: what to grant, change or run; may be empty.
    """

    status: ClassVar[int] = 1

    def __init__(self, cause: str, *, state: str = "", next_step: str = "") -> None:
        # Redacted before anybody cuts it or takes it apart.
        self.cause = Secret.redact(cause)
        super().__init__(self.cause)
        self.state = state
        self.next_step = next_step

    def __str__(self) -> str:
        return "; ".join(part for part in (self.cause, self.state, self.next_step) if part)

    def as_line(self, record: str = "") -> str:
        """Return the one line of a run that ends with this: record, cause, state, next step, exit status.

        record: as messages name it, empty where none was read; left out where the cause names it already.
        """
        cause = f"{record}: {self.cause}" if record and record not in self.cause else self.cause
        parts = (cause, self.state, self.next_step or _NEXT_STEPS[self.status], f"exit status {self.status}")
        return f"{'; '.join(part for part in parts if part)}: {ENDS[self.status]}"


class BadInput(PamScriptError):
    """The payload or a setting is wrong: names the field and the way out. Nothing was touched."""

    status: ClassVar[int] = 2


class NoLogin(BadInput):
    """No record has a credential that the script could act with: names where one is looked for."""


class Refused(PamScriptError):
    """A system's state forbids the rotation: names what to grant or change. Nothing was changed."""


class Yielded(PamScriptError):
    """Another rotation of the same target goes first; this one has stepped back."""


class OutOfTime(PamScriptError):
    """The run's deadline has passed, or the run was told to stop."""


class OldKeysAlive(PamScriptError):
    """The new key is in place everywhere, but keys that should be gone still log in."""

    status: ClassVar[int] = 3


class NotCertain(PamScriptError):
    """The end state could not be confirmed: names what a person must look at."""

    status: ClassVar[int] = 4


class ApiError(PamScriptError):
    """A system did not do what it was asked, or did not say whether it did.

    code: the HTTP status, None where no usable answer came.
    name: the system's own name for the error, empty where it gave none.
    retry_after: seconds the system asked to be left alone, None where it did not say.
    permanent: asking again is no use, whatever the answer was.
    unreachable: no connection could be made to a host that has never answered: asking again is seldom of use.
    unclear: an earlier try of the same call may have taken effect, whatever the answer to this one was.
    busy: the system declined for now and says so: nothing was done, the same again may go better.
    quiet: busy, and only silence ends it: until `retry_after` is over nobody must ask, since each call begins it anew.
    transient: asking the same again may go better. Says nothing about whether the request took
        effect: only a look at the system can, since a proxy makes a lost answer look like a
        connection that never was.
    """

    def __init__(  # noqa: PLR0913 - each is one fact of an answer
        self,
        system: str,
        action: str,
        cause: str,
        *,
        code: int | None = None,
        name: str = "",
        retry_after: float | None = None,
        next_step: str = "",
        busy: bool = False,
        quiet: bool = False,
        permanent: bool = False,
        unreachable: bool = False,
    ) -> None:
        super().__init__(f"{system}: {action}: {cause}", next_step=next_step)
        self.code = code
        self.name = name
        self.retry_after = retry_after
        self.permanent = permanent
        self.unreachable = unreachable
        self.unclear = False
        self.quiet = quiet
        self.busy = busy or quiet or code in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)

    def anew(self) -> ApiError:
        """Return the same error for another call that it answers as well, which left a state of its own."""
        made = ApiError.__new__(type(self), *self.args)
        made.__dict__.update({**self.__dict__, "state": ""})
        return made

    @property
    def declined(self) -> bool:
        """Whether the system said clearly, at every try, that it would not, now or ever: nothing was done."""
        said_no = self.code is not None and HTTPStatus.BAD_REQUEST <= self.code < HTTPStatus.INTERNAL_SERVER_ERROR
        return said_no and self.code != HTTPStatus.REQUEST_TIMEOUT and not self.unclear

    @property
    def refused(self) -> bool:
        """Whether the system declined, and not just for now."""
        return self.declined and not self.transient

    @property
    def transient(self) -> bool:
        """Whether asking again may go better: no answer, busy, or a server's own trouble."""
        if self.permanent:
            return False
        trouble = self.code is None or self.code >= HTTPStatus.INTERNAL_SERVER_ERROR
        return trouble or self.busy or self.code == HTTPStatus.REQUEST_TIMEOUT


def defect(failure: Exception) -> str:
    """Name an exception nobody foresaw by its type and place; its own text could carry anything."""
    frame = failure.__traceback__
    while frame and frame.tb_next:
        frame = frame.tb_next
    place = f"{frame.tb_frame.f_code.co_name}, line {frame.tb_lineno}" if frame else "an unknown place"
    return f"unexpected {type(failure).__name__} in {place}: please report it"
