"""Logging in to Azure: which application, at which authority, and why it was refused.

https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

from pam_scripts.core import http
from pam_scripts.core.deadline import Deadline
from pam_scripts.core.errors import ApiError, BadInput
from pam_scripts.core.fields import TEXT, Choice, Field, Fields, Record, Text, split_address
from pam_scripts.core.http import Session
from pam_scripts.core.parallel import holding
from pam_scripts.core.refusals import Refusal, explain, find_refusal
from pam_scripts.core.secret import Secret
from pam_scripts.gateway.payload import Job
from pam_scripts.gateway.request import CA_BUNDLE
from pam_scripts.rotation.shape import Shape

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken
    from azure.core.exceptions import ClientAuthenticationError


@dataclass(frozen=True, repr=False)
class Cloud:
    """Where one Azure cloud's services are.

    https://learn.microsoft.com/graph/deployments
    https://learn.microsoft.com/azure/azure-government/compare-azure-government-global-azure
    https://learn.microsoft.com/azure/key-vault/general/about-keys-secrets-certificates#dns-suffixes-for-object-identifiers
    """

    authority: str
    graph: str
    vault_suffix: str
    manager: str


CLOUDS = {
    "public": Cloud("login.microsoftonline.com", "graph.microsoft.com", "vault.azure.net", "management.azure.com"),
    "usgovernment": Cloud(
        "login.microsoftonline.us", "graph.microsoft.us", "vault.usgovcloudapi.net", "management.usgovcloudapi.net"
    ),
    "china": Cloud(
        "login.chinacloudapi.cn", "microsoftgraph.chinacloudapi.cn", "vault.azure.cn", "management.chinacloudapi.cn"
    ),
}

ENTRA = "entra"

# What the codes of a refused token mean: https://learn.microsoft.com/entra/identity-platform/reference-error-codes
REFUSALS: Sequence[Refusal] = (
    # A new secret is refused so for a while; one that was entered wrong always is.
    Refusal(
        "AADSTS7000215",
        "the client secret is wrong",
        "check 'client_secret': its value, not its id",
        transient=True,
    ),
    Refusal(
        "AADSTS7000222",
        "the client secret has expired",
        "make a new one for the admin application, and enter it as 'client_secret'",
    ),
    Refusal(
        "AADSTS7000229",
        "the application has no enterprise application (service principal) in the tenant",
        "have an administrator make it: az ad sp create --id CLIENT_ID",
    ),
    Refusal(
        "AADSTS7000112",
        "the application is disabled",
        "have its enterprise application enabled for users to sign in, in Entra under its properties",
    ),
    Refusal(
        "AADSTS53003",
        "Conditional Access blocks the login",
        "have the policy for workload identities let this host's address in, or leave the application out of it",
    ),
    Refusal(
        "AADSTS700016",
        "the tenant has no application of this client id",
        "check 'application_client_id' and 'tenant_id'",
    ),
    Refusal(
        "AADSTS90002",
        "there is no such tenant in this cloud",
        "check 'tenant_id' and 'azure_cloud'",
    ),
    Refusal("AADSTS900023", "the tenant is named by neither an id nor a domain", "check 'tenant_id'"),
    Refusal(
        "AADSTS500011",
        "the tenant does not know the service that the token is for",
        "check 'tenant_id' and 'azure_cloud': is this the tenant that the service belongs to?",
    ),
    Refusal(
        "AADSTS500014",
        "the service that the token is for is disabled in the tenant",
        "have an administrator of the tenant enable its enterprise application",
    ),
)
"""Codes of Entra for a login that it refuses."""

NOT_KNOWN_YET = "AADSTS7000215"
NO_PRINCIPAL = "AADSTS7000229"
DISABLED = "AADSTS7000112"

_OTHER_TENANT = "check 'tenant_id': the service belongs to another tenant"
_CREDENTIAL = "check the Azure credential: attached record, PAM Configuration, or managed identity"

_GUID = r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"

# Seconds before its end from which on a token is no longer used.
_SPARE = 300


@dataclass(frozen=True, repr=False)
class AppSecret:
    """An Azure application with its secret, and the UID of the record that named it, where one did."""

    tenant_id: str
    client_id: str
    secret: Secret
    record_uid: str = field(default="", compare=False)


_ID = Text(r"[0-9A-Za-z.-]{1,253}", "an id as the Azure portal shows it, without spaces")

TENANT_ID = Field("tenant_id", "the Entra tenant", _ID, required=True, prompt="id of the Entra tenant")
CLIENT_ID = Field(
    "application_client_id",
    "client id of the application that the script logs in as",
    _ID,
    required=True,
    prompt="client id of the admin application",
)
CLIENT_SECRET = Field(
    "client_secret",
    "that application's client secret",
    TEXT,
    required=True,
    prompt="client secret of the admin application",
    type="secret",
)
AZURE_CLOUD = Field(
    "azure_cloud", "the Azure cloud that the application and the vaults are in", Choice(tuple(CLOUDS)), default="public"
)

# What Keeper's PAM Azure Configuration has of its own.
CONFIGURED_CLIENT_ID = replace(CLIENT_ID, label="client_id", type="secret")

ADMIN_FIELDS: Fields = (TENANT_ID, CLIENT_ID, CLIENT_SECRET, AZURE_CLOUD, CA_BUNDLE)
CONFIGURATION_FIELDS: Fields = (TENANT_ID, CONFIGURED_CLIENT_ID, CLIENT_SECRET, AZURE_CLOUD, CA_BUNDLE)


@dataclass(frozen=True, repr=False)
class Identity:
    """Who acts in Azure: an application, or the host's own identity where there is none, and in which cloud.

    owners: the records whose owners decide what it is used for. ca_bundle: the CA that is trusted for its hosts.
    """

    app: AppSecret | None
    cloud: Cloud
    owners: Sequence[Record] = field(default=(), compare=False)
    ca_bundle: str = ""


def find_identity(job: Job, shape: Shape) -> Identity:
    """Return the identity that a job comes with.

    It is the first record's that has all three fields: an attached one, then the PAM Azure Configuration. Between
    the two comes the PAM User record itself where an application's client secret is what is rotated: an application
    may rotate its own. The cloud is named beside the credential, else in the PAM Configuration. Raises BadInput for
    an id that is none, and for an unknown cloud.
    """
    source, app = _find_app(job, shape)
    owners = job.owners_of(source.uid if source else "")
    named = [source, *owners] if source else owners
    cloud = CLOUDS[AZURE_CLOUD.first(named) or AZURE_CLOUD.default]
    return Identity(app, cloud, owners, CA_BUNDLE.read(source) if source in owners else "")


def _find_app(job: Job, shape: Shape) -> tuple[Record | None, AppSecret | None]:
    rotates_itself = shape.value_label == CLIENT_SECRET.label
    for record in [*job.attached, *([job.user] if rotates_itself else [])]:
        if record.has(TENANT_ID.label, CLIENT_ID.label, CLIENT_SECRET.label):
            return record, _app(record, CLIENT_ID)
    configuration = job.configuration
    if configuration and configuration.has(TENANT_ID.label, CONFIGURED_CLIENT_ID.label, CLIENT_SECRET.label):
        return configuration, _app(configuration, CONFIGURED_CLIENT_ID)
    return None, None


def _app(record: Record, client_id: Field[str]) -> AppSecret:
    # Entra makes no secret with a blank in it: one at the end, or a line end, was copied along.
    secret = Secret(record.get(CLIENT_SECRET.label))
    return AppSecret(TENANT_ID.read(record), client_id.read(record), secret, record.uid)


@dataclass(frozen=True, repr=False)
class Token:
    """A bearer token. expires_at: seconds since 1970."""

    value: Secret
    expires_at: float


class TokenSource(Protocol):
    """An identity that gets tokens from Entra; each token is asked for once, however many threads need it."""

    def token(self, resource: str, system: str, action: str, tenant_id: str = "") -> Token:
        """Return a token for a resource, by its host name.

        system, action: what needs it, in the words of the ApiError for a refusal. tenant_id: the one that
        the resource says it belongs to, where it does.
        """


def log_in(identity: Identity, session: Session) -> TokenSource:
    """Return what tokens come from: the identity's application, else the host's own identity.

    Whoever shares the session shares it.
    """
    app, authority = identity.app, identity.cloud.authority

    def make() -> TokenSource:
        return AppLogin(app, authority, session) if app else HostIdentity(authority, session)

    return session.own.get((app, authority), make)


class _Tokens:
    """The tokens of one identity, each asked for once: by whoever needs it first, for all that share connections."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: dict[Hashable, Token] = {}

    @classmethod
    def of(cls, identity: Hashable, authority: str, session: Session) -> _Tokens:
        """Return those of an identity at its authority."""
        return session.made_once(f"https://{authority}/", ("tokens", identity), cls)

    def get(self, key: Hashable, deadline: Deadline, ask: Callable[[], Token]) -> Token:
        """Return the token for a resource; raise what `ask` raises, and OutOfTime where another one's asking lasts."""
        with holding(self._lock, deadline):
            token = self._made.get(key)
            if not token or token.expires_at - time.time() < _SPARE:
                token = self._made[key] = ask()
            return token


