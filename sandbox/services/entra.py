"""Microsoft Entra ID: the token endpoint for applications that log in with a client secret.

https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow

What a secret is, and when it is let in, stands in `Secret`; whatever else comes to change an
application's secrets (Microsoft Graph's addPassword and removePassword) does it through
`Entra.adopt_secret` and `Entra.remove_secret`. The `common` and `organizations` tenants are not
here: a login with a client secret names its own tenant.
"""

from __future__ import annotations

import base64
import hmac
import json
import re
import secrets
import string
import threading
import uuid
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.services import Refusal

if TYPE_CHECKING:
    from starlette.requests import Request

    from sandbox.clock import Clock

TOKEN_LIFETIME = timedelta(seconds=3599)
"""How long a token is good for; removing the secret it was got with does not end it earlier."""

GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
"""An id of anything that Azure knows, in either case."""

# What a client may ask for beside a resource's `/.default`; it means nothing in this grant.
_OPENID_SCOPES = {"openid", "profile", "email", "offline_access"}
_VALUE_ALPHABET = string.ascii_letters + string.digits + "-_."


@dataclass(frozen=True)
class Cloud:
    """One of the separate Azure clouds; a tenant lives in exactly one.

    https://learn.microsoft.com/entra/identity-platform/authentication-national-cloud

    authorities: host names of its login service, the preferred one first.
    issuer: host name in the `iss` of the tokens its resources get.
    vaults, graph, management: host names of the resources tokens are asked for.
    core: host name of management's older name as a resource; Microsoft's clients still ask for it.
    """

    authorities: tuple[str, ...]
    issuer: str
    vaults: str
    graph: str
    management: str
    core: str

    @property
    def management_audiences(self) -> set[str]:
        """The resources whose tokens Resource Manager takes."""
        return {f"https://{host}" for host in (self.management, self.core)}

    @property
    def resources(self) -> set[str]:
        """The resources every tenant of this cloud knows."""
        return {f"https://{host}" for host in (self.vaults, self.graph)} | self.management_audiences


CLOUDS = (
    Cloud(
        ("login.microsoftonline.com",),
        "sts.windows.net",
        "vault.azure.net",
        "graph.microsoft.com",
        "management.azure.com",
        "management.core.windows.net",
    ),
    Cloud(
        ("login.microsoftonline.us",),
        "sts.windows.net",
        "vault.usgovcloudapi.net",
        "graph.microsoft.us",
        "management.usgovcloudapi.net",
        "management.core.usgovcloudapi.net",
    ),
    Cloud(
        ("login.chinacloudapi.cn", "login.partner.microsoftonline.cn"),
        "sts.chinacloudapi.cn",
        "vault.azure.cn",
        "microsoftgraph.chinacloudapi.cn",
        "management.chinacloudapi.cn",
        "management.core.chinacloudapi.cn",
    ),
)


@dataclass
class Secret:
    """One client secret of an application.

    A new secret is known to its application at once, but to the token endpoint only later, and
    for a while not to all of its replicas:

    visible_from: until then it is refused.
    answers: what the next logins with it meet, one each, True for "let in"; when none is left,
        each is let in. Several False are a secret that is refused a number of times, False and
        True in turn one that flaps.
    """

    secret_id: str
    value: str = field(repr=False)
    display_name: str
    created_on: datetime
    expires_on: datetime
    visible_from: datetime
    answers: deque[bool] = field(default_factory=deque)

    @property
    def hint(self) -> str:
        """The first three characters, which Microsoft shows of a secret for ever."""
        return self.value[:3]


@dataclass
class App:
    """An application registration with its service principal, in its home tenant.

    object_id: of the registration, as Graph's `/applications/{id}` takes it.
    client_id: what it logs in with (`appId`).
    service_principal_id: the `oid` of its tokens, and what roles are assigned to.
    graph_roles: what it may do at Microsoft Graph, as its Graph tokens say from their issue on.
    directory_roles: template ids of its roles in the directory, which all its tokens say as `wids`.
    created_on: when it was registered; None for long ago. audience: who may sign in to it.
    has_principal: whether the tenant has its service principal, "enterprise application" in the portal; is_enabled:
        whether that may log in. is_blocked: whether Conditional Access refuses it.
    principal_secrets: client secrets that stand on the service principal; they log in like its own.
    principal_keys: by the id of such a secret, the `customKeyIdentifier` of the certificate that it belongs to.
    """

    name: str
    tenant_id: str
    client_id: str
    object_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    service_principal_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    secrets: dict[str, Secret] = field(default_factory=dict, repr=False)
    graph_roles: frozenset[str] = frozenset()
    directory_roles: tuple[str, ...] = ()
    created_on: datetime | None = None
    audience: str = "AzureADMyOrg"
    has_principal: bool = True
    is_enabled: bool = True
    is_blocked: bool = False
    principal_secrets: dict[str, Secret] = field(default_factory=dict, repr=False)
    principal_keys: dict[str, str] = field(default_factory=dict)

    @property
    def all_secrets(self) -> list[Secret]:
        """Every secret that it may log in with."""
        return [*self.secrets.values(), *self.principal_secrets.values()]


