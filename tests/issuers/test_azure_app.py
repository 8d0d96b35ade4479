"""What stands in the way of a new client secret, and what logs in beside it: seen before anything is made."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import pytest

from pam_scripts.issuers.azure_app.policy import FREE, Policy, judge
from sandbox import faults
from sandbox.faults import Rule
from sandbox.gateway import RotationResult
from sandbox.plant import AzureAppPlant, on_loopback
from sandbox.services.graph import DIRECTORY_ROLES, Role
from tests.support.in_process import InProcess
from tests.support.invariants import State, assert_as_before, assert_silent, assert_true_state, writes

OWNED: Role = "Application.ReadWrite.OwnedBy"


@pytest.fixture(scope="module")
def script() -> InProcess:
    """Return the script in this process."""
    return InProcess("rotate_azure_app_secret")


@pytest.fixture
def plant() -> Iterator[AzureAppPlant]:
    """Return a plant without a mirror: what is tried here is all Entra's."""
    with ExitStack() as stack:
        yield stack.enter_context(on_loopback(AzureAppPlant, mirrored=False))


def refused(script: InProcess, plant: AzureAppPlant, status: int, *parts: str, written: bool = False) -> RotationResult:
    """Run, and check for the status, one error line with all the parts, and that all is as it was."""
    before = State.of(plant)
    result = script.run(plant)
    assert status == result.returncode, result.stderr
    (line,) = result.stderr.splitlines()
    assert [] == [part for part in parts if part not in line], line
    assert written == bool(writes(plant.wire.log))
    assert_as_before(plant, before)
    assert_silent(plant, result)
    return result


def checks(plant: AzureAppPlant) -> None:
    """Have the next run look only."""
    plant.set_field("dry_run", "True")


# -- policies -------------------------------------------------------------------------------------


def may_read_policies(plant: AzureAppPlant) -> None:
    """Grant the right to read them beside the other one."""
    plant.graph.grant(plant.azure_app.client_id, OWNED, "Policy.Read.All")


@pytest.mark.parametrize(
    ("policy", "parts"),
    [
        ({"longest": "P90D"}, ("secrets of a shorter life", "'expiry_days' can be 90 at most")),
        ({"forbidden": True}, ("policy forbids client secrets", "exempt the application")),
    ],
    ids=["lifetime", "type"],
)
def test_a_policy_is_named_with_field_and_limit(
    policy: dict[str, Any], parts: tuple[str, ...], script: InProcess, plant: AzureAppPlant
) -> None:
    """By a rotation, which is refused and leaves nothing; and by a look before, where the policies may be read."""
    plant.graph.restrict(**policy)
    may_read_policies(plant)

    refused(script, plant, 1, *parts, "nothing changed", written=True)

    plant.wire.log.clear()
    checks(plant)
    refused(script, plant, 1, *parts, "nothing changed")


def test_a_policy_that_may_not_be_read_is_told_by_its_refusal(script: InProcess, plant: AzureAppPlant) -> None:
    """A look finds nothing then, and the rotation names the field."""
    plant.graph.restrict(longest="P90D")
    checks(plant)
    assert 0 == script.run(plant).returncode

    plant.set_field("dry_run", "False")
    plant.wire.log.clear()
    refused(script, plant, 1, "CredentialInvalidLifetimeAsPerAppPolicy", "lower 'expiry_days'", written=True)


def test_the_applications_own_policy_goes_before_the_tenants(script: InProcess, plant: AzureAppPlant) -> None:
    """It may allow what the tenant's forbids, and neither a look nor a rotation says otherwise."""
    plant.graph.restrict(forbidden=True)
    plant.graph.restrict(longest="P400D", object_id=plant.target.object_id)
    may_read_policies(plant)
    checks(plant)
    assert 0 == script.run(plant).returncode

    plant.set_field("dry_run", "False")
    assert 0 == script.run(plant).returncode
    assert_true_state(plant)


@pytest.mark.parametrize(
    ("rules", "found"),
    [
        ([{"restrictionType": "passwordLifetime", "maxLifetime": "P4DT12H"}], Policy(longest=timedelta(days=4.5))),
        ([{"restrictionType": "passwordLifetime", "maxLifetime": "P12M"}], Policy(longest=timedelta(days=365))),
        ([{"restrictionType": "passwordLifetime", "maxLifetime": "P1Y6M"}], Policy(longest=timedelta(days=545))),
        ([{"restrictionType": "passwordLifetime", "maxLifetime": "soon"}], FREE),
        ([{"restrictionType": "passwordAddition", "state": "enabled"}], Policy(forbidden=True)),
        ([{"restrictionType": "passwordAddition", "state": "disabled"}], FREE),
        (
            [{"restrictionType": "passwordAddition", "restrictForAppsCreatedAfterDateTime": "2025-01-01T00:00:00Z"}],
            FREE,
        ),
        ([{"restrictionType": "customPasswordAddition"}, {"restrictionType": "symmetricKeyAddition"}], FREE),
        ("nonsense", FREE),
    ],
)
def test_a_policy_is_read_as_graph_writes_it(rules: object, found: Policy) -> None:
    """Durations of ISO 8601, rules that are switched off, and those for younger applications only."""
    assert found == judge({"passwordCredentials": rules}, True, {"createdDateTime": "2024-05-01T00:00:00.1234567Z"})
    assert FREE == judge({"passwordCredentials": rules}, False, {})


