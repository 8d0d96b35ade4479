"""Whom a credential may be sent to: who may edit the PAM User record never decides where an admin's goes."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from botocore.loaders import Loader

from pam_scripts.cli.scripts import SCRIPTS
from pam_scripts.gateway.payload import read_job
from pam_scripts.logins import aws_client
from sandbox.iam_users import IamPlant
from sandbox.plant import SEEQ_HOST, VAULT, AnyPlant, AzureAppPlant, Plant, SeeqUserPlant, on_loopback
from sandbox.publishing import STAGE_VAULT, PublishPlant
from sandbox.services import keeper
from sandbox.services.keycloak import HOST as KEYCLOAK_HOST
from sandbox.services.rabbitmq import HOST as RABBITMQ_HOST
from sandbox.slots import SlotPlant
from tests.support.in_process import InProcess
from tests.support.invariants import Script, State, assert_as_before, assert_refuses, assert_rotates
from tests.support.plants import KEY_PLANTS, PLANTS

_MAIN = InProcess("rotate_seeq_application_key")
EVIL = "evil.example.com"
VAULT_HOST = f"{VAULT}.vault.azure.net"
# What somebody enters who wants a credential to go elsewhere.
LURES = (
    f"https://{EVIL}",
    EVIL,
    f"https://{SEEQ_HOST}.{EVIL}",
    f"https://{SEEQ_HOST}:444",
    f"https://{SEEQ_HOST}@{EVIL}",
    "https://evil.vault.azure.net",
    f"https://{VAULT}.vault.azure.cn",
    "china",
    "evil/app",
    "/etc/ssl/certs/ca-certificates.crt",
)
SCRIPT_OF = {script.stem: script for script in SCRIPTS}
# Whatever any script reads or writes, and whatever stands beside any credential.
LABELS = {field.label for script in SCRIPTS for field in (*script.fields, *script.logins, *script.configured)} | {
    "url",
    "host",
}
# What every script for keys reads is run with one of them.
SHARED = set.intersection(*({field.label for field in SCRIPT_OF[stem].inputs} for stem in KEY_PLANTS))


@pytest.fixture(params=["attached", "configuration"])
def admin(request: pytest.FixtureRequest) -> str:
    """Return where the admin's credential stands."""
    return str(request.param)


@pytest.fixture
def plant(admin: str) -> Iterator[Plant]:
    """Return the plant of a Seeq application's key."""
    with on_loopback(Plant, admin=admin) as plant:
        yield plant


def limited(plant: AnyPlant) -> None:
    """Have the owners of the credentials allow what the team uses, and no more."""
    for uid in (plant.configuration_uid, *plant.attached):
        plant.set_field("allow_vaults", f"{VAULT}, {STAGE_VAULT}", uid)
        plant.set_field("allow_health_hosts", "health.example.com", uid)
        plant.set_field("allow_container_apps", "plant-apps/*", uid)


def test_each_script_has_a_plant_here() -> None:
    """One more script is not left out of what follows."""
    assert {script.stem for script in SCRIPTS} == {*PLANTS}


