"""Microsoft's own Container Apps client, unmodified, and plain requests, against the sandbox's apps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from azure.core import AzureClouds
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ResourceNotFoundError
from azure.identity import ClientSecretCredential
from azure.mgmt.appcontainers import ContainerAppsAPIClient
from azure.mgmt.appcontainers.models import Revision

from sandbox.clock import Clock
from sandbox.services.container_apps import (
    LEAST,
    PERMISSIONS_READ,
    REPLICA_READ,
    SECRETS_LIST,
    ContainerApp,
    ContainerApps,
)
from sandbox.services.entra import App, Entra
from sandbox.services.key_vault import KeyVault
from sandbox.wire import Wire

GROUP = "plant"
VERSION = "2024-03-01"
SCOPE = "https://management.azure.com/.default"


@dataclass
class Plant:
    """An app that reads one secret, and an application that may restart it, on the wire.

    The app takes a minute to start, so that what a test sees does not depend on how fast it looks.
    """

    wire: Wire
    clock: Clock
    entra: Entra
    vaults: KeyVault
    apps: ContainerApps
    tenant: str
    subscription: str
    caller: App
    secret: str
    api: ContainerApp

    def credential(self) -> ClientSecretCredential:
        """Make Microsoft's login of the application."""
        return ClientSecretCredential(self.tenant, self.caller.client_id, self.secret)

    def client(self, subscription: str | None = None, **options: Any) -> ContainerAppsAPIClient:  # noqa: ANN401 - Microsoft's own
        """Make Microsoft's client, logged in as the application."""
        options = {"api_version": VERSION, "retry_total": 0, **options}
        return ContainerAppsAPIClient(self.credential(), subscription or self.subscription, **options)

    def revision(self) -> Revision:
        """Ask for the app's latest revision."""
        return self.client().container_apps_revisions.get_revision(GROUP, "api", self.api.latest.name)

    def states(self) -> tuple[Any, Any]:
        """Ask for the latest revision's running state and health state."""
        shown = self.revision()
        return shown.running_state, shown.health_state

    def restart(self) -> None:
        """Have Microsoft's client restart the latest revision."""
        self.client().container_apps_revisions.restart_revision(GROUP, "api", self.api.latest.name)

    def replicas(self) -> list[Any]:
        """Ask for the latest revision's replicas."""
        answer = self.client().container_apps_revision_replicas.list_replicas(GROUP, "api", self.api.latest.name)
        return list(answer.value)

    def request(
        self, path: str, version: str | None = VERSION, method: str = "GET", scope: str = SCOPE
    ) -> requests.Response:
        """Ask Resource Manager as any HTTP client can, with a token."""
        headers = {"Authorization": f"Bearer {self.credential().get_token(scope).token}"}
        query = {"api-version": version} if version else {}
        url = f"https://management.azure.com{path}"
        return requests.request(method, url, params=query, headers=headers, timeout=5)


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plant]:
    """Serve an Entra, a Key Vault and Container Apps for one test."""
    clock = Clock()
    entra = Entra(clock)
    vaults = KeyVault(clock, entra)
    apps = ContainerApps(clock, entra, vaults)
    wire = Wire(tmp_path)
    wire.serve(entra, vaults, apps)
    wire.start()
    for name, value in wire.environment().items():
        monkeypatch.setenv(name, value)
    tenant = entra.add_tenant()
    caller = entra.add_application(tenant, "PAM Gateway")
    _, secret = entra.add_secret(caller.client_id)
    vaults.add_vault("plant", tenant)
    vaults.set("plant", "database", "old value")
    subscription = apps.add_subscription(tenant)
    api = apps.add_app(subscription, GROUP, "api", reads={"DATABASE": ("plant", "database")}, restart_seconds=60)
    apps.grant(subscription, caller.client_id)
    yield Plant(wire, clock, entra, vaults, apps, tenant, subscription, caller, secret, api)
    wire.stop()


def code(error: HttpResponseError) -> str | None:
    """Read the code of an error, as Microsoft's client hands it on."""
    return error.error.code if error.error else None