# -- other limits ---------------------------------------------------------------------------------


def test_personal_accounts_leave_no_room_for_keys_that_are_kept(script: InProcess, plant: AzureAppPlant) -> None:
    """Two secrets at most: the old and the new; so none can be kept, which is said before anything is made."""
    plant.target.audience = "AzureADandPersonalMicrosoftAccount"
    plant.set_field("keep_previous_keys", "1")
    refused(script, plant, 2, "two client secrets at most", "set 'keep_previous_keys' to 0")

    plant.set_field("keep_previous_keys", "0")
    assert 0 == script.run(plant).returncode
    assert_true_state(plant)


def test_personal_accounts_with_two_secrets_have_no_room(script: InProcess, plant: AzureAppPlant) -> None:
    """An expired one counts, too; which ones there are is said."""
    plant.target.audience = "PersonalMicrosoftAccount"
    expired, _ = plant.add_key("left over", expires_in_days=-1)

    refused(script, plant, 1, "two client secrets at most", expired, plant.old_key_id, "delete the one")


def test_a_quota_is_no_missing_right(script: InProcess, plant: AzureAppPlant) -> None:
    """The same status, another way out."""
    plant.graph.exhaust_quota()

    result = refused(script, plant, 1, "403", "Directory_QuotaExceeded", "quota of directory objects", written=True)
    assert "grant" not in result.stderr


def test_the_id_of_the_enterprise_application_is_told_from_a_wrong_one(script: InProcess, plant: AzureAppPlant) -> None:
    """The portal shows three ids; this one leads to the page whose id it is not."""
    plant.set_field("application_object_id", plant.target.service_principal_id)
    refused(script, plant, 1, "404", "object id of an enterprise application", "app registration")

    plant.set_field("application_object_id", "00000000-0000-4000-8000-000000000000")
    refused(script, plant, 1, "404", "no application has this id")


# -- rights ---------------------------------------------------------------------------------------


def by_directory_role(name: str) -> Callable[[AzureAppPlant], None]:
    """Have the admin application be an administrator in the directory, without any right at Graph."""

    def set_up(plant: AzureAppPlant) -> None:
        plant.graph.grant(plant.azure_app.client_id)
        plant.azure_app.directory_roles = (DIRECTORY_ROLES[name],)

    return set_up


def by_directory_right(plant: AzureAppPlant) -> None:
    """Have it be able to write all of the directory."""
    plant.graph.grant(plant.azure_app.client_id, "Directory.ReadWrite.All")


@pytest.mark.parametrize(
    "set_up",
    [*(by_directory_role(name) for name in DIRECTORY_ROLES), by_directory_right],
    ids=[*DIRECTORY_ROLES, "Directory.ReadWrite.All"],
)
def test_rights_that_suffice_raise_no_alarm(
    set_up: Callable[[AzureAppPlant], None], script: InProcess, plant: AzureAppPlant
) -> None:
    """Of an application that the admin does not own: the look says yes, and so does the rotation."""
    other = plant.entra.add_application(plant.tenant_id, "Somebody else's")
    for label, value in {"application_object_id": other.object_id, "client_secret_id": "", "client_secret": ""}.items():
        plant.set_field(label, value)
    set_up(plant)
    checks(plant)
    looked = script.run(plant)
    assert 0 == looked.returncode, looked.stderr

    plant.set_field("dry_run", "False")
    rotated = script.run(plant)
    assert 0 == rotated.returncode, rotated.stderr


def test_other_roles_of_the_directory_do_not_suffice(script: InProcess, plant: AzureAppPlant) -> None:
    """Whoever may read the directory makes no secrets; nor does the role that every token has."""
    plant.graph.grant(plant.azure_app.client_id, "Application.Read.All")
    plant.azure_app.directory_roles = ("88d8e3e3-8f55-4a1e-953a-9b9898b8876b",)
    checks(plant)

    refused(script, plant, 1, "may not make client secrets", OWNED)


# -- whether a new secret could log in ------------------------------------------------------------


@pytest.mark.parametrize(
    ("attribute", "parts"),
    [
        ("has_principal", ("no enterprise application", "az ad sp create")),
        ("is_enabled", ("the application is disabled", "enabled for users to sign in")),
    ],
)
def test_an_application_that_cannot_log_in_gets_no_secret(
    attribute: str, parts: tuple[str, ...], script: InProcess, plant: AzureAppPlant
) -> None:
    """Nothing is made that would be put back a moment later."""
    setattr(plant.target, attribute, False)

    refused(script, plant, 1, *parts, "nothing changed")


