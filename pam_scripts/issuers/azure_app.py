"""Microsoft Entra: client secrets of an application registration, over Microsoft Graph, as an issuer.

https://learn.microsoft.com/graph/api/resources/application
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from pam_scripts.core import http
from pam_scripts.core.errors import ApiError, BadInput
from pam_scripts.core.fields import TEXT, Field, Fields, Number, Text
from pam_scripts.core.http import Session
from pam_scripts.core.limits import Limit
from pam_scripts.core.secret import Secret
from pam_scripts.core.times import iso, parse_iso
from pam_scripts.gateway.payload import Job
from pam_scripts.gateway.request import ALLOW_TARGETS
from pam_scripts.gateway.specs import IssuerSpec
from pam_scripts.logins import azure
from pam_scripts.rotation.roles import Credential, Facts, Issuer, Key, required_id
from pam_scripts.rotation.shape import Shape, Target

SYSTEM = "entra"
ADMIN_FIELDS: Fields = (*azure.ADMIN_FIELDS, ALLOW_TARGETS)

APPLICATION_OBJECT_ID = Field(
    "application_object_id",
    "the application's object id, or its client id",
    Text(r"[0-9A-Fa-f-]{36}", "an id such as 0fe1...: 36 characters"),
    required=True,
    prompt="object id or client id of the application",
)
EXPIRY_DAYS = Field("expiry_days", "life of the new secret, in days", Number(1, 730), default="365")
SETTLING_SECONDS = Field(
    "settling_seconds", "seconds that Entra may take to accept a new secret everywhere", Number(0, 600), default="90"
)

# The first, and the outputs, are labels of Keeper's own sample script.
FIELDS: Fields = (APPLICATION_OBJECT_ID, EXPIRY_DAYS, SETTLING_SECONDS)

SECRET_ID = Field("client_secret_id", "id of the client secret", TEXT, output=True)
SECRET = Field("client_secret", "the client secret", TEXT, output=True, type="secret")
OUTPUTS: Fields = (SECRET_ID, SECRET)

SHAPE = Shape(
    id_label=SECRET_ID.label,
    value_label=SECRET.label,
    id_part="secret-id",
    value_part="secret",
    both_part="credential",
    prefix="azure-app",
    owner_tag="entra-application-id",
    expires_label="expires",
)

_OWNED = "Application.ReadWrite.OwnedBy"
_ALL = "Application.ReadWrite.All"
_GRANT = f"grant the admin application {_OWNED} on Graph and make it an owner of this one, or grant it {_ALL}"
_CONCURRENT = "another change of it is under way"
_SELECTED = "id,appId,displayName,passwordCredentials"


def read(job: Job) -> IssuerSpec:
    """Return what a record asks for; raise BadInput where that could not be."""
    identity = azure.find_identity(job, SHAPE)
    application_id = APPLICATION_OBJECT_ID.read(job.user)
    settling_seconds = SETTLING_SECONDS.read(job.user)
    return IssuerSpec(
        target=Target(application_id),
        shape=SHAPE,
        build=lambda run, session: AppSecrets(
            Graph(identity, session), application_id, job.user.uid, settling_seconds, run.say
        ),
        hosts={identity.cloud.graph: 1, identity.cloud.authority: 1},
        life=timedelta(days=EXPIRY_DAYS.read(job.user)),
        server=identity.cloud.graph,
        group=identity,
        survey="pam_scripts.issuers.azure_app_survey",
        limit=Limit.of(ALLOW_TARGETS, identity.owners),
        ca_bundle=identity.ca_bundle,
    )


class Graph:
    """The wire: calls to Microsoft Graph as the admin application."""

    def __init__(self, identity: azure.Identity, session: Session) -> None:
        self.cloud = identity.cloud
        self.app = identity.app
        self._login = azure.log_in(identity, session)
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
                error.code == HTTPStatus.BAD_REQUEST and _CONCURRENT in error.cause
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
        app = azure.AppSecret(tenant_id, client_id, secret)
        azure.ask_for_token(app, self.cloud.authority, self.cloud.graph, self._session, system=SYSTEM, action=action)


class AppSecrets(Issuer):
    """The client secrets of one application registration."""

    def __init__(
        self, graph: Graph, application_id: str, owner: str, settling_seconds: float, say: Callable[[str], None]
    ) -> None:
        self._graph = graph
        self._id = application_id
        self._owner = owner
        self._settling_seconds = settling_seconds
        self._say = say
        self._path = ""
        self._client_id = self._object_id = ""
        self._name = ""

    @property
    def facts(self) -> Facts:
        """What is known of Entra beforehand."""
        return Facts(
            system=SYSTEM,
            noun="client secret",
            login_proof="the new secret logs in",
            activation_delay=self._settling_seconds,
            # Replicas learn of a new secret one after the other: one login proves one of them.
            logins_in_a_row=3,
            listing_delay=5.0,
            # Graph refuses a second change of one application while another is under way.
            deletions_at_once=1,
        )

    @property
    def target(self) -> str:
        """The application as messages name it."""
        return f"application {self._id}" + (f" ({self._name})" if self._name else "")

    @property
    def known_as(self) -> Sequence[str]:
        """The application's object id, its client id, and the one that was entered."""
        return (self._object_id, self._client_id, self._id) if self._object_id else ()

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
        app = self._graph.app
        tenant_id = app.tenant_id if app else str(self._graph.claims().get("tid") or "")
        action = f"log in with client secret {credential.key_id}"
        self._graph.log_in(tenant_id, self._client_id, credential.secret, action)

    def delete_key(self, key: Key) -> None:
        """POST removePassword.

        https://learn.microsoft.com/graph/api/application-removepassword
        """
        self._graph.call("POST", f"{self._path}/removePassword", f"delete client secret {key.id}", {"keyId": key.id})

    # Nothing to do in `act_as`: the token that the admin's secret gave outlives the secret.

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
            self._object_id = str(application.get("id") or "")
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
        app = self._graph.app
        admin = app.client_id if app else str(claims.get("appid") or claims.get("azp") or "")
        if self._client_id.lower() == admin.lower() and not (app and app.record_uid == self._owner):
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


def read_key(item: Mapping[str, Any], action: str) -> Key:
    """Read one client secret as Graph lists it; raise ApiError where it cannot be read."""
    try:
        end = item.get("endDateTime")
        return Key(
            id=required_id(item, "keyId"),
            label=str(item.get("displayName") or ""),
            created_at=parse_iso(str(item["startDateTime"])),
            expires_at=parse_iso(str(end)) if end else None,
        )
    except (KeyError, ValueError):
        raise ApiError(SYSTEM, action, "a client secret in the answer has no id, or times that are none") from None


def _explain(answer: Mapping[str, Any]) -> tuple[str, str]:
    error = answer.get("error")
    if not isinstance(error, Mapping):
        return "", ""
    code = http.code_in(error.get("code"))
    words = http.in_our_words(error.get("message"), {"concurrent": _CONCURRENT})
    # A code says enough by itself.
    return code, "" if code and words != _CONCURRENT else words
