"""Microsoft Graph: the client secrets of application registrations, and what stands in their way.

https://learn.microsoft.com/graph/api/resources/application
https://learn.microsoft.com/graph/api/resources/serviceprincipal
https://learn.microsoft.com/graph/api/resources/applicationauthenticationmethodpolicy
https://learn.microsoft.com/graph/errors

The secrets themselves live in `Entra`: what is added here logs in there, once it has spread. A
caller's rights are the roles in its token, so one that was granted later needs a new token; which
applications it owns is looked up at each request.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import threading
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote, unquote

from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.services import Refusal
from sandbox.services.entra import CLOUDS, GUID, Secret, bearer, new_value

if TYPE_CHECKING:
    from starlette.requests import Request

    from sandbox.clock import Clock
    from sandbox.services.entra import App, Entra

Role = Literal[
    "Application.Read.All",
    "Application.ReadWrite.OwnedBy",
    "Application.ReadWrite.All",
    "Directory.Read.All",
    "Directory.ReadWrite.All",
    "Policy.Read.All",
]
"""A right at Graph: https://learn.microsoft.com/graph/permissions-reference."""

_WRITE_EVERY: frozenset[Role] = frozenset(("Application.ReadWrite.All", "Directory.ReadWrite.All"))

WRITERS: frozenset[Role] = _WRITE_EVERY | {"Application.ReadWrite.OwnedBy"}
"""The roles of which one is needed to add or remove a secret."""

# OwnedBy confines what is changed; it reads every application of the tenant.
READERS: frozenset[Role] = WRITERS | {"Application.Read.All", "Directory.Read.All"}
"""The roles of which one is enough to read applications, their owners, and service principals."""

_POLICY_READERS: frozenset[Role] = frozenset(("Policy.Read.All",))

DIRECTORY_ROLES = {
    "Global Administrator": "62e90394-69f5-4237-9190-012177145e10",
    "Application Administrator": "9b895d92-2cd3-44c7-9d02-a6ac2d5ea5c3",
    "Cloud Application Administrator": "158c047a-c907-4556-b7ef-446551a6b5f7",
}
"""Roles of the directory that may do all that is here, by their template ids, as `wids` has them.

https://learn.microsoft.com/entra/identity/role-based-access-control/permissions-reference
"""

PERSONAL = ("AzureADandPersonalMicrosoftAccount", "PersonalMicrosoftAccount")
"""Audiences of applications that may have two secrets at most.

https://learn.microsoft.com/entra/identity-platform/supported-accounts-validation
"""

PAGE = 100
"""How many items a page of a list has when `$top` does not say."""

_LARGEST_PAGE = 999
_PERSONAL_SECRETS = 2
# The application that Graph itself is in every tenant; a token may name it as its audience.
_GRAPH_APP = "00000003-0000-0000-c000-000000000000"
_DATE = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,12}))?(Z|[+-]\d\d:\d\d)")
_CLAUSE = re.compile(
    r"(?P<equals>\w+) eq '(?P<value>(?:[^']|'')*)'"
    r"|startswith\((?P<starts>\w+), ?'(?P<start>(?:[^']|'')*)'\)"
    r"|(?P<any>\w+)/any\((?P<name>\w+):(?P=name) eq '(?P<one>(?:[^']|'')*)'\)"
)
_MOST_IN_BATCH = 20
_MAY_BE_GIVEN = {"displayName", "startDateTime", "endDateTime", "customKeyIdentifier"}


@dataclass(frozen=True)
class _Call:
    """One request that was let in; `base` is the URL of the API, `claims` are its caller's."""

    request: Request
    body: bytes
    base: str
    claims: dict[str, Any]

    def option(self, name: str) -> str | None:
        """Give a query option, `top` for `$top`; Graph takes both spellings."""
        query = self.request.query_params
        return query.get(f"${name}", query.get(name))


@dataclass
class _State:
    """What Graph knows of one application beside its secrets.

    owners: client ids. old, stale_reads: the secrets that the next so many reads still show.
    unseen_removals: by key id, how many removals still do not find that secret.
    """

    owners: list[str] = field(default_factory=list)
    old: list[Secret] = field(default_factory=list)
    stale_reads: int = 0
    unseen_removals: dict[str, int] = field(default_factory=dict)


