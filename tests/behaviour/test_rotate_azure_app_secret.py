"""`rotate_azure_app_secret`, run as the Gateway does: what is particular to Entra's client secrets."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone
from typing import Any, Final

import pytest

from sandbox.faults import Fault, Rule
from sandbox.log import Request
from sandbox.plant import CLOUDS, VAULT, AzureAppPlant, on_loopback
from sandbox.services import keeper
from tests.behaviour.conftest import Idle
from tests.support.in_process import InProcess
from tests.support.invariants import (
    Script,
    assert_looks,
    assert_refuses,
    assert_rotates,
    assert_true_state,
    custom_fields,
    in_keeper,
)
from tests.support.refusals import assert_refused, with_field

MakePlant = Callable[..., AzureAppPlant]

OWNED: Final = "Application.ReadWrite.OwnedBy"
ALL: Final = "Application.ReadWrite.All"


@pytest.fixture(scope="session")
def script(make_script: Callable[..., Script]) -> Script:
    """Return the script as it is attached."""
    return make_script("rotate_azure_app_secret")


@pytest.fixture(scope="module")
def in_process() -> InProcess:
    """Return the script in this process: a setting is refused by its own code alone."""
    return InProcess("rotate_azure_app_secret")


@pytest.fixture
def make_plant() -> Iterator[MakePlant]:
    """Return a maker of plants on loopback; all of them stop with the test."""
    with ExitStack() as started:
        yield lambda **options: started.enter_context(on_loopback(AzureAppPlant, **options))


@pytest.fixture
def plant(make_plant: MakePlant) -> AzureAppPlant:
    """Return the plant most tests need: mirrored, the admin's record attached."""
    return make_plant()


def requests_to(plant: AzureAppPlant, ending: str) -> list[Request]:
    """Return the requests whose path ends so, in order."""
    return [request for request in plant.wire.log if request.path.endswith(ending)]


def logins_with(plant: AzureAppPlant, value: str) -> list[Request]:
    """Return the token requests with a secret."""
    # A form writes a tilde as it is or as %7E.
    return [r for r in requests_to(plant, "/token") if value in r.body.decode().replace("%7E", "~")]


# -- what is asked of Graph -----------------------------------------------------------------------


def test_each_step_is_told_in_order(script: Script, plant: AzureAppPlant) -> None:
    """The output names the application, the new secret, each place of it, and the deleted secret."""
    result = assert_rotates(script, plant)

    new = in_keeper(plant)[0]
    steps = [
        f"Retrieved application: Reports, found by its object id {plant.target.object_id}",
        f"Found 1 client secret of application {plant.target.object_id} (Reports)",
        f"Generated new client secret with ID: {new} (expires ",
        "Verified: the new secret logs in",
        f"Stored in Keeper record 'Azure application secret: Reports' ({plant.user_uid}): client_secret_id, ",
        f"Stored in Azure Key Vault {VAULT} as: azure-app-{plant.target.object_id}-secret-id",
        f"Stored in Azure Key Vault {VAULT} as: azure-app-{plant.target.object_id}-secret",
        f"Deleted client secret: {plant.old_key_id} ('made by hand')",
        "Key rotation completed successfully!",
    ]
    lines = iter(result.stdout.splitlines())
    assert [] == [step for step in steps if not any(line.startswith(step) for line in lines)], result.stdout


def test_the_secret_is_asked_for_once_with_name_and_end(script: Script, plant: AzureAppPlant) -> None:
    """One request makes the secret: its name carries record and rotation, its end is a year away."""
    assert_rotates(script, plant)

    made = requests_to(plant, "/addPassword")
    assert 1 == len(made)
    asked = json.loads(made[0].body)["passwordCredential"]
    assert {"displayName", "endDateTime"} == set(asked)
    assert re.fullmatch(rf"keeper:{plant.user_uid}:\d{{8}}T\d{{6}}Z-[0-9a-f]{{8}}", asked["displayName"])
    rotated_at, expires = (plant.keeper.value(plant.user_uid, label) or "" for label in ("rotated_at", "expires"))
    assert expires == asked["endDateTime"]
    assert timedelta(days=365) == moment(expires) - moment(rotated_at)