@pytest.mark.parametrize("stem", PLANTS)
def test_no_field_of_the_pam_user_record_leads_a_credential_elsewhere(
    stem: str, make_script: Callable[[str], Script]
) -> None:
    """Whatever is entered there, requests go to the hosts that the credentials' own records name, and to no other.

    What each field with each value asks for is read; what stands in other records alone, all at once, must make no
    difference. One value that is not refused is run as well.
    """
    attached_script, script = make_script(stem), SCRIPT_OF[stem]
    inputs = {field.label for field in script.inputs}
    own = {field.label for field in script.fields}
    with on_loopback(PLANTS[stem]) as plant:
        limited(plant)
        hosts = {*plant.keeper.hosts, SEEQ_HOST, RABBITMQ_HOST, KEYCLOAK_HOST, VAULT_HOST}
        hosts |= {plant.cloud.graph, plant.cloud.authorities[0]}
        hosts |= {*plant.iam.hosts} if isinstance(plant, IamPlant) else set()
        hosts |= {plant.cloud.management, plant.resource.host} if isinstance(plant, SlotPlant) else set()
        hosts |= {f"{STAGE_VAULT}.vault.azure.net"} if isinstance(plant, PublishPlant) else set()
        reached: dict[str, set[str]] = {}
        taken: dict[str, str] = {}

        def read(entered: Mapping[str, str], name: str) -> bool:
            with edited(plant, entered):
                asked = script.read(read_job(plant.payload()))
            if not asked.problems:
                reached.setdefault(name, set()).update(asked.hosts)
            return not asked.problems

        # Some are read so that they can be refused: a CA, what is another script's.
        refused = {label for label in LABELS - own if not read({label: LURES[0]}, label)}
        elsewhere = sorted(LABELS - own - refused)
        for label, lure in itertools.product(sorted(own | refused), LURES):
            if read({label: lure}, label):
                taken.setdefault(label, lure)
        for lure in LURES:
            assert read(dict.fromkeys(elsewhere, lure), "all others"), f"{stem} reads one of {elsewhere}"
        with edited(plant, dict.fromkeys(elsewhere, LURES[0])):
            result = attached_script.run(plant, plant.payload())
        assert 0 == result.returncode, result.stderr
        for label, lure in taken.items():
            if label in inputs - {"dry_run", "diagnose"} and (label not in SHARED or stem == next(iter(KEY_PLANTS))):
                with edited(plant, {label: lure}):
                    attached_script.run(plant, plant.payload())
        assert not refused & taken.keys()
        assert {} == {label: found - hosts for label, found in reached.items() if found - hosts}
        assert set() == {request.host for request in plant.wire.log} - hosts
        assert [] == plant.wire.refused


@contextmanager
def edited(plant: AnyPlant, entered: Mapping[str, str]) -> Iterator[None]:
    """Have something else in fields of the PAM User record for as long as the `with` statement lasts."""
    before = plant.keeper.record(plant.user_uid)["custom"]
    rest = [item for item in before if item.get("label") not in entered]
    custom = [*rest, *(keeper.text(label, value) for label, value in entered.items())]
    plant.keeper.edit(plant.user_uid, lambda data: data.update(custom=custom))
    yield
    written = {item["label"]: item for item in plant.keeper.record(plant.user_uid)["custom"]}
    kept = {item["label"]: item for item in before if item["label"] in entered}
    others = [item for label, item in written.items() if label not in entered]
    plant.keeper.edit(plant.user_uid, lambda data: data.update(custom=[*others, *kept.values()]))


def test_another_server_in_the_pam_user_record_is_refused_before_anything_is_sent(plant: Plant, script: Script) -> None:
    """Both servers are named, and nobody is asked, not even the right one."""
    plant.set_field("seeq_server_url", f"https://{EVIL}")

    assert_refuses(script, plant, 2, f"names https://{EVIL}", f"https://{SEEQ_HOST} only")

    assert [] == plant.wire.log


@pytest.mark.parametrize("asked", ["", f"https://{SEEQ_HOST}", f"https://{SEEQ_HOST.upper()}:443/api"])
def test_one_of_the_servers_beside_the_login_may_be_chosen(
    asked: str, plant: Plant, admin: str, script: Script
) -> None:
    """By scheme, host and port; without a choice it is the first."""
    uid = plant.admin_uid if admin == "attached" else plant.configuration_uid
    plant.set_field("seeq_server_url", f"https://{SEEQ_HOST}, https://other.example.com", uid)
    plant.set_field("seeq_server_url", asked)

    assert_rotates(script, plant)


def test_a_configurations_login_without_a_server_is_refused_by_name(script: Script) -> None:
    """It is not passed over in silence."""
    with on_loopback(Plant, admin="configuration") as plant:
        plant.set_field("seeq_server_url", "", plant.configuration_uid)

        assert_refuses(script, plant, 2, "'Plant Azure'", "does not say at which Seeq server")


def test_an_own_key_is_used_only_where_the_configuration_allows(make_script: Callable[[str], Script]) -> None:
    """The record says where its own key is used, within what the PAM Configuration names."""
    script = make_script("rotate_seeq_user_key")
    with on_loopback(SeeqUserPlant, admin="own_key") as plant:
        plant.set_field("seeq_server_url", "https://other.example.com", plant.configuration_uid)
        assert_refuses(script, plant, 2, f"names https://{SEEQ_HOST}", "https://other.example.com only")
        assert [] == plant.wire.log

        plant.set_field("seeq_server_url", f"https://other.example.com, https://{SEEQ_HOST}", plant.configuration_uid)
        assert_rotates(script, plant)