_Work = Callable[[_Call], "dict[str, Any] | None"]


class Graph:
    """Graph v1.0 of the three clouds, over the applications and tokens of `entra`.

    The methods may be called from any thread. They raise KeyError for an application that is not
    registered.

    What a directory of many replicas does to its clients is set by these; each is read when a
    secret is added or removed, and counts from there:

    propagation_seconds: how long the token endpoint refuses a secret that was added here.
    flapping: what the first logins after that meet, one each, True for "let in".
    read_lag: how many reads of an application still show it as before the change.
    removal_lag: how many removals of a secret that was added here do not find it.

    default_policy: what the tenants allow of secrets, as `restrict` sets it. own_policies: for single applications,
    by their object ids, in its place.
    """

    hosts: tuple[str, ...] = tuple(cloud.graph for cloud in CLOUDS)

    def __init__(self, clock: Clock, entra: Entra) -> None:
        self.clock = clock
        self.entra = entra
        self.propagation_seconds = 0.0
        self.flapping: Sequence[bool] = ()
        self.read_lag = 0
        self.removal_lag = 0
        self._lock = threading.RLock()
        self._states: dict[str, _State] = {}
        self._throttled = 0
        self._retry_after = 0
        self._concurrent = 0
        self._concurrent_status = 0
        self._at_quota = False
        self.default_policy: dict[str, Any] = _policy(is_enabled=False, restrictions=[])
        # By object id.
        self.own_policies: dict[str, dict[str, Any]] = {}
        routes = []
        # Microsoft's Python client writes two slashes after the version, so Graph must take them.
        for applications in ("/v1.0/applications", "/v1.0//applications"):
            routes.append(Route(applications, self._operation(READERS, self._list)))
            # Either key leads to the same application: https://learn.microsoft.com/graph/api/application-get
            for path in (f"{applications}/{{id}}", f"{applications}(appId='{{app_id}}')"):
                routes += [
                    Route(path, self._operation(READERS, self._get)),
                    Route(f"{path}/owners", self._operation(READERS, self._list_owners)),
                    Route(f"{path}/appManagementPolicies", self._operation(_POLICY_READERS, self._list_policies)),
                    Route(f"{path}/addPassword", self._operation(WRITERS, self._add_password), methods=["POST"]),
                    Route(f"{path}/removePassword", self._operation(WRITERS, self._remove_password), methods=["POST"]),
                ]
        principals = "/v1.0/servicePrincipals"
        routes += [
            Route(principals, self._operation(READERS, self._list_principals)),
            Route(f"{principals}(appId='{{app_id}}')", self._operation(READERS, self._get_principal)),
            Route(f"{principals}/{{id}}", self._operation(READERS, self._get_principal)),
            Route("/v1.0/policies/defaultAppManagementPolicy", self._operation(_POLICY_READERS, self._get_policy)),
        ]
        routes.append(Route("/{path:path}", self._operation(None, _unknown_segment), methods=["GET", "POST"]))
        self.app = Starlette(routes=[Route("/v1.0/$batch", self._batch, methods=["POST"]), *routes])

    # -- what a test sets up --------------------------------------------------------------------

    def grant(self, client_id: str, *roles: Role) -> None:
        """Set the rights of an application, in place of those it had; none takes all away."""
        self.entra.application(client_id).graph_roles = frozenset(roles)

    def add_owner(self, object_id: str, owner_client_id: str) -> None:
        """Make an application the owner of another, or of itself."""
        owner = self.entra.application(owner_client_id)
        app = next((one for one in self.entra.applications() if one.object_id == object_id), None)
        if app is None:
            raise KeyError(object_id)
        with self._lock:
            owners = self._state(app).owners
            if owner.client_id not in owners:
                owners.append(owner.client_id)

    def throttle(self, times: int, retry_after: int) -> None:
        """Answer the next so many requests 429, to be asked again in `retry_after` seconds."""
        with self._lock:
            self._throttled, self._retry_after = times, retry_after

    def concurrent_refusals(self, times: int, status: int = 400) -> None:
        """Refuse the next so many changes as though the directory were busy with another one.

        The code is always Directory_ConcurrencyViolation; it was seen with each of the statuses
        400, 409 (https://github.com/nais/azurerator/issues/448) and 503
        (https://github.com/Azure/azure-cli/issues/23081).
        """
        with self._lock:
            self._concurrent, self._concurrent_status = times, status

    def exhaust_quota(self) -> None:
        """Have the admin's quota of directory objects be used up: every further change is refused."""
        with self._lock:
            self._at_quota = True

    def restrict(
        self,
        *,
        longest: str | None = None,
        forbidden: bool = False,
        object_id: str = "",
        created_after: datetime | None = None,
    ) -> None:
        """Have a policy on secrets, of the tenant, or of one application in its place.

        longest: their longest life, an ISO 8601 duration. forbidden: none may be added. object_id: of that
        application. created_after: it binds only applications that were registered then or later.
        """
        after = _written(created_after) if created_after else None
        rules: dict[str, str | None] = {"passwordLifetime": longest} if longest else {}
        rules |= {"passwordAddition": None} if forbidden else {}
        restrictions = [
            {
                "restrictionType": kind,
                "state": "enabled",
                "maxLifetime": life,
                "restrictForAppsCreatedAfterDateTime": after,
            }
            for kind, life in rules.items()
        ]
        made = _policy(is_enabled=True, restrictions=restrictions)
        with self._lock:
            if object_id:
                own = made["applicationRestrictions"]
                self.own_policies[object_id] = {"id": str(uuid.uuid4()), "isEnabled": True, "restrictions": own}
            else:
                self.default_policy = made

    def secrets(self) -> frozenset[str]:
        """Return nothing: what is added here is Entra's secret."""
        return frozenset()

    # -- who is asking --------------------------------------------------------------------------

    def _operation(self, roles: frozenset[Role] | None, work: _Work) -> Callable[[Request], Any]:
        """Make the endpoint of one operation, for callers that have one of the roles."""

        async def endpoint(request: Request) -> Response:
            body = await request.body()
            request_id = str(uuid.uuid4())
            ids = {"request-id": request_id, "client-request-id": request.headers.get("client-request-id", request_id)}
            with self._lock:
                try:
                    claims = self._authenticate(request)
                    self._hold_back()
                    rights = set(claims.get("roles", ()))
                    if roles is not None and not roles & rights and not _administers(claims):
                        raise _denied()
                    content = work(_Call(request, body, f"https://{request.url.hostname}/v1.0", claims))
                except Refusal as refusal:
                    return self._refuse(refusal, ids)
            if content is None:
                return Response(status_code=204, headers=ids)
            return JSONResponse(
                content,
                headers={**ids, "Cache-Control": "no-cache", "OData-Version": "4.0"},
                media_type="application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false",
            )

        return endpoint

    def _authenticate(self, request: Request) -> dict[str, Any]:
        cloud = next(cloud for cloud in CLOUDS if cloud.graph == request.url.hostname)
        token = bearer(request)
        claims = self.entra.token_claims(token)
        if not token:
            fault = "Access token is empty."
        elif token.count(".") != 2:
            fault = "CompactToken parsing failed with error code: 80049217"
        elif claims is None:
            # An altered token is told apart from one whose time is over, but how is not written down.
            fault = "Lifetime validation failed, the token is expired."
        elif claims["aud"].rstrip("/") not in (f"https://{cloud.graph}", _GRAPH_APP):
            fault = "Access token validation failure. Invalid audience."
        else:
            return claims
        login = f"https://{cloud.authorities[0]}/common/oauth2/authorize"
        challenge = f'Bearer realm="", authorization_uri="{login}", client_id="{_GRAPH_APP}"'
        raise Refusal(401, "InvalidAuthenticationToken", fault, headers={"WWW-Authenticate": challenge})

    def _hold_back(self) -> None:
        # https://learn.microsoft.com/graph/throttling
        if self._throttled:
            self._throttled -= 1
            headers = {"Retry-After": str(self._retry_after)}
            raise Refusal(429, "TooManyRequests", "Please retry again later.", headers=headers)

    def _refuse(self, refusal: Refusal, ids: dict[str, str]) -> Response:
        date = self.clock.now().strftime("%Y-%m-%dT%H:%M:%S")
        error = {"code": refusal.code, "message": refusal.message, "innerError": {"date": date, **ids}}
        return JSONResponse({"error": error}, refusal.status, headers={**ids, **(refusal.headers or {})})

    # -- the state ------------------------------------------------------------------------------

    def _state(self, app: App) -> _State:
        return self._states.setdefault(app.object_id, _State())

    def _applications(self, call: _Call) -> list[App]:
        """List the caller's tenant, in an order that means nothing."""
        ours = (app for app in self.entra.applications() if app.tenant_id == call.claims["tid"])
        return sorted(ours, key=lambda app: app.object_id)

    def _application(self, call: _Call) -> App:
        """Find the application that the path names by its object id, or by its client id."""
        path = call.request.path_params
        wanted = str(path.get("id", path.get("app_id")))
        if not GUID.fullmatch(wanted):
            raise Refusal(400, "Request_BadRequest", f"Invalid object identifier '{wanted}'.")
        for app in self._applications(call):
            if wanted.lower() == (app.object_id if "id" in path else app.client_id):
                return app
        raise _not_found(wanted)

    def _writable(self, call: _Call) -> App:
        """Find the named application, and let the caller change it."""
        app = self._application(call)
        # An application does not own itself unless it was made its own owner.
        owned = call.claims["appid"] in self._state(app).owners
        if not owned and not _WRITE_EVERY & set(call.claims.get("roles", ())) and not _administers(call.claims):
            raise _denied()
        if self._at_quota:
            message = "The directory object quota limit for the Principal has been exceeded."
            raise Refusal(403, "Directory_QuotaExceeded", message)
        if self._concurrent:
            self._concurrent -= 1
            raise Refusal(
                self._concurrent_status,
                "Directory_ConcurrencyViolation",
                "Error due to concurrent requests being made to the tenant. Please wait briefly and retry.",
            )
        return app

    def _changes(self, app: App) -> _State:
        """Keep what the next reads still show, if any shall; to be called before a change."""
        state = self._state(app)
        if self.read_lag:
            if not state.stale_reads:
                state.old = self.entra.client_secrets(app.client_id)
            state.stale_reads = self.read_lag
        return state

    def _shown(self, app: App) -> dict[str, Any]:
        """Show an application, with the secrets that the asked replica knows of."""
        state = self._state(app)
        known = self.entra.client_secrets(app.client_id)
        if state.stale_reads:
            state.stale_reads -= 1
            known = state.old
        return {
            "id": app.object_id,
            "deletedDateTime": None,
            "appId": app.client_id,
            "displayName": app.name,
            "identifierUris": [],
            "createdDateTime": _written(app.created_on or datetime(2020, 1, 1, tzinfo=timezone.utc)),
            "signInAudience": app.audience,
            "tags": [],
            "keyCredentials": [],
            # No order is promised, so there is none here that a client could come to rely on.
            "passwordCredentials": [_credential(one) for one in sorted(known, key=lambda one: one.secret_id)],
        }

    # -- the operations -------------------------------------------------------------------------

    def _get(self, call: _Call) -> dict[str, Any]:
        shown, chosen = _select(call, self._shown(self._application(call)))
        return {"@odata.context": f"{call.base}/$metadata#applications{chosen}/$entity", **shown}

    def _list(self, call: _Call) -> dict[str, Any]:
        apps = self._applications(call)
        apps = _filtered(call, apps, _APPLICATION_PROPERTIES)
        page, link = _page(call, apps)
        items = [_select(call, self._shown(app)) for app in page]
        chosen = items[0][1] if items else ""
        context = {"@odata.context": f"{call.base}/$metadata#applications{chosen}"}
        return {**context, **_count(call, apps), **link, "value": [shown for shown, _ in items]}

    def _list_owners(self, call: _Call) -> dict[str, Any]:
        owners = [self.entra.application(one) for one in self._state(self._application(call)).owners]
        page, link = _page(call, owners)
        items = []
        for owner in page:
            shown = {"id": owner.service_principal_id, "appId": owner.client_id, "displayName": owner.name}
            items.append({"@odata.type": "#microsoft.graph.servicePrincipal", **_select(call, shown)[0]})
        return {"@odata.context": f"{call.base}/$metadata#directoryObjects", **link, "value": items}

    # -- service principals -----------------------------------------------------------------------

    def _list_principals(self, call: _Call) -> dict[str, Any]:
        there = [app for app in self._applications(call) if app.has_principal]
        apps = _filtered(call, there, _PRINCIPAL_PROPERTIES)
        page, link = _page(call, apps)
        items = [_select(call, _shown_principal(app)) for app in page]
        chosen = items[0][1] if items else ""
        context = {"@odata.context": f"{call.base}/$metadata#servicePrincipals{chosen}"}
        return {**context, **_count(call, apps), **link, "value": [shown for shown, _ in items]}

    def _get_principal(self, call: _Call) -> dict[str, Any]:
        path = call.request.path_params
        wanted = str(path.get("id", path.get("app_id")))
        for app in self._applications(call):
            if app.has_principal and wanted.lower() == (app.service_principal_id if "id" in path else app.client_id):
                shown, chosen = _select(call, _shown_principal(app))
                return {"@odata.context": f"{call.base}/$metadata#servicePrincipals{chosen}/$entity", **shown}
        raise _not_found(wanted)

    # -- policies ---------------------------------------------------------------------------------

    def _get_policy(self, call: _Call) -> dict[str, Any]:
        """https://learn.microsoft.com/graph/api/tenantappmanagementpolicy-get."""
        context = f"{call.base}/$metadata#policies/defaultAppManagementPolicy/$entity"
        return {"@odata.context": context, **self.default_policy}

    def _list_policies(self, call: _Call) -> dict[str, Any]:
        """https://learn.microsoft.com/graph/api/appmanagementpolicy-list."""
        own = self.own_policies.get(self._application(call).object_id)
        context = f"{call.base}/$metadata#policies/appManagementPolicies"
        return {"@odata.context": context, "value": [own] if own else []}

    def _check_policy(self, app: App, life: timedelta) -> None:
        """Refuse a secret that a policy forbids: the application's own goes before the tenant's."""
        own = self.own_policies.get(app.object_id)
        policy = own or self.default_policy
        if not policy["isEnabled"]:
            return
        for one in (own["restrictions"] if own else policy["applicationRestrictions"])["passwordCredentials"]:
            after = _date(one["restrictForAppsCreatedAfterDateTime"])
            if after and (app.created_on is None or app.created_on < after):
                continue
            if one["restrictionType"] == "passwordAddition":
                raise Refusal(
                    400,
                    "CredentialTypeNotAllowedAsPerAppPolicy",
                    "Credential type not allowed as per assigned policy.",
                )
            if one["restrictionType"] == "passwordLifetime" and life > _duration(one["maxLifetime"]):
                raise Refusal(
                    400,
                    "CredentialInvalidLifetimeAsPerAppPolicy",
                    "Credential lifetime exceeds the max value allowed as per assigned policy.",
                )

    # -- secrets ----------------------------------------------------------------------------------

    def _add_password(self, call: _Call) -> dict[str, Any]:
        """https://learn.microsoft.com/graph/api/application-addpassword."""
        asked = _parameters(call, "addPassword", {"passwordCredential"}).get("passwordCredential") or {}
        if not isinstance(asked, dict) or not isinstance(asked.get("displayName"), (str, type(None))):
            raise _unreadable()
        for name in asked.keys() - _MAY_BE_GIVEN:
            raise Refusal(400, "Request_BadRequest", f"Property '{name}' of a password cannot be chosen.")
        now = self.clock.now()
        start = _date(asked.get("startDateTime")) or now
        end = _date(asked.get("endDateTime")) or _two_years_after(start)
        if end <= max(start, now):
            raise Refusal(400, "Request_BadRequest", "The password would end before it starts, or has ended.")
        app = self._writable(call)
        self._check_policy(app, end - start)
        number = len(self.entra.client_secrets(app.client_id)) + 1
        if app.audience in PERSONAL and number > _PERSONAL_SECRETS:
            message = f"Not allowed to add {number} passwords. You can only add a maximum of 2 passwords."
            raise Refusal(400, "Request_BadRequest", message)
        secret = Secret(
            secret_id=str(uuid.uuid4()),
            value=new_value(),
            display_name=asked.get("displayName") or "",
            created_on=start,
            expires_on=end,
            visible_from=max(start, now + timedelta(seconds=self.propagation_seconds)),
            answers=deque(self.flapping),
        )
        self._changes(app).unseen_removals[secret.secret_id] = self.removal_lag
        self.entra.adopt_secret(app.client_id, secret)
        context = f"{call.base}/$metadata#microsoft.graph.passwordCredential"
        return {"@odata.context": context, **_credential(secret), "secretText": secret.value}

    def _remove_password(self, call: _Call) -> None:
        """https://learn.microsoft.com/graph/api/application-removepassword."""
        key_id = _parameters(call, "removePassword", {"keyId"}).get("keyId")
        if not isinstance(key_id, str) or not GUID.fullmatch(key_id):
            raise Refusal(400, "BadRequest", f"Cannot convert the literal '{key_id}' to the type 'Edm.Guid'.")
        app = self._writable(call)
        key_id = key_id.lower()
        unseen = self._state(app).unseen_removals
        if unseen.get(key_id):
            unseen[key_id] -= 1
        elif any(one.secret_id == key_id for one in self.entra.client_secrets(app.client_id)):
            self._changes(app)
            self.entra.remove_secret(app.client_id, key_id)
            return
        raise Refusal(400, "Request_BadRequest", f"There is no password credential with keyId '{key_id}'.")

    # -- many requests in one ---------------------------------------------------------------------

    async def _batch(self, request: Request) -> Response:
        """https://learn.microsoft.com/graph/json-batching: each is answered like one that came alone.

        The answers come in no order that a client could rely on: here it is the one turned round.
        """
        ids = {"request-id": str(uuid.uuid4())}
        try:
            self._authenticate(request)
            asked = _batched(await request.body())
        except Refusal as refusal:
            return self._refuse(refusal, ids)
        answers: dict[str, dict[str, Any]] = {}
        for one in asked:
            needed = [answers.get(str(other), {"status": 424})["status"] for other in one.get("dependsOn") or ()]
            if any(status >= 400 for status in needed):
                error = {"code": "FailedDependency", "message": "A request that this one depends on has failed."}
                answers[one["id"]] = {"id": one["id"], "status": 424, "body": {"error": error}}
            else:
                answers[one["id"]] = await self._alone(request, one)
        return JSONResponse({"responses": list(reversed(answers.values()))}, headers=ids)

    async def _alone(self, request: Request, one: dict[str, Any]) -> dict[str, Any]:
        """Answer one request of a batch; its authority is that of the batch."""
        path, _, query = f"/v1.0/{str(one['url']).lstrip('/')}".partition("?")
        headers = {**(one.get("headers") or {}), "Authorization": request.headers["authorization"]}
        headers["host"] = request.headers["host"]
        scope = {
            **request.scope,
            "method": one["method"].upper(),
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(name.lower().encode(), str(value).encode()) for name, value in headers.items()],
        }
        content = json.dumps(one["body"]).encode() if "body" in one else b""
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": content, "more_body": False}

        async def send(message: Any) -> None:  # noqa: ANN401 - a message of ASGI
            sent.append(message)

        await self.app(scope, receive, send)
        answer = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        body = b"".join(message.get("body", b"") for message in sent[1:])
        shown = {name.title(): answer[name] for name in ("content-type", "retry-after") if name in answer}
        found = {"id": one["id"], "status": sent[0]["status"], "headers": shown}
        return {**found, "body": json.loads(body)} if body else found


