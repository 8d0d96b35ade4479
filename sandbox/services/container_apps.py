"""Azure Container Apps: apps that read secrets when they start, as Azure Resource Manager shows and restarts them.

https://learn.microsoft.com/rest/api/resource-manager/containerapps/container-apps-revisions
https://learn.microsoft.com/azure/container-apps/revisions

Beside the management hosts of the three clouds this serves the apps' own host names, where each has
a health page. Nothing runs in an app: it is what it read when its replicas started, and a word from
the test on whether that is good enough.

What Microsoft does not write down is a setting of `ContainerApp`, so that a client can be tried
against both answers: when a restart begins to show, whether the old replicas serve meanwhile, and
whether a restart reads a secret afresh.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import fnmatch
import re
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, Protocol
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from sandbox.services import Refusal
from sandbox.services.entra import CLOUDS, GUID, Cloud, bearer

if TYPE_CHECKING:
    from starlette.requests import Request

    from sandbox.clock import Clock
    from sandbox.services.entra import Entra
    from sandbox.services.key_vault import KeyVault

# https://learn.microsoft.com/azure/role-based-access-control/permissions/containers#microsoftapp
APP_READ = "Microsoft.App/containerApps/read"
REVISION_READ = "Microsoft.App/containerApps/revisions/read"
REVISION_RESTART = "Microsoft.App/containerApps/revisions/restart/action"
REPLICA_READ = "Microsoft.App/containerApps/revisions/replicas/read"
SECRETS_LIST = "Microsoft.App/containerApps/listSecrets/action"
SUBSCRIPTION_READ = "Microsoft.Resources/subscriptions/read"
PROVIDERS_READ = "Microsoft.Resources/subscriptions/providers/read"
GROUP_READ = "Microsoft.Resources/subscriptions/resourceGroups/read"
PERMISSIONS_READ = "Microsoft.Authorization/permissions/read"
LOCKS_READ = "Microsoft.Authorization/locks/read"

LEAST = (APP_READ, REVISION_READ, REVISION_RESTART)
"""The least rights with which an app can be found, restarted and watched."""

RESOURCES_API_VERSIONS = ("2016-06-01", "2019-11-01", "2021-04-01", "2022-09-01", "2022-12-01", "2024-11-01")
"""Versions of Microsoft.Resources that are taken."""

API_VERSIONS = ("2022-03-01", "2022-10-01", "2023-05-01", "2024-03-01", "2025-01-01", "2025-07-01", "2026-07-01")
"""Versions of Microsoft.App that are taken."""

PERMISSIONS_API_VERSIONS = ("2015-07-01", "2018-07-01", "2022-04-01")
"""Versions of Microsoft.Authorization/permissions that are taken."""

LOCKS_API_VERSIONS = ("2016-09-01", "2017-04-01", "2020-05-01")
"""Versions of Microsoft.Authorization/locks that are taken."""

Reading = tuple[str, str] | Callable[[], str | None]
"""Where an app gets one of its values: a vault and a secret in it, or something that is called."""

Held = Mapping[str, str | None]
"""What replicas hold: values by the names of an app's `reads`, None for one that could not be read."""

_LOCATION = ("West Europe", "westeurope")
# An environment gives its apps a domain of this shape; the wire wants all of them under one.
_ENVIRONMENT = "plantenv-0a1b2c3d"
_APP_DOMAINS = {
    CLOUDS[0]: "azurecontainerapps.io",
    CLOUDS[1]: "azurecontainerapps.us",
    CLOUDS[2]: "azurecontainerapps.cn",
}
_NAME = re.compile(r"[a-z]([a-z0-9-]{0,30}[a-z0-9])?")
# Resource Manager compares all of a path without regard to case.
_PATH = re.compile(
    r"(?P<scope>/subscriptions/(?P<subscription>[^/]+)"
    r"(?:/resourceGroups/(?P<group>[^/]+)(?:/providers/Microsoft\.App/containerApps/(?P<app>[^/]+))?)?)"
    r"(?P<rest>/.*)?",
    re.IGNORECASE,
)
_TOP = re.compile(r"/(subscriptions|tenants)", re.IGNORECASE)
_GROUPS = re.compile(r"/resourceGroups", re.IGNORECASE)
_PROVIDER = re.compile(r"/providers/Microsoft\.App", re.IGNORECASE)
_APPS = re.compile(r"/providers/Microsoft\.App/containerApps", re.IGNORECASE)
_REVISION = re.compile(r"/revisions(?:/(?P<revision>[^/]+)(?:/(?P<what>restart|replicas))?)?", re.IGNORECASE)
_LOCKS = re.compile(r"/providers/Microsoft\.Authorization/locks", re.IGNORECASE)
_PERMISSIONS = re.compile(r"/providers/Microsoft\.Authorization/permissions", re.IGNORECASE)


@dataclass(frozen=True)
class _Run:
    """The replicas of a revision from one start to the next; they show from begins_on, and serve from ready_on."""

    begins_on: datetime
    ready_on: datetime
    names: tuple[str, ...]
    holds: dict[str, str | None] = field(repr=False)