def test_the_related_resource_is_never_a_source_of_a_login(script: Script) -> None:
    """Its login is for a machine, also where it names a Seeq server."""
    with on_loopback(Plant) as plant:
        machine = plant.keeper.add_record(
            "pamMachine",
            "A machine",
            fields=[keeper.login("root"), keeper.password("the machine's own password")],
            custom=[keeper.text("seeq_server_url", f"https://{SEEQ_HOST}")],
        )
        stdin = plant.gateway.payload(plant.user_uid, attached=[], resource_uid=machine)

        assert_refuses(script, plant, 2, "no Seeq admin credential", stdin=stdin)
        assert [] == plant.wire.log


def test_an_attached_record_of_another_purpose_leaves_the_configurations_login_in_force(script: Script) -> None:
    """Keeper's sample attaches a PAM User with a dummy password: that goes nowhere."""
    with on_loopback(Plant, admin="configuration") as plant:
        sample = plant.keeper.add_record(
            "pamUser", "Azure admin", fields=[keeper.login("dummy"), keeper.password("dummy password")]
        )
        plant.attached = [sample]

        result = assert_rotates(script, plant)
        assert "Not used for Seeq: record 'Azure admin'" in result.stdout


def test_a_target_beyond_the_limits_is_refused(script: Script) -> None:
    """An editor who enters a stranger's id gets no key of it, and the stranger keeps theirs."""
    with on_loopback(Plant) as plant:
        stranger = plant.seeq.add_application("Stranger")
        theirs = plant.seeq.add_key(stranger, "theirs")
        plant.set_field("allow_targets", plant.application_id.lower(), plant.admin_uid)
        plant.set_field("application_id", stranger)

        assert_refuses(script, plant, 2, "is not among those that record 'Seeq admin'", "'allow_targets'")
        assert plant.seeq.logs_in(*theirs)


def test_a_record_that_was_led_to_another_target_is_refused(script: Script) -> None:
    """Without any limit, too: its own log says whose key it holds; emptying the key's fields is the way out."""
    with on_loopback(Plant) as plant:
        assert_rotates(script, plant)
        former, other = plant.application_id, plant.seeq.add_application("Other")
        plant.set_field("application_id", other)
        plant.wire.log.clear()

        assert_refuses(script, plant, 2, f"was made for {former}", other)

        plant.set_field("access_key_id", "")
        plant.set_field("access_key_password", "")
        plant.set_field("key_vault_name", "")
        result = script.run(plant)
        assert 0 == result.returncode, result.stderr
        assert 1 == len(plant.seeq.live_keys(former)), "the former key stays alive"


def test_an_administrators_keys_are_made_only_where_the_limit_names_them(make_script: Callable[[str], Script]) -> None:
    """A pattern is not enough; the name, or the id, to the letter is."""
    script = make_script("rotate_seeq_user_key")
    with on_loopback(SeeqUserPlant, first_time=True, mirrored=False) as plant:
        plant.seeq.add_user("chief", "the chief's own password", is_admin=True, validity_minutes=90 * 24 * 60)
        plant.set_field("username", "chief")
        for allowed in ("", "*", "chi*"):
            plant.set_field("allow_targets", allowed, plant.admin_uid)
            before = State.of(plant)
            result = script.run(plant)
            assert 2 == result.returncode, result.stderr
            assert "user chief is an administrator" in result.stderr
            assert_as_before(plant, before)

        plant.set_field("allow_targets", "jane, Chief", plant.admin_uid)
        assert 0 == script.run(plant).returncode


@pytest.mark.parametrize(
    ("label", "allowed"), [("allow_vaults", "other-*"), ("allow_secret_names", "seeq-app-OTHER-*")]
)
def test_a_mirror_beyond_the_limits_is_refused(label: str, allowed: str, script: Script) -> None:
    """The vault, or the secret, is named, and the record that does not allow it."""
    with on_loopback(Plant) as plant:
        plant.set_field(label, allowed, plant.configuration_uid)

        assert_refuses(script, plant, 2, "is not among those that record 'Plant Azure'", f"'{label}'")
        assert [] == plant.wire.log


