"""Keycloak: realms with their clients, the tokens that these get, and the admin's requests on clients.

https://www.keycloak.org/docs-api/latest/rest-api/index.html

`tests/sandbox/test_keycloak.py` holds it to python-keycloak.
"""

from __future__ import annotations

import json
import re
import secrets
import threading
import uuid
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote

from sandbox.clock import Clock

if TYPE_CHECKING:
    from sandbox.wire import Receive, Scope, Send

HOST = "keycloak.plant.example"
MASTER = "master"
TOKEN_SECONDS = 60
_MASK = "**********"

# Attributes of a client that its secret goes with, and the one before it; times in seconds.
CREATED = "client.secret.creation.time"
EXPIRES = "client.secret.expiration.time"
ROTATED = "client.secret.rotated"
ROTATED_EXPIRES = "client.secret.rotated.expiration.time"
ROTATED_ATTRIBUTES = (ROTATED, "client.secret.rotated.creation.time", ROTATED_EXPIRES)
_INVALID = "Invalid client or Invalid client credentials"


class _Refused(Exception):
    """A request that is refused: with an HTTP status, and the server's word and words for it."""

    def __init__(self, status: int, error: str, description: str = "") -> None:
        super().__init__(error)
        self.status = status
        self.content = {"error": error, **({"error_description": description} if description else {})}


@dataclass
class Policy:
    """A client policy of all confidential clients with the executor `secret-rotation`.

    life: seconds of a secret. rotated_life: of the one before it, 0 for none. The defaults are Keycloak's.
    """

    life: int = 29 * 86400
    rotated_life: int = 2 * 86400


@dataclass
class Realm:
    """A realm. clients: by the server's id, as the server has them. policy: None where secrets are not rotated."""

    name: str
    clients: dict[str, dict[str, Any]] = field(default_factory=dict)
    policy: Policy | None = None


@dataclass(frozen=True)
class _Token:
    realm: str
    client_id: str
    until: float