def test_an_app_shows_where_it_answers_and_which_revision_serves(plant: Plant) -> None:
    """The client gets mode, host name, latest ready revision and the vault's address, and no value."""
    shown = plant.client().container_apps.get(GROUP, "api")

    configuration = shown.configuration
    assert configuration is not None
    assert configuration.ingress is not None
    assert ("Single", plant.api.fqdn) == (configuration.active_revisions_mode, configuration.ingress.fqdn)
    assert ("api--0000001", "api--0000001") == (shown.latest_revision_name, shown.latest_ready_revision_name)
    assert ("Succeeded", "Running") == (shown.provisioning_state, shown.running_status)
    assert "https://plant.vault.azure.net/secrets/database" == (configuration.secrets or [])[0].key_vault_url
    assert "old value" not in plant.request(plant.api.scope).text


def test_a_revision_that_runs_says_so(plant: Plant) -> None:
    """An active revision with a replica is Provisioned, Running and Healthy, and takes all traffic."""
    shown = plant.revision()

    assert (True, 1, 100) == (shown.active, shown.replicas, shown.traffic_weight)
    assert ("Provisioned", "Running", "Healthy") == (
        shown.provisioning_state,
        shown.running_state,
        shown.health_state,
    )
    assert shown.created_time
    assert shown.created_time.tzinfo


def test_the_defaults_of_microsofts_client_are_taken(plant: Plant) -> None:
    """A client that is told neither version nor scope gets its answer."""
    client = ContainerAppsAPIClient(plant.credential(), plant.subscription)

    assert ["api--0000001"] == [one.name for one in client.container_apps_revisions.list_revisions(GROUP, "api")]


@pytest.mark.parametrize(
    ("cloud", "authority", "suffix", "domain"),
    [
        (AzureClouds.AZURE_US_GOVERNMENT, "login.microsoftonline.us", "vault.usgovcloudapi.net", "us"),
        (AzureClouds.AZURE_CHINA_CLOUD, "login.chinacloudapi.cn", "vault.azure.cn", "cn"),
    ],
)
def test_the_other_clouds_have_hosts_of_their_own(
    plant: Plant, cloud: AzureClouds, authority: str, suffix: str, domain: str
) -> None:
    """The client of a sovereign cloud logs in, finds the app, and the app answers at that cloud's domain."""
    tenant = plant.entra.add_tenant(authority=authority)
    caller = plant.entra.add_application(tenant, "PAM Gateway")
    _, secret = plant.entra.add_secret(caller.client_id)
    plant.vaults.add_vault("elsewhere", tenant, suffix)
    subscription = plant.apps.add_subscription(tenant)
    app = plant.apps.add_app(subscription, GROUP, "api", reads={"KEY": ("elsewhere", "key")})
    plant.apps.grant(app, caller.client_id)
    credential = ClientSecretCredential(tenant, caller.client_id, secret, authority=authority)

    client = ContainerAppsAPIClient(credential, subscription, cloud_setting=cloud)

    assert ["api--0000001"] == [one.name for one in client.container_apps_revisions.list_revisions(GROUP, "api")]
    assert app.fqdn.endswith(f".azurecontainerapps.{domain}")
    assert 200 == requests.get(app.health_url, timeout=5).status_code


def test_a_list_of_revisions_has_pages(plant: Plant) -> None:
    """The client follows the links until it has every revision once, the retired ones too."""
    plant.apps.page_size = 2
    for _ in range(4):
        plant.apps.add_revision(plant.api)

    shown = list(plant.client().container_apps_revisions.list_revisions(GROUP, "api"))

    assert [(f"api--000000{number}", number == 5) for number in range(1, 6)] == [
        (one.name, one.active) for one in shown
    ]
    assert 3 == sum(request.path.endswith("/revisions") for request in plant.wire.log)


