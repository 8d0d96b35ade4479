"""Microsoft Entra: client secrets of an application registration, over Microsoft Graph.

https://learn.microsoft.com/graph/api/resources/application
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from pam_scripts.core import entra, http
from pam_scripts.core.errors import ApiError, BadInput
from pam_scripts.core.patience import iso, parse_iso
from pam_scripts.core.roles import Credential, Key
from pam_scripts.core.secret import Secret

SYSTEM = "entra"

_OWNED = "Application.ReadWrite.OwnedBy"
_ALL = "Application.ReadWrite.All"
_GRANT = f"grant the admin application {_OWNED} on Graph and make it an owner of this one, or grant it {_ALL}"
_SELECTED = "id,appId,displayName,passwordCredentials"


class Graph:
    """The wire: calls to Microsoft Graph as the admin application."""

    def __init__(self, cloud: entra.Cloud, login: entra.Login, session: http.Session) -> None:
        session.connect(f"https://{cloud.graph}")
        self.cloud = cloud
        self._login = login
        self._session = session

    def call(self, method: str, path: str, action: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Make one call below /v1.0; `path` may also be a page's whole address on the same host."""
        root = f"https://{self.cloud.graph}/"
        url = path if path.startswith(root) else f"{root}v1.0{path}"
        headers = {"Authorization": f"Bearer {self.token(action)}"}
        try:
            return http.call(
                self._session, method, url, system=SYSTEM, action=action, explain=_explain, headers=headers, json=body
            )[0]
        except ApiError as error:
            if error.code == HTTPStatus.FORBIDDEN:
                error.next_step = _GRANT
            # Two changes at once: refused before anything is done, under whichever status.
            if error.name == "Directory_ConcurrencyViolation" or (
                error.code == HTTPStatus.BAD_REQUEST and "concurrent" in error.cause.lower()
            ):
                error.busy = True
            raise

    def claims(self) -> dict[str, Any]:
        """Return what the admin's token says of itself: tenant, application, rights. Only ever for advice."""
        payload = self.token("read the admin's token").split(".")[1:2]
        try:
            claims = json.loads(base64.urlsafe_b64decode(payload[0] + "=" * (-len(payload[0]) % 4)))
        except (ValueError, IndexError):
            return {}
        return claims if isinstance(claims, dict) else {}

    def token(self, action: str) -> str:
        """Return a token for Graph, the same one for as long as it is good."""
        return self._login.token(self.cloud.graph, SYSTEM, action).value.reveal()

    def log_in(self, tenant_id: str, client_id: str, secret: Secret, action: str) -> None:
        """Ask for a token with a client secret, for real, past every cache."""
        app = entra.AppSecret(tenant_id, client_id, secret)
        entra.ask_for_token(app, self.cloud.authority, self.cloud.graph, self._session, system=SYSTEM, action=action)