def moment(text: str) -> datetime:
    """Read a time as the record has it."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)


def test_expiry_days_sets_the_life_of_the_secret(script: Script, plant: AzureAppPlant) -> None:
    """The secret at Entra ends after as many days as the record says."""
    plant.set_field("expiry_days", "7")

    assert_rotates(script, plant)

    (made,) = plant.issued()
    assert made.expires_at is not None
    assert abs(made.expires_at - plant.clock.now() - timedelta(days=7)) < timedelta(minutes=2)


def test_the_object_or_the_client_may_be_named(script: Script, plant: AzureAppPlant) -> None:
    """The portal shows two ids side by side: both are taken, and the output says which it was."""
    plant.set_field("application_object_id", plant.target.client_id)
    plant.name_secrets(f"azure-app-{plant.target.client_id}")

    result = assert_rotates(script, plant)

    assert f"Reports, found by its client id {plant.target.client_id}" in result.stdout
    assert plant.old_key_id != assert_true_state(plant)


def test_a_secret_without_a_name_goes_like_any_other(script: Script, plant: AzureAppPlant) -> None:
    """Secrets made elsewhere may have no display name at all."""
    plant.add_key("")

    assert_rotates(script, plant)

    assert_true_state(plant)


def test_a_prefix_and_a_full_address_of_the_vault_are_taken(script: Script, plant: AzureAppPlant) -> None:
    """`secret_name_prefix` begins the names, and `key_vault_name` may be the vault's https address."""
    plant.set_field("secret_name_prefix", "plant-7")
    plant.set_field("key_vault_name", plant.vault_url)
    plant.name_secrets(f"plant-7-{plant.application_object_id}")

    assert_rotates(script, plant)

    assert_true_state(plant)


# -- whose credential -----------------------------------------------------------------------------


@pytest.mark.parametrize("admin", ["attached", "configuration", "environment"])
def test_the_admin_application_is_found(admin: str, script: Script, make_plant: MakePlant) -> None:
    """An attached record first, then the PAM Configuration, then the host's own identity."""
    plant = make_plant(admin=admin)

    assert_rotates(script, plant)
    assert_rotates(script, plant)

    assert_true_state(plant)
    makers = {request.headers["authorization"].partition(" ")[2] for request in requests_to(plant, "/addPassword")}
    assert {plant.azure_app.client_id} == {(plant.entra.token_claims(token) or {})["appid"] for token in makers}