@dataclass
class Revision:
    """One revision of an app.

    replicas: how many run, 0 where it is scaled to zero. weight: its share of the app's traffic in
    percent. ready: False for one that was deployed and never came up. restarts: how often a client
    had it restarted.
    """

    name: str
    created_on: datetime
    replicas: int
    active: bool = True
    weight: int = 0
    ready: bool = True
    restarts: int = 0
    runs: list[_Run] = field(default_factory=list, repr=False)

    def run(self, now: datetime) -> _Run | None:
        """Give the replicas that show at a time, of an active revision that is not scaled to zero."""
        if not self.active or not self.replicas:
            return None
        return next((run for run in reversed(self.runs) if run.begins_on <= now), None)


@dataclass
class ContainerApp:
    """One app; what a test may change stands here as plain attributes.

    reads: its values by name, and where each comes from; read when a restart is asked for, never later.
    heals: whether it is healthy, or a judge of what its replicas hold. The judge is asked at each
        look, as probes are, so an app also falls ill when what it holds stops working.
    failure: what the running state of an unhealthy revision says: `Degraded`, `Failed`, or one of
        those that no specification lists, such as `ActivationFailed`.
    restart_seconds: how long new replicas take until they serve, by the shared clock.
    restart_lag: seconds for which everything still shows the old replicas after a restart.
    rolling: old replicas serve the health page until the new ones do; else nobody does meanwhile.
    stale_restarts: how many of the next starts get what the platform fetched before, not what the
        vault has now: https://github.com/microsoft/azure-container-apps/issues/856.
    max_replicas: a revision with as many says RunningAtMaxScale, not Running.
    page: what the health page is, JSON with a `status` or the bare word.
    unhealthy_status: HTTP status of the health page of an app that is not healthy.
    """

    clock: Clock = field(repr=False)
    subscription_id: str
    resource_group: str
    name: str
    cloud: Cloud = field(repr=False)
    reads: Mapping[str, Reading] = field(repr=False)
    heals: bool | Callable[[Held], bool] = True
    failure: str = "Degraded"
    restart_seconds: float = 0.2
    restart_lag: float = 0.0
    rolling: bool = False
    stale_restarts: int = 0
    max_replicas: int = 10
    page: Literal["json", "text"] = "json"
    unhealthy_status: int = 503
    mode: Literal["Single", "Multiple"] = "Single"
    ingress: bool = True
    revisions: list[Revision] = field(default_factory=list)
    fetched: dict[str, str | None] | None = field(default=None, repr=False)

    @property
    def scope(self) -> str:
        """The app's resource id."""
        group = f"/subscriptions/{self.subscription_id}/resourceGroups/{self.resource_group}"
        return f"{group}/providers/Microsoft.App/containerApps/{self.name}"

    @property
    def domain(self) -> str:
        """The domain of the environment that the app is in."""
        return _domain(self.cloud)

    @property
    def fqdn(self) -> str:
        """The host name at which the app answers."""
        return f"{self.name}.{self.domain}"

    @property
    def health_url(self) -> str:
        """The address of the health page."""
        return f"https://{self.fqdn}/health"

    @property
    def latest(self) -> Revision:
        """The newest revision that came up: the one that serves, where traffic is not split."""
        return next(one for one in reversed(self.revisions) if one.ready)

    @property
    def restarts(self) -> int:
        """How many restarts of its revisions were carried out for clients."""
        return sum(one.restarts for one in self.revisions)

    @property
    def holds(self) -> Held:
        """What the replicas of the latest revision hold; nothing where it is scaled to zero."""
        run = self.latest.run(self.clock.now())
        return dict(run.holds) if run else {}

    @property
    def healthy(self) -> bool:
        """Whether the latest revision's replicas are ready and fit."""
        return self.state(self.latest)[1] == "Healthy"

    def state(self, revision: Revision) -> tuple[str, str]:
        """Give a revision's running state and health state, now."""
        now = self.clock.now()
        run = revision.run(now)
        if not revision.ready:
            return self.failure, "Unhealthy"
        if run is None:
            # Seen of inactive revisions, too: the platform calls both Healthy.
            return "ScaledToZero", "Healthy"
        if now < run.ready_on:
            return "Processing", "None"
        if not self.fit(run.holds):
            return self.failure, "Unhealthy"
        return ("RunningAtMaxScale" if revision.replicas >= self.max_replicas else "Running"), "Healthy"

    def fit(self, holds: Held) -> bool:
        """Say whether replicas that hold this are healthy."""
        return self.heals(holds) if callable(self.heals) else self.heals


@dataclass(frozen=True)
class Subscription:
    """A subscription of a tenant, and its resource groups."""

    subscription_id: str
    tenant_id: str
    # By name in small letters.
    groups: dict[str, dict[str, ContainerApp]] = field(default_factory=dict)


@dataclass(frozen=True)
class Role:
    """What somebody may do somewhere."""

    actions: tuple[str, ...]
    not_actions: tuple[str, ...]

    def allows(self, action: str) -> bool:
        """Say whether this role has a right; `*` stands for anything, and case for nothing."""
        wanted = action.lower()
        return any(fnmatch.fnmatchcase(wanted, one.lower()) for one in self.actions) and not any(
            fnmatch.fnmatchcase(wanted, one.lower()) for one in self.not_actions
        )


@dataclass(frozen=True)
class Call:
    """One request: what it names, and what the caller may do there."""

    request: Request
    scope: str
    subscription: Subscription
    group: str
    app: str
    revision: str
    roles: list[Role]


Work = Callable[[Call], Response]