def test_limits_in_the_pam_user_record_count_for_nothing(script: Script) -> None:
    """They are its editor's."""
    with on_loopback(Plant) as plant:
        plant.set_field("allow_vaults", "none-of-them")
        plant.set_field("allow_targets", "none-of-them")

        assert_rotates(script, plant)


def test_a_vault_of_another_cloud_than_the_credentials_is_refused(script: Script) -> None:
    """The client secret would go to that cloud's login."""
    with on_loopback(Plant) as plant:
        plant.set_field("key_vault_name", f"https://{VAULT}.vault.azure.cn")

        assert_refuses(script, plant, 2, f"{VAULT}.vault.azure.cn", "for vaults of vault.azure.net")
        assert [] == plant.wire.log


def test_a_health_pages_words_are_not_repeated(script: Script) -> None:
    """Of an answer only known words are shown: it may come from within the Gateway's network."""
    with on_loopback(Plant) as plant:
        plant.set_field("health_seconds", "5")
        plant.set_field("health_urls", f"https://{SEEQ_HOST}/api/system/open-ping")

        result = script.run(plant)

    assert "status is '" not in result.stderr.replace("status is 'unhealthy'", "")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REQUESTS_CA_BUNDLE", "/no/such/file.pem"),
        ("HTTPS_PROXY", "http://"),
        ("HTTPS_PROXY", "http://host:port"),
        ("HTTPS_PROXY", "login:pr0xy-pw@host:3128"),
        ("KSM_SKIP_VERIFY", ""),
    ],
)
def test_an_odd_value_of_the_environment_ends_with_2_and_its_name(name: str, value: str, script: Script) -> None:
    """Never with "unexpected", and never with a weaker check."""
    with on_loopback(Plant) as plant:
        assert_refuses(script, plant, 2, name, environment={name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AZURE_AUTHORITY_HOST", f"https://{EVIL}"),
        ("AZURE_REGIONAL_AUTHORITY_NAME", "evil"),
        ("AZURE_TOKEN_CREDENTIALS", "nothing known"),
    ],
)
def test_the_hosts_azure_identity_is_led_nowhere_else(
    name: str, value: str, make_script: Callable[[str], Script]
) -> None:
    """Authorities are Azure's own: another one in the environment is refused by its name."""
    script = make_script("rotate_azure_app_secret")
    with on_loopback(AzureAppPlant, admin="environment") as plant:
        assert_refuses(script, plant, 2, name, environment={name: value})
        assert [] == plant.wire.refused