def test_no_credential_anywhere_is_told(script: Script, make_plant: MakePlant) -> None:
    """Without record, configuration and identity of the host, the three places are named."""
    plant = make_plant(admin="environment", mirrored=False)
    plant.set_field("deadline_seconds", "10")
    # The host that runs the tests may be a virtual machine with an identity of its own.
    nowhere = {"AZURE_POD_IDENTITY_AUTHORITY_HOST": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1"}
    unset = dict.fromkeys(("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"))

    assert_refuses(
        script,
        plant,
        1,
        "attached record, PAM Configuration, or managed identity",
        environment={**nowhere, **unset},
    )


@pytest.mark.parametrize("named", ["object_id", "client_id"])
@pytest.mark.parametrize("hidden", ["secret", "text"])
@pytest.mark.parametrize("first_time", [False, True])
def test_a_record_made_for_keepers_sample_script_rotates_as_it_is(
    named: str, hidden: str, first_time: bool, script: Script, make_plant: MakePlant
) -> None:
    """The published labels, the admin in the PAM Configuration: no field has to be touched."""
    plant = make_plant(admin="configuration", mirrored=False, first_time=first_time)
    values = {
        "application_object_id": getattr(plant.target, named),
        "client_secret_id": "" if first_time else plant.old_key_id,
        "client_secret": "" if first_time else plant.old_password,
        "expires": "" if first_time else "2026-12-22 07:15:02.1234567+00:00",
        "NOOP": "True",
        # Keeper's own guides spell it so.
        "Private Key Type": "rsa-ssh",
    }

    def as_published(data: dict[str, Any]) -> None:
        kinds = {"client_secret": hidden}
        data["custom"] = [
            {"type": kinds.get(label, "text"), "label": label, "value": [value] if value else []}
            for label, value in values.items()
        ]

    plant.keeper.edit(plant.user_uid, as_published)

    assert_rotates(script, plant)
    assert_rotates(script, plant)

    assert plant.old_key_id != assert_true_state(plant)
    for label in ("application_object_id", "NOOP", "Private Key Type"):
        assert [values[label]] == [item["value"][0] for item in custom_fields(plant, label)]


# -- an application that rotates itself -----------------------------------------------------------


@pytest.mark.parametrize("attached", [False, True], ids=["as-it-is", "attached-to-its-own-script"])
def test_an_application_may_rotate_the_secret_it_logs_in_with(
    attached: bool, script: Script, make_plant: MakePlant
) -> None:
    """Where the PAM User record is where that credential stands, each run starts from what the last one left."""
    plant = make_plant(admin="itself")
    if attached:
        plant.attached = [plant.user_uid]

    for _ in range(3):
        assert_rotates(script, plant)
        assert_true_state(plant)

    assert not plant.logs_in(plant.old_key_id, plant.old_password)


def log_in_as_the_target(plant: AzureAppPlant, uid: str, labels: tuple[str, str, str]) -> None:
    """Enter the target's own credential into a record, with every right it could need."""
    plant.graph.grant(plant.target.client_id, ALL)
    plant.key_vault.grant(VAULT, plant.target.client_id)
    values = (plant.tenant_id, plant.target.client_id, plant.old_password)
    for label, value in zip(labels, values, strict=True):
        plant.set_field(label, value, uid)


@pytest.mark.parametrize("named", ["object_id", "client_id"])
@pytest.mark.parametrize("where", ["attached", "configuration"])
def test_a_secret_that_nobody_would_enter_where_it_is_used_is_refused(
    where: str, named: str, script: Script, make_plant: MakePlant
) -> None:
    """The application that the script logs in as, from elsewhere than the record, would be locked out."""
    plant = make_plant(admin=where)
    plant.set_field("application_object_id", getattr(plant.target, named))
    if where == "attached":
        log_in_as_the_target(plant, plant.attached[0], ("tenant_id", "application_client_id", "client_secret"))
    else:
        log_in_as_the_target(plant, plant.configuration_uid, ("Tenant Id", "Client Id", "Client Secret"))

    assert_refuses(script, plant, 2, "the application that the script itself logs in as", "as another application")


def test_the_hosts_own_identity_is_not_rotated(script: Script, make_plant: MakePlant) -> None:
    """Nobody would enter the new secret into the host's environment."""
    plant = make_plant(admin="environment")
    plant.graph.grant(plant.target.client_id, ALL)
    plant.key_vault.grant(VAULT, plant.target.client_id)
    identity = {"AZURE_CLIENT_ID": plant.target.client_id, "AZURE_CLIENT_SECRET": plant.old_password}

    assert_refuses(script, plant, 2, "the application that the script itself logs in as", environment=identity)


# -- Entra takes its time -------------------------------------------------------------------------


def test_a_secret_that_spreads_slowly_is_waited_for(script: Script, plant: AzureAppPlant) -> None:
    """Refused for two seconds, then let in by some replicas only: stored once three logins in a row succeeded."""
    plant.graph.propagation_seconds = 2
    plant.graph.flapping = (True, False, True, True, False)

    assert_rotates(script, plant)

    assert_true_state(plant)
    stored = next(r.number for r in requests_to(plant, "/update_secret") if r.number > made(plant).number)
    before = [request.status for request in logins_with(plant, in_keeper(plant)[1]) if request.number < stored]
    assert [401, 200, 401, 200, 200, 401, 200, 200, 200] == before[-9:]
    assert {401} == set(before[:-8])


def made(plant: AzureAppPlant) -> Request:
    """Return the request that made the secret."""
    return requests_to(plant, "/addPassword")[0]


def test_a_secret_that_is_never_let_in_is_put_back(script: Script, plant: AzureAppPlant) -> None:
    """Still refused at the end of the time to settle: exit 1, the code named, the secret gone, all as before."""
    plant.graph.propagation_seconds = 3600
    plant.set_field("settling_seconds", "3")

    result = assert_refuses(script, plant, 1, "log in with client secret", "401", "AADSTS7000215", written=True)

    assert 3 < result.seconds < 25
    assert [plant.old_key_id] == [key.key_id for key in plant.issued()]


def test_the_time_to_settle_is_bounded_by_its_own_setting(script: Script, plant: AzureAppPlant) -> None:
    """With no time to settle, a secret that needs two seconds is put back at the first refusal."""
    plant.graph.propagation_seconds = 2
    plant.set_field("settling_seconds", "0")

    assert_refuses(script, plant, 1, "AADSTS7000215", written=True)

    assert 1 == len([r for r in requests_to(plant, "/token") if r.status == 401])


@pytest.mark.parametrize("value", ["-1", "601", "a minute"])
def test_a_time_to_settle_that_cannot_be_is_refused(value: str, in_process: InProcess, idle: Idle) -> None:
    """The line names the field and its bounds."""
    plant = idle(AzureAppPlant)
    result = in_process.run(plant, with_field(plant, "settling_seconds", value))

    assert_refused(plant, result, "'settling_seconds'", "a whole number from 0 to 600")
    assert [] == plant.wire.log


@pytest.mark.parametrize("status", [400, 409, 503])
@pytest.mark.parametrize("change", ["addPassword", "removePassword"])
def test_a_change_that_met_another_one_is_made_again(
    change: str, status: int, script: Script, plant: AzureAppPlant
) -> None:
    """Graph refuses one of two changes at once, under either status: the same again goes through, once."""

    async def have_others_at_work(_request: Request) -> None:
        plant.graph.concurrent_refusals(2, status)

    if change == "addPassword":
        plant.graph.concurrent_refusals(2, status)
    else:
        plant.wire.rules.append(Rule(Fault(after=have_others_at_work), path="*/addPassword"))

    result = script.run(plant)

    assert 0 == result.returncode, result.stderr
    assert_true_state(plant)
    answers = [request.status for request in requests_to(plant, f"/{change}")]
    assert [status, status] == answers[:2]
    assert 1 == len([each for each in answers if each < 300])


@pytest.mark.parametrize("lag", [1, 3])
def test_a_listing_that_is_behind_does_not_mislead(lag: int, script: Script, plant: AzureAppPlant) -> None:
    """Reads that show an application as it was before the change end in the true state all the same."""
    plant.graph.read_lag = lag
    plant.add_key("another")

    result = script.run(plant)

    assert 0 == result.returncode, result.stderr
    assert_true_state(plant)


@pytest.mark.parametrize("lag", [1, 3])
def test_a_new_secret_that_cannot_be_removed_at_once_is_removed(lag: int, script: Script, plant: AzureAppPlant) -> None:
    """Where the secret that is put back is not found by the first removals, it goes in the end."""
    plant.graph.removal_lag = lag
    plant.graph.propagation_seconds = 3600
    plant.set_field("settling_seconds", "1")

    result = script.run(plant)

    assert 1 == result.returncode, result.stderr
    assert [plant.old_key_id] == [key.key_id for key in plant.issued()]
    assert (plant.old_key_id, plant.old_password) == in_keeper(plant)
    assert lag + 1 == len(requests_to(plant, "/removePassword"))


def test_throttling_is_waited_out(script: Script, plant: AzureAppPlant) -> None:
    """A 429 is asked again after as many seconds as Graph says."""
    plant.graph.throttle(2, retry_after=1)

    result = assert_rotates(script, plant)

    assert_true_state(plant)
    assert result.seconds > 2


# -- rights ---------------------------------------------------------------------------------------


def without_any(plant: AzureAppPlant) -> None:
    """Take every right at Graph away."""
    plant.graph.grant(plant.azure_app.client_id)


def reading_only(plant: AzureAppPlant) -> None:
    """Leave the right to read applications."""
    plant.graph.grant(plant.azure_app.client_id, "Application.Read.All")


def without_ownership(plant: AzureAppPlant) -> None:
    """Have an application rotated that the admin application does not own."""
    other = plant.entra.add_application(plant.tenant_id, "Somebody else's")
    plant.set_field("application_object_id", other.object_id)


@pytest.mark.parametrize(
    ("set_up", "action", "written"),
    [
        (without_any, "read application", False),
        (reading_only, "create client secret", True),
        (without_ownership, "create client secret", True),
    ],
)
def test_a_missing_right_at_graph_is_told(
    set_up: Callable[[AzureAppPlant], None], action: str, written: bool, script: Script, plant: AzureAppPlant
) -> None:
    """A 403 is not asked again; the line names the right to grant, and that it needs ownership."""
    set_up(plant)

    assert_refuses(script, plant, 1, action, "403", OWNED, "owner", ALL, written=written)

    assert 1 == len([request for request in plant.wire.log if request.status == 403])


@pytest.mark.parametrize("how", ["dry-run", "check"])
@pytest.mark.parametrize(
    ("set_up", "parts"),
    [
        (without_any, (OWNED, "owner", ALL)),
        (reading_only, ("may not make client secrets", OWNED, "owner", ALL)),
        (without_ownership, (f"has {OWNED}, but does not own application", "make it an owner")),
    ],
)
def test_a_missing_right_at_graph_is_found_by_looking(
    set_up: Callable[[AzureAppPlant], None], parts: tuple[str, ...], how: str, script: Script, plant: AzureAppPlant
) -> None:
    """What a rotation would fail for is told without making a secret: exit 1, one line."""
    set_up(plant)

    result = assert_looks(script, plant, how)

    assert 1 == result.returncode, result.stderr
    assert 1 == len(result.stderr.splitlines())
    assert [] == [part for part in parts if part not in result.stderr], result.stderr


@pytest.mark.parametrize("how", ["dry-run", "check"])
def test_the_right_to_all_applications_needs_no_ownership(how: str, script: Script, plant: AzureAppPlant) -> None:
    """With Application.ReadWrite.All nobody is asked who owns what."""
    without_ownership(plant)
    plant.graph.grant(plant.azure_app.client_id, ALL)

    result = assert_looks(script, plant, how)

    assert (0, "") == (result.returncode, result.stderr)
    assert [] == requests_to(plant, "/owners")


def test_an_owner_on_the_second_page_is_found(script: Script, plant: AzureAppPlant) -> None:
    """Of a hundred and two owners the last one counts as much as the first."""
    for number in range(100):
        owner = plant.entra.add_application(plant.tenant_id, f"Owner {number}")
        plant.graph.add_owner(plant.target.object_id, owner.client_id)
    late, secret = plant.add_azure_app("Late")
    plant.graph.grant(late.client_id, OWNED)
    plant.graph.add_owner(plant.target.object_id, late.client_id)
    plant.key_vault.grant(VAULT, late.client_id)
    plant.set_field("application_client_id", late.client_id, plant.attached[0])
    plant.set_field("client_secret", secret, plant.attached[0])

    result = assert_looks(script, plant, "check")

    assert (0, "") == (result.returncode, result.stderr)
    assert 2 == len(requests_to(plant, "/owners"))


def test_a_vault_without_rights_is_told_before_a_secret_is_made(script: Script, plant: AzureAppPlant) -> None:
    """The role that the vault lacks is named while nothing is changed."""
    plant.key_vault.grant(VAULT, plant.azure_app.client_id, {"list", "set"})

    assert_refuses(script, plant, 1, "key vault: read secret", "403", "grant the role 'Key Vault Secrets Officer'")


# -- what Entra refuses ---------------------------------------------------------------------------


def wrong_secret(plant: AzureAppPlant) -> None:
    """Enter a value that is no secret of the admin application."""
    plant.set_field("client_secret", "not~the~secret~of~the~application", plant.attached[0])


def expired_secret(plant: AzureAppPlant) -> None:
    """Enter a secret of the admin application that has ended."""
    _, value = plant.entra.add_secret(plant.azure_app.client_id, expires_in_days=-1)
    plant.set_field("client_secret", value, plant.attached[0])


def unknown_application(plant: AzureAppPlant) -> None:
    """Enter a client id that nobody has."""
    plant.set_field("application_client_id", "00000000-0000-4000-8000-000000000001", plant.attached[0])


def unknown_tenant(plant: AzureAppPlant) -> None:
    """Enter a tenant that Entra does not know."""
    plant.set_field("tenant_id", "00000000-0000-4000-8000-000000000000", plant.attached[0])


@pytest.mark.parametrize(
    ("set_up", "parts"),
    [
        (wrong_secret, ("AADSTS7000215", "'client_secret'", "not its id")),
        (expired_secret, ("AADSTS7000222", "expired")),
        (unknown_application, ("AADSTS700016", "'application_client_id'")),
        (unknown_tenant, ("check 'tenant_id'",)),
    ],
)
def test_an_admin_that_entra_refuses_is_told(
    set_up: Callable[[AzureAppPlant], None], parts: tuple[str, ...], script: Script, make_plant: MakePlant
) -> None:
    """Of Entra's refusals the code and the field to look at are told, and not its long text."""
    plant = make_plant(mirrored=False)
    set_up(plant)

    result = assert_refuses(script, plant, 1, "no token from Entra", *parts)

    assert "Trace ID" not in result.stderr


def test_an_unknown_application_is_told(script: Script, plant: AzureAppPlant) -> None:
    """An id that is neither an object's nor a client's points to the field."""
    plant.set_field("application_object_id", "00000000-0000-4000-8000-000000000000")

    assert_refuses(script, plant, 1, "read application 00000000", "404", "check 'application_object_id'")


# -- bad input ------------------------------------------------------------------------------------

SETTINGS = [
    ("application_object_id", "", "'application_object_id' is empty"),
    ("application_object_id", "<object id of the application>", "'application_object_id' is empty"),
    *[
        ("application_object_id", value, "36 characters")
        for value in ("Reports", "../me/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "0fe1", "g" * 36, "a" * 37)
    ],
    *[("expiry_days", value, "a whole number from 1 to 730") for value in ("0", "731", "forever", "1.5")],
]


@pytest.mark.parametrize(("label", "value", "way_out"), SETTINGS, ids=[f"{it[0]}={it[1][:20]}" for it in SETTINGS])
def test_a_setting_that_cannot_be_is_refused(
    label: str, value: str, way_out: str, in_process: InProcess, idle: Idle
) -> None:
    """The line names the field and what it takes, before anything is asked of any system."""
    plant = idle(AzureAppPlant)

    assert_refused(plant, in_process.run(plant, with_field(plant, label, value)), f"'{label}'", way_out)

    assert [] == plant.wire.log


# -- clouds ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("admin", ["attached", "configuration", "environment", "itself"])
@pytest.mark.parametrize("cloud", ["usgovernment", "china"])
def test_a_sovereign_cloud_is_named_once(cloud: str, admin: str, script: Script, make_plant: MakePlant) -> None:
    """`azure_cloud`, on the attached record or the PAM Configuration, moves login, Graph and vault together."""
    plant = make_plant(cloud=cloud, admin=admin)

    assert_rotates(script, plant)

    assert_true_state(plant)
    hosts = CLOUDS[cloud]
    wanted = {"keepersecurity.com", hosts.authorities[0], hosts.graph, f"{VAULT}.{hosts.vaults}"}
    assert wanted == {request.host for request in plant.wire.log}
    assert [] == plant.wire.refused


def test_an_application_that_rotates_itself_may_name_its_cloud(script: Script, make_plant: MakePlant) -> None:
    """Where the PAM User record is the admin record, `azure_cloud` stands there too."""
    plant = make_plant(cloud="usgovernment", admin="itself")
    plant.set_field("azure_cloud", "", plant.configuration_uid)
    plant.set_field("azure_cloud", "usgovernment")

    assert_rotates(script, plant)

    assert_true_state(plant)


@pytest.mark.parametrize("word", ["public", "Public", "US Government", "us_government", "USGovernment", "China"])
def test_a_cloud_may_be_spelled_in_any_way(word: str, script: Script, make_plant: MakePlant) -> None:
    """Case, blanks and underscores do not matter."""
    plant = make_plant(cloud=word.lower().replace(" ", "").replace("_", ""), mirrored=False)
    plant.set_field("azure_cloud", word, plant.attached[0])

    assert_rotates(script, plant)

    assert_true_state(plant)


def test_an_unknown_cloud_is_refused(in_process: InProcess, plant: AzureAppPlant) -> None:
    """The line names the record, the field, and the clouds there are."""
    plant.set_field("azure_cloud", "moon", plant.attached[0])

    assert_refuses(
        in_process, plant, 2, "'Azure admin'", "'azure_cloud' is 'moon'", "'public' or 'usgovernment' or 'china'"
    )

    assert [] == plant.wire.log


def test_a_related_resource_is_not_taken_for_the_admin(script: Script, plant: AzureAppPlant) -> None:
    """A machine that the user belongs to, with a login of its own, does not get in the way."""
    resource = plant.keeper.add_record(
        "pamMachine", "Host", fields=[keeper.login("root"), keeper.password("a password of the host")]
    )
    stdin = plant.gateway.payload(plant.user_uid, attached=plant.attached, resource_uid=resource)

    assert_rotates(script, plant, stdin=stdin)

    assert_true_state(plant)