class Keycloak:
    """One server. The methods may be called from any thread.

    path: below which it is served, as older servers are: /auth. deaf: clients whose tokens another part refuses.
    """

    hosts: tuple[str, ...] = (HOST,)

    def __init__(self, clock: Clock) -> None:
        self.path = ""
        self.deaf: set[str] = set()
        self.realms = {MASTER: Realm(MASTER)}
        self._clock = clock
        self._roles: dict[tuple[str, str], dict[str, AbstractSet[str]]] = {}
        self._tokens: dict[str, _Token] = {}
        self._secrets: set[str] = set()
        self._lock = threading.RLock()

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request as ASGI has it."""
        body = (await receive()).get("body", b"")
        headers = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]}
        path = scope.get("raw_path", scope["path"].encode()).decode("latin-1").partition("?")[0]
        query = parse_qs(scope.get("query_string", b"").decode())
        status, content = self.answer(scope["method"], path, query, headers, body)
        answer = b"" if content is None else json.dumps(content).encode()
        start = {"type": "http.response.start", "status": status}
        await send({**start, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": answer})

    def secrets(self) -> AbstractSet[str]:
        """Return every client secret and token that there ever was."""
        with self._lock:
            return {*self._secrets, *self._tokens}

    # -- what a test sets up and looks at ---------------------------------------------------------

    def add_realm(self, name: str) -> Realm:
        """Add a realm."""
        self.realms[name] = Realm(name)
        return self.realms[name]

    def add_client(self, realm: str, client_id: str, secret: str = "", **settings: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        """Add a client with a secret and a service account; settings: what is to be otherwise. Return it."""
        secret = secret or secrets.token_hex(16)
        with self._lock:
            client = {
                "id": str(uuid.uuid4()),
                "clientId": client_id,
                "enabled": True,
                "protocol": "openid-connect",
                "clientAuthenticatorType": "client-secret",
                "secret": secret,
                "publicClient": False,
                "bearerOnly": False,
                "serviceAccountsEnabled": True,
                "redirectUris": ["https://erp.plant.example/*"],
                "attributes": {CREATED: "1700000000"},
                **settings,
            }
            self.realms[realm].clients[client["id"]] = client
            self._secrets.add(client["secret"])
            return client

    def client(self, realm: str, client_id: str) -> dict[str, Any]:
        """Return a client as it is stored; what is changed there is changed in the server."""
        return next(one for one in self.realms[realm].clients.values() if one["clientId"] == client_id)

    def set_secret(self, realm: str, client_id: str, secret: str) -> None:
        """Set a client's secret, as somebody does in the console."""
        with self._lock:
            self._secrets.add(secret)
            self.client(realm, client_id)["secret"] = secret

    def regenerate(self, realm: str, client_id: str) -> None:
        """Make a new secret of a client, as somebody does in the console."""
        with self._lock:
            self._regenerate(realm, self.client(realm, client_id))

    def allow(self, of_realm: str, client_id: str, realm: str, *roles: str) -> None:
        """Give a client's service account these roles on a realm's clients, and no others."""
        self._roles.setdefault((of_realm, client_id), {})[realm] = {*roles}

    def forget_tokens(self) -> None:
        """End every token, as a server does that starts anew."""
        with self._lock:
            self._tokens = {value: _Token(one.realm, one.client_id, 0) for value, one in self._tokens.items()}

    def logs_in(self, realm: str, client_id: str, secret: str) -> bool:
        """Say whether a secret is what a client logs in with now."""
        with self._lock:
            held = [one for one in self.realms[realm].clients.values() if one["clientId"] == client_id]
            return bool(held) and held[0]["enabled"] and self._is_valid(held[0], secret)

    def rotated(self, client: Mapping[str, Any]) -> str:
        """Return the secret before the present one, where a policy keeps it and it has not ended; else an empty one."""
        with self._lock:
            ended = self._end(client, ROTATED_EXPIRES) < self._now()
            return "" if ended else str(client["attributes"].get(ROTATED, ""))

    # -- the wire ---------------------------------------------------------------------------------

    def answer(
        self, method: str, path: str, query: Mapping[str, list[str]], headers: Mapping[str, str], body: bytes
    ) -> tuple[int, Any]:
        """Answer one request; path: as it was sent, percent-encoded."""
        try:
            with self._lock:
                return self._answer(method, path, query, headers, body)
        except _Refused as refused:
            return refused.status, refused.content

    def _answer(
        self, method: str, path: str, query: Mapping[str, list[str]], headers: Mapping[str, str], body: bytes
    ) -> tuple[int, Any]:
        if not path.startswith(f"{self.path}/"):
            raise _Refused(404, "Unable to find matching target resource method")
        parts = [unquote(part) for part in path.removeprefix(self.path).strip("/").split("/")]
        match parts:
            case ["realms", realm, "protocol", "openid-connect", "token"] if method == "POST":
                return 200, self._give_token(realm, parse_qs(body.decode()))
            case ["admin", "realms", realm, "clients"] if method == "GET":
                roles = self._roles_of(headers, realm)
                if not roles & {"manage-clients", "view-clients", "query-clients"}:
                    raise _Refused(403, "HTTP 403 Forbidden")
                wanted = (query.get("clientId") or [""])[0]
                found = [one for one in self.realms[realm].clients.values() if wanted in ("", one["clientId"])]
                return 200, [_shown(one, roles) for one in found if roles - {"query-clients"}]
            case ["admin", "realms", realm, "clients", one_id] if method in ("GET", "PUT"):
                return self._on_client(method, realm, one_id, self._roles_of(headers, realm), body)
            case ["admin", "realms", realm, "clients", one_id, "client-secret"] if method in ("GET", "POST"):
                client = self._managed(realm, one_id, self._roles_of(headers, realm))
                if method == "POST":
                    self._regenerate(realm, client)
                return 200, {"type": "secret", "value": client["secret"]}
            case ["admin", "realms", realm, "clients", one_id, "client-secret", "rotated"] if method == "GET":
                client = self._managed(realm, one_id, self._roles_of(headers, realm))
                if not client["attributes"].get(ROTATED):
                    raise _Refused(404, "Client does not have a rotated secret")
                return 200, {"type": "secret", "value": client["attributes"][ROTATED]}
            case ["admin", "realms", realm, "clients", one_id, "client-secret", "rotated"] if method == "DELETE":
                try:
                    client = self._managed(realm, one_id, self._roles_of(headers, realm))
                except _Refused:
                    # What the server throws there has no cause, which it then looks for.
                    raise _Refused(500, "unknown_error") from None
                self._drop(client, *ROTATED_ATTRIBUTES)
                return 204, None
        raise _Refused(404, "Unable to find matching target resource method")

    def _give_token(self, realm: str, form: Mapping[str, list[str]]) -> dict[str, Any]:
        """Give a token as RFC 6749, 4.4 has it."""
        if realm not in self.realms:
            raise _Refused(404, "Realm does not exist")
        client_id, secret = ((form.get(name) or [""])[0] for name in ("client_id", "client_secret"))
        found = [one for one in self.realms[realm].clients.values() if one["clientId"] == client_id and one["enabled"]]
        if not found:
            raise _Refused(401, "invalid_client", _INVALID)
        client = found[0]
        if client["publicClient"]:
            raise _Refused(401, "unauthorized_client", "Public client not allowed to retrieve service account")
        if not self._is_valid(client, secret) or client_id in self.deaf:
            raise _Refused(401, "unauthorized_client", _INVALID)
        if not client["serviceAccountsEnabled"]:
            raise _Refused(401, "unauthorized_client", "Client not enabled to retrieve service account")
        token = f"eyJ{secrets.token_urlsafe(48)}"
        self._tokens[token] = _Token(realm, client_id, self._clock.now().timestamp() + TOKEN_SECONDS)
        return {"access_token": token, "expires_in": TOKEN_SECONDS, "token_type": "Bearer", "scope": "email profile"}

    def _roles_of(self, headers: Mapping[str, str], realm: str) -> AbstractSet[str]:
        """Return the roles that whoever asks has on a realm's clients."""
        token = self._tokens.get(headers.get("authorization", "").removeprefix("Bearer "))
        if not token or token.until < self._clock.now().timestamp():
            raise _Refused(401, "HTTP 401 Unauthorized")
        if realm not in self.realms:
            raise _Refused(404, "Realm not found.")
        if token.realm not in (MASTER, realm):
            raise _Refused(403, "HTTP 403 Forbidden")
        return self._roles.get((token.realm, token.client_id), {}).get(realm, set())

    def _on_client(self, method: str, realm: str, one_id: str, roles: AbstractSet[str], body: bytes) -> tuple[int, Any]:
        allowed = {"manage-clients"} if method == "PUT" else {"manage-clients", "view-clients"}
        if not roles & allowed:
            raise _Refused(403, "HTTP 403 Forbidden")
        client = self.realms[realm].clients.get(one_id)
        if not client:
            raise _Refused(404, "Could not find client")
        if method == "GET":
            return 200, _shown(client, roles)
        try:
            sent = json.loads(body)
        except ValueError:
            raise _Refused(400, "unknown_error") from None
        changed = {name: value for name, value in sent.items() if name not in ("id", "access", "attributes")}
        if changed.get("secret") in (None, _MASK):
            changed.pop("secret", None)
        client.update(changed)
        attributes = {**client["attributes"], **sent.get("attributes", {})}
        # An empty one is one that is taken away.
        client["attributes"] = {name: value for name, value in attributes.items() if value not in (None, "")}
        self._secrets |= {client["secret"], client["attributes"].get(ROTATED, "")} - {""}
        self._after_update(self.realms[realm].policy, client)
        return 204, None

    # -- secrets, and what a policy makes of them -------------------------------------------------

    def _managed(self, realm: str, one_id: str, roles: AbstractSet[str]) -> dict[str, Any]:
        """Return a client to who may manage clients."""
        if "manage-clients" not in roles:
            raise _Refused(403, "HTTP 403 Forbidden")
        client = self.realms[realm].clients.get(one_id)
        if not client:
            raise _Refused(404, "Could not find client")
        return client

    def _now(self) -> int:
        return int(self._clock.now().timestamp())

    def _end(self, client: Mapping[str, Any], name: str) -> int:
        return int(client["attributes"].get(name) or 0)

    def _is_valid(self, client: Mapping[str, Any], secret: str) -> bool:
        """Say whether a client logs in with a secret; once its own has ended, neither does the rotated one."""
        ends = self._end(client, EXPIRES)
        known = {client["secret"], self.rotated(client)} - {""}
        return secret in known and not (ends and ends < self._now())

    def _drop(self, client: dict[str, Any], *names: str) -> None:
        client["attributes"] = {name: value for name, value in client["attributes"].items() if name not in names}

    def _generate(self, client: dict[str, Any]) -> None:
        client["secret"] = secrets.token_hex(16)
        client["attributes"] = {**client["attributes"], CREATED: str(self._now())}
        self._secrets.add(client["secret"])

    def _regenerate(self, realm: str, client: dict[str, Any]) -> None:
        """Make a new secret; where the policy applies, the former one becomes the rotated one."""
        policy, former = self.realms[realm].policy, client["secret"]
        self._generate(client)
        if policy:
            self._rotate(policy, client, former)
        else:
            self._drop(client, EXPIRES, *ROTATED_ATTRIBUTES)

    def _rotate(self, policy: Policy, client: dict[str, Any], former: str) -> None:
        self._drop(client, *ROTATED_ATTRIBUTES)
        ends = {EXPIRES: str(self._now() + policy.life)}
        kept = (former, str(self._now()), str(self._now() + policy.rotated_life))
        rotated = dict(zip(ROTATED_ATTRIBUTES, kept, strict=True)) if policy.rotated_life else {}
        client["attributes"] = {**client["attributes"], **ends, **rotated}

    def _after_update(self, policy: Policy | None, client: dict[str, Any]) -> None:
        """Do as the executor does after each update: set an end where there is none, make a secret where it is over."""
        if not policy:
            self._drop(client, EXPIRES, *ROTATED_ATTRIBUTES)
        elif not self._end(client, EXPIRES):
            client["attributes"] = {**client["attributes"], EXPIRES: str(self._now() + policy.life)}
        elif self._end(client, EXPIRES) < self._now():
            former = client["secret"]
            self._generate(client)
            self._rotate(policy, client, former)


def _shown(client: Mapping[str, Any], roles: AbstractSet[str]) -> dict[str, Any]:
    """Return a client as a login with these roles sees it."""
    manages = "manage-clients" in roles
    shown = {**client, "access": {"view": True, "configure": manages, "manage": manages}}
    is_reference = re.fullmatch(r"\$\{vault\..+\}", client["secret"])
    if manages or is_reference:
        return shown
    hidden = {ROTATED: _MASK} if ROTATED in client["attributes"] else {}
    return {**shown, "secret": _MASK, "attributes": {**client["attributes"], **hidden}}