def _batched(content: bytes) -> list[dict[str, Any]]:
    """Read the requests of a batch."""
    try:
        asked = json.loads(content)["requests"]
        whole = all(isinstance(one["id"], str) and one["method"] and one["url"] for one in asked)
    except (ValueError, KeyError, TypeError):
        raise _unreadable() from None
    if not whole or len({one["id"].lower() for one in asked}) < len(asked):
        raise Refusal(400, "BadRequest", "Write request id, method and url in each request; the ids must differ.")
    if len(asked) > _MOST_IN_BATCH:
        message = f"Number of batch request steps exceeds the maximum value of {_MOST_IN_BATCH}."
        raise Refusal(400, "MaximumValueExceeded", message)
    for one in asked:
        if "body" in one and not any(name.lower() == "content-type" for name in one.get("headers") or ()):
            raise Refusal(400, "BadRequest", "Write request with a body must have a Content-Type header.")
    found: list[dict[str, Any]] = asked
    return found


# What a filter may ask of a property, and how to find its values.
_Properties = Mapping[str, tuple[frozenset[str], Callable[["App"], Sequence[str]]]]
_APPLICATION_PROPERTIES: _Properties = {
    "id": (frozenset(("equals",)), lambda app: [app.object_id]),
    "appId": (frozenset(("equals",)), lambda app: [app.client_id]),
    "displayName": (frozenset(("equals", "starts")), lambda app: [app.name]),
    "identifierUris": (frozenset(("any",)), lambda _app: []),
}


