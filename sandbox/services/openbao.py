"""OpenBao, or HashiCorp Vault: secrets engines of type KV, policies, and the logins by AppRole and JWT.

https://openbao.org/api-docs/

A server is whatever answers a request: `Memory` here, or a real one in a process of its own (`sandbox/bao.py`). All
that a test sets up or looks at goes through the same requests, with the root's token, so that either can stand behind
it; `tests/sandbox/foreign/test_openbao.py` asks both the same, and holds their answers to each other.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import secrets
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import parse_qs, unquote

if TYPE_CHECKING:
    from sandbox.clock import Clock
    from sandbox.wire import Receive, Scope, Send

HOST = "vault.plant.example"
ENGINE = "secret"
ROLE = "rotation"

_ROOT_POLICY = "root"
_DEFAULT_POLICY = {"sys/capabilities-self": ["update"], "auth/token/lookup-self": ["read"]}
_MERGE = "application/merge-patch+json"
_MOST_BYTES = 32 * 1024 * 1024
_MONTH = timedelta(days=32)


@dataclass(frozen=True)
class Answer:
    """What a server answers: an HTTP status, and JSON or nothing."""

    status: int
    content: Any = None

    @property
    def body(self) -> bytes:
        """The bytes on the wire."""
        return b"" if self.content is None else f"{json.dumps(self.content)}\n".encode()


class Server(Protocol):
    """Whatever answers."""

    root_token: str

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Answer one request; path: what stands behind `/v1/`, the query too."""


@dataclass(frozen=True)
class Version:
    """One version of a secret. data: None where it was deleted or destroyed."""

    number: int
    data: Mapping[str, Any] | None = field(repr=False)
    destroyed: bool


