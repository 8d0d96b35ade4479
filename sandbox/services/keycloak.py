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
_INVALID = "Invalid client or Invalid client credentials"


class _Refused(Exception):
    """A request that is refused: with an HTTP status, and the server's word and words for it."""

    def __init__(self, status: int, error: str, description: str = "") -> None:
        super().__init__(error)
        self.status = status
        self.content = {"error": error, **({"error_description": description} if description else {})}


@dataclass
class Realm:
    """A realm. clients: by the server's id, as the server has them. rotates: a policy makes its own secrets."""

    name: str
    clients: dict[str, dict[str, Any]] = field(default_factory=dict)
    rotates: bool = False


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
                "attributes": {"client.secret.creation.time": "1700000000"},
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
            return bool(held) and bool(secret) and held[0]["enabled"] and held[0]["secret"] == secret

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
            case ["admin", "realms", realm, "clients", one_id, "client-secret", "rotated"] if method == "GET":
                self._on_client("GET", realm, one_id, self._roles_of(headers, realm), b"")
                raise _Refused(404, "Client does not have a rotated secret")
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
        if not secret or client["secret"] != secret or client_id in self.deaf:
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
        client["attributes"] = {**client["attributes"], **sent.get("attributes", {})}
        self._secrets.add(client["secret"])
        if self.realms[realm].rotates:
            self._rotate(client)
        return 204, None

    def _rotate(self, client: dict[str, Any]) -> None:
        """Do as the policy's executor does to a client without a time at which its secret ends."""
        if client["attributes"].get("client.secret.expiration.time"):
            return
        ends = int(self._clock.now().timestamp()) + 29 * 86400
        client["attributes"]["client.secret.rotated"] = client["secret"]
        client["attributes"]["client.secret.expiration.time"] = str(ends)
        client["secret"] = secrets.token_hex(16)
        self._secrets.add(client["secret"])


def _shown(client: Mapping[str, Any], roles: AbstractSet[str]) -> dict[str, Any]:
    """Return a client as a login with these roles sees it."""
    manages = "manage-clients" in roles
    shown = {**client, "access": {"view": True, "configure": manages, "manage": manages}}
    is_reference = re.fullmatch(r"\$\{vault\..+\}", client["secret"])
    return shown if manages or is_reference else {**shown, "secret": _MASK}