@pytest.mark.parametrize(
    "environment",
    [
        {"AWS_ENDPOINT_URL": f"http://{EVIL}"},
        {"AWS_ENDPOINT_URL_SECRETS_MANAGER": f"https://{EVIL}"},
        {"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "false", "AWS_ENDPOINT_URL": f"https://{EVIL}"},
    ],
)
def test_endpoints_of_aws_are_its_own(environment: Mapping[str, str], script: Script) -> None:
    """What the environment says of endpoints has no effect: the secret goes to AWS, or nowhere."""
    with on_loopback(Plant, mirrored=False) as plant:
        plant.add_aws_mirror("plant/reports")
        assert_rotates(script, plant, environment=environment)
        assert [] == plant.wire.refused


def test_endpoints_in_a_configuration_file_of_aws_have_no_effect(script: Script, tmp_path: Path) -> None:
    """Nor do those of a profile."""
    file = tmp_path / "config"
    file.write_text(f"[default]\nendpoint_url = http://{EVIL}\n")
    with on_loopback(Plant, mirrored=False) as plant:
        plant.add_aws_mirror("plant/reports")
        assert_rotates(script, plant, environment={"AWS_CONFIG_FILE": str(file)})
        assert [] == plant.wire.refused


def test_a_profile_of_aws_that_is_not_there_is_named(script: Script) -> None:
    """Not with "unexpected"."""
    with on_loopback(Plant, mirrored=False) as plant:
        plant.add_aws_mirror("plant/reports")
        assert_refuses(script, plant, 2, "AWS_PROFILE", environment={"AWS_PROFILE": "nobody"})


# An identity of the host's that cannot be had: what botocore does not foresee itself, or its own errors.
_ODD_IDENTITIES = [
    {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "no address"},
    {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:9/", "AWS_CONTAINER_AUTHORIZATION_TOKEN": "two\nlines"},
    {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:9/",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "/no/such/file",
    },
    {"AWS_METADATA_SERVICE_TIMEOUT": "soon"},
    {"AWS_ACCESS_KEY_ID": "AKIAHALFAPAIR"},
]


@pytest.fixture
def plant_in_aws() -> Iterator[Plant]:
    """Return a plant that is mirrored in AWS, by the identity of the Gateway's host."""
    with on_loopback(Plant, mirrored=False) as plant:
        plant.add_aws_mirror("plant/reports")
        plant.attached.pop()
        yield plant


@pytest.mark.parametrize("environment", _ODD_IDENTITIES, ids=[" and ".join(each) for each in _ODD_IDENTITIES])
def test_an_identity_of_the_host_that_cannot_be_had_ends_with_2_and_its_variables(
    environment: Mapping[str, str], plant_in_aws: Plant
) -> None:
    """Whatever botocore makes of it, it is nobody's defect, and nothing is changed."""
    assert_refuses(_MAIN, plant_in_aws, 2, "AWS settings of this host", *environment, environment=environment)


@pytest.mark.parametrize("command", ["/no/such/program s3cret-word", "/bin/echo s3cret-word"])
def test_a_program_that_does_not_tell_the_hosts_credential_ends_with_2(
    command: str, plant_in_aws: Plant, tmp_path: Path
) -> None:
    """Neither what it was called with nor what it said is repeated."""
    file = tmp_path / "config"
    file.write_text(f"[default]\ncredential_process = {command}\n")

    result = assert_refuses(
        _MAIN, plant_in_aws, 2, "AWS settings of this host", environment={"AWS_CONFIG_FILE": str(file)}
    )
    assert "s3cret-word" not in result.stdout + result.stderr


def test_a_token_of_the_hosts_identity_that_is_no_file_is_no_failure_of_the_network(
    plant_in_aws: Plant, tmp_path: Path
) -> None:
    """The way out is a credential, not a firewall."""
    environment = {
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "none"),
        "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/rotation",
    }
    words = ("the host's AWS credential could not be obtained", "or attach a record")
    assert_refuses(_MAIN, plant_in_aws, 1, *words, environment=environment)


def test_descriptions_of_services_on_the_host_lead_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They say at which address a service of AWS is, of STS too, which a role's credential is fetched from."""
    botocore_data = Path(Loader.BUILTIN_DATA_PATH)
    for service in ("secretsmanager", "sts"):
        (version,) = [each.name for each in (botocore_data / service).iterdir()]
        rules = {"type": "endpoint", "conditions": [], "endpoint": {"url": f"https://{service}.{EVIL}"}}
        told = {"version": "1.0", "parameters": {}, "rules": [rules]}
        (tmp_path / service / version).mkdir(parents=True)
        (tmp_path / service / version / "endpoint-rule-set-1.json").write_text(json.dumps(told))
    monkeypatch.setattr(Loader, "CUSTOMER_DATA_PATH", str(tmp_path))
    aws_client._own_descriptions.cache_clear()  # noqa: SLF001 - as a new process begins
    with on_loopback(Plant, mirrored=False) as plant:
        plant.add_aws_mirror("plant/reports")
        result = _MAIN.run(plant, environment={"AWS_DATA_PATH": str(tmp_path)})

        assert (0, "") == (result.returncode, result.stderr)
        assert [] == plant.wire.refused


def test_no_word_of_the_environment_goes_into_requests() -> None:
    """Azure's SDK would send it with each of them, and fail where it is no word."""
    with on_loopback(Plant) as plant:
        result = _MAIN.run(plant, environment={"AZURE_HTTP_USER_AGENT": "two\nlines"})

    assert (0, "") == (result.returncode, result.stderr)


def test_session_keys_are_written_nowhere(cold_script: Script, tmp_path: Path) -> None:
    """SSLKEYLOGFILE would have them in a file that opens everything that was sent."""
    log = tmp_path / "keys.log"
    with on_loopback(Plant) as plant:
        assert_rotates(cold_script, plant, environment={"SSLKEYLOGFILE": str(log)})

    assert not log.exists() or "" == log.read_text()