def test_a_revision_that_never_came_up_leaves_the_one_before_in_charge(plant: Plant) -> None:
    """In Single mode two revisions are active while the newer is not ready; the app names both."""
    plant.api.failure = "ActivationFailed"
    plant.apps.add_revision(plant.api, ready=False)

    app = plant.client().container_apps.get(GROUP, "api")
    revisions = list(plant.client().container_apps_revisions.list_revisions(GROUP, "api"))

    assert ("api--0000002", "api--0000001") == (app.latest_revision_name, app.latest_ready_revision_name)
    assert [(True, "Running", 100), (True, "ActivationFailed", 0)] == [
        (one.active, one.running_state, one.traffic_weight) for one in revisions
    ]


def test_several_revisions_stay_active_in_multiple_mode(plant: Plant) -> None:
    """Each active revision has replicas of its own, and a restart is one revision's only."""
    app = plant.apps.add_app(
        plant.subscription, GROUP, "split", reads={"DATABASE": ("plant", "database")}, mode="Multiple"
    )
    plant.vaults.set("plant", "database", "newer value")
    newer = plant.apps.add_revision(app)
    plant.vaults.set("plant", "database", "newest value")

    plant.client().container_apps_revisions.restart_revision(GROUP, "split", "split--0000001")

    shown = list(plant.client().container_apps_revisions.list_revisions(GROUP, "split"))
    assert [True, True] == [one.active for one in shown]
    assert ([1, 0], 1) == ([one.restarts for one in app.revisions], app.restarts)
    assert (newer, {"DATABASE": "newer value"}) == (app.latest, app.holds)


def test_a_restart_reads_again_and_takes_its_time(plant: Plant) -> None:
    """What is in the vault reaches the app by a restart only, and shows as Processing until the time is over."""
    plant.vaults.set("plant", "database", "new value")
    assert {"DATABASE": "old value"} == plant.api.holds

    plant.restart()

    assert ("Processing", "None") == plant.states()
    plant.clock.advance(seconds=61)
    assert ("Running", "Healthy") == plant.states()
    assert ({"DATABASE": "new value"}, 1) == (plant.api.holds, plant.api.restarts)


def test_a_restart_takes_real_time_too(plant: Plant) -> None:
    """Without a test that moves the clock, an app comes back after the seconds it takes."""
    plant.api.restart_seconds = 0.05
    plant.restart()

    while plant.states() == ("Processing", "None"):
        pass

    assert ("Running", "Healthy") == plant.states()


def test_a_restart_answers_at_once_and_with_a_word(plant: Plant) -> None:
    """The answer is 200 and comes before the restart is over: it is no proof of anything."""
    answer = plant.request(f"{plant.api.scope}/revisions/api--0000001/restart", method="POST")

    assert (200, "Restart succeeded") == (answer.status_code, answer.json())
    assert not plant.api.healthy


def test_an_app_may_not_come_back(plant: Plant) -> None:
    """An app that cannot work with what it reads is unhealthy until it reads something better."""
    plant.api.heals = lambda holds: holds["DATABASE"] == "old value"
    plant.vaults.set("plant", "database", "wrong value")
    plant.restart()
    plant.clock.advance(seconds=61)
    assert ("Degraded", "Unhealthy") == plant.states()

    plant.vaults.set("plant", "database", "old value")
    plant.restart()
    plant.clock.advance(seconds=61)

    assert ("Running", "Healthy") == plant.states()


def test_an_app_falls_ill_when_its_credential_dies(plant: Plant) -> None:
    """Health is judged at each query: an app whose old key was deleted is unhealthy without a restart."""
    alive = {"old value"}
    plant.api.heals = lambda holds: holds["DATABASE"] in alive
    assert ("Running", "Healthy") == plant.states()

    alive.clear()

    assert ("Degraded", "Unhealthy") == plant.states()


@pytest.mark.parametrize("failure", ["Failed", "ActivationFailed", "Unknown"])
def test_there_are_several_words_for_a_failure(plant: Plant, failure: str) -> None:
    """The client hands on whatever the service calls the state, known to it or not."""
    plant.api.heals, plant.api.failure = False, failure

    assert (failure, "Unhealthy") == plant.states()


