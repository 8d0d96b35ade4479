"""RabbitMQ's management plug-in: who one is, users with their passwords and tags, and the connections of a user.

https://www.rabbitmq.com/docs/http-api-reference

A server is whatever answers a request: `Memory` here, or a real one in a process of its own (`sandbox/rabbit.py`). All
that a test sets up or looks at goes through the same requests, as the first administrator, so that either can stand
behind it; `tests/sandbox/foreign/test_rabbitmq.py` asks both the same, and holds their answers to each other.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import json
import re
import secrets
import threading
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote, unquote

if TYPE_CHECKING:
    from sandbox.wire import Receive, Scope, Send

HOST = "rabbitmq.plant.example"
FIRST = ("guest", "guest")
"""The administrator that a new server has."""

_ALGORITHM = "rabbit_password_hashing_sha256"
_LETS_IN = {"administrator", "monitoring", "policymaker", "management"}


@dataclass(frozen=True)
class Answer:
    """What a server answers: an HTTP status, and JSON or nothing."""

    status: int
    content: Any = None

    @property
    def body(self) -> bytes:
        """The bytes on the wire."""
        return b"" if self.content is None else json.dumps(self.content).encode()


class Server(Protocol):
    """Whatever answers."""

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Answer one request; path: as it was sent, percent-encoded."""