class OpenBao:
    """One server with an engine, and a login for the rotation.

    The methods may be called from any thread. server: what answers.
    """

    hosts: tuple[str, ...] = (HOST,)

    def __init__(self, clock: Clock, server: Server | None = None) -> None:
        self.memory = Memory(clock)
        self.server: Server = server or self.memory
        self._secrets: set[str] = set()
        self._lock = threading.Lock()

    def stand_behind(self, server: Server) -> None:
        """Have another server answer from now on."""
        self.server = server

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request as ASGI has it."""
        body = (await receive()).get("body", b"")
        headers = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]}
        query = scope["query_string"].decode("latin-1")
        path = scope["path"].removeprefix("/v1/") + (f"?{query}" if query else "")
        answer = await asyncio.to_thread(self.ask, scope["method"], path, headers, body)
        start = {"type": "http.response.start", "status": answer.status}
        await send({**start, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": answer.body})

    def secrets(self) -> AbstractSet[str]:
        """Return every token and every secret id that was issued here."""
        with self._lock:
            return set(self._secrets)

    def ask(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Have the server answer one request."""
        answer = self.server.answer(method, path, headers, body)
        content = answer.content if isinstance(answer.content, dict) else {}
        issued = [(content.get("auth") or {}).get("client_token"), (content.get("data") or {}).get("secret_id")]
        with self._lock:
            self._secrets |= {one for one in issued if one}
        return answer

    # -- what a test sets up ----------------------------------------------------------------------

    def root(self, method: str, path: str, body: Mapping[str, Any] | None = None, namespace: str = "") -> Any:  # noqa: ANN401 - JSON
        """Ask as root; return what the answer has as `data` or `auth`. Raises KeyError where it is refused."""
        headers = {"x-vault-token": self.server.root_token, "x-vault-namespace": namespace}
        headers["content-type"] = _MERGE if method == "PATCH" else "application/json"
        answer = self.ask(method, path, headers, json.dumps(body).encode() if body is not None else b"")
        if answer.status >= 300:
            raise KeyError(f"{method} {path}: {answer.status} {answer.content}")
        content = answer.content or {}
        return content.get("data") or content.get("auth") or {}

    def allow(self, policy: str, paths: Mapping[str, Sequence[str]], namespace: str = "") -> None:
        """Write a policy: capabilities by path."""
        lines = {"path": {path: {"capabilities": list(allowed)} for path, allowed in paths.items()}}
        self.root("PUT", f"sys/policies/acl/{policy}", {"policy": json.dumps(lines)}, namespace)

    def allow_to_mirror(
        self, *names: str, engine: str = ENGINE, namespace: str = "", but: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        """Write the policy that a rotation needs for these secrets, as docs/mirrors.md has it. but: other lines."""
        paths = {}
        for name in names:
            paths[f"{engine}/data/{name}"] = ["read", "update"]
            paths[f"{engine}/metadata/{name}"] = ["create", "read", "patch"]
            paths[f"{engine}/destroy/{name}"] = ["update"]
        self.allow(ROLE, {**paths, **(but or {})}, namespace)

    def add_engine(self, path: str, version: int = 2, namespace: str = "") -> None:
        """Mount a KV engine."""
        self.root("POST", f"sys/mounts/{path}", {"type": "kv", "options": {"version": f"{version}"}}, namespace)

    def add_namespace(self, name: str) -> None:
        """Make a namespace."""
        self.root("POST", f"sys/namespaces/{name}", {})

    def add_approle(
        self, policy: str = ROLE, *, lasts: str = "20m", mount: str = "approle", namespace: str = ""
    ) -> tuple[str, str]:
        """Make an AppRole with a policy; return its role id and a secret id. lasts: how long a token does."""
        try:
            self.root("POST", f"sys/auth/{mount}", {"type": "approle"}, namespace)
        except KeyError as error:
            if "in use" not in str(error):
                raise
        role = f"auth/{mount}/role/{policy}"
        self.root("POST", role, {"token_policies": policy, "token_ttl": lasts}, namespace)
        found = self.root("GET", f"{role}/role-id", namespace=namespace)
        return found["role_id"], self.root("POST", f"{role}/secret-id", {}, namespace)["secret_id"]

    def withdraw(self, secret_id: str) -> None:
        """Destroy a secret id of the one AppRole."""
        self.root("POST", f"auth/approle/role/{ROLE}/secret-id/destroy", {"secret_id": secret_id})

    def add_jwt_role(self, name: str, public_key: str, subject: str, policy: str = ROLE) -> None:
        """Let whoever has a JWT that this key has signed, for this subject, log in under a role."""
        self.root("POST", "sys/auth/jwt", {"type": "jwt"})
        self.root("POST", "auth/jwt/config", {"jwt_validation_pubkeys": [public_key]})
        role = {"role_type": "jwt", "user_claim": "sub", "bound_subject": subject, "token_policies": policy}
        self.root("POST", f"auth/jwt/role/{name}", role)

    def add_token(self, policy: str = ROLE, lasts: str = "20m") -> str:
        """Issue a token."""
        return str(self.root("POST", "auth/token/create", {"policies": [policy], "ttl": lasts})["client_token"])

    def revoke(self, token: str) -> None:
        """End a token."""
        self.root("POST", "auth/token/revoke", {"token": token})

    def put(self, name: str, data: Mapping[str, Any], engine: str = ENGINE) -> int:
        """Write a version, as somebody does who looks at nothing; return its number."""
        return int(self.root("POST", f"{engine}/data/{name}", {"data": dict(data)})["version"])

    def tag(self, name: str, tags: Mapping[str, str], engine: str = ENGINE) -> None:
        """Set custom metadata, all of it."""
        self.root("POST", f"{engine}/metadata/{name}", {"custom_metadata": dict(tags)})

    # -- what tests look at -----------------------------------------------------------------------

    def value(self, name: str, engine: str = ENGINE) -> Mapping[str, Any] | None:
        """Give what readers get; None where they get nothing."""
        try:
            data: Mapping[str, Any] = self.root("GET", f"{engine}/data/{name}")["data"]
        except KeyError:
            return None
        return data

    def metadata(self, name: str, engine: str = ENGINE) -> Mapping[str, Any]:
        """Give a secret's metadata; nothing for a secret that is not there."""
        try:
            data: Mapping[str, Any] = self.root("GET", f"{engine}/metadata/{name}")
        except KeyError:
            return {}
        return data

    def tags(self, name: str, engine: str = ENGINE) -> Mapping[str, str]:
        """Give a secret's custom metadata."""
        return self.metadata(name, engine).get("custom_metadata") or {}

    def versions(self, name: str, engine: str = ENGINE) -> list[Version]:
        """List a secret's versions, the oldest first."""
        found = []
        for number, about in sorted((self.metadata(name, engine).get("versions") or {}).items(), key=_by_number):
            gone = about["destroyed"] or about["deletion_time"]
            data = None if gone else self.root("GET", f"{engine}/data/{name}?version={number}")["data"]
            found.append(Version(int(number), data, about["destroyed"]))
        return found


def _by_number(item: tuple[str, Any]) -> int:
    return int(item[0])


# -- the server in memory -------------------------------------------------------------------------


@dataclass
class _Version:
    data: Mapping[str, Any] | None = field(repr=False)
    created: datetime
    deleted: datetime | None = None
    destroyed: bool = False


@dataclass
class _Secret:
    created: datetime
    versions: dict[int, _Version] = field(default_factory=dict)
    newest: int = 0
    tags: dict[str, str] | None = None
    most_versions: int = 0
    updated: datetime | None = None


@dataclass
class _Engine:
    version: int
    secrets: dict[str, Any] = field(default_factory=dict)


@dataclass
class _AppRole:
    role_id: str
    policies: list[str]
    lasts: timedelta
    secret_ids: set[str] = field(default_factory=set)


@dataclass
class _Auth:
    kind: str
    roles: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)