_PRINCIPAL_PROPERTIES: _Properties = {
    "id": (frozenset(("equals",)), lambda app: [app.service_principal_id]),
    "appId": (frozenset(("equals",)), lambda app: [app.client_id]),
    "displayName": (frozenset(("equals", "starts")), lambda app: [app.name]),
    "servicePrincipalNames": (frozenset(("any",)), lambda app: [app.client_id]),
}


def _filtered(call: _Call, apps: list[App], properties: _Properties) -> list[App]:
    """Leave those that `$filter` asks for: `eq`, `startswith`, `any` of a list, and several of them with `and`."""
    asked = call.option("filter")
    if asked is None:
        return apps
    for clause in re.split(r" and (?=(?:[^']*'[^']*')*[^']*$)", asked.strip()):
        found = _CLAUSE.fullmatch(clause.strip())
        operator = next((one for one in ("equals", "starts", "any") if found and found[one]), "")
        may, show = properties.get(found[operator] if found and operator else "", (frozenset(), None))
        if not found or show is None or operator not in may:
            raise Refusal(400, "Request_UnsupportedQuery", "Unsupported or invalid query filter clause.")
        value = next(one for one in found.group("value", "start", "one") if one is not None).replace("''", "'").lower()
        end = None if operator != "starts" else len(value)
        apps = [app for app in apps if value in (one.lower()[:end] for one in show(app))]
    return apps