class OtherResources(Protocol):
    """A further kind of resources of Resource Manager."""

    def operation(self, request: Request, scope: str, rest: str, /) -> tuple[str, str, str, Work] | None:
        """Find what is asked for, as `ContainerApps`: the right that it takes, the scope, nothing, and the work.

        scope: a group's or a subscription's resource id. rest: what a path has behind it. None for another kind.
        """


class ContainerApps:
    """The Resource Manager of the three clouds, and the apps in it.

    The methods may be called from any thread. They raise KeyError for a subscription or an
    application that is not known.

    page_size: how many revisions a page of their list has.
    """

    hosts: tuple[str, ...] = (
        *(cloud.management for cloud in CLOUDS),
        *(f"*.{_ENVIRONMENT}.{_LOCATION[1]}.{domain}" for domain in _APP_DOMAINS.values()),
    )

    def __init__(self, clock: Clock, entra: Entra, key_vault: KeyVault) -> None:
        self.clock = clock
        self.entra = entra
        self.key_vault = key_vault
        self.page_size = 100
        self._lock = threading.RLock()
        self._subscriptions: dict[str, Subscription] = {}
        # By scope in small letters, then by client id.
        self._grants: dict[str, dict[str, Role]] = {}
        self._throttled = 0
        self._retry_after = 0
        self._busy = 0
        self._conflict = ""
        self._locked: set[str] = set()
        # Kinds of resources beside apps, each in a module of its own.
        self.others: list[OtherResources] = []
        self._denial = ""
        self._disabled: set[str] = set()
        self.app = Starlette(routes=[Route("/{path:path}", self._answer, methods=["GET", "POST", "PUT", "DELETE"])])

    # -- what a test sets up --------------------------------------------------------------------

    def add_subscription(self, tenant_id: str) -> str:
        """Make a subscription that trusts a tenant, and return its id."""
        self.entra.cloud(tenant_id)
        with self._lock:
            number = len(self._subscriptions) + 1
            made = Subscription(str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{number}.subscription.invalid")), tenant_id)
            self._subscriptions[made.subscription_id] = made
        return made.subscription_id

    def add_group(self, subscription_id: str, name: str) -> str:
        """Make a resource group where there is none of this name, and return its resource id."""
        with self._lock:
            self._subscriptions[subscription_id].groups.setdefault(name.lower(), {})
        return f"/subscriptions/{subscription_id}/resourceGroups/{name}"

    def add_app(
        self,
        subscription_id: str,
        resource_group: str,
        name: str,
        *,
        reads: Mapping[str, Reading] | None = None,
        replicas: int = 1,
        **settings: Any,  # noqa: ANN401 - handed on to ContainerApp
    ) -> ContainerApp:
        """Make an app with one active revision that runs already; `settings` are attributes of `ContainerApp`.

        The resource group is made with it. ValueError for a name that Azure refuses, or that
        another app of the same cloud's environment has.
        """
        with self._lock:
            subscription = self._subscriptions[subscription_id]
            cloud = self.entra.cloud(subscription.tenant_id)
            if not _NAME.fullmatch(name) or "--" in name:
                raise ValueError(f"{name!r} is no name for a container app")
            if self._serving(f"{name}.{_domain(cloud)}"):
                raise ValueError(f"there is an app named {name} already")
            app = ContainerApp(self.clock, subscription_id, resource_group, name, cloud, dict(reads or {}), **settings)
            subscription.groups.setdefault(resource_group.lower(), {})[name.lower()] = app
            self.add_revision(app, replicas=replicas)
        return app

    def add_revision(self, app: ContainerApp, *, replicas: int = 1, ready: bool = True) -> Revision:
        """Deploy a new revision of an app; in `Single` mode the one before is retired once this is ready."""
        with self._lock:
            if ready and app.mode == "Single":
                for one in app.revisions:
                    one.active, one.weight = False, 0
            revision = Revision(
                name=f"{app.name}--{len(app.revisions) + 1:07}",
                created_on=self.clock.now(),
                replicas=replicas,
                weight=100 if ready and not any(one.weight for one in app.revisions) else 0,
                ready=ready,
            )
            app.revisions.append(revision)
            if ready and replicas:
                self._start(app, revision, 0, 0)
        return revision

    def grant(
        self, scope: str | ContainerApp, client_id: str, actions: Sequence[str] = LEAST, not_actions: Sequence[str] = ()
    ) -> None:
        """Set what an application may do at a scope and below, in place of what it might before.

        scope: a subscription's id, an app, or the resource id of a group. Without actions all is
        taken away.
        """
        self.entra.application(client_id)
        if isinstance(scope, ContainerApp):
            scope = scope.scope
        elif not scope.startswith("/"):
            scope = f"/subscriptions/{self._subscriptions[scope].subscription_id}"
        with self._lock:
            self._grants.setdefault(scope.lower(), {})[client_id] = Role(tuple(actions), tuple(not_actions))

    def throttle(self, times: int, retry_after: int) -> None:
        """Answer the next so many management requests 429, to be asked again in `retry_after` seconds."""
        with self._lock:
            self._throttled, self._retry_after = times, retry_after

    def conflict(self, times: int, code: str = "ContainerAppLockConflict") -> None:
        """Refuse the next so many restarts with 409, as though another change of the app went on."""
        with self._lock:
            self._busy, self._conflict = times, code

    def deny(self, code: str) -> None:
        """Refuse every restart with 403 for another reason than a missing right, by Azure's code for that."""
        with self._lock:
            self._denial = code

    def lock(self, scope: str, *, read_only: bool = True) -> None:
        """Put a read-only lock on an app, a group or a subscription, by its resource id; or take it off.

        https://learn.microsoft.com/azure/azure-resource-manager/management/lock-resources
        """
        with self._lock:
            (self._locked.add if read_only else self._locked.discard)(scope)

    def disable(self, subscription_id: str) -> None:
        """Disable a subscription, which may only be read from then on.

        https://learn.microsoft.com/azure/cost-management-billing/manage/subscription-states
        """
        with self._lock:
            self._disabled.add(subscription_id)

    def secrets(self) -> frozenset[str]:
        """Return nothing: what replicas hold was issued elsewhere."""
        return frozenset()

    # -- replicas come and go -------------------------------------------------------------------

    def _start(self, app: ContainerApp, revision: Revision, lag: float, seconds: float) -> _Run:
        """Start new replicas of a revision, and have them read what they need."""
        if app.stale_restarts and app.fetched is not None:
            app.stale_restarts -= 1
        else:
            app.fetched = {
                name: source() if callable(source) else self.key_vault.value(*source)
                for name, source in app.reads.items()
            }
        begins = self.clock.now() + timedelta(seconds=lag)
        names = tuple(f"{revision.name}-{uuid.uuid4().hex[:10]}-{number:05x}" for number in range(revision.replicas))
        run = _Run(begins, begins + timedelta(seconds=seconds), names, dict(app.fetched))
        revision.runs.append(run)
        return run

    # -- the apps' own pages --------------------------------------------------------------------

    def _serving(self, host: str) -> tuple[ContainerApp, Revision] | None:
        """Find the app and the revision that a host name leads to."""
        name, _, domain = host.lower().partition(".")
        for subscription in self._subscriptions.values():
            for group in subscription.groups.values():
                for app in group.values():
                    if app.ingress and app.domain == domain and name.partition("--")[0] == app.name:
                        named = [one for one in app.revisions if one.name == name]
                        if named or name == app.name:
                            return app, (named or [app.latest])[0]
        return None

    async def _serve_page(self, request: Request) -> Response:
        with self._lock:
            found = self._serving(request.url.hostname or "")
            if found is None or not found[1].active:
                return PlainTextResponse("This Container App is stopped or does not exist.", 404)
            app, revision = found
            woken = None
            if not revision.replicas:
                # Scaled to zero: the first request starts a replica, and is held until it serves.
                revision.replicas = 1
                woken = self._start(app, revision, 0, app.restart_seconds)
                revision.runs[:] = [woken]
        while woken and self.clock.now() < woken.ready_on:  # noqa: ASYNC110 - a test's clock tells nobody that it moved
            await asyncio.sleep(0.01)
        with self._lock:
            now = self.clock.now()
            running = [run for run in revision.runs if run.begins_on <= now]
            run = running[-1] if running else None
            if run and now < run.ready_on:
                run = running[-2] if app.rolling and len(running) > 1 else None
            if run is None:
                return PlainTextResponse("no healthy upstream", 503)
            if request.url.path != "/health":
                return PlainTextResponse("Not Found", 404)
            word, status = ("Healthy", 200) if app.fit(run.holds) else ("Unhealthy", app.unhealthy_status)
        return JSONResponse({"status": word}, status) if app.page == "json" else PlainTextResponse(word, status)

    # -- who is asking --------------------------------------------------------------------------

    async def _answer(self, request: Request) -> Response:
        cloud = next((cloud for cloud in CLOUDS if cloud.management == request.url.hostname), None)
        if cloud is None:
            return await self._serve_page(request)
        ids = {"x-ms-request-id": str(uuid.uuid4()), "x-ms-correlation-request-id": str(uuid.uuid4())}
        request.state.body = await request.body()
        with self._lock:
            try:
                response = self._manage(request, cloud)
            except Refusal as refusal:
                error = {"error": {"code": refusal.code, "message": refusal.message}}
                response = JSONResponse(error, refusal.status, headers=refusal.headers)
        response.headers.update(ids)
        response.headers["cache-control"] = "no-cache"
        return response

    def _manage(self, request: Request, cloud: Cloud) -> Response:
        """Check what every request has in common, in the order of the real thing, and carry it out."""
        if "api-version" not in request.query_params:
            message = "The api-version query parameter (?api-version=) is required for all requests."
            raise Refusal(400, "MissingApiVersionParameter", message)
        path = _PATH.fullmatch(request.url.path.rstrip("/"))
        named = path["subscription"] if path else ""
        subscription = self._subscriptions.get(named.lower())
        claims = self._authenticate(request, cloud, subscription)
        if found := _TOP.fullmatch(request.url.path.rstrip("/")):
            return self._list_all(request, claims, found[1].lower())
        if path is None:
            raise _no_such_type(request)
        if subscription is None or self.entra.cloud(subscription.tenant_id) != cloud:
            if not GUID.fullmatch(named):
                message = f"The provided subscription identifier '{named}' is malformed or invalid."
                raise Refusal(400, "InvalidSubscriptionId", message)
            raise Refusal(404, "SubscriptionNotFound", f"The subscription '{named}' could not be found.")
        self._hold_back(subscription, claims)
        action, scope, revision, work = self._operation(request, path)
        roles = self._roles(claims["appid"], scope)
        if not any(role.allows(action) for role in roles):
            raise Refusal(
                403,
                "AuthorizationFailed",
                f"The client '{claims['appid']}' with object id '{claims['oid']}' does not have authorization to"
                f" perform action '{action}' over scope '{scope}' or the scope is invalid. If access was recently"
                " granted, please refresh your credentials.",
            )
        if path["group"] and path["group"].lower() not in subscription.groups:
            raise Refusal(404, "ResourceGroupNotFound", f"Resource group '{path['group']}' could not be found.")
        if request.method != "GET" and work != self._list_secrets:
            self._refuse_what_is_locked(subscription, scope)
        call = Call(
            request,
            scope if not path["app"] else path["scope"],
            subscription,
            path["group"] or "",
            path["app"] or "",
            revision,
            roles,
        )
        return work(call)

    def _authenticate(self, request: Request, cloud: Cloud, subscription: Subscription | None) -> dict[str, Any]:
        token = bearer(request)
        claims = self.entra.token_claims(token)
        code, described = "InvalidAuthenticationToken", "The access token is invalid."
        tenant = subscription.tenant_id if subscription else "common"
        issuer = f"https://{cloud.issuer}/{tenant}/"
        if not token:
            code = "AuthenticationFailed"
            message = "Authentication failed. The 'Authorization' header is missing."
            described = "The authentication failed because of missing 'Authorization' header."
        elif claims is None:
            # The real one calls a token whose time is over ExpiredAuthenticationToken; here the two look alike.
            message = described
        elif claims["aud"].rstrip("/") not in cloud.management_audiences:
            code = "InvalidAuthenticationTokenAudience"
            message = (
                f"The access token has been obtained for wrong audience or resource '{claims['aud']}'. It should"
                f" exactly match with one of the allowed audiences '{','.join(sorted(cloud.management_audiences))}'."
            )
        elif subscription is not None and claims["iss"] != issuer:
            code = "InvalidAuthenticationTokenTenant"
            message = (
                f"The access token is from the wrong issuer '{claims['iss']}'. It must match the tenant '{issuer}'"
                " associated with this subscription."
            )
        else:
            return claims
        challenge = (
            f'Bearer authorization_uri="https://{cloud.authorities[0]}/{tenant}", error="invalid_token",'
            f' error_description="{described}"'
        )
        raise Refusal(401, code, message, headers={"WWW-Authenticate": challenge})

    def _hold_back(self, subscription: Subscription, claims: dict[str, Any]) -> None:
        # https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling
        if self._throttled:
            self._throttled -= 1
            raise Refusal(
                429,
                "SubscriptionRequestsThrottled",
                f"Number of requests for subscription '{subscription.subscription_id}' actor '{claims['oid']}'"
                f" exceeded. Please try again after '{self._retry_after}' seconds.",
                headers={"Retry-After": str(self._retry_after)},
            )

    def _refuse_what_is_locked(self, subscription: Subscription, scope: str) -> None:
        # A restart is a POST, which a read-only lock refuses.
        if subscription.subscription_id in self._disabled:
            raise Refusal(
                409,
                "ReadOnlyDisabledSubscription",
                f"The subscription '{subscription.subscription_id}' is disabled and therefore marked as read only. You"
                " cannot perform any write actions on this subscription until it is re-enabled.",
            )
        locked = [one for one in sorted(self._locked) if f"{scope}/".lower().startswith(f"{one}/".lower())]
        if locked:
            raise Refusal(
                409,
                "ScopeLocked",
                f"The scope '{scope}' cannot perform write operation because following scope(s) are locked:"
                f" '{','.join(locked)}'. Please remove the lock and try again.",
            )

    def _operation(self, request: Request, path: re.Match[str]) -> tuple[str, str, str, Work]:
        """Find what is asked for: the right it takes, the scope that takes it at, the revision, the work."""
        rest, scope, method = path["rest"] or "", path["scope"], request.method
        version = request.query_params["api-version"]
        at, _, asked = f"{scope}{rest}".rpartition("/providers/Microsoft.Authorization/")
        if at and not path["app"]:
            scope, rest = at, f"/providers/Microsoft.Authorization/{asked}"
        for pattern, versions, what, right, listing in (
            (_PERMISSIONS, PERMISSIONS_API_VERSIONS, "permissions", PERMISSIONS_READ, self._list_permissions),
            (_LOCKS, LOCKS_API_VERSIONS, "locks", LOCKS_READ, self._list_locks),
        ):
            if pattern.fullmatch(rest) and method == "GET":
                check_version(version, versions, what)
                return right, scope, "", listing
        if not path["app"]:
            theirs = (other.operation(request, scope, rest) for other in self.others)
            return next((one for one in theirs if one), None) or self._operation_above_apps(request, path)
        check_version(version, API_VERSIONS, "containerApps")
        if not rest and method == "GET":
            return APP_READ, scope, "", self._get_app
        if rest.lower() == "/listsecrets" and method == "POST":
            return SECRETS_LIST, scope, "", self._list_secrets
        found = _REVISION.fullmatch(rest)
        if found is None:
            raise _no_such_type(request)
        known: dict[tuple[str, bool, str], tuple[str, Work]] = {
            ("GET", False, ""): (REVISION_READ, self._list_revisions),
            ("GET", True, ""): (REVISION_READ, self._get_revision),
            ("POST", True, "restart"): (REVISION_RESTART, self._restart),
            ("GET", True, "replicas"): (REPLICA_READ, self._list_replicas),
        }
        revision, what = found["revision"] or "", (found["what"] or "").lower()
        if (method, bool(revision), what) not in known:
            raise _no_such_type(request)
        action, work = known[method, bool(revision), what]
        return action, f"{scope}/revisions/{revision}" if revision else scope, revision, work

    def _operation_above_apps(self, request: Request, path: re.Match[str]) -> tuple[str, str, str, Work]:
        """Find what is asked of a subscription or a group, as `_operation` does."""
        rest, scope, version = path["rest"] or "", path["scope"], request.query_params["api-version"]
        if request.method == "GET" and _APPS.fullmatch(rest):
            check_version(version, API_VERSIONS, "containerApps")
            return APP_READ, scope, "", self._list_apps
        known: list[tuple[bool, str, tuple[str, Work]]] = [
            (not path["group"] and not rest, "subscriptions", (SUBSCRIPTION_READ, self._get_subscription)),
            (not path["group"] and bool(_GROUPS.fullmatch(rest)), "resourceGroups", (GROUP_READ, self._list_groups)),
            (not path["group"] and bool(_PROVIDER.fullmatch(rest)), "providers", (PROVIDERS_READ, self._get_provider)),
            (bool(path["group"]) and not rest, "resourceGroups", (GROUP_READ, self._get_group)),
        ]
        for is_meant, kind, (action, work) in known:
            if is_meant and request.method == "GET":
                check_version(version, RESOURCES_API_VERSIONS, kind)
                return action, scope, "", work
        raise _no_such_type(request)

    def _roles(self, client_id: str, scope: str) -> list[Role]:
        """List the roles that an application has at a scope or above it."""
        there = f"{scope.lower()}/"
        return [
            roles[client_id]
            for at, roles in self._grants.items()
            if client_id in roles and there.startswith(f"{at.rstrip('/')}/")
        ]

    # -- the operations -------------------------------------------------------------------------

    def _app(self, call: Call) -> ContainerApp:
        app = call.subscription.groups[call.group.lower()].get(call.app.lower())
        if app is None:
            raise Refusal(
                404,
                "ResourceNotFound",
                f"The Resource 'Microsoft.App/containerApps/{call.app}' under resource group '{call.group}' was not"
                " found. For more details please go to https://aka.ms/ARMResourceNotFoundFix",
            )
        return app

    def _revision(self, call: Call) -> tuple[ContainerApp, Revision]:
        app = self._app(call)
        for revision in app.revisions:
            if revision.name == call.revision.lower():
                return app, revision
        # The real code is not written down; it is a 404 in any case.
        raise Refusal(404, "RevisionNotFound", f"Revision '{call.revision}' of '{app.name}' was not found.")

    def _list_permissions(self, call: Call) -> Response:
        """https://learn.microsoft.com/rest/api/authorization/permissions."""
        if call.app:
            self._app(call)
        shown = [
            {
                "actions": list(role.actions),
                "notActions": list(role.not_actions),
                "dataActions": [],
                "notDataActions": [],
            }
            for role in call.roles
        ]
        return JSONResponse({"value": shown})

    def _list_locks(self, call: Call) -> Response:
        """https://learn.microsoft.com/rest/api/resources/management-locks."""
        at_scope = call.request.query_params.get("$filter") == "atScope()"
        there = f"{call.scope}/".lower()
        above = [one for one in sorted(self._locked) if there.startswith(f"{one}/".lower())]
        below = [one for one in sorted(self._locked) if f"{one}/".lower().startswith(there)]
        shown = [
            {
                "id": f"{one}/providers/Microsoft.Authorization/locks/read-only",
                "name": "read-only",
                "type": "Microsoft.Authorization/locks",
                "properties": {"level": "ReadOnly", "notes": ""},
            }
            for one in (above if at_scope else below)
        ]
        return JSONResponse({"value": shown})

    def _get_app(self, call: Call) -> Response:
        return JSONResponse(_shown_app(self._app(call)))

    def _get_revision(self, call: Call) -> Response:
        app, revision = self._revision(call)
        return JSONResponse(_shown_revision(app, revision))

    def _list_revisions(self, call: Call) -> Response:
        app = self._app(call)
        query = dict(call.request.query_params)
        if "$filter" in query:
            raise Refusal(400, "InvalidFilter", "The sandbox does not filter revisions.")
        try:
            start = int(base64.urlsafe_b64decode(query.get("$skipToken", "MA==")))
        except (binascii.Error, ValueError):
            raise Refusal(400, "InvalidSkipToken", "The skip token is invalid.") from None
        end = start + self.page_size
        page: dict[str, Any] = {"value": [_shown_revision(app, one) for one in app.revisions[start:end]]}
        if end < len(app.revisions):
            query["$skipToken"] = base64.urlsafe_b64encode(str(end).encode()).decode()
            options = "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())
            page["nextLink"] = f"https://{call.request.url.hostname}{call.request.url.path}?{options}"
        return JSONResponse(page)

    def _restart(self, call: Call) -> Response:
        app, revision = self._revision(call)
        if self._denial:
            raise Refusal(403, self._denial, f"Restarting '{app.name}' was disallowed.")
        if self._busy:
            self._busy -= 1
            message = f"Cannot modify container App '{app.name}' because another modification is in progress."
            raise Refusal(409, self._conflict, f"{message} Please retry the operation.")
        if not revision.active:
            # That it is refused was seen (https://github.com/microsoft/vscode-azurecontainerapps/issues/322), not how.
            raise Refusal(400, "RevisionNotActive", f"Revision '{revision.name}' is not active.")
        revision.restarts += 1
        if revision.replicas and revision.ready:
            self._start(app, revision, app.restart_lag, app.restart_seconds)
        return JSONResponse("Restart succeeded")

    def _list_replicas(self, call: Call) -> Response:
        app, revision = self._revision(call)
        run = revision.run(self.clock.now())
        shown = [_shown_replica(app, revision, run, name) for name in run.names] if run else []
        return JSONResponse({"value": shown})

    # -- lists, and what an app's secrets are ------------------------------------------------------

    def _list_all(self, request: Request, claims: dict[str, Any], what: str) -> Response:
        """List what a caller may see: https://learn.microsoft.com/rest/api/resources/subscriptions/list.

        Whoever has any right in a subscription, or in a part of it, finds that there; without one the list is empty.
        """
        check_version(request.query_params["api-version"], RESOURCES_API_VERSIONS, what)
        tenant = claims["tid"]
        if what == "tenants":
            shown = [{"id": f"/tenants/{tenant}", "tenantId": tenant, "tenantCategory": "Home"}]
        else:
            mine = [
                scope
                for scope, roles in self._grants.items()
                if claims["appid"] in roles and roles[claims["appid"]].actions
            ]
            shown = [
                self._shown_subscription(one)
                for one in self._subscriptions.values()
                if one.tenant_id == tenant
                and any(f"{scope}/".startswith(f"/subscriptions/{one.subscription_id}/") for scope in mine)
            ]
        return JSONResponse({"value": shown, "count": {"type": "Total", "value": len(shown)}})

    def _shown_subscription(self, subscription: Subscription) -> dict[str, Any]:
        disabled = subscription.subscription_id in self._disabled
        return {
            "id": f"/subscriptions/{subscription.subscription_id}",
            "authorizationSource": "RoleBased",
            "managedByTenants": [],
            "subscriptionId": subscription.subscription_id,
            "tenantId": subscription.tenant_id,
            "displayName": "Plant",
            "state": "Disabled" if disabled else "Enabled",
            "subscriptionPolicies": {
                "locationPlacementId": "Public_2014-09-01",
                "quotaId": "PayAsYouGo_2014-09-01",
                "spendingLimit": "Off",
            },
        }

    def _get_subscription(self, call: Call) -> Response:
        return JSONResponse(self._shown_subscription(call.subscription))

    def _get_provider(self, call: Call) -> Response:
        """https://learn.microsoft.com/rest/api/resources/providers/get."""
        versions = list(reversed(API_VERSIONS))
        apps = {"resourceType": "containerApps", "locations": [_LOCATION[0]], "apiVersions": versions}
        return JSONResponse(
            {
                "id": f"/subscriptions/{call.subscription.subscription_id}/providers/Microsoft.App",
                "namespace": "Microsoft.App",
                "registrationPolicy": "RegistrationRequired",
                "registrationState": "Registered",
                "resourceTypes": [apps],
            }
        )

    def _list_groups(self, call: Call) -> Response:
        return JSONResponse({"value": [_shown_group(call.subscription, name) for name in call.subscription.groups]})

    def _get_group(self, call: Call) -> Response:
        return JSONResponse(_shown_group(call.subscription, call.group))

    def _list_apps(self, call: Call) -> Response:
        groups = call.subscription.groups
        of = [groups[call.group.lower()]] if call.group else groups.values()
        return JSONResponse({"value": [_shown_app(app) for group in of for app in group.values()]})

    def _list_secrets(self, call: Call) -> Response:
        """https://learn.microsoft.com/rest/api/resource-manager/containerapps/container-apps/list-secrets.

        That the value of a reference is shown as well is not written down; what can be read is what must be guarded.
        """
        app = self._app(call)
        fetched = app.fetched or {}
        kept = zip(_shown_secrets(app), app.reads, strict=True)
        return JSONResponse({"value": [{**one, "value": fetched.get(name)} for one, name in kept]})


# -- what goes over the wire --------------------------------------------------------------------


def _domain(cloud: Cloud) -> str:
    return f"{_ENVIRONMENT}.{_LOCATION[1]}.{_APP_DOMAINS[cloud]}"


def check_version(version: str, known: Sequence[str], kind: str) -> None:
    """Refuse a version that a kind of resource does not know."""
    if version not in known:
        raise Refusal(
            400,
            "NoRegisteredProviderFound",
            f"No registered resource provider found for location '{_LOCATION[1]}' and API version '{version}' for"
            f" type '{kind}'. The supported api-versions are '{', '.join(known)}'. The supported locations are"
            f" '{_LOCATION[1]}'.",
        )


def _no_such_type(request: Request) -> Refusal:
    version = request.query_params["api-version"]
    message = f"The resource type could not be found in the namespace 'Microsoft.App' for api version '{version}'."
    return Refusal(404, "InvalidResourceType", message)


def _written(date: datetime) -> str:
    return date.strftime("%Y-%m-%dT%H:%M:%S+00:00")


def _template(app: ContainerApp) -> dict[str, Any]:
    env = [{"name": name, "secretRef": _secret_name(name)} for name in app.reads]
    resources = {"cpu": 0.25, "memory": "0.5Gi", "ephemeralStorage": "1Gi"}
    return {
        "revisionSuffix": "",
        "terminationGracePeriodSeconds": None,
        "containers": [
            {"image": "images.example.com/app:1", "name": app.name, "env": env, "resources": resources, "probes": []}
        ],
        "initContainers": None,
        "scale": {
            "minReplicas": min((one.replicas for one in app.revisions if one.active), default=0) or None,
            "maxReplicas": app.max_replicas,
            "rules": None,
        },
        "volumes": None,
        "serviceBinds": None,
    }


def _secret_name(name: str) -> str:
    """Spell a value's name as Container Apps wants it of a secret."""
    return name.lower().replace("_", "-")


def _shown_group(subscription: Subscription, name: str) -> dict[str, Any]:
    """Show a resource group: https://learn.microsoft.com/rest/api/resources/resource-groups/get."""
    apps = subscription.groups[name.lower()].values()
    name = next((app.resource_group for app in apps), name)
    return {
        "id": f"/subscriptions/{subscription.subscription_id}/resourceGroups/{name}",
        "name": name,
        "type": "Microsoft.Resources/resourceGroups",
        "location": _LOCATION[1],
        "properties": {"provisioningState": "Succeeded"},
    }


def _shown_secrets(app: ContainerApp) -> list[dict[str, Any]]:
    """Show the secrets of an app without values: one of its own by name, one from a vault with where that is."""
    return [
        {"name": _secret_name(name)}
        if callable(source)
        else {
            "name": _secret_name(name),
            "keyVaultUrl": f"https://{source[0]}.{app.cloud.vaults}/secrets/{source[1]}",
            "identity": "system",
        }
        for name, source in app.reads.items()
    ]


def _shown_app(app: ContainerApp) -> dict[str, Any]:
    """Show an app: https://learn.microsoft.com/rest/api/resource-manager/containerapps/container-apps/get."""
    group = f"/subscriptions/{app.subscription_id}/resourceGroups/{app.resource_group}"
    environment = f"{group}/providers/Microsoft.App/managedEnvironments/plantenv"
    kept = _shown_secrets(app)
    latest = app.revisions[-1]
    traffic: list[dict[str, Any]] = [{"latestRevision": True, "weight": 100}]
    if app.mode == "Multiple":
        traffic = [{"revisionName": one.name, "weight": one.weight} for one in app.revisions if one.active]
    ingress = {
        "fqdn": app.fqdn,
        "external": True,
        "targetPort": 8080,
        "exposedPort": 0,
        "transport": "Auto",
        "traffic": traffic,
        "customDomains": None,
        "allowInsecure": False,
    }
    return {
        "id": f"{group}/providers/Microsoft.App/containerapps/{app.name}",
        "name": app.name,
        "type": "Microsoft.App/containerApps",
        "location": _LOCATION[0],
        "identity": {"type": "SystemAssigned"},
        "properties": {
            "provisioningState": "Succeeded",
            "runningStatus": "Running" if any(one.active for one in app.revisions) else "Stopped",
            "managedEnvironmentId": environment,
            "environmentId": environment,
            "workloadProfileName": "Consumption",
            "outboundIpAddresses": [],
            "latestRevisionName": latest.name,
            "latestReadyRevisionName": app.latest.name,
            "latestRevisionFqdn": f"{latest.name}.{app.domain}" if app.ingress else "",
            "configuration": {
                "secrets": kept or None,
                "activeRevisionsMode": app.mode,
                "ingress": ingress if app.ingress else None,
                "registries": None,
                "dapr": None,
                "maxInactiveRevisions": 100,
            },
            "template": _template(app),
        },
    }


def _shown_revision(app: ContainerApp, revision: Revision) -> dict[str, Any]:
    """Show a revision as it is now.

    https://learn.microsoft.com/rest/api/resource-manager/containerapps/container-apps-revisions/get-revision
    """
    running, health = app.state(revision)
    run = revision.run(app.clock.now())
    properties: dict[str, Any] = {
        "createdTime": _written(revision.created_on),
        "fqdn": f"{revision.name}.{app.domain}" if app.ingress else None,
        "template": _template(app),
        "active": revision.active,
        "replicas": len(run.names) if run else 0,
        "trafficWeight": revision.weight,
        "healthState": health,
        "provisioningState": "Provisioned" if revision.ready else "Failed",
        "runningState": running,
    }
    if not revision.ready:
        properties["provisioningError"] = "Container crashing."
    return {
        "id": f"{app.scope}/revisions/{revision.name}",
        "name": revision.name,
        "type": "Microsoft.App/containerapps/revisions",
        "properties": properties,
    }


def _shown_replica(app: ContainerApp, revision: Revision, run: _Run, name: str) -> dict[str, Any]:
    ready = run.ready_on <= app.clock.now()
    return {
        "id": f"{app.scope}/revisions/{revision.name}/replicas/{name}",
        "name": name,
        "type": "Microsoft.App/containerapps/revisions/replicas",
        "properties": {
            "createdTime": _written(run.begins_on),
            "runningState": "Running" if ready else "NotRunning",
            "runningStateDetails": "",
            "containers": [
                {
                    "name": app.name,
                    "containerId": f"containerd://{name}",
                    "ready": ready and app.fit(run.holds),
                    "started": ready,
                    "restartCount": 0,
                    "runningState": "Running" if ready else "Waiting",
                    "runningStateDetails": "",
                }
            ],
            "initContainers": [],
        },
    }