def test_a_revision_at_its_largest_says_so_in_its_running_state(plant: Plant) -> None:
    """A healthy revision with as many replicas as it may have is RunningAtMaxScale, not Running."""
    plant.api.max_replicas = 1

    assert ("RunningAtMaxScale", "Healthy") == plant.states()


def test_a_restart_may_still_serve_the_old_value(plant: Plant) -> None:
    """As users report, a restart can hand out what the platform fetched before; the next one need not."""
    plant.api.stale_restarts = 1
    plant.vaults.set("plant", "database", "new value")

    plant.restart()
    assert {"DATABASE": "old value"} == plant.api.holds
    plant.restart()

    assert {"DATABASE": "new value"} == plant.api.holds


def test_a_restart_may_begin_to_show_later(plant: Plant) -> None:
    """For a while everything looks as it did before the restart, the replicas too."""
    plant.apps.grant(plant.subscription, plant.caller.client_id, [*LEAST, REPLICA_READ])
    plant.api.restart_lag = 30
    before = [one.name for one in plant.replicas()]
    plant.restart()

    assert (("Running", "Healthy"), before) == (plant.states(), [one.name for one in plant.replicas()])

    plant.clock.advance(seconds=31)
    assert ("Processing", "None") == plant.states()
    assert not set(before) & {one.name for one in plant.replicas()}


def test_replicas_are_new_after_a_restart(plant: Plant) -> None:
    """Every restart starts replicas of new names, which run once their containers are ready."""
    plant.apps.grant(plant.subscription, plant.caller.client_id, [*LEAST, REPLICA_READ])
    before = plant.replicas()[0]

    plant.restart()
    starting = plant.replicas()[0]
    plant.clock.advance(seconds=61)
    after = plant.replicas()[0]

    assert ["Running", "NotRunning", "Running"] == [one.running_state for one in (before, starting, after)]
    assert [True, False, True] == [one.containers[0].ready for one in (before, starting, after)]
    assert (False, True) == (before.name == starting.name, starting.name == after.name)


def test_an_app_scaled_to_zero_starts_with_the_next_request(plant: Plant) -> None:
    """A restart starts nothing where nothing runs; whoever asks the app next wakes it, with fresh values."""
    app = plant.apps.add_app(
        plant.subscription, GROUP, "sleeper", reads={"DATABASE": ("plant", "database")}, replicas=0
    )
    revisions = plant.client().container_apps_revisions
    revisions.restart_revision(GROUP, "sleeper", "sleeper--0000001")
    shown = revisions.get_revision(GROUP, "sleeper", "sleeper--0000001")
    assert ("ScaledToZero", "Healthy", 0) == (shown.running_state, shown.health_state, shown.replicas)
    assert ({}, 1) == (app.holds, app.restarts)
    plant.vaults.set("plant", "database", "new value")

    assert 200 == requests.get(app.health_url, timeout=5).status_code

    assert {"DATABASE": "new value"} == app.holds
    assert "Running" == revisions.get_revision(GROUP, "sleeper", "sleeper--0000001").running_state


def test_an_inactive_revision_cannot_be_restarted(plant: Plant) -> None:
    """A revision that was retired is refused, and the one that replaced it is left alone."""
    plant.apps.add_revision(plant.api)

    with pytest.raises(HttpResponseError) as refused:
        plant.client().container_apps_revisions.restart_revision(GROUP, "api", "api--0000001")

    assert (400, 0) == (refused.value.status_code, plant.api.restarts)


def test_a_value_may_come_from_anywhere(plant: Plant) -> None:
    """What an app reads can be called for; a missing secret is read as nothing."""
    app = plant.apps.add_app(
        plant.subscription, GROUP, "odd", reads={"CALLED": lambda: "called", "MISSING": ("plant", "nothing")}
    )

    assert {"CALLED": "called", "MISSING": None} == app.holds
    shown = plant.client().container_apps.get(GROUP, "odd")
    assert shown.configuration
    assert ["called", "missing"] == [one.name for one in shown.configuration.secrets or []]