def _count(call: _Call, items: Sequence[object]) -> dict[str, int]:
    """Say how many there are, on the first page, where it is asked for as directory objects want it.

    https://learn.microsoft.com/graph/aad-advanced-queries
    """
    asked = (call.option("count") or "").lower() == "true" and call.option("skiptoken") is None
    return {"@odata.count": len(items)} if asked and call.request.headers.get("consistencylevel") == "eventual" else {}


def _unknown_segment(call: _Call) -> None:
    segment = call.request.url.path.rpartition("/")[2]
    raise Refusal(400, "BadRequest", f"Resource not found for the segment '{segment}'.")


def _not_found(wanted: str) -> Refusal:
    return Refusal(
        404,
        "Request_ResourceNotFound",
        f"Resource '{wanted}' does not exist or one of its queried reference-property objects are not present.",
    )


def _administers(claims: dict[str, Any]) -> bool:
    """Say whether a caller has a role of the directory that may do all that is here."""
    return bool(set(DIRECTORY_ROLES.values()) & set(claims.get("wids", ())))


def _policy(*, is_enabled: bool, restrictions: list[dict[str, Any]]) -> dict[str, Any]:
    rules = {"passwordCredentials": restrictions, "keyCredentials": []}
    return {"id": str(uuid.UUID(int=0)), "isEnabled": is_enabled, "applicationRestrictions": rules}