class RabbitMQ:
    """One server. The methods may be called from any thread. server: what answers."""

    hosts: tuple[str, ...] = (HOST,)

    def __init__(self, server: Server | None = None) -> None:
        self.memory = Memory()
        self.server: Server = server or self.memory
        self._passwords: list[str] = []
        self._lock = threading.Lock()

    def stand_behind(self, server: Server) -> None:
        """Have another server answer from now on."""
        self.server = server

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request as ASGI has it."""
        body = (await receive()).get("body", b"")
        headers = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]}
        path = scope.get("raw_path", scope["path"].encode()).decode("latin-1")
        answer = await asyncio.to_thread(self.ask, scope["method"], path, headers, body)
        start = {"type": "http.response.start", "status": answer.status}
        await send({**start, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": answer.body})

    def ask(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Have the server answer one request, and remember a password that it sets."""
        try:
            sent = json.loads(body or b"{}").get("password")
        except (ValueError, AttributeError):
            sent = None
        if isinstance(sent, str) and sent:
            with self._lock:
                self._passwords.append(sent)
        return self.server.answer(method, path, headers, body)

    def secrets(self) -> AbstractSet[str]:
        """Return every password that was ever set here, but the one that all servers are born with."""
        with self._lock:
            return {*self._passwords} - {FIRST[1]}

    # -- what a test sets up and looks at ---------------------------------------------------------

    def add_user(self, name: str, password: str = "", tags: Sequence[str] = ()) -> None:
        """Add a user, or set the password and tags of one; without a password nobody logs in as the user."""
        wanted = {"password": password} if password else {"password_hash": ""}
        self._as_first("PUT", f"/api/users/{quote(name, safe='')}", {**wanted, "tags": ",".join(tags)})

    def set_hash(self, name: str, password_hash: str) -> None:
        """Set a user's password by its hash, leaving the tags."""
        body = {"password_hash": password_hash, "tags": ",".join(self.user(name)["tags"])}
        self._as_first("PUT", f"/api/users/{quote(name, safe='')}", body)

    def user(self, name: str) -> dict[str, Any]:
        """Return a user as the server shows it."""
        found: dict[str, Any] = self._as_first("GET", f"/api/users/{quote(name, safe='')}").content
        return found

    def remove_user(self, name: str) -> None:
        """Remove a user."""
        self._as_first("DELETE", f"/api/users/{quote(name, safe='')}")

    def password(self, name: str) -> str:
        """Return the password that logs a user in, empty where there is none."""
        held = self.user(name)["password_hash"]
        with self._lock:
            known = list(dict.fromkeys(self._passwords))
        return next((one for one in known if is_hash_of(held, one)), "")

    def logs_in(self, name: str, password: str) -> bool:
        """Say whether a password logs a user in now, whatever the user may do."""
        answer = self.server.answer("GET", "/api/whoami", {"authorization": basic(name, password)}, b"")
        return answer.status == 200 or (answer.content or {}).get("reason") == "Not management user"

    def connections(self, name: str) -> list[Any]:
        """Return the connections that a user has open."""
        found: list[Any] = self._as_first("GET", f"/api/connections/username/{quote(name, safe='')}").content
        return found

    def _as_first(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Answer:
        sent = b"" if body is None else json.dumps(body).encode()
        headers = {"authorization": basic(*FIRST), "content-type": "application/json"}
        answer = self.ask(method, path, headers, sent)
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {answer.content}")
        return answer


@dataclass
class _User:
    name: str
    password_hash: str = field(repr=False)
    algorithm: str
    tags: list[str]
    limits: dict[str, int]


class Memory:
    """A server in memory.

    shortest: how many characters its validator asks of a password. loopback: users who log in from its own host alone.
    elsewhere: users whose passwords it looks up in another system.
    """

    def __init__(self) -> None:
        self.shortest = 0
        self.loopback: set[str] = set()
        self.elsewhere: set[str] = set()
        self._lock = threading.Lock()
        self._users = {FIRST[0]: _User(FIRST[0], hash_of(FIRST[1]), _ALGORITHM, ["administrator"], {})}
        self._connections: dict[str, str] = {}

    def open_connection(self, name: str) -> str:
        """Open a connection as a user; return its name."""
        with self._lock:
            number = len(self._connections)
            connection = f"127.0.0.1:{40000 + number} -> 127.0.0.1:5672"
            self._connections[connection] = name
            return connection

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Answer one request."""
        with self._lock:
            parts = [unquote(part) for part in path.partition("?")[0].removeprefix("/api/").split("/")]
            match parts:
                case ["whoami"] if method == "GET":
                    return self._who_am_i(headers)
                case ["users", name] if method in ("GET", "PUT", "DELETE"):
                    return self._administered(headers) or self._on_user(method, name, body)
                case ["connections", "username", name] if method in ("GET", "DELETE"):
                    return self._on_connections(method, name, headers)
            return Answer(404, {"error": "Object Not Found", "reason": "Not Found"})

    def _logged_in(self, headers: Mapping[str, str]) -> _User | Answer:
        scheme, _, encoded = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return Answer(401)
        try:
            name, _, password = base64.b64decode(encoded).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return Answer(400, {"error": "bad_request", "reason": "invalid authorization header"})
        user = self._users.get(name)
        if not user or name in self.elsewhere or not password or not is_hash_of(user.password_hash, password):
            return Answer(401, {"error": "not_authorized", "reason": "Login failed"})
        if name in self.loopback:
            return Answer(401, {"error": "not_authorised", "reason": "User can only log in via localhost"})
        if not _LETS_IN & {*user.tags}:
            return Answer(401, {"error": "not_authorised", "reason": "Not management user"})
        return user

    def _who_am_i(self, headers: Mapping[str, str]) -> Answer:
        user = self._logged_in(headers)
        if isinstance(user, Answer):
            return user
        return Answer(200, {"name": user.name, "tags": user.tags})

    def _administered(self, headers: Mapping[str, str]) -> Answer | None:
        user = self._logged_in(headers)
        if isinstance(user, Answer):
            return user
        if "administrator" not in user.tags:
            return Answer(401, {"error": "not_authorised", "reason": "Not administrator user"})
        return None

    def _on_user(self, method: str, name: str, body: bytes) -> Answer:
        user = self._users.get(name)
        if method == "PUT":
            return self._put(name, user, body)
        if not user:
            return Answer(404, {"error": "Object Not Found", "reason": "Not Found"})
        if method == "DELETE":
            del self._users[name]
            return Answer(204)
        shown = {"name": name, "password_hash": user.password_hash, "hashing_algorithm": user.algorithm}
        return Answer(200, {**shown, "tags": user.tags, "limits": user.limits})

    def _put(self, name: str, user: _User | None, body: bytes) -> Answer:
        try:
            sent = json.loads(body)
        except ValueError:
            return Answer(400, {"error": "bad_request", "reason": "invalid_json"})
        if "tags" not in sent:
            return Answer(400, {"error": "bad_request", "reason": "tags_not_present"})
        held, algorithm = "", _ALGORITHM
        if "password_hash" in sent:
            held, algorithm = sent["password_hash"], sent.get("hashing_algorithm", _ALGORITHM)
            if held and not re.fullmatch(r"[A-Za-z0-9+/]+={0,2}", held):
                return Answer(400, {"error": "bad_request", "reason": ["not_base64", held]})
        elif sent.get("password"):
            if len(sent["password"]) < self.shortest:
                return Answer(400, {"error": "bad_request", "reason": "credential_validation_failed"})
            held = hash_of(sent["password"])
        tags = sent["tags"] if isinstance(sent["tags"], list) else [tag for tag in sent["tags"].split(",") if tag]
        self._users[name] = _User(name, held, algorithm, tags, user.limits if user else {})
        return Answer(204 if user else 201)

    def _on_connections(self, method: str, name: str, headers: Mapping[str, str]) -> Answer:
        user = self._logged_in(headers)
        if isinstance(user, Answer):
            return user
        theirs = [connection for connection, owner in self._connections.items() if owner == name]
        if method == "DELETE":
            if refused := self._administered(headers):
                return refused
            for connection in theirs:
                del self._connections[connection]
            return Answer(204)
        return Answer(200, [{"name": each, "vhost": "/", "user": name, "node": "rabbit@plant"} for each in theirs])


def basic(name: str, password: str) -> str:
    """Return the header of a login."""
    return f"Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}"


def hash_of(password: str) -> str:
    """Hash a password as the server does by default: https://www.rabbitmq.com/docs/passwords."""
    salt = secrets.token_bytes(4)
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def is_hash_of(held: str, password: str) -> bool:
    """Say whether a hash is that of a password."""
    whole = base64.b64decode(held)
    return bool(whole) and hashlib.sha256(whole[:4] + password.encode()).digest() == whole[4:]
