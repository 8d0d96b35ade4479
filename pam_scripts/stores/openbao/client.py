"""Requests to one OpenBao or HashiCorp Vault server: the login, the engine behind a path, and what is refused.

https://openbao.org/api-docs/
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

from pam_scripts.core import http
from pam_scripts.core.errors import ApiError, BadInput
from pam_scripts.core.files import is_plain_file
from pam_scripts.core.parallel import holding
from pam_scripts.core.refusals import Refusal
from pam_scripts.core.secret import Secret
from pam_scripts.stores.openbao import JWT_FILE, TOKEN_FILE, Login
from pam_scripts.stores.openbao.refusals import (
    NO_AUTH,
    NO_ENGINE,
    NOT_ALLOWED,
    SYSTEM,
    TOKEN_ENDED,
    WRONG_APPROLE,
    WRONG_ENGINE,
    WRONG_JWT,
    refusal_of,
)

# Seconds that a token must have left to be used once more.
_SPARE = 15.0

# What a file may hold that somebody names: these are sent to a server, and nothing else of this host is.
_SHAPES: Mapping[str, str] = {
    "token": r"(?:hv)?[sbr]\.[A-Za-z0-9_.-]{10,4000}",
    "jwt": r"eyJ[A-Za-z0-9_-]{5,16000}\.[A-Za-z0-9_-]{2,16000}\.[A-Za-z0-9_-]{10,16000}",
}

_MERGE = {"Content-Type": "application/merge-patch+json"}


class NotThere(ApiError):
    """Nothing stands at a path, or nothing any more."""


@dataclass(repr=False)
class _Token:
    """The token of one login, for all that share connections. good_until: by the monotonic clock."""

    value: Secret = field(default_factory=lambda: Secret(""))
    good_until: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)


class Client:
    """Who asks a server: one login, made when it is needed first, and again where its token has ended."""

    def __init__(self, login: Login, session: http.Session) -> None:
        self._login = login
        self._session = session
        self._token = session.made_once(login.address, login, _Token)

    @property
    def host(self) -> str:
        """The server's host, with its port where that is another than 443."""
        return self._login.host

    def log_in(self) -> Secret:
        """Return a token that is good for a while, having logged in where there is none."""
        token = self._token
        with holding(token.lock, self._session.deadline):
            if not token.value or time.monotonic() > token.good_until:
                token.value, lasts = self._log_in()
                # A token without an end has a lease of 0 seconds.
                token.good_until = time.monotonic() + (max(lasts - _SPARE, lasts / 2) if lasts else 1e9)
            return token.value

    def engine_of(self, path: str) -> str:
        """Return the path of the engine that a secret is in, with a slash behind it.

        Raises ApiError where the login may see none there, and where it is not KV version 2.
        https://openbao.org/docs/commands/kv/ does the same before each of its requests.
        """
        action = f"look for the engine of {path}"
        found = self.ask(action, "GET", f"sys/internal/ui/mounts/{path}", otherwise=NO_ENGINE)
        mount, options = found.get("path"), found.get("options") or {}
        if not isinstance(mount, str) or not f"{path}/".startswith(mount.rstrip("/") + "/"):
            raise ApiError(SYSTEM, action, "the answer is not readable")
        if found.get("type") != "kv" or options.get("version") != "2" or mount.rstrip("/") == path:
            raise WRONG_ENGINE.as_error(f"{SYSTEM}: secret {path}")
        return mount.rstrip("/") + "/"

    def rights(self, paths: Sequence[str]) -> Mapping[str, Sequence[str]]:
        """Return what the login may do at each of these paths; nothing where it may not even ask.

        https://openbao.org/api-docs/system/capabilities-self/
        """
        try:
            found = self.ask("look at its rights", "POST", "sys/capabilities-self", {"paths": list(paths)})
        except ApiError as error:
            if error.code != HTTPStatus.FORBIDDEN:
                raise
            return {}
        return {path: [str(one) for one in found.get(path) or ()] for path in paths if path in found}

    def ask(  # noqa: PLR0913, PLR0917 - each is one fact of a request
        self,
        action: str,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        capability: str = "",
        otherwise: Refusal = NOT_ALLOWED,
    ) -> Mapping[str, Any]:
        """Make one request; return what its answer has as `data`.

        capability: what a policy must allow at the path for it, where that is to be told. otherwise: what a 403 means
        where the token is good. Raises NotThere for a path at which there is nothing, ApiError for all else.
        """
        token = self.log_in()
        try:
            return self._ask(action, method, path, body, token)
        except ApiError as error:
            if error.code != HTTPStatus.FORBIDDEN:
                raise
        if not self._is_good(token):
            # A token that has ended was refused, and nothing was done with it.
            with holding(self._token.lock, self._session.deadline):
                self._token.value = Secret("") if self._token.value == token else self._token.value
            fresh = self.log_in()
            if fresh == token:
                raise _refusal(action, HTTPStatus.FORBIDDEN, TOKEN_ENDED)
            try:
                return self._ask(action, method, path, body, fresh)
            except ApiError as error:
                if error.code != HTTPStatus.FORBIDDEN:
                    raise
        detail = f": {policy(path, [capability])}" if capability else ""
        raise _refusal(action, HTTPStatus.FORBIDDEN, otherwise, detail)

    def _ask(
        self, action: str, method: str, path: str, body: Mapping[str, Any] | None, token: Secret
    ) -> Mapping[str, Any]:
        headers = {"X-Vault-Token": token.reveal(), **(_MERGE if method == "PATCH" else {})}
        answer = self._call(action, method, path, body, headers)
        data = answer.get("data")
        # Those that have nothing to say answer 204; whatever else has an id, which a captive portal's JSON has not.
        if answer and not (isinstance(data, Mapping) and answer.get("request_id")):
            raise ApiError(SYSTEM, action, "the answer is not readable")
        return data if isinstance(data, Mapping) else {}

    def _is_good(self, token: Secret) -> bool:
        """Say whether a token is known there; a server that cannot say it now has just refused something else."""
        try:
            self._ask("look at the token", "GET", "auth/token/lookup-self", None, token)
        except ApiError as error:
            return error.code != HTTPStatus.FORBIDDEN
        return True

    def _log_in(self) -> tuple[Secret, float]:
        """Return a token, and the seconds that it lasts; 0 where it has no end."""
        login, action = self._login, f"log in to {self.host}"
        if login.way == "token":
            return self._read(TOKEN_FILE.label, login.way), 0.0
        if login.way == "jwt":
            body = {"role": login.role, "jwt": self._read(JWT_FILE.label, login.way).reveal()}
        else:
            body = {"role_id": login.role, "secret_id": login.secret.reveal()}
        answer = self._call(action, "POST", f"auth/{login.mount}/login", body, {}, "login ")
        auth = answer.get("auth")
        token = auth.get("client_token") if isinstance(auth, Mapping) else None
        lasts = auth.get("lease_duration") if isinstance(auth, Mapping) else None
        if not isinstance(token, str) or not token or not isinstance(lasts, int):
            raise ApiError(SYSTEM, action, "the answer is not readable")
        return Secret(token), float(lasts)

    def _read(self, label: str, shape: str) -> Secret:
        """Return what stands in a file on this host; only what has the shape of a token or a JWT leaves it."""
        path, record = self._login.file, self._login.record
        whose = f"{record.shown}: " if record else ""
        try:
            text = Path(path).read_text(encoding="ascii").strip() if is_plain_file(path) else ""
        except (OSError, ValueError):
            raise BadInput(
                f"{whose}field '{label}' names a file that cannot be read",
                next_step="correct it, or let the Gateway's user read the file",
            ) from None
        found = Secret(text)
        if not re.fullmatch(_SHAPES[shape], text):
            raise BadInput(
                f"{whose}field '{label}' names a file that does not hold {'a JWT' if shape == 'jwt' else 'a token'}",
                next_step="name the file that has it, and nothing else",
            )
        return found

    def _call(  # noqa: PLR0913, PLR0917 - each is one fact of a request
        self,
        action: str,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        headers: Mapping[str, str],
        login: str = "",
    ) -> Mapping[str, Any]:
        said: list[str] = []

        def explain(answer: Mapping[str, Any]) -> tuple[str, str]:
            errors = answer.get("errors")
            said.extend(str(one) for one in errors if one) if isinstance(errors, list) else None
            # What a deleted secret answers has no errors, but its data.
            if isinstance(errors, list) or "data" in answer:
                said.append("")
            return "", ""

        if self._login.namespace:
            headers = {**headers, "X-Vault-Namespace": self._login.namespace}
        url = f"{self._login.address}/v1/{path}"
        try:
            return http.call(
                self._session, method, url, system=SYSTEM, action=action, explain=explain, headers=headers, json=body
            )[0]
        except ApiError as error:
            if error.code is None:
                raise
            text = " ".join(said)
            if error.code == HTTPStatus.NOT_FOUND and said and not text.strip():
                raise NotThere(SYSTEM, action, "nothing is there", code=error.code) from None
            refusal = refusal_of(f"{login}{error.code}", text)
            if login and refusal in (None, WRONG_APPROLE, WRONG_JWT, NO_AUTH):
                refusal = _refused_login(error.code, self._login.way)
            if refusal is None:
                raise
            raise _refusal(action, error.code, refusal, retry_after=error.retry_after) from None


def policy(path: str, capabilities: Sequence[str]) -> str:
    """Return the line of a policy that allows these at a path."""
    return f'path "{path}" {{ capabilities = [{", ".join(f"{chr(34)}{one}{chr(34)}" for one in capabilities)}] }}'


def _refused_login(code: int, way: str) -> Refusal | None:
    if code == HTTPStatus.BAD_REQUEST:
        return WRONG_JWT if way == "jwt" else WRONG_APPROLE
    return NO_AUTH if code in (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND) else None


def _refusal(action: str, code: int, refusal: Refusal, detail: str = "", retry_after: float | None = None) -> ApiError:
    """Return the error for what is refused."""
    return ApiError(
        SYSTEM,
        action,
        f"{http.phrase(code)} ({refusal.said}{detail})",
        code=code,
        retry_after=retry_after,
        next_step=refusal.way_out,
        busy=refusal.transient,
        permanent=not refusal.transient,
    )