def _duration(text: str) -> timedelta:
    """Read the durations that tests set: whole days, as `P90D`."""
    return timedelta(days=int(text.removeprefix("P").removesuffix("D")))


def _shown_principal(app: App) -> dict[str, Any]:
    """Show a service principal: https://learn.microsoft.com/graph/api/resources/serviceprincipal."""
    passwords = [
        {**_credential(one), "customKeyIdentifier": app.principal_keys.get(one.secret_id)}
        for one in app.principal_secrets.values()
    ]
    # Both halves of a signing certificate have its password's identifier.
    keys = [
        {"customKeyIdentifier": certificate, "keyId": str(uuid.uuid4()), "type": kind, "usage": usage, "key": None}
        for certificate in app.principal_keys.values()
        for kind, usage in (("AsymmetricX509Cert", "Verify"), ("X509CertAndPassword", "Sign"))
    ]
    return {
        "id": app.service_principal_id,
        "appId": app.client_id,
        "displayName": app.name,
        "accountEnabled": app.is_enabled,
        "servicePrincipalNames": [app.client_id],
        "servicePrincipalType": "Application",
        "keyCredentials": keys,
        "passwordCredentials": passwords,
    }


def _denied() -> Refusal:
    return Refusal(403, "Authorization_RequestDenied", "Insufficient privileges to complete the operation.")


