"""Logging in to Azure: which application, at which authority, and why it was refused.

https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from pam_scripts.core import http
from pam_scripts.core.errors import ApiError, BadInput
from pam_scripts.core.fields import Field, Record, normalised
from pam_scripts.core.secret import Secret

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken, TokenCredential
    from azure.core.exceptions import ClientAuthenticationError

    from pam_scripts.core.gateway import Job
    from pam_scripts.core.http import Session


@dataclass(frozen=True)
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

_NEXT_STEPS = {
    "AADSTS7000215": "the Azure client secret is wrong: check 'client_secret' (its value, not its id)",
    "AADSTS7000222": "the Azure client secret has expired: make a new one for the admin application",
    "AADSTS700016": "the Azure application is not in this tenant: check 'application_client_id' and 'tenant_id'",
    "AADSTS90002": "the Azure tenant does not exist: check 'tenant_id'",
}


@dataclass(frozen=True)
class AppSecret:
    """The Azure application a script logs in as, and which record named it."""

    tenant_id: str
    client_id: str
    secret: Secret
    record_uid: str


ADMIN_FIELDS = (
    Field("tenant_id", "the Entra tenant", required=True),
    Field("application_client_id", "client id of the application that the script logs in as", required=True),
    Field("client_secret", "that application's client secret", type="secret", required=True),
    Field("azure_cloud", f"{', '.join(list(CLOUDS)[:-1])} or {list(CLOUDS)[-1]}", default="public"),
)


def find_app(job: Job, *, its_own: bool = False) -> AppSecret | None:
    """Return the Azure application a job comes with; None means the host's own identity.

    The first that has all three fields: an attached record, then the PAM Azure Configuration.
    its_own: the PAM User record itself may be the one, between the two: an application that rotates
    its own secret.
    """
    labels = ("tenant_id", "application_client_id", "client_secret")
    for record in [*job.attached, *([job.user] if its_own else [])]:
        if record.has(*labels):
            return _app(record, *labels)
    configuration = job.configuration
    if configuration and configuration.has("tenant_id", "client_id", "client_secret"):
        return _app(configuration, "tenant_id", "client_id", "client_secret")
    return None


def _app(record: Record, tenant: str, client: str, secret: str) -> AppSecret:
    for label in (tenant, client):
        if not re.fullmatch(r"[0-9A-Za-z.-]{1,253}", record.get(label)):
            raise BadInput(
                f"{record.shown}: field '{label}' is {record.get(label)[:60]!r}",
                next_step="it must be an id as the Azure portal shows it, without blanks",
            )
    return AppSecret(record.get(tenant), record.get(client), record.secret(secret), record.uid)


def find_cloud(job: Job) -> Cloud:
    """Return the cloud that `azure_cloud` names in an attached record or the PAM configuration, else the public one.

    The PAM User record comes last: it is its own admin record where an application rotates itself.
    """
    for record in job.sources:
        if name := record.get("azure_cloud"):
            if cloud := CLOUDS.get(normalised(name)):
                return cloud
            raise BadInput(
                f"{record.shown}: field 'azure_cloud' is {name[:60]!r}", next_step=f"it must be {' or '.join(CLOUDS)}"
            )
    return CLOUDS["public"]


def log_in(app: AppSecret | None, authority: str, session: Session) -> TokenCredential:
    """Return what tokens come from: the given application, else the host's own identity.

    Whoever shares the session shares it, so that each token is asked for once.
    """
    if (app, authority) not in session.shared:
        if app:
            session.connect(f"https://{authority}")
        session.shared[app, authority] = _Shared(new_credential(app, authority, session))
    credential: TokenCredential = session.shared[app, authority]
    return credential


class _Shared:
    """A credential for several threads: the second one finds the token that the first one got."""

    def __init__(self, credential: TokenCredential) -> None:
        self._credential = credential
        self._lock = threading.Lock()

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:  # noqa: ANN401 - passed on
        """Return a token, from one thread at a time."""
        with self._lock:
            return self._credential.get_token(*scopes, **options)


def new_credential(app: AppSecret | None, authority: str, session: Session) -> TokenCredential:
    """Return what tokens come from, in the terms of azure-identity.

    Without an application: environment, workload identity and managed identity, in the order of
    DefaultAzureCredential; never a developer's login that happens to be on the host.
    """
    # Imported where used: azure-identity is a good part of a script's start-up, and not every run needs it.
    from azure.core.pipeline.transport import RequestsTransport  # noqa: PLC0415
    from azure.identity import ClientSecretCredential, DefaultAzureCredential  # noqa: PLC0415

    common: dict[str, Any] = {
        "authority": authority,
        "transport": RequestsTransport(session=session, session_owner=False),
        "retry_total": 0,
        # The authorities are known; asking one of them for a list of authorities proves nothing more.
        "disable_instance_discovery": True,
    }
    if app:
        return ClientSecretCredential(app.tenant_id, app.client_id, app.secret.reveal(), **common)
    return DefaultAzureCredential(
        exclude_developer_cli_credential=True,
        exclude_cli_credential=True,
        exclude_powershell_credential=True,
        exclude_shared_token_cache_credential=True,
        exclude_visual_studio_code_credential=True,
        exclude_broker_credential=True,
        **common,
    )


def token(credential: TokenCredential, resource: str, session: Session, system: str, action: str) -> str:
    """Return a token for a resource, by its host name; azure-identity keeps it for as long as it is good."""
    from azure.core.exceptions import AzureError, ClientAuthenticationError  # noqa: PLC0415 - see log_in

    try:
        # Of the kind that may be taken back early, as azure-keyvault-secrets asks for: the others are kept apart.
        made = credential.get_token(f"https://{resource}/.default", enable_cae=True).token
    except ClientAuthenticationError as error:
        raise no_token(session, system, action, error) from None
    except AzureError as error:
        inner = error.inner_exception
        raise http.no_answer(system, action, inner if isinstance(inner, Exception) else error) from None
    Secret(made)
    return made


def no_token(session: Session, system: str, action: str, error: ClientAuthenticationError) -> ApiError:
    """Return the error for a refused token; of Entra's long message only the code is certain to carry no value.

    Raises OutOfTime where that is the reason: azure-identity turns whatever stops it into a refusal.
    """
    session.deadline.check()
    words = error.message or ""
    match = re.search(r"AADSTS\d+", words)
    name = match[0] if match else ""
    # azure-identity's own refusal to take its secret to the tenant that the service asked for.
    foreign = "acquire tokens for tenant" in words
    # MSAL's way to say that the authority knows no such tenant.
    unknown = "Unable to get authority configuration" in words
    next_step = _NEXT_STEPS.get(name, "")
    if foreign or unknown:
        next_step = "check 'tenant_id'" + (": the service belongs to another tenant" if foreign else "")
    return ApiError(
        system,
        action,
        f"no token from Entra ({name or type(error).__name__})",
        code=error.status_code or (HTTPStatus.UNAUTHORIZED if name or foreign or unknown else None),
        name=name,
        next_step=next_step or "check the Azure credential: attached record, PAM configuration, or managed identity",
    )