class AppLogin:
    """An application that logs in with its client secret."""

    def __init__(self, app: AppSecret, authority: str, session: Session) -> None:
        self._app = app
        self._authority = authority
        self._session = session
        self._tokens = _Tokens.of(app, authority, session)

    def token(self, resource: str, system: str, action: str, tenant_id: str = "") -> Token:
        """Return a token for a resource, as `TokenSource`; the secret goes to the application's own tenant only."""
        own, action = self._app.tenant_id, f"{action}: no token from Entra"
        both_are_ids = re.fullmatch(_GUID, tenant_id) and re.fullmatch(_GUID, own)
        if both_are_ids and tenant_id.lower() != own.lower():
            raise ApiError(
                system,
                action,
                "the application and the service belong to different tenants",
                code=HTTPStatus.UNAUTHORIZED,
                next_step=_OTHER_TENANT,
            )
        return self._tokens.get(resource, self._session.deadline, lambda: self._ask(resource, system, action))

    def _ask(self, resource: str, system: str, action: str) -> Token:
        try:
            return ask_for_token(self._app, self._authority, resource, self._session, system=system, action=action)
        except ApiError as error:
            if error.refused:
                error.next_step = error.next_step or _CREDENTIAL
            raise


def ask_for_token(  # noqa: PLR0913 - each is one fact of the login
    app: AppSecret, authority: str, resource: str, session: Session, *, system: str, action: str
) -> Token:
    """Ask for a token with a client secret, for real: the one request that proves a secret, too.

    azure-identity would ask for the address that tokens come from first, which is one more round trip, and is
    a good part of a script's start-up. Raises ApiError, `permanent` where no wait mends the refusal.

    https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow
    """
    form = {
        "grant_type": "client_credentials",
        "client_id": app.client_id,
        "client_secret": app.secret.reveal(),
        "scope": f"https://{resource}/.default",
    }
    url = f"https://{authority}/{quote(app.tenant_id, safe='')}/oauth2/v2.0/token"
    try:
        answer, _ = http.call(session, "POST", url, system=system, action=action, explain=_read_refusal, form=form)
    except ApiError as error:
        explain(error, REFUSALS)
        raise
    value, seconds = answer.get("access_token"), answer.get("expires_in")
    if not isinstance(value, str) or not value or not isinstance(seconds, int):
        raise ApiError(system, action, "the answer carries no token; is a proxy in the way?")
    return Token(Secret(value), time.time() + seconds)