def test_a_new_secret_that_no_wait_mends_is_put_back_at_once(script: InProcess, plant: AzureAppPlant) -> None:
    """Conditional Access shows at the login only: one login, although Entra may take 90 seconds to learn of secrets."""
    plant.target.is_blocked = True

    result = refused(script, plant, 1, "AADSTS53003", "Conditional Access blocks the login", written=True)

    assert result.seconds < 30
    blocked = [one for one in plant.wire.log if one.path.endswith("/token") and one.status == 400]
    assert 1 == len(blocked)


# -- secrets on the service principal -------------------------------------------------------------


def test_a_secret_on_the_service_principal_is_warned_of(script: InProcess, plant: AzureAppPlant) -> None:
    """It logs in as the application, outlives every rotation, and is left alone: the line has its id and its end."""
    key_id, value = plant.entra.add_principal_secret(plant.target.client_id, display_name="by hand")

    result = script.run(plant)

    assert 0 == result.returncode, result.stderr
    (line,) = result.stderr.splitlines()
    assert line.startswith("warning: ")
    assert re.search(rf"{key_id} \('by hand'\), which ends \d{{4}}-\d\d-\d\dT", line)
    assert plant.entra.logs_in(plant.target.client_id, value)
    assert_true_state(plant)


def test_status_3_only_where_the_record_asks_for_it(script: InProcess, plant: AzureAppPlant) -> None:
    """`service_principal_secrets` = `fail`: the rotation is done, and does not call itself a success."""
    key_id, value = plant.entra.add_principal_secret(plant.target.client_id)
    plant.set_field("service_principal_secrets", "fail")

    result = script.run(plant)

    assert 3 == result.returncode, result.stderr
    error = result.stderr.splitlines()[-1]
    assert [] == [part for part in (key_id, "still alive", "no rotation deletes those") if part not in error], error
    assert plant.entra.logs_in(plant.target.client_id, value)
    assert 1 == len(plant.issued())


@pytest.mark.parametrize(
    "of",
    [{"certificate": "lY85bR8r6yWTW6jnciNEONwlVhDyiQjdVLgPDnkI5mA="}, {"expires_in_days": -1}],
    ids=["saml", "dead"],
)
@pytest.mark.parametrize("strictness", ["warn", "fail"])
def test_what_logs_nobody_in_is_no_finding(
    strictness: str, of: dict[str, Any], script: InProcess, plant: AzureAppPlant
) -> None:
    """The password of a SAML signing certificate, which has the certificate's identifier; and one that has ended."""
    plant.entra.add_principal_secret(plant.target.client_id, **of)
    plant.set_field("service_principal_secrets", strictness)

    result = script.run(plant)

    assert (0, "") == (result.returncode, result.stderr)
    assert_true_state(plant)


def _principal_is_asked(nth: int | None = None) -> dict[str, Any]:
    return {"host": "graph.*", "method": "GET", "path": "*servicePrincipals*", "nth": nth}


def test_a_last_look_that_is_denied_is_no_success_where_the_record_is_strict(
    script: InProcess, plant: AzureAppPlant
) -> None:
    """404 from something on the way is not taken for "no service principal", and so for no secrets."""
    plant.entra.add_principal_secret(plant.target.client_id)
    plant.set_field("service_principal_secrets", "fail")
    plant.set_field("deadline_seconds", "20")
    seen = Rule(faults.status(404), **_principal_is_asked(), where=lambda request: request.number > created())

    def created() -> int:
        made = [one.number for one in plant.wire.log if one.path.endswith("/removePassword")]
        return made[0] if made else 10**6

    plant.wire.rules = [seen]

    result = script.run(plant)

    assert 4 == result.returncode, result.stderr
    assert seen.hits
    assert "read the service principal" in result.stderr


def test_a_principal_that_may_not_be_read_stops_a_strict_rotation(script: InProcess, plant: AzureAppPlant) -> None:
    """What the record asks to be looked for cannot be: nothing is made, and the right that lacks is named."""
    plant.set_field("service_principal_secrets", "fail")
    plant.wire.rules = [Rule(faults.status(403), **_principal_is_asked())]

    refused(script, plant, 1, "read the service principal", "grant the admin application")


@pytest.mark.parametrize("path", ["*/servicePrincipals*", "*/applications*"])
def test_a_404_that_is_not_graphs_own_is_not_taken_for_what_is_missing(
    path: str, script: InProcess, plant: AzureAppPlant
) -> None:
    """It may be the word of a proxy: neither the id nor the service principal is said to be wrong."""
    plant.wire.rules = [Rule(faults.status(404), host="graph.*", method="GET", path=path)]

    result = refused(script, plant, 1, "is a proxy in the way?")

    assert [] == [wrong for wrong in ("no service principal", "no application has") if wrong in result.stderr]