@dataclass
class _Namespace:
    engines: dict[str, _Engine] = field(default_factory=dict)
    auths: dict[str, _Auth] = field(default_factory=dict)
    policies: dict[str, dict[str, list[str]]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Token:
    policies: Sequence[str]
    ends: datetime | None
    namespace: str


class _Refusal(Exception):
    def __init__(self, status: int, *errors: str, content: Any = None) -> None:  # noqa: ANN401 - JSON
        super().__init__(status, *errors)
        self.answer = Answer(status, {"errors": list(errors)} if content is None else content or None)


class Memory:
    """A server that keeps all in memory.

    sealed: whether it is. quota: how many requests it still takes, None for any number. beaten: whether somebody else
    always writes a secret right before a check-and-set. says: a status and errors for all but root, in place of an
    answer: for what does not come about here by itself.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.root_token = f"s.{secrets.token_urlsafe(18)}"
        self.sealed = self.beaten = False
        self.quota: int | None = None
        self.says: tuple[int, Sequence[str]] | None = None
        self._lock = threading.Lock()
        self._spaces = {"": _Namespace(engines={ENGINE: _Engine(2)})}
        self._tokens = {self.root_token: _Token([_ROOT_POLICY], None, "")}

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Answer one request."""
        with self._lock:
            try:
                return self._answer(method, path, headers, body)
            except _Refusal as refusal:
                return refusal.answer

    def _answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        path, _, query = path.partition("?")
        path = unquote(path)
        options = {name: values[-1] for name, values in parse_qs(query).items()}
        method = {"PUT": "POST"}.get(method, method)
        if options.get("list") == "true":
            method = "LIST"
        token = headers.get("x-vault-token", "")
        is_root = token == self.root_token
        if not is_root:
            self._refuse_by_state(path)
        name = headers.get("x-vault-namespace", "").strip("/")
        space = self._spaces.get(name)
        if space is None:
            raise _Refusal(404, "namespace not found")
        if len(body) > _MOST_BYTES:
            raise _Refusal(413, "http: request body too large")
        call = _Call(method, path, _json(body), options, name, space, headers.get("content-type", ""))
        login = re.fullmatch(r"auth/(.+)/login", path)
        if login and method == "POST":
            return self._log_in(login[1], call)
        holder = self._tokens.get(token)
        if not holder or (holder.ends and holder.ends <= self._clock.now()):
            raise _Refusal(403, "permission denied")
        call.allowed = partial(self._allowed, holder, name)
        for pattern, serve in self._routes.items():
            if found := re.fullmatch(pattern, path):
                if pattern not in self._open and not is_root:
                    raise _Refusal(403, "1 error occurred:\n\t* permission denied\n\n")
                return serve(self, call, token, *found.groups())
        return self._serve_engine(call)

    def _refuse_by_state(self, path: str) -> None:
        if self.sealed:
            raise _Refusal(503, "Vault is sealed")
        if self.says and "/login" not in path:
            raise _Refusal(self.says[0], *self.says[1])
        if self.quota is not None:
            self.quota -= 1
            if self.quota < 0:
                raise _Refusal(429, f'request path "{path}": rate limit quota exceeded')

    def _allowed(self, holder: _Token, namespace: str, path: str) -> list[str]:
        """Return the capabilities at a path: those of the longest pattern that each policy has for it."""
        if _ROOT_POLICY in holder.policies:
            return [_ROOT_POLICY]
        found: set[str] = set()
        for policy in holder.policies if holder.namespace == namespace else ():
            lines = self._spaces[namespace].policies.get(policy, {})
            fitting = [line for line in lines if _fits(line, path)]
            if fitting:
                found |= {*lines[max(fitting, key=len)]}
        return sorted(found) or ["deny"]

    # -- the system's own -------------------------------------------------------------------------

    def _health(self, _call: _Call, _token: str) -> Answer:
        return Answer(503 if self.sealed else 200, {"initialized": True, "sealed": self.sealed, "standby": False})

    def _add_namespace(self, call: _Call, _token: str, name: str) -> Answer:
        self._spaces[name.strip("/")] = _Namespace()
        return call.told({"path": f"{name.strip('/')}/"})

    def _add_engine(self, call: _Call, _token: str, path: str) -> Answer:
        version = (call.body.get("options") or {}).get("version") or "1"
        call.space.engines[path.strip("/")] = _Engine(int(version))
        return Answer(204)

    def _add_auth(self, call: _Call, _token: str, path: str) -> Answer:
        if path in call.space.auths:
            raise _Refusal(400, f"path is already in use at {path}/")
        call.space.auths[path] = _Auth(str(call.body.get("type")))
        return Answer(204)

    def _write_policy(self, call: _Call, _token: str, name: str) -> Answer:
        lines = json.loads(call.body["policy"])["path"]
        call.space.policies[name] = {path: list(line["capabilities"]) for path, line in lines.items()}
        return Answer(204)

    def _capabilities(self, call: _Call, _token: str) -> Answer:
        call.need("update")
        paths = call.body.get("paths") or []
        if not paths:
            raise _Refusal(400, "paths must be supplied")
        found = {path: call.allowed(path) for path in paths}
        return call.told(found, **found)

    def _engine_of(self, call: _Call, _token: str, path: str) -> Answer:
        engine = self._find_engine(call, f"{path}/")
        may = engine and (
            call.allowed("") == [_ROOT_POLICY] or any(self._may_enter(call, line, engine) for line in call.lines(self))
        )
        if not engine or not may:
            said = "preflight capability check returned 403, please ensure client's policies grant access to path"
            raise _Refusal(403, f'{said} "{path.rstrip("/")}/"')
        kept = call.space.engines[engine]
        return call.told({"type": "kv", "path": f"{engine}/", "options": {"version": f"{kept.version}"}})

    @staticmethod
    def _may_enter(_call: _Call, line: str, engine: str) -> bool:
        """Say whether a policy's line is about anything in an engine."""
        ours, theirs = f"{engine}/".split("/")[:-1], line.split("/")
        return len(theirs) > len(ours) and all(one in ("+", other) for one, other in zip(theirs, ours, strict=False))

    def _look_up(self, call: _Call, token: str) -> Answer:
        call.need("read")
        holder = self._tokens[token]
        return call.told({"id": token, "policies": [*holder.policies], "display_name": "token"})

    def _create_token(self, call: _Call, _token: str) -> Answer:
        return self._issue(call, [str(one) for one in call.body["policies"]], _seconds(call.body.get("ttl")) or _MONTH)

    def _revoke(self, call: _Call, _token: str) -> Answer:
        self._tokens.pop(str(call.body.get("token")), None)
        return Answer(204)

    # -- logins -----------------------------------------------------------------------------------

    def _approle(self, call: _Call, _token: str, mount: str, name: str, what: str | None) -> Answer:
        roles = self._auth(call, mount, "approle").roles
        if what is None:
            policies = str(call.body.get("token_policies", "")).split(",")
            kept = roles.get(name)
            role_id = kept.role_id if kept else str(uuid.uuid4())
            roles[name] = _AppRole(role_id, policies, _seconds(call.body.get("token_ttl")) or _MONTH)
            return Answer(204)
        role: _AppRole | None = roles.get(name)
        if role is None:
            raise _Refusal(404, f'role "{name}" does not exist')
        if what == "/role-id":
            return call.told({"role_id": role.role_id})
        if what == "/secret-id/destroy":
            role.secret_ids.discard(str(call.body.get("secret_id")))
            return Answer(204)
        role.secret_ids.add(made := str(uuid.uuid4()))
        return call.told({"secret_id": made, "secret_id_ttl": 0, "secret_id_num_uses": 0})

    def _jwt_config(self, call: _Call, _token: str) -> Answer:
        self._auth(call, "jwt", "jwt").config = dict(call.body)
        return Answer(204)

    def _jwt_role(self, call: _Call, _token: str, name: str) -> Answer:
        self._auth(call, "jwt", "jwt").roles[name] = dict(call.body)
        return Answer(204)

    @staticmethod
    def _auth(call: _Call, mount: str, kind: str) -> _Auth:
        found = call.space.auths.get(mount)
        if found is None or found.kind != kind:
            raise _Refusal(404, f'no handler for route "auth/{mount}". route entry not found.')
        return found

    def _log_in(self, mount: str, call: _Call) -> Answer:
        auth = call.space.auths.get(mount)
        if auth is None:
            raise _Refusal(403, "permission denied")
        if auth.kind == "jwt":
            role = auth.roles.get(str(call.body.get("role")))
            if not auth.config:
                raise _Refusal(400, "could not load configuration")
            if role is None:
                raise _Refusal(400, f'role "{call.body.get("role")}" could not be found')
            claims = _claims(str(call.body.get("jwt")), auth.config["jwt_validation_pubkeys"])
            if claims is None:
                raise _Refusal(400, "error validating token: error verifying token signature")
            if claims.get("sub") != role["bound_subject"]:
                raise _Refusal(400, "error validating claims: sub claim does not match bound subject")
            if claims.get("exp", 0) <= self._clock.now().timestamp():
                raise _Refusal(400, "error validating token: token is expired")
            return self._issue(call, str(role["token_policies"]).split(","), _MONTH)
        for name in ("role_id", "secret_id"):
            if not call.body.get(name):
                raise _Refusal(400, f"missing {name}")
        roles: Sequence[_AppRole] = list(auth.roles.values())
        known = next((one for one in roles if one.role_id == call.body["role_id"]), None)
        if known is None or call.body["secret_id"] not in known.secret_ids:
            raise _Refusal(400, "invalid role or secret ID")
        return self._issue(call, known.policies, known.lasts, {"role_name": "rotation"})

    def _issue(
        self, call: _Call, policies: Sequence[str], lasts: timedelta, about: Mapping[str, str] | None = None
    ) -> Answer:
        policies = sorted({*policies, "default"})
        token = f"s.{secrets.token_urlsafe(18)}"
        call.space.policies.setdefault("default", _DEFAULT_POLICY)
        self._tokens[token] = _Token(policies, self._clock.now() + lasts, call.namespace)
        seconds = int(lasts.total_seconds())
        auth = {"client_token": token, "policies": policies, "lease_duration": seconds, "metadata": about}
        return call.told(None, auth=auth)

    # -- engines ----------------------------------------------------------------------------------

    @staticmethod
    def _find_engine(call: _Call, path: str) -> str:
        return max((name for name in call.space.engines if path.startswith(f"{name}/")), key=len, default="")

    def _serve_engine(self, call: _Call) -> Answer:
        name = self._find_engine(call, call.path if "/" in call.path else f"{call.path}/")
        if not name:
            call.need("read")
            raise _Refusal(404, f'no handler for route "{call.path}". route entry not found.')
        engine, rest = call.space.engines[name], call.path.removeprefix(name).strip("/")
        kind, _, key = rest.partition("/")
        is_there = key in engine.secrets
        writes = "update" if is_there or kind not in ("data", "metadata") else "create"
        call.need({"GET": "read", "LIST": "list", "PATCH": "patch", "DELETE": "delete"}.get(call.method, writes))
        if engine.version == 1:
            return self._serve_first_version(call, engine, rest)
        serve = {
            ("GET", "data"): self._read,
            ("POST", "data"): self._write,
            ("DELETE", "data"): self._delete_newest,
            ("GET", "metadata"): self._describe,
            ("POST", "metadata"): self._change_metadata,
            ("PATCH", "metadata"): self._change_metadata,
            ("LIST", "metadata"): self._list,
            ("POST", "destroy"): self._destroy,
            ("POST", "delete"): self._delete,
        }.get((call.method, kind))
        if serve is None:
            raise _Refusal(404, content={**call.frame(), "data": None, "warnings": ["Invalid path"]})
        return serve(call, engine, key)

    @staticmethod
    def _serve_first_version(call: _Call, engine: _Engine, key: str) -> Answer:
        if call.method == "POST":
            engine.secrets[key] = dict(call.body)
            return Answer(204)
        if key not in engine.secrets:
            raise _Refusal(404)
        return call.told(engine.secrets[key])

    def _read(self, call: _Call, engine: _Engine, key: str) -> Answer:
        kept: _Secret | None = engine.secrets.get(key)
        number = int(call.options.get("version") or 0) or (kept.newest if kept else 0)
        version = kept.versions.get(number) if kept else None
        if kept is None or version is None:
            raise _Refusal(404)
        about = {**self._about(version), "version": number, "custom_metadata": kept.tags}
        gone = version.destroyed or version.deleted
        content = {**call.frame(), "data": {"data": None if gone else version.data, "metadata": about}}
        return Answer(404 if gone else 200, content)

    def _write(self, call: _Call, engine: _Engine, key: str) -> Answer:
        if "data" not in call.body:
            raise _Refusal(400, "no data provided")
        now, kept = self._clock.now(), engine.secrets.get(key)
        expected = (call.body.get("options") or {}).get("cas")
        if expected is not None and (self.beaten or expected != (kept.newest if kept else 0)):
            raise _Refusal(400, "check-and-set parameter did not match the current version")
        kept = engine.secrets.setdefault(key, _Secret(now))
        kept.newest, kept.updated = kept.newest + 1, now
        version = kept.versions[kept.newest] = _Version(call.body["data"], now)
        for number in sorted(kept.versions)[: -(kept.most_versions or 10)]:
            del kept.versions[number]
        return call.told({**self._about(version), "version": kept.newest, "custom_metadata": kept.tags})

    def _describe(self, call: _Call, engine: _Engine, key: str) -> Answer:
        kept: _Secret | None = engine.secrets.get(key)
        if kept is None:
            raise _Refusal(404)
        return call.told(
            {
                "cas_required": False,
                "created_time": _time(kept.created),
                "current_version": kept.newest,
                "custom_metadata": kept.tags,
                "delete_version_after": "0s",
                "max_versions": kept.most_versions,
                "oldest_version": min(kept.versions) if len(kept.versions) < kept.newest else 0,
                "updated_time": _time(kept.updated or kept.created),
                "versions": {f"{number}": self._about(one) for number, one in kept.versions.items()},
            }
        )

    def _change_metadata(self, call: _Call, engine: _Engine, key: str) -> Answer:
        if call.method == "PATCH" and call.content_type != _MERGE:
            raise _Refusal(415, f"PATCH requires Content-Type of {_MERGE}, provided {call.content_type}")
        if call.method == "PATCH" and key not in engine.secrets:
            raise _Refusal(404, content={})
        tags = call.body.get("custom_metadata")
        kept: _Secret = engine.secrets.get(key) or _Secret(self._clock.now())
        if tags is not None:
            changed = {**(kept.tags or {}), **tags} if call.method == "PATCH" else dict(tags)
            changed = {word: text for word, text in changed.items() if text is not None}
            _check_tags(changed)
            kept.tags = changed
        kept.most_versions = int(call.body.get("max_versions") or kept.most_versions)
        engine.secrets[key] = kept
        return Answer(204)

    @staticmethod
    def _list(call: _Call, engine: _Engine, folder: str) -> Answer:
        start = f"{folder.strip('/')}/" if folder.strip("/") else ""
        below = [name.removeprefix(start) for name in engine.secrets if name.startswith(start)]
        keys = sorted({f"{name.partition('/')[0]}/" if "/" in name else name for name in below})
        if not keys:
            raise _Refusal(404)
        return call.told({"keys": keys})

    def _destroy(self, call: _Call, engine: _Engine, key: str) -> Answer:
        for version in self._named(call, engine, key):
            version.destroyed, version.data = True, None
        return Answer(204)

    def _delete(self, call: _Call, engine: _Engine, key: str) -> Answer:
        for version in self._named(call, engine, key):
            version.deleted = version.deleted or self._clock.now()
        return Answer(204)

    def _delete_newest(self, call: _Call, engine: _Engine, key: str) -> Answer:
        kept: _Secret | None = engine.secrets.get(key)
        if kept and kept.newest in kept.versions:
            kept.versions[kept.newest].deleted = self._clock.now()
        return Answer(204 if call else 500)

    @staticmethod
    def _named(call: _Call, engine: _Engine, key: str) -> list[_Version]:
        numbers = call.body.get("versions") or []
        if not numbers:
            raise _Refusal(400, "no version number provided")
        kept: _Secret | None = engine.secrets.get(key)
        return [kept.versions[int(number)] for number in numbers if int(number) in kept.versions] if kept else []

    @staticmethod
    def _about(version: _Version) -> dict[str, Any]:
        return {
            "created_time": _time(version.created),
            "deletion_time": _time(version.deleted) if version.deleted else "",
            "destroyed": version.destroyed,
        }

    _routes: Mapping[str, Callable[..., Answer]] = {
        r"sys/health": _health,
        r"sys/namespaces/(.+)": _add_namespace,
        r"sys/mounts/(.+)": _add_engine,
        r"sys/auth/(.+)": _add_auth,
        r"sys/policies/acl/(.+)": _write_policy,
        r"sys/capabilities-self": _capabilities,
        r"sys/internal/ui/mounts/(.+)": _engine_of,
        r"auth/token/lookup-self": _look_up,
        r"auth/token/create": _create_token,
        r"auth/token/revoke": _revoke,
        r"auth/jwt/role/([^/]+)": _jwt_role,
        r"auth/(.+)/role/([^/]+)(/role-id|/secret-id|/secret-id/destroy)?": _approle,
        r"auth/jwt/config": _jwt_config,
    }
    # Those that are not for root alone.
    _open = frozenset(
        (r"sys/health", r"sys/capabilities-self", r"sys/internal/ui/mounts/(.+)", r"auth/token/lookup-self")
    )


@dataclass
class _Call:
    """One request. allowed: the capabilities of whoever makes it, at a path."""

    method: str
    path: str
    body: Mapping[str, Any]
    options: Mapping[str, str]
    namespace: str
    space: _Namespace
    content_type: str
    allowed: Callable[[str], list[str]] = lambda _path: []

    def need(self, capability: str) -> None:
        """Refuse whoever has not this capability at the path."""
        if not {capability, _ROOT_POLICY} & {*self.allowed(self.path)}:
            raise _Refusal(403, "1 error occurred:\n\t* permission denied\n\n")

    def lines(self, server: Memory) -> list[str]:
        """Return the paths of all lines of the policies of whoever asks."""
        holder = self.allowed.args[0] if isinstance(self.allowed, partial) else None
        policies = holder.policies if holder and holder.namespace == self.namespace else ()
        return [line for policy in policies for line in server._spaces[self.namespace].policies.get(policy, {})]  # noqa: SLF001 - its own

    @staticmethod
    def frame() -> dict[str, Any]:
        """Return what stands around every answer."""
        return {
            "request_id": str(uuid.uuid4()),
            "lease_id": "",
            "renewable": False,
            "lease_duration": 0,
            "wrap_info": None,
            "warnings": None,
            "auth": None,
        }

    def told(self, data: Any, **more: Any) -> Answer:  # noqa: ANN401 - JSON
        """Answer with data."""
        return Answer(200, {**self.frame(), "data": data, **more})


def _fits(line: str, path: str) -> bool:
    """Say whether a policy's line is about a path: `*` at its end stands for anything, `+` for one segment."""
    pattern = "[^/]+".join(re.escape(piece) for piece in line.removesuffix("*").split("+"))
    return bool(re.fullmatch(pattern + (".*" if line.endswith("*") else ""), path))


def _check_tags(tags: Mapping[str, Any]) -> None:
    """Refuse what custom metadata does not take."""
    said = "1 error occurred:\n\t* custom_metadata validation failed: "
    if len(tags) > 64:
        raise _Refusal(400, f"{said}payload must contain at most 64 keys, provided {len(tags)}\n\n")
    for word, text in tags.items():
        if not 0 < len(text) <= 512:
            length = f'length of value for key "{word}" is {len(text)} but must be 0 < len(value) <= 512'
            raise _Refusal(400, f"{said}{length}\n\n")
        if not text.isprintable():
            raise _Refusal(400, f'{said}value for key "{word}" contains unprintable characters\n\n')


def _json(body: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(body or b"{}")
    except ValueError as error:
        raise _Refusal(400, f"failed to decode JSON input: {error}") from None
    return found if isinstance(found, dict) else {}


def _seconds(text: object) -> timedelta | None:
    units = {"s": "seconds", "m": "minutes", "h": "hours"}
    found = re.fullmatch(r"(\d+)([smh])", str(text or ""))
    return timedelta(**{units[found[2]]: int(found[1])}) if found else None


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S.%f}000Z"


def _claims(jwt: str, public_keys: Sequence[str]) -> Mapping[str, Any] | None:
    """Return what a JWT says that one of these keys has signed (RS256); None for any other."""
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - heavy, and seldom needed
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415 - the same
    from cryptography.hazmat.primitives.asymmetric import padding, rsa  # noqa: PLC0415 - the same

    try:
        head, claims, signature = jwt.split(".")
        for pem in public_keys:
            key = serialization.load_pem_public_key(pem.encode())
            assert isinstance(key, rsa.RSAPublicKey)  # noqa: S101 - for the type checker: none other is configured
            key.verify(_plain(signature), f"{head}.{claims}".encode(), padding.PKCS1v15(), hashes.SHA256())
            found: Mapping[str, Any] = json.loads(_plain(claims))
            return found
    except (ValueError, InvalidSignature):
        return None
    return None


def _plain(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