def _read_refusal(answer: Mapping[str, Any]) -> tuple[str, str]:
    # Entra's description is long, and only its code is certain to carry no value; without one, the name of its error.
    match = re.search(r"AADSTS\d+", str(answer.get("error_description") or ""))
    match = match or re.fullmatch(r"\w{1,60}", str(answer.get("error") or ""))
    name = match[0] if match else ""
    refusal = find_refusal(name, REFUSALS)
    return name, refusal.words if refusal else ""


def _refuse_other_authorities(authority: str) -> None:
    """Raise BadInput where the environment would have the host's identity shown to another host than the authority."""
    named = os.environ.get("AZURE_AUTHORITY_HOST", "")
    try:
        leads_there = not named or split_address(named if "//" in named else f"//{named}").hostname == authority
    except ValueError:
        leads_there = False
    elsewhere = [] if leads_there else ["AZURE_AUTHORITY_HOST"]
    elsewhere += [
        name for name in ("AZURE_REGIONAL_AUTHORITY_NAME", "AZURE_KUBERNETES_TOKEN_PROXY") if name in os.environ
    ]
    if elsewhere:
        raise BadInput(
            f"the environment variable {elsewhere[0]} would send the host's own identity to another host than "
            f"{authority}",
            next_step="take it out of the Gateway's environment, or enter an Azure credential in a record",
        )