class AppSecrets:
    """The client secrets of one application registration."""

    system = SYSTEM
    noun = "client secret"
    # Replicas learn of a new secret one after the other: one login proves one of them.
    logins_in_a_row = 3
    proof = "the new secret logs in"
    reversible = True
    lag = 5.0
    # Graph refuses a second change of one application while another is under way.
    deletions_at_once = 1
    own_key_id = ""

    def __init__(  # noqa: PLR0913 - each is one fact of the target
        self,
        graph: Graph,
        application_id: str,
        *,
        tenant_id: str,
        admin_client_id: str,
        rotates_itself: bool,
        settling: float,
        say: Callable[[str], None],
    ) -> None:
        self.settling = settling
        self._graph = graph
        self._id = application_id
        self._tenant_id = tenant_id
        self._admin_client_id = admin_client_id
        self._rotates_itself = rotates_itself
        self._say = say
        self._path = ""
        self._client_id = ""
        self._name = ""
        self.ways_to_delete: Sequence[Callable[[Key], None]] = (self._remove,)

    @property
    def target(self) -> str:
        """The application as messages name it."""
        return f"application {self._id}" + (f" ({self._name})" if self._name else "")

    def connect(self) -> None:
        """Get a token for Graph."""
        self._graph.token("log in to Graph")

    def list_keys(self) -> list[Key]:
        """GET the application, by its object id or its client id, whichever was entered.

        https://learn.microsoft.com/graph/api/application-get
        """
        action = f"read {self.target}"
        application = self._find(action) if not self._path else self._get(self._path, action)
        return [read_key(item, action) for item in application.get("passwordCredentials") or []]

    def missing_rights(self) -> list[str]:
        """Say what the admin's token lacks; of a right that needs ownership, whether it has that."""
        claims = self._graph.claims()
        roles = claims.get("roles") or []
        if _ALL in roles:
            return []
        if _OWNED not in roles:
            return [f"the admin application may not make client secrets: {_GRANT}"]
        if claims.get("oid") in self._owners():
            return []
        return [f"the admin application has {_OWNED}, but does not own {self.target}: make it an owner"]

    def create_key(self, label: str, expires_at: datetime | None) -> tuple[Key, Credential]:
        """POST addPassword; the answer carries the secret, this once.

        https://learn.microsoft.com/graph/api/application-addpassword
        """
        action = f"create client secret for {self.target}"
        end = {"endDateTime": iso(expires_at)} if expires_at else {}
        body = {"passwordCredential": {"displayName": label, **end}}
        made = self._graph.call("POST", f"{self._path}/addPassword", action, body)
        secret = Secret(str(made.get("secretText") or ""))
        if not secret:
            raise ApiError(SYSTEM, action, "the answer carries no secret")
        key = read_key(made, action)
        return key, Credential(key.id, secret)

    def log_in(self, credential: Credential) -> None:
        """Ask for a token with the client secret."""
        tenant_id = self._tenant_id or str(self._graph.claims().get("tid") or "")
        action = f"log in with client secret {credential.key_id}"
        self._graph.log_in(tenant_id, self._client_id, credential.secret, action)

    def act_as(self, credential: Credential) -> None:
        """Nothing to do: the token that the admin's secret gave outlives the secret."""

    def _find(self, action: str) -> dict[str, Any]:
        known_as = {
            "object id": f"/applications/{quote(self._id, safe='')}",
            "client id": f"/applications(appId='{quote(self._id, safe='')}')",
        }
        for what, path in known_as.items():
            try:
                application = self._get(path, action)
            except ApiError as error:
                if error.code != HTTPStatus.NOT_FOUND or path == list(known_as.values())[-1]:
                    error.next_step = error.next_step or "check 'application_object_id': no application has this id"
                    raise
                continue
            self._path = path
            self._name = str(application.get("displayName") or self._id)
            self._client_id = str(application.get("appId") or "")
            self._say(f"Retrieved application: {self._name}, found by its {what} {self._id}")
            self._refuse_to_lock_out()
            return application
        raise AssertionError  # pragma: no cover - the last path returns or raises

    def _get(self, path: str, action: str) -> dict[str, Any]:
        application = self._graph.call("GET", f"{path}?$select={_SELECTED}", action)
        if not application.get("appId") or not isinstance(application.get("passwordCredentials"), list):
            raise ApiError(SYSTEM, action, "the answer is not an application; is a proxy in the way?")
        return application

    def _refuse_to_lock_out(self) -> None:
        claims = self._graph.claims()
        admin = self._admin_client_id or str(claims.get("appid") or claims.get("azp") or "")
        if self._client_id.lower() == admin.lower() and not self._rotates_itself:
            raise BadInput(
                f"{SYSTEM}: {self.target} is the very application that the script is logged in as, "
                "and nobody would enter its new secret where that login comes from",
                next_step="enter 'tenant_id' and 'application_client_id' in the PAM User record itself and attach no "
                "other Azure credential, or log in as another application",
            )

    def _owners(self) -> set[str]:
        action = f"read the owners of {self.target}"
        owners: set[str] = set()
        path = f"{self._path}/owners?$select=id"
        while path:
            page = self._graph.call("GET", path, action)
            owners |= {str(owner.get("id")) for owner in page.get("value") or []}
            path = str(page.get("@odata.nextLink") or "")
        return owners

    def _remove(self, key: Key) -> None:
        # https://learn.microsoft.com/graph/api/application-removepassword
        self._graph.call("POST", f"{self._path}/removePassword", f"delete client secret {key.id}", {"keyId": key.id})


def read_key(item: Mapping[str, Any], action: str) -> Key:
    """Read one client secret as Graph lists it; raise ApiError where it cannot be read."""
    try:
        end = item.get("endDateTime")
        return Key(
            id=str(item["keyId"]),
            label=str(item.get("displayName") or ""),
            created_at=parse_iso(str(item["startDateTime"])),
            expires_at=parse_iso(str(end)) if end else None,
        )
    except (KeyError, ValueError) as error:
        raise ApiError(SYSTEM, action, f"a client secret in the answer is not readable ({error})") from None


def _explain(answer: Mapping[str, Any]) -> tuple[str, str]:
    error = answer.get("error")
    if not isinstance(error, Mapping):
        return "", ""
    return str(error.get("code") or ""), str(error.get("message") or "")