def test_what_an_app_holds_is_in_no_answer_and_in_no_repr(plant: Plant) -> None:
    """A failing test prints no value, and Resource Manager never tells one."""
    plant.apps.grant(plant.subscription, plant.caller.client_id, ["*"])
    paths = ["", "/revisions", "/revisions/api--0000001", "/revisions/api--0000001/replicas"]

    answers = [plant.request(plant.api.scope + path) for path in paths]

    assert [200] * len(paths) == [answer.status_code for answer in answers]
    assert "old value" not in repr(plant.api) + "".join(answer.text for answer in answers)


# -- the health page ------------------------------------------------------------------------------


@pytest.mark.parametrize(("page", "healthy", "ill"), [("json", '{"status":"%s"}', 503), ("text", "%s", 200)])
def test_a_health_page_says_how_the_app_is(plant: Plant, page: Any, healthy: str, ill: int) -> None:  # noqa: ANN401 - one of two words
    """It answers 200 and Healthy, or the status that the app has for Unhealthy, as JSON or plain text."""
    plant.api.page, plant.api.unhealthy_status = page, ill
    first = requests.get(plant.api.health_url, timeout=5)
    plant.api.heals = False
    second = requests.get(plant.api.health_url, timeout=5)

    assert [(200, healthy % "Healthy"), (ill, healthy % "Unhealthy")] == [
        (answer.status_code, answer.text) for answer in (first, second)
    ]


@pytest.mark.parametrize(("rolling", "status"), [(False, 503), (True, 200)])
def test_a_health_page_during_a_restart(plant: Plant, rolling: bool, status: int) -> None:
    """Nobody answers until the new replicas are ready, or the old ones do, with what they hold."""
    plant.api.rolling = rolling
    plant.api.heals = lambda holds: holds["DATABASE"] == "old value"
    plant.vaults.set("plant", "database", "wrong value")
    plant.restart()

    during = requests.get(plant.api.health_url, timeout=5)
    plant.clock.advance(seconds=61)
    after = requests.get(plant.api.health_url, timeout=5)

    assert (status, 503) == (during.status_code, after.status_code)
    assert {"status": "Unhealthy"} == after.json()


def test_there_is_a_page_at_each_active_revision_and_nowhere_else(plant: Plant) -> None:
    """A revision answers at its own host name; other paths, retired revisions and unknown apps are 404."""
    plant.apps.add_revision(plant.api)
    plant.apps.add_app(plant.subscription, GROUP, "silent", ingress=False)
    domain = plant.api.domain
    urls = ["api--0000002.{}/health", "api.{}/other", "api--0000001.{}/health", "nobody.{}/health", "silent.{}/health"]

    statuses = [requests.get(f"https://{url.format(domain)}", timeout=5).status_code for url in urls]

    assert [200, 404, 404, 404, 404] == statuses


# -- refusals -------------------------------------------------------------------------------------


def test_a_missing_token_is_answered_with_whom_to_ask(plant: Plant) -> None:
    """The 401 names the login of the tenant that the subscription trusts."""
    answer = requests.get(f"https://management.azure.com{plant.api.scope}?api-version={VERSION}", timeout=5)

    assert (401, "AuthenticationFailed") == (answer.status_code, answer.json()["error"]["code"])
    assert f'authorization_uri="https://login.microsoftonline.com/{plant.tenant}"' in answer.headers["WWW-Authenticate"]
    assert answer.headers["x-ms-request-id"]


def test_a_token_that_is_over_is_refused(plant: Plant) -> None:
    """Microsoft's client raises an authentication error for a 401, with the service's code."""
    client = plant.client()
    client.container_apps.get(GROUP, "api")
    plant.clock.advance(hours=2)

    with pytest.raises(ClientAuthenticationError) as refused:
        client.container_apps.get(GROUP, "api")

    assert "InvalidAuthenticationToken" == code(refused.value)


def test_a_token_for_something_else_is_refused(plant: Plant) -> None:
    """A token for Key Vault is of no use here; one for management's older name is."""
    wrong = plant.request(plant.api.scope, scope="https://vault.azure.net/.default")
    older = plant.request(plant.api.scope, scope="https://management.core.windows.net//.default")

    assert (401, "InvalidAuthenticationTokenAudience") == (wrong.status_code, wrong.json()["error"]["code"])
    assert 200 == older.status_code