def _odd_variables() -> BadInput:
    names = ", ".join(sorted(name for name in os.environ if name.startswith("AZURE_"))) or "none is set"
    return BadInput(
        f"the host's own identity cannot be used: one of its environment variables is not usable ({names})",
        next_step="correct it, or enter an Azure credential in a record",
    )


class HostIdentity:
    """The host's own identity: environment, workload identity and managed identity, as azure-identity finds them.

    In the order of DefaultAzureCredential; never a developer's login that happens to be on the host.
    """

    def __init__(self, authority: str, session: Session) -> None:
        # Imported where used: azure-identity is a good part of a script's start-up, and most runs need none of it.
        from azure.core.pipeline.transport import RequestsTransport  # noqa: PLC0415
        from azure.identity import DefaultAzureCredential  # noqa: PLC0415

        _refuse_other_authorities(authority)
        self._session = session
        self._tokens = _Tokens.of(None, authority, session)
        try:
            self.credential = DefaultAzureCredential(
                exclude_developer_cli_credential=True,
                exclude_cli_credential=True,
                exclude_powershell_credential=True,
                exclude_shared_token_cache_credential=True,
                exclude_visual_studio_code_credential=True,
                exclude_broker_credential=True,
                authority=authority,
                transport=RequestsTransport(session=session, session_owner=False),
                retry_total=0,
                user_agent_use_env=False,
                # The authorities are known; asking one of them for a list of authorities proves nothing more.
                disable_instance_discovery=True,
            )
        except (OSError, ValueError):
            raise _odd_variables() from None

    def token(self, resource: str, system: str, action: str, tenant_id: str = "") -> Token:
        """Return a token for a resource, as `TokenSource.token`."""
        ask = partial(self._ask, resource, system, action, tenant_id)
        return self._tokens.get((resource, tenant_id), self._session.deadline, ask)

    def _ask(self, resource: str, system: str, action: str, tenant_id: str) -> Token:
        from azure.core.exceptions import AzureError, ClientAuthenticationError  # noqa: PLC0415 - see above

        try:
            made = self.credential.get_token(f"https://{resource}/.default", tenant_id=tenant_id or None)
        except ClientAuthenticationError as error:
            raise self._refused(system, f"{action}: no token from Entra", error) from None
        except (OSError, ValueError):
            raise _odd_variables() from None
        except AzureError as error:
            inner = error.inner_exception
            raise http.no_answer(system, action, inner if isinstance(inner, Exception) else error) from None
        return Token(Secret(made.token), made.expires_on)

    def _refused(self, system: str, action: str, error: ClientAuthenticationError) -> ApiError:
        """Return the error for a refused token; of Entra's long message only the code is certain to carry no value.

        Raises OutOfTime where that is the reason: azure-identity turns whatever stops it into a refusal.
        """
        self._session.deadline.check()
        words = error.message or ""
        match = re.search(r"AADSTS\d+", words)
        name = match[0] if match else ""
        # azure-identity's own refusal to take its secret to the tenant that the service asked for.
        foreign = "acquire tokens for tenant" in words
        # MSAL's way to say that the authority knows no such tenant.
        unknown = "Unable to get authority configuration" in words
        refusal = find_refusal(name, REFUSALS)
        way_out = refusal.way_out if refusal else _CREDENTIAL
        return ApiError(
            system,
            action,
            f"{name}; {refusal.words}" if refusal else name or type(error).__name__,
            code=error.status_code or (HTTPStatus.UNAUTHORIZED if name or foreign or unknown else None),
            name=name,
            next_step=_OTHER_TENANT if foreign else "check 'tenant_id'" if unknown else way_out,
        )


class SdkCredential:
    """A login as Azure's SDKs take one: they ask it for tokens themselves."""

    def __init__(self, login: TokenSource, system: str, action: str) -> None:
        self._login, self._system, self._action = login, system, action

    def get_token(self, *scopes: str, tenant_id: str | None = None, **_options: object) -> AccessToken:
        """Return a token for the one scope, https://RESOURCE/.default; raise ApiError as `TokenSource.token`."""
        from azure.core.credentials import AccessToken  # noqa: PLC0415 - whoever asks has imported it

        resource = scopes[0].removeprefix("https://").removesuffix("/.default")
        made = self._login.token(resource, self._system, self._action, tenant_id or "")
        return AccessToken(made.value.reveal(), int(made.expires_at))
