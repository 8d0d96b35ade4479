"""Microsoft Entra: client secrets of an application registration, over Microsoft Graph, as an issuer.

https://learn.microsoft.com/graph/api/resources/application
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from pam_scripts.core.errors import ApiError, BadInput
from pam_scripts.core.fields import TEXT, Choice, Field, Fields, Number, Text
from pam_scripts.core.limits import Limit
from pam_scripts.core.secret import Secret
from pam_scripts.core.times import iso
from pam_scripts.gateway.payload import Job
from pam_scripts.gateway.request import ALLOW_TARGETS, KEEP_PREVIOUS_KEYS
from pam_scripts.gateway.specs import IssuerSpec
from pam_scripts.issuers.azure_app.graph import (
    FORBIDDEN_BY_POLICY,
    GRANT,
    NO_PRINCIPAL,
    OWNED,
    PRINCIPAL,
    SYSTEM,
    TOO_LONG_FOR_POLICY,
    TOO_MANY,
    Graph,
    Principal,
    is_not_there,
    may_change_any,
    may_change_own,
    read_key,
    read_principal,
)
from pam_scripts.issuers.azure_app.policy import read_policy
from pam_scripts.logins import azure
from pam_scripts.rotation.roles import Credential, Issuer, Key, Run, Traits
from pam_scripts.rotation.shape import Shape, Target

ADMIN_FIELDS: Fields = (*azure.ADMIN_FIELDS, ALLOW_TARGETS)
CONFIGURATION_FIELDS: Fields = (*azure.CONFIGURATION_FIELDS, ALLOW_TARGETS)

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
SERVICE_PRINCIPAL_SECRETS = Field(
    "service_principal_secrets",
    "what secrets lead to that stand on the application's service principal, where no rotation deletes one: `warn`, or "
    "`fail` for exit status 3",
    Choice(("warn", "fail")),
    default="warn",
)

# The first, and the outputs, are labels of Keeper's own sample script.
FIELDS: Fields = (APPLICATION_OBJECT_ID, EXPIRY_DAYS, SETTLING_SECONDS, SERVICE_PRINCIPAL_SECRETS)

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

# Audiences that personal accounts belong to: https://learn.microsoft.com/entra/identity-platform/supported-accounts-validation
PERSONAL = ("AzureADandPersonalMicrosoftAccount", "PersonalMicrosoftAccount")
MOST_PERSONAL = 2
"""How many client secrets an application for personal accounts may have."""

SELECTED = "id,appId,displayName,passwordCredentials,signInAudience,createdDateTime"
"""What is asked of an application."""


@dataclass(frozen=True, repr=False)
class AppSettings:
    """What a record asks for: of which application, and how.

    owner: the UID of the Keeper record. keep: how many previous secrets are to live on. strict: whether secrets on
    the service principal keep a rotation from ending well.
    """

    application_id: str
    owner: str
    life: timedelta
    settling_seconds: float
    keep: int
    strict: bool


def read(job: Job) -> IssuerSpec:
    """Return what a record asks for; raise BadInput where that could not be."""
    identity = azure.find_identity(job, SHAPE)
    record = job.user
    settings = AppSettings(
        APPLICATION_OBJECT_ID.read(record),
        record.uid,
        timedelta(days=EXPIRY_DAYS.read(record)),
        SETTLING_SECONDS.read(record),
        KEEP_PREVIOUS_KEYS.read(record),
        SERVICE_PRINCIPAL_SECRETS.read(record) == "fail",
    )
    return IssuerSpec(
        target=Target(settings.application_id),
        shape=SHAPE,
        build=lambda run, session: AppSecrets(Graph(identity, session), settings, run),
        hosts={identity.cloud.graph: 1, identity.cloud.authority: 1},
        life=settings.life,
        server=identity.cloud.graph,
        group=identity,
        survey="pam_scripts.issuers.azure_app.survey",
        details=settings,
        limit=Limit.of(ALLOW_TARGETS, identity.owners),
        ca_bundle=identity.ca_bundle,
    )


class AppSecrets(Issuer):
    """The client secrets of one application registration."""

    def __init__(self, graph: Graph, settings: AppSettings, run: Run) -> None:
        self._graph = graph
        self._settings = settings
        self._run = run
        self._id = settings.application_id
        self._path = ""
        self._client_id = self._object_id = ""
        self._name = ""
        self._application: dict[str, Any] = {}

    @property
    def traits(self) -> Traits:
        """What is known of Entra beforehand."""
        return Traits(
            system=SYSTEM,
            noun="client secret",
            login_proof="the new secret logs in",
            activation_delay=self._settings.settling_seconds,
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
        """Say what the admin's token lacks, of a right that needs ownership whether it has that; and what policies ask.

        Those are read where the admin may: for a creation they are what it is refused by.
        """
        claims = self._graph.claims()
        missing = []
        if not may_change_any(claims):
            if not may_change_own(claims):
                missing.append(f"the admin application may not make client secrets: {GRANT}")
            elif claims.get("oid") not in self._owners():
                missing.append(f"the admin application has {OWNED}, but does not own {self.target}: make it an owner")
        words, way_out = read_policy(self._graph, self._path, self._application).breach(self._settings.life)
        return [*missing, *([f"{words}: {way_out}"] if words else [])]

    def create_key(self, label: str, expires_at: datetime | None) -> tuple[Key, Credential]:
        """POST addPassword; the answer carries the secret, this once.

        https://learn.microsoft.com/graph/api/application-addpassword
        """
        action = f"create client secret for {self.target}"
        end = {"endDateTime": iso(expires_at)} if expires_at else {}
        body = {"passwordCredential": {"displayName": label, **end}}
        try:
            made = self._graph.call("POST", f"{self._path}/addPassword", action, body)
        except ApiError as error:
            if error.name in (FORBIDDEN_BY_POLICY, TOO_LONG_FOR_POLICY):
                self._name_limit(error)
            raise
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
        try:
            self._graph.log_in(tenant_id, self._client_id, credential.secret, action)
        except ApiError as error:
            if error.name == azure.NOT_KNOWN_YET:
                error.next_step = f"if Entra needs longer to accept a new secret, raise '{SETTLING_SECONDS.label}'"
            raise

    def delete_key(self, key: Key) -> None:
        """POST removePassword.

        https://learn.microsoft.com/graph/api/application-removepassword
        """
        self._graph.call("POST", f"{self._path}/removePassword", f"delete client secret {key.id}", {"keyId": key.id})

    # Nothing to do in `act_as`: the token that the admin's secret gave outlives the secret.

    def _find(self, action: str) -> dict[str, Any]:
        """Find the application, and look for all that keeps a new secret of it from being made, or from logging in."""
        known_as = {
            "object id": f"/applications/{quote(self._id, safe='')}",
            "client id": f"/applications(appId='{quote(self._id, safe='')}')",
        }
        for what, path in known_as.items():
            try:
                application = self._get(path, action)
            except ApiError as error:
                if not is_not_there(error):
                    raise
                missing = error
                continue
            self._name = str(application.get("displayName") or self._id)
            self._client_id = str(application.get("appId") or "")
            self._object_id = str(application.get("id") or "")
            self._refuse_to_lock_out()
            self._refuse_too_many(application, action)
            self._look_at_principal()
            # What is said once is said when nothing can fail any more: a failure has all of this asked again.
            self._run.say(f"Retrieved application: {self._name}, found by its {what} {self._id}")
            self._path, self._application = path, application
            return application
        missing.next_step = self._explain_id()
        raise missing

    def _explain_id(self) -> str:
        """Say why no application has the id: the portal shows that of the enterprise application, too."""
        try:
            self._graph.call("GET", f"/servicePrincipals/{quote(self._id, safe='')}?$select=appId", "read the id")
        except ApiError:
            return f"check '{APPLICATION_OBJECT_ID.label}': no application has this id"
        return NOT_THAT_ID

    def _get(self, path: str, action: str) -> dict[str, Any]:
        application = self._graph.call("GET", f"{path}?$select={SELECTED}", action)
        if not application.get("appId") or not isinstance(application.get("passwordCredentials"), list):
            raise ApiError(SYSTEM, action, "the answer is not an application; is a proxy in the way?")
        return application

    def _refuse_to_lock_out(self) -> None:
        claims = self._graph.claims()
        app = self._graph.app
        admin = app.client_id if app else str(claims.get("appid") or claims.get("azp") or "")
        if self._client_id.lower() == admin.lower() and not (app and app.record_uid == self._settings.owner):
            raise BadInput(
                f"{SYSTEM}: {self.target} is the application that the script itself logs in as, "
                "and its new secret would not be stored where that login comes from",
                next_step="enter 'tenant_id' and 'application_client_id' in the PAM User record itself and attach no "
                "other Azure credential, or log in as another application",
            )

    def _refuse_too_many(self, application: dict[str, Any], action: str) -> None:
        """Raise where an application for personal accounts has no room for a new secret, or for one that is kept."""
        if application.get("signInAudience") not in PERSONAL:
            return
        if self._settings.keep:
            raise BadInput(f"{SYSTEM}: {self.target} {PERSONAL_WORDS}", next_step=PERSONAL_WAY_OUT)
        present = [read_key(item, action) for item in application["passwordCredentials"]]
        if len(present) >= MOST_PERSONAL:
            raise TOO_MANY.as_error(f"{SYSTEM}: {self.target}", f": {', '.join(key.shown for key in present)}")

    def _look_at_principal(self) -> None:
        """Raise Refused where no secret could log in; warn of secrets that log in beside those of the application."""
        principal = self._principal()
        if principal is None:
            self._run.say(f"The service principal of {self.target} may not be read: secrets on it are not checked")
        elif principal.refusal:
            raise principal.refusal.as_error(f"{SYSTEM}: {self.target}")
        elif principal.secrets:
            self._run.warn(f"{SYSTEM}: {principal_words(self.target, principal)}")

    def _principal(self) -> Principal | None:
        """Return the application's service principal; None where it may not be read, and the record lets that pass."""
        action = f"read the service principal of {self.target}"
        path = f"/servicePrincipals(appId='{quote(self._client_id, safe='')}')?$select={PRINCIPAL}"
        try:
            return read_principal(self._graph.call("GET", path, action), action)
        except ApiError as error:
            if is_not_there(error):
                return NO_PRINCIPAL
            if error.code == HTTPStatus.FORBIDDEN and not self._settings.strict:
                return None
            raise

    def others_alive(self) -> Sequence[str]:
        """Return the secrets on the service principal, where the record wants a rotation to end badly for them."""
        principal = self._principal() if self._settings.strict else None
        return principal.shown if principal else []

    def _name_limit(self, error: ApiError) -> None:
        """Say which limit a policy sets, in the way out of its refusal, where the policy may be read."""
        try:
            _, way_out = read_policy(self._graph, self._path, self._application).breach(self._settings.life)
        except ApiError:
            return
        error.next_step = way_out or error.next_step

    def _owners(self) -> set[str]:
        pages = self._graph.pages(f"{self._path}/owners?$select=id", f"read the owners of {self.target}")
        return {str(owner.get("id")) for page in pages for owner in page.get("value") or []}


NOT_THAT_ID = (
    f"'{APPLICATION_OBJECT_ID.label}' has the object id of an enterprise application: enter the one of its app "
    "registration, or the client id, which both have in common"
)
PERSONAL_WORDS = "is for personal accounts too, and may have two client secrets at most"
PERSONAL_WAY_OUT = f"set '{KEEP_PREVIOUS_KEYS.label}' to 0"


def principal_words(target: str, principal: Principal) -> str:
    """Say that secrets on a service principal log in beside those of its application."""
    return f"{target} can also log in with secrets on its service principal, which no rotation deletes: " + ", ".join(
        principal.shown
    )