@dataclass(frozen=True)
class _Tenant:
    tenant_id: str
    name: str
    cloud: Cloud


class Entra:
    """The login service of the three clouds, over one set of tenants, applications and secrets.

    The methods may be called from any thread. Those that take a client id raise KeyError for
    one that is not registered.

    missing_resources, disabled_resources: host names of services that tenants do not know, or have disabled.
    """

    hosts: tuple[str, ...] = tuple(host for cloud in CLOUDS for host in cloud.authorities)

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._lock = threading.RLock()
        self._tenants: dict[str, _Tenant] = {}
        self._apps: dict[str, App] = {}
        self._issued: set[str] = set()
        self.missing_resources: set[str] = set()
        self.disabled_resources: set[str] = set()
        self._signing_key = secrets.token_bytes(32)
        self.app = Starlette(
            routes=[
                Route("/common/discovery/instance", self._instance_discovery),
                Route("/{tenant}/v2.0/.well-known/openid-configuration", self._openid_configuration),
                Route("/{tenant}/oauth2/v2.0/token", self._token, methods=["POST"]),
            ]
        )

    # -- what a test sets up and looks at -------------------------------------------------------

    def add_tenant(self, *, name: str = "Sandbox", authority: str = "login.microsoftonline.com") -> str:
        """Make a tenant in the cloud that logs in at `authority`, and return its id."""
        cloud = next(cloud for cloud in CLOUDS if authority in cloud.authorities)
        with self._lock:
            # The first tenant of every sandbox has the same id, and so on: Key Vault's client remembers
            # for the life of its process which tenant a vault name belongs to, over all tests.
            number = len(self._tenants) + 1
            tenant = _Tenant(str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{number}.tenant.invalid")), name, cloud)
            self._tenants[tenant.tenant_id] = tenant
        return tenant.tenant_id

    def cloud(self, tenant_id: str) -> Cloud:
        """Say in which cloud a tenant lives."""
        with self._lock:
            return self._tenants[tenant_id].cloud

    def add_application(self, tenant_id: str, name: str, *, client_id: str | None = None) -> App:
        """Register an application in a tenant, with its service principal and no secret."""
        app = App(name, tenant_id, client_id or str(uuid.uuid4()))
        with self._lock:
            self._apps[app.client_id] = app
        return app

    def applications(self) -> list[App]:
        """List every application of every tenant."""
        with self._lock:
            return list(self._apps.values())

    def application(self, client_id: str) -> App:
        """Give the application with a client id."""
        with self._lock:
            return self._apps[client_id]

    def add_secret(  # noqa: PLR0913 - one argument for each thing that differs between secrets
        self,
        client_id: str,
        *,
        created_days_ago: float = 0,
        expires_in_days: float = 365,
        display_name: str = "",
        value: str | None = None,
        visible_in: float = 0,
        refuses_first: int = 0,
    ) -> tuple[str, str]:
        """Add a client secret, and return its id and its value.

        `expires_in_days` counts from now. `visible_in` is in seconds of the shared clock, from its creation on;
        `refuses_first` is how many logins after that are still refused.
        """
        now = self.clock.now()
        created = now - timedelta(days=created_days_ago)
        value = value or new_value()
        secret = Secret(
            secret_id=str(uuid.uuid4()),
            value=value,
            display_name=display_name,
            created_on=created,
            expires_on=now + timedelta(days=expires_in_days),
            visible_from=created + timedelta(seconds=visible_in),
            answers=deque([False] * refuses_first),
        )
        self.adopt_secret(client_id, secret)
        return secret.secret_id, value

    def add_principal_secret(
        self, client_id: str, *, display_name: str = "", expires_in_days: float = 365, certificate: str | None = None
    ) -> tuple[str, str]:
        """Add a client secret to an application's service principal, and return its id and its value.

        certificate: the `customKeyIdentifier` of the SAML signing certificate that it is the password of.
        """
        now = self.clock.now()
        secret = Secret(str(uuid.uuid4()), new_value(), display_name, now, now + timedelta(days=expires_in_days), now)
        with self._lock:
            app = self._apps[client_id]
            app.principal_secrets[secret.secret_id] = secret
            if certificate is not None:
                app.principal_keys[secret.secret_id] = certificate
            self._issued.add(secret.value)
        return secret.secret_id, secret.value

    def adopt_secret(self, client_id: str, secret: Secret) -> None:
        """Give an application a secret that was made elsewhere."""
        with self._lock:
            self._apps[client_id].secrets[secret.secret_id] = secret
            self._issued.add(secret.value)

    def remove_secret(self, client_id: str, secret_id: str) -> None:
        """Remove a client secret; KeyError if the application has none with that id."""
        with self._lock:
            del self._apps[client_id].secrets[secret_id]

    def client_secrets(self, client_id: str) -> list[Secret]:
        """List an application's secrets, expired ones too, oldest first."""
        with self._lock:
            return list(self._apps[client_id].secrets.values())

    def logs_in(self, client_id: str, value: str) -> bool:
        """Say whether a login with this value would be let in now; takes nothing off `answers`."""
        with self._lock:
            now = self.clock.now()
            return any(
                secret.value == value
                and secret.visible_from <= now < secret.expires_on
                and (not secret.answers or secret.answers[0])
                for secret in self._apps[client_id].all_secrets
            )

    def secrets(self) -> set[str]:
        """Return the value of every client secret, and every token, that there ever was."""
        with self._lock:
            return set(self._issued)

    # -- what the other services ask ------------------------------------------------------------

    def token_claims(self, token: str) -> dict[str, Any] | None:
        """Give the claims of a token that was issued here and is valid now, else None.

        Among them: `tid`, `appid` (the client id), `oid` (the service principal), `aud`, `iss`,
        `exp` (epoch seconds), and `roles` in a Graph token of an application that has any.
        """
        signed, _, signature = token.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._sign(signed).encode()):
            return None
        claims: dict[str, Any] = json.loads(_from_base64url(signed.partition(".")[2]))
        return claims if claims["nbf"] <= self.clock.now().timestamp() < claims["exp"] else None

    # -- the wire -------------------------------------------------------------------------------

    async def _instance_discovery(self, request: Request) -> Response:
        asked = urlsplit(request.query_params.get("authorization_endpoint", ""))
        tenant = asked.path.strip("/").partition("/")[0]
        if asked.hostname not in self.hosts or not tenant:
            return self._refuse(request, Refusal(400, "invalid_instance", "Unknown or invalid instance.", aadsts=50049))
        return JSONResponse(
            {
                "tenant_discovery_endpoint": f"https://{asked.hostname}/{tenant}/v2.0/.well-known/openid-configuration",
                "api-version": request.query_params.get("api-version", "1.1"),
                "metadata": [
                    {
                        "preferred_network": cloud.authorities[-1],
                        "preferred_cache": cloud.authorities[-1],
                        "aliases": list(cloud.authorities),
                    }
                    for cloud in CLOUDS
                ],
            }
        )

    async def _openid_configuration(self, request: Request) -> Response:
        try:
            tenant = self._tenant(request)
        except Refusal as refusal:
            return self._refuse(request, refusal)
        base = f"https://{request.url.hostname}/{tenant.tenant_id}"
        return JSONResponse(
            {
                "token_endpoint": f"{base}/oauth2/v2.0/token",
                "token_endpoint_auth_methods_supported": ["client_secret_post"],
                "jwks_uri": f"{base}/discovery/v2.0/keys",
                "response_modes_supported": ["query", "fragment", "form_post"],
                "subject_types_supported": ["pairwise"],
                "id_token_signing_alg_values_supported": ["RS256"],
                "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
                "scopes_supported": sorted(_OPENID_SCOPES),
                "issuer": f"{base}/v2.0",
                "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                "device_authorization_endpoint": f"{base}/oauth2/v2.0/devicecode",
                "end_session_endpoint": f"{base}/oauth2/v2.0/logout",
                "msgraph_host": tenant.cloud.graph,
            }
        )

    async def _token(self, request: Request) -> Response:
        form = {key: values[-1] for key, values in parse_qs((await request.body()).decode()).items()}
        try:
            with self._lock:
                tenant = self._tenant(request)
                app = self._app(tenant, form)
                resource = _resource(form)
                self._check_secret(app, form)
                host = resource.rstrip("/").removeprefix("https://")
                if host in self.disabled_resources:
                    text = f"The service principal for resource '{resource}' is disabled."
                    raise Refusal(400, "unauthorized_client", text, aadsts=500014)
                if resource.rstrip("/") not in tenant.cloud.resources or host in self.missing_resources:
                    raise Refusal(
                        400,
                        "invalid_resource",
                        f"The resource principal named {resource} was not found in the tenant named"
                        f" {tenant.name}. This can happen if the application has not been installed by the"
                        " administrator of the tenant or consented to by any user in the tenant. You might"
                        " have sent your authentication request to the wrong tenant.",
                        aadsts=500011,
                    )
                token = self._issue(tenant, app, resource)
        except Refusal as refusal:
            return self._refuse(request, refusal)
        seconds = int(TOKEN_LIFETIME.total_seconds())
        return JSONResponse(
            {
                "token_type": "Bearer",
                "expires_in": seconds,
                "ext_expires_in": seconds,
                "access_token": token,
            },
            headers={"Cache-Control": "no-store, no-cache", "Pragma": "no-cache", "Expires": "-1"},
        )

    def _tenant(self, request: Request) -> _Tenant:
        name = str(request.path_params["tenant"])
        if not GUID.fullmatch(name) and "." not in name:
            raise Refusal(
                400,
                "invalid_request",
                f"Specified tenant identifier '{name}' is neither a valid DNS name, nor a valid external domain.",
                aadsts=900023,
            )
        tenant = self._tenants.get(name.lower())
        if tenant is None or request.url.hostname not in tenant.cloud.authorities:
            raise Refusal(
                400,
                "invalid_request",
                f"Tenant '{name}' not found. Check to make sure you have the correct tenant ID and are"
                " signing into the correct cloud. Check with your subscription administrator, this may"
                " happen if there are no active subscriptions for the tenant.",
                aadsts=90002,
            )
        return tenant

    def _app(self, tenant: _Tenant, form: dict[str, str]) -> App:
        for parameter in ("grant_type", "client_id"):
            if parameter not in form:
                raise _missing(parameter)
        if form["grant_type"] != "client_credentials":
            raise Refusal(
                400,
                "unsupported_grant_type",
                f"The app requested an unsupported grant type '{form['grant_type']}'.",
                aadsts=70003,
            )
        app = self._apps.get(form["client_id"])
        if app is None or app.tenant_id != tenant.tenant_id:
            raise Refusal(
                400,
                "unauthorized_client",
                f"Application with identifier '{form['client_id']}' was not found in the directory"
                f" '{tenant.name}'. This can happen if the application has not been installed by the"
                " administrator of the tenant or consented to by any user in the tenant. You may have"
                " sent your authentication request to the wrong tenant.",
                aadsts=700016,
            )
        if not app.has_principal:
            raise Refusal(
                401,
                "invalid_client",
                f"The client application {app.client_id} is missing service principal in the tenant"
                f" {tenant.tenant_id}. See instructions here: https://go.microsoft.com/fwlink/?linkid=2225119",
                aadsts=7000229,
            )
        if not app.is_enabled:
            text = f"Application '{app.client_id}'({app.name}) is disabled."
            raise Refusal(400, "unauthorized_client", text, aadsts=7000112)
        return app

    def _check_secret(self, app: App, form: dict[str, str]) -> None:
        if "client_secret" not in form:
            raise Refusal(
                401,
                "invalid_client",
                "'client_assertion', 'client_secret' or 'request' is required for the 'client_credentials' grant type.",
                aadsts=7000216,
            )
        now = self.clock.now()
        secret = next((one for one in app.all_secrets if one.value == form["client_secret"]), None)
        if secret is None or now < secret.visible_from or (secret.answers and not secret.answers.popleft()):
            raise Refusal(
                401,
                "invalid_client",
                "Invalid client secret provided. Ensure the secret being sent in the request is the client"
                f" secret value, not the client secret ID, for a secret added to app '{app.client_id}'.",
                aadsts=7000215,
            )
        if secret.expires_on <= now:
            raise Refusal(
                401,
                "invalid_client",
                f"The provided client secret keys for app '{app.client_id}' are expired. Visit the Azure"
                " portal to create new keys for your app: https://aka.ms/NewClientSecret, or consider"
                " using certificate credentials for added security: https://aka.ms/certCreds.",
                aadsts=7000222,
            )
        if app.is_blocked:
            text = "Access has been blocked by Conditional Access policies. The access policy does not allow token"
            text += " issuance."
            raise Refusal(400, "invalid_grant", text, aadsts=53003)

    def _issue(self, tenant: _Tenant, app: App, resource: str) -> str:
        now = self.clock.now()
        claims: dict[str, Any] = {
            "aud": resource,
            "iss": f"https://{tenant.cloud.issuer}/{tenant.tenant_id}/",
            "iat": int(now.timestamp()),
            # Five minutes back, for services whose clocks are behind.
            "nbf": int(now.timestamp()) - 300,
            "exp": int((now + TOKEN_LIFETIME).timestamp()),
            "appid": app.client_id,
            "appidacr": "1",
            "idp": f"https://{tenant.cloud.issuer}/{tenant.tenant_id}/",
            "idtyp": "app",
            "oid": app.service_principal_id,
            "sub": app.service_principal_id,
            "tid": tenant.tenant_id,
            "uti": secrets.token_urlsafe(16),
            "ver": "1.0",
        }
        # Every application's token has this one of no rights; roles of the directory come beside it.
        claims["wids"] = [*app.directory_roles, "0997a1d0-0d1d-4acb-b408-d5ca73121e90"]
        # A right is a role at one resource; a token without any says nothing of roles.
        if app.graph_roles and resource.rstrip("/") == f"https://{tenant.cloud.graph}":
            claims["roles"] = sorted(app.graph_roles)
        # The real ones are signed RS256; clients must not look inside, and only this sandbox checks.
        signed = ".".join(_base64url(json.dumps(part).encode()) for part in ({"typ": "JWT", "alg": "HS256"}, claims))
        token = f"{signed}.{self._sign(signed)}"
        self._issued.add(token)
        return token

    def _sign(self, text: str) -> str:
        return _base64url(hmac.digest(self._signing_key, text.encode(), "sha256"))

    def _refuse(self, request: Request, refusal: Refusal) -> Response:
        """Answer as https://learn.microsoft.com/entra/identity-platform/reference-error-codes has it."""
        number = refusal.more["aadsts"]
        trace = str(uuid.uuid4())
        correlation = request.headers.get("client-request-id", str(uuid.uuid4()))
        timestamp = self.clock.now().strftime("%Y-%m-%d %H:%M:%SZ")
        return JSONResponse(
            {
                "error": refusal.code,
                "error_description": f"AADSTS{number}: {refusal.message}"
                f"\r\nTrace ID: {trace}\r\nCorrelation ID: {correlation}\r\nTimestamp: {timestamp}",
                "error_codes": [number],
                "timestamp": timestamp,
                "trace_id": trace,
                "correlation_id": correlation,
                "error_uri": f"https://{request.url.hostname}/error?code={number}",
            },
            status_code=refusal.status,
            headers={"x-ms-request-id": trace},
        )


def _resource(form: dict[str, str]) -> str:
    """Find the one resource that the scope names."""
    if "scope" not in form:
        raise _missing("scope")
    wanted = [scope for scope in form["scope"].split() if scope not in _OPENID_SCOPES]
    if len(wanted) != 1 or not wanted[0].endswith("/.default"):
        raise Refusal(
            400,
            "invalid_scope",
            f"The provided value for scope {form['scope']} is not valid. Client credential flows must have"
            " a scope value with /.default suffixed to the resource identifier (application ID URI).",
            aadsts=1002012,
        )
    return wanted[0][: -len("/.default")]


def _missing(parameter: str) -> Refusal:
    text = f"The request body must contain the following parameter: '{parameter}'."
    return Refusal(400, "invalid_request", text, aadsts=900144)


def bearer(request: Request) -> str:
    """Return the token that a request to another service carries; empty where it carries none."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token if scheme.lower() == "bearer" else ""


def new_value() -> str:
    """Make a secret's value of the shape that Microsoft's scanners know: 40 characters, `8Q~` from the fourth on."""
    characters = "".join(secrets.choice(_VALUE_ALPHABET) for _ in range(37))
    return f"{characters[:3]}8Q~{characters[3:]}"


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _from_base64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