def _unreadable() -> Refusal:
    return Refusal(
        400,
        "BadRequest",
        "Unable to read JSON request payload. Please ensure Content-Type header is set and payload is of valid"
        " JSON format.",
    )


def _parameters(call: _Call, operation: str, known: set[str]) -> dict[str, Any]:
    """Read the JSON object that an operation takes."""
    if not call.request.headers.get("content-type", "").startswith("application/json"):
        raise _unreadable()
    try:
        read = json.loads(call.body)
    except ValueError:
        raise _unreadable() from None
    if not isinstance(read, dict):
        raise _unreadable()
    for name in read.keys() - known:
        raise Refusal(
            400,
            "BadRequest",
            f"The parameter '{name}' in the request payload is not a valid parameter for the operation '{operation}'.",
        )
    return read


def _credential(secret: Secret) -> dict[str, Any]:
    """Show a secret without its value: https://learn.microsoft.com/graph/api/resources/passwordcredential."""
    return {
        "customKeyIdentifier": None,
        "displayName": secret.display_name or None,
        "endDateTime": _written(secret.expires_on),
        "hint": secret.hint,
        "keyId": secret.secret_id,
        "secretText": None,
        "startDateTime": _written(secret.created_on),
    }


def _select(call: _Call, shown: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Leave what `$select` names, and say so as the context does."""
    asked = call.option("select")
    if not asked:
        return shown, ""
    names = [name.strip() for name in asked.split(",")]
    for name in names:
        if name not in shown:
            message = f"Parsing OData Select and Expand failed: Could not find a property named '{name}'."
            raise Refusal(400, "BadRequest", message)
    return {name: shown[name] for name in names}, f"({','.join(names)})"


def _page(call: _Call, items: list[App]) -> tuple[list[App], dict[str, str]]:
    """Cut out the page that is asked for, and link to the next one where there is one."""
    top = call.option("top") or str(PAGE)
    if not top.isdecimal() or not 1 <= int(top) <= _LARGEST_PAGE:
        message = f"Invalid page size specified: '{top}'. Must be between 1 and {_LARGEST_PAGE} inclusive."
        raise Refusal(400, "Request_UnsupportedQuery", message)
    start = 0
    token = call.option("skiptoken")
    if token is not None:
        try:
            start = int(base64.urlsafe_b64decode(token.encode()))
        except (binascii.Error, ValueError):
            message = "The specified page token value has expired and can no longer be included in your request."
            raise Refusal(400, "Directory_ExpiredPageToken", message) from None
    end = start + int(top)
    if end >= len(items):
        return items[start:], {}
    query = {**call.request.query_params, "$skiptoken": base64.urlsafe_b64encode(str(end).encode()).decode()}
    link = "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())
    path = call.request.url.path.replace("//", "/")
    return items[start:end], {"@odata.nextLink": f"https://{call.request.url.hostname}{path}?{link}"}


def _date(given: object) -> datetime | None:
    """Read an Edm.DateTimeOffset, which always says how far it is from UTC."""
    if given is None:
        return None
    found = _DATE.fullmatch(given) if isinstance(given, str) else None
    try:
        if found:
            zone = "+00:00" if found[3] == "Z" else found[3]
            return datetime.fromisoformat(f"{found[1]}.{(found[2] or '0')[:6]:0<6}{zone}").astimezone(timezone.utc)
    except (ValueError, OverflowError):
        pass
    message = f"Cannot convert the literal '{given}' to the expected type 'Edm.DateTimeOffset'."
    raise Refusal(400, "BadRequest", message)


def _written(date: datetime) -> str:
    """Write a date as Graph does: a fraction, where there is one, has seven digits, which not all can read."""
    return date.strftime("%Y-%m-%dT%H:%M:%S") + (f".{date.microsecond:06}0" if date.microsecond else "") + "Z"


def _two_years_after(start: datetime) -> datetime:
    leap_day = (start.month, start.day) == (2, 29)
    return start.replace(year=start.year + 2, day=28 if leap_day else start.day)