def test_a_token_of_another_tenant_is_refused(plant: Plant) -> None:
    """A subscription trusts one tenant only."""
    elsewhere = plant.apps.add_subscription(plant.entra.add_tenant())

    with pytest.raises(ClientAuthenticationError) as refused:
        plant.client(elsewhere).container_apps.get(GROUP, "api")

    assert "InvalidAuthenticationTokenTenant" == code(refused.value)


@pytest.mark.parametrize(
    ("path", "version", "status", "expected"),
    [
        ("{app}", None, 400, "MissingApiVersionParameter"),
        ("{app}", "2019-01-01", 400, "NoRegisteredProviderFound"),
        ("{app}/providers/Microsoft.Authorization/permissions", VERSION, 400, "NoRegisteredProviderFound"),
        ("/subscriptions/none/resourceGroups/plant", VERSION, 400, "InvalidSubscriptionId"),
        ("{group}/providers/Microsoft.Web/sites/api", VERSION, 404, "InvalidResourceType"),
        ("{app}/revisions?%24skipToken=x&", VERSION, 400, "InvalidSkipToken"),
        ("{app}/revisions?%24filter=x&", VERSION, 400, "InvalidFilter"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(
    plant: Plant, path: str, version: str | None, status: int, expected: str
) -> None:
    """Resource Manager names what is wrong with a version, a subscription or a type."""
    group = f"/subscriptions/{plant.subscription}/resourceGroups/plant"
    answer = plant.request(path.format(app=plant.api.scope, group=group), version)

    assert (status, expected) == (answer.status_code, answer.json()["error"]["code"])


@pytest.mark.parametrize(
    ("subscription", "names", "expected"),
    [
        ("8d3b3b1c-0000-4000-8000-000000000000", (GROUP, "api", "api--0000001"), "SubscriptionNotFound"),
        (None, ("nowhere", "api", "api--0000001"), "ResourceGroupNotFound"),
        (None, (GROUP, "nobody", "nobody--0000001"), "ResourceNotFound"),
        (None, (GROUP, "api", "api--0000009"), "RevisionNotFound"),
    ],
)
def test_what_is_not_there_is_a_404_that_says_what(
    plant: Plant, subscription: str | None, names: tuple[str, str, str], expected: str
) -> None:
    """Subscription, group, app and revision each have a code of their own."""
    with pytest.raises(ResourceNotFoundError) as refused:
        plant.client(subscription).container_apps_revisions.restart_revision(*names)

    assert expected == code(refused.value)


def test_case_does_not_matter_in_a_path(plant: Plant) -> None:
    """Resource Manager compares names without regard to case."""
    answer = plant.request(f"{plant.api.scope}/revisions/api--0000001".upper())

    assert (200, "api--0000001") == (answer.status_code, answer.json()["name"])


def test_a_caller_without_the_right_is_told_which_and_where(plant: Plant) -> None:
    """The 403 names client, object id, action and scope, and nothing was restarted."""
    plant.apps.grant(plant.subscription, plant.caller.client_id, LEAST[:2])

    with pytest.raises(HttpResponseError) as refused:
        plant.restart()

    assert (403, "AuthorizationFailed", 0) == (refused.value.status_code, code(refused.value), plant.api.restarts)
    for part in (
        f"The client '{plant.caller.client_id}' with object id '{plant.caller.service_principal_id}'",
        "action 'Microsoft.App/containerApps/revisions/restart/action'",
        f"over scope '{plant.api.scope}/revisions/api--0000001'",
    ):
        assert part in refused.value.message


def test_a_right_holds_for_its_scope_and_below(plant: Plant) -> None:
    """One app's right is no other's; a group's is that of all apps in it, and of no group with a longer name."""
    other = plant.apps.add_app(plant.subscription, GROUP, "other")
    longer = plant.apps.add_app(plant.subscription, f"{GROUP}-2", "far")
    plant.apps.grant(plant.subscription, plant.caller.client_id, [])
    plant.apps.grant(other, plant.caller.client_id)

    statuses = [plant.request(app.scope).status_code for app in (plant.api, other, longer)]
    plant.apps.grant(f"/subscriptions/{plant.subscription}/resourceGroups/{GROUP}", plant.caller.client_id)
    after = [plant.request(app.scope).status_code for app in (plant.api, other, longer)]

    assert ([403, 200, 403], [200, 200, 403]) == (statuses, after)


def test_a_caller_may_ask_what_it_may(plant: Plant) -> None:
    """The permissions at a scope are those of every role there or above it, exceptions too."""
    plant.apps.grant(plant.subscription, plant.caller.client_id, ["*/read"])
    plant.apps.grant(plant.api, plant.caller.client_id, ["Microsoft.App/*"], ["*/restart/action"])

    at_app, at_subscription = (
        plant.request(f"{scope}/providers/Microsoft.Authorization/permissions", "2022-04-01").json()["value"]
        for scope in (plant.api.scope, f"/subscriptions/{plant.subscription}")
    )

    nothing: dict[str, list[str]] = {"dataActions": [], "notDataActions": []}
    assert [{"actions": ["*/read"], "notActions": [], **nothing}] == at_subscription
    assert [*at_subscription, {"actions": ["Microsoft.App/*"], "notActions": ["*/restart/action"], **nothing}] == at_app
    with pytest.raises(HttpResponseError, match="AuthorizationFailed"):
        plant.restart()


def test_asking_what_one_may_takes_a_right_too(plant: Plant) -> None:
    """The least rights do not include it."""
    path = f"{plant.api.scope}/providers/Microsoft.Authorization/permissions"
    refused = plant.request(path, "2022-04-01")
    plant.apps.grant(plant.subscription, plant.caller.client_id, [*LEAST, PERMISSIONS_READ])

    assert (403, 200) == (refused.status_code, plant.request(path, "2022-04-01").status_code)
    assert PERMISSIONS_READ in refused.json()["error"]["message"]


def test_a_throttled_client_is_told_when_to_come_back(plant: Plant) -> None:
    """Microsoft's client waits as long as it is told, and then has its answer."""
    plant.apps.throttle(1, retry_after=1)

    assert "api" == plant.client(retry_total=3).container_apps.get(GROUP, "api").name

    asked = [request for request in plant.wire.log if request.host == "management.azure.com"]
    assert [429, 200] == [request.status for request in asked]
    plant.apps.throttle(1, retry_after=17)
    answer = plant.request(plant.api.scope)
    assert ("17", "SubscriptionRequestsThrottled") == (answer.headers["Retry-After"], answer.json()["error"]["code"])


def test_a_restart_while_the_app_changes_is_a_conflict(plant: Plant) -> None:
    """It is refused with 409 and has no effect; the next one has."""
    plant.apps.conflict(1)

    with pytest.raises(HttpResponseError) as refused:
        plant.restart()
    assert (409, "ContainerAppLockConflict", 0) == (
        refused.value.status_code,
        code(refused.value),
        plant.api.restarts,
    )

    plant.restart()
    assert 1 == plant.api.restarts


def test_a_name_that_azure_would_refuse_is_refused(plant: Plant) -> None:
    """Names are small letters, digits and single hyphens, and one name is one host."""
    for name in ("API", "a--b", "-a", "1a", "api"):
        with pytest.raises(ValueError, match="app"):
            plant.apps.add_app(plant.subscription, "other-group", name)


def test_pages_link_to_the_next_by_full_address(plant: Plant) -> None:
    """The link keeps host, path and version, and the last page has none."""
    plant.apps.page_size = 1
    plant.apps.add_revision(plant.api)

    first = plant.request(f"{plant.api.scope}/revisions").json()
    link = urlsplit(first["nextLink"])
    second = plant.request(f"{link.path}?%24skipToken={parse_qs(link.query)['$skipToken'][0]}").json()

    assert ("https", "management.azure.com", [VERSION]) == (
        link.scheme,
        link.hostname,
        parse_qs(link.query)["api-version"],
    )
    assert (["api--0000002"], False) == ([one["name"] for one in second["value"]], "nextLink" in second)


# -- lists, and secrets -------------------------------------------------------------------------


def test_microsofts_client_lists_the_apps_of_a_subscription_and_of_a_group(plant: Plant) -> None:
    """Both lists show an app as it shows alone; a group has its own apps only."""
    plant.apps.add_app(plant.subscription, "other", "worker")
    client = plant.client().container_apps

    everywhere = {one.name for one in client.list_by_subscription()}
    here = list(client.list_by_resource_group(GROUP))

    assert {"api", "worker"} == everywhere
    assert [client.get(GROUP, "api").as_dict()] == [one.as_dict() for one in here]


def test_a_list_of_secrets_has_their_values_and_takes_a_right_of_its_own(plant: Plant) -> None:
    """Whoever may restart an app may not read what it holds; with the right, Microsoft's client gets the values."""
    with pytest.raises(HttpResponseError) as refused:
        plant.client().container_apps.list_secrets(GROUP, "api")
    plant.apps.grant(plant.api, plant.caller.client_id, [SECRETS_LIST])
    [secret] = plant.client().container_apps.list_secrets(GROUP, "api").value

    assert (403, "AuthorizationFailed") == (refused.value.status_code, code(refused.value))
    assert ("database", "old value") == (secret.name, secret.value)
    assert "https://plant.vault.azure.net/secrets/database" == secret.key_vault_url


def test_a_lock_lets_secrets_be_listed(plant: Plant) -> None:
    """It is sent as a POST, but changes nothing."""
    plant.apps.grant(plant.api, plant.caller.client_id, [SECRETS_LIST])
    plant.apps.lock(plant.api.scope)

    assert 200 == plant.request(f"{plant.api.scope}/listSecrets", method="POST").status_code


def test_a_caller_finds_the_subscriptions_where_it_has_any_right(plant: Plant) -> None:
    """A right at one app is enough; a subscription without any, or of another tenant, is not there."""
    plant.apps.grant(plant.subscription, plant.caller.client_id, [])
    plant.apps.add_subscription(plant.tenant)
    plant.apps.add_subscription(plant.entra.add_tenant(name="Other"))

    def found() -> list[str]:
        answer = plant.request("/subscriptions", "2022-12-01")
        assert 200 == answer.status_code
        return [one["subscriptionId"] for one in answer.json()["value"]]

    before = found()
    plant.apps.grant(plant.api, plant.caller.client_id)

    assert ([], [plant.subscription]) == (before, found())
    tenants = plant.request("/tenants", "2022-12-01").json()["value"]
    assert [plant.tenant] == [one["tenantId"] for one in tenants]


def test_a_subscription_and_its_groups_are_read_with_the_right_to(plant: Plant) -> None:
    """They show state and place; a group of that name must be there."""
    path = f"/subscriptions/{plant.subscription}"
    refused = [plant.request(f"{path}{rest}", "2022-12-01").status_code for rest in ("", "/resourceGroups")]
    plant.apps.grant(plant.subscription, plant.caller.client_id, ["*/read"])
    plant.apps.disable(plant.subscription)

    shown = plant.request(path, "2022-12-01").json()
    [group] = plant.request(f"{path}/resourceGroups", "2022-09-01").json()["value"]

    assert [403, 403] == refused
    assert (plant.tenant, "Disabled") == (shown["tenantId"], shown["state"])
    assert (GROUP, f"{path}/resourceGroups/{GROUP}") == (group["name"], group["id"])
    assert group == plant.request(f"{path}/resourcegroups/{GROUP.upper()}", "2022-09-01").json()
    missing = plant.request(f"{path}/resourceGroups/none", "2022-09-01")
    assert (404, "ResourceGroupNotFound") == (missing.status_code, missing.json()["error"]["code"])
    assert "Registered" == plant.request(f"{path}/providers/Microsoft.App", "2022-09-01").json()["registrationState"]
