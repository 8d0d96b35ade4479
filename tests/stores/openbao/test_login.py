"""Logins to OpenBao: where each may stand, where it is sent, and what of a host's files leaves it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from pam_scripts.core.deadline import Deadline
from pam_scripts.core.http import Common, Session
from pam_scripts.core.secret import Secret
from pam_scripts.stores.openbao import Login
from pam_scripts.stores.openbao.client import Client
from sandbox.plant import Plant
from sandbox.services import keeper
from sandbox.services.openbao import ENGINE, HOST
from tests.sandbox.foreign.test_openbao import jwt
from tests.support.in_process import InProcess
from tests.support.invariants import assert_refuses, assert_silent, in_keeper

SECRET = "plant/reports"
STEM = "rotate_seeq_application_key"


@pytest.fixture
def plant(make_plant: Callable[..., Plant]) -> Plant:
    """Return a plant whose mirror is in OpenBao alone."""
    plant = make_plant(mirrored=False)
    plant.add_openbao_mirror(SECRET)
    return plant


def beside_login(plant: Plant, **fields: str) -> None:
    """Enter values into the record with the login."""
    for label, value in fields.items():
        plant.set_field(label, value, plant.openbao_uid)


def no_approle(plant: Plant, **fields: str) -> None:
    """Enter another way to log in in the AppRole's place."""
    beside_login(plant, vault_role_id="", vault_secret_id="", **fields)


def assert_mirrored(plant: Plant) -> None:
    """Check that a rotation goes through, and shows nothing."""
    result = InProcess(STEM).run(plant)
    assert 0 == result.returncode, result.stderr
    assert in_keeper(plant)[0] == (plant.openbao.value(SECRET) or {})["access_key_id"]
    assert_silent(plant, result)


# -- ways -----------------------------------------------------------------------------------------


def test_a_token_that_an_agent_keeps_fresh_will_do(plant: Plant, tmp_path: Path) -> None:
    """It is read from its file, and goes nowhere but to the server."""
    file = tmp_path / "token"
    file.write_text(f"{plant.openbao.add_token()}\n", encoding="utf-8")
    no_approle(plant, vault_token_file=str(file))

    assert_mirrored(plant)
    assert [] == [one for one in plant.wire.log if one.path.endswith("/login") and one.host == HOST]


def test_a_fresh_token_is_read_where_the_one_before_has_ended(plant: Plant, tmp_path: Path) -> None:
    """The agent writes another while a run is under way: the refused request is made again with it."""
    file, first, second = tmp_path / "token", plant.openbao.add_token(), plant.openbao.add_token()
    file.write_text(first, encoding="utf-8")
    no_approle(plant, vault_token_file=str(file))

    async def gate(request: object) -> None:
        if "generate-access-key" in str(request):
            plant.openbao.revoke(first)
            file.write_text(second, encoding="utf-8")

    plant.wire.gate = gate
    assert_mirrored(plant)


def test_runs_of_one_process_log_in_once(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fleet's runs have a session each, and the token of a login between them."""
    for name, value in plant.environment().items():
        monkeypatch.setenv(name, value)
    role, secret = plant.openbao.add_approle()
    login = Login(f"https://{HOST}", "approle", mount="approle", role=role, secret=Secret(secret))
    common = Common()
    tokens = [Client(login, Session(Deadline(30), common=common)).log_in().reveal() for _ in range(2)]

    assert tokens[0] == tokens[1]
    assert 1 == len([one for one in plant.wire.log if one.path.endswith("/login") and one.host == HOST])


def test_a_jwt_of_the_host_will_do(plant: Plant, tmp_path: Path) -> None:
    """As a Kubernetes service account has one, or a CI job."""
    key = rsa.generate_private_key(65537, 2048)
    form = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    plant.openbao.add_jwt_role("gateway", key.public_key().public_bytes(*form).decode(), "gateway")
    file = tmp_path / "jwt"
    file.write_text(jwt(key, sub="gateway", exp=int(time.time()) + 600), encoding="utf-8")
    no_approle(plant, vault_jwt_role="gateway", vault_jwt_file=str(file))

    assert_mirrored(plant)


def test_a_token_that_ends_within_a_run_is_replaced(plant: Plant) -> None:
    """Once a login's token has ended the AppRole logs in anew, and nothing is put back."""

    async def gate(request: object) -> None:
        if "generate-access-key" in str(request):
            plant.clock.advance(minutes=30)

    plant.wire.gate = gate
    assert_mirrored(plant)
    assert 2 == len([one for one in plant.wire.log if one.path.endswith("/approle/login")])


def test_login_and_secrets_may_be_in_a_namespace(plant: Plant) -> None:
    """Each request names it; the same paths outside are others."""
    bao = plant.openbao
    bao.add_namespace("team")
    bao.add_engine("kv/plant", namespace="team")
    bao.allow_to_mirror("reports", engine="kv/plant", namespace="team")
    role_id, secret_id = bao.add_approle(mount="machines", namespace="team")
    beside_login(plant, vault_namespace="team/", vault_auth_path="machines")
    beside_login(plant, vault_role_id=role_id, vault_secret_id=secret_id)
    plant.set_field("vault_path", "kv/plant/reports")

    assert 0 == InProcess(STEM).run(plant).returncode
    held = bao.root("GET", "kv/plant/data/reports", namespace="team")["data"]
    assert in_keeper(plant)[0] == held["access_key_id"]
    assert {"team"} == {one.headers.get("x-vault-namespace") for one in plant.wire.log if one.host == HOST}


def test_the_login_may_stand_in_the_pam_configuration(plant: Plant) -> None:
    """All of it, and only where no attached record has one."""
    names = ("vault_address", "vault_role_id", "vault_secret_id")
    values = [plant.keeper.value(plant.openbao_uid, name) or "" for name in names]
    fields = [keeper.secret(name, value) for name, value in zip(names, values, strict=True)]
    plant.keeper.edit(plant.configuration_uid, lambda data: data["custom"].extend(fields))
    plant.attached.remove(plant.openbao_uid)

    assert_mirrored(plant)


# -- what is refused before anybody is asked ------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"vault_address": ""}, "field 'vault_address' is empty"),
        ({"vault_address": "http://vault.plant.example"}, "field 'vault_address' has a value that is not shown"),
        ({"vault_secret_id": ""}, "field 'vault_secret_id' is empty"),
        ({"vault_role_id": "", "vault_secret_id": ""}, "field 'vault_role_id' is empty"),
        ({"vault_token_file": "/run/bao/token"}, "'vault_role_id' and 'vault_token_file' are two ways to log in"),
        ({"vault_token_file": "token"}, "field 'vault_token_file' has a value that is not shown"),
        ({"allow_vault_paths": "secret/stage/*"}, "is not among those that record 'OpenBao rotation'"),
    ],
)
def test_a_login_that_is_none_asks_nobody(fields: dict[str, str], words: str, plant: Plant) -> None:
    """Status 2, the record and the field named."""
    beside_login(plant, **fields)

    assert_refuses(InProcess(STEM), plant, 2, words)
    assert [] == plant.wire.log


def test_without_a_login_it_is_said_what_to_attach(plant: Plant) -> None:
    """Neither the host nor the PAM User record has one to give."""
    plant.attached.remove(plant.openbao_uid)
    for label in ("vault_address", "vault_role_id", "vault_secret_id", "vault_token_file"):
        plant.set_field(label, "https://evil.example.com")

    assert_refuses(InProcess(STEM), plant, 2, "no record has a login to OpenBao or Vault", "; attach a record with")
    assert [] == plant.wire.log


def test_the_pam_configuration_bounds_an_attached_login_too(plant: Plant) -> None:
    """Both must allow it; the PAM User record's own list counts for nothing."""
    beside_login(plant, allow_vault_paths=f"{ENGINE}/plant/*")
    plant.set_field("allow_vault_paths", "*")
    plant.set_field("allow_vault_paths", "other/*", plant.configuration_uid)

    assert_refuses(InProcess(STEM), plant, 2, "that record 'Plant Azure'")
    assert [] == plant.wire.log


@pytest.mark.parametrize(
    ("label", "text"),
    [
        ("vault_token_file", None),
        ("vault_token_file", '{"clientKey": "s.abcdefghijklmnop"}'),
        ("vault_jwt_file", "s.abcdefghijklmnop"),
        ("vault_jwt_file", "\xff"),
    ],
)
def test_a_file_with_something_else_in_it_leaves_the_host_for_nowhere(
    label: str, text: str | None, plant: Plant, tmp_path: Path
) -> None:
    """Whoever may edit the login's record cannot have another file of the host sent to a server of theirs."""
    file = tmp_path / "file"
    if text is not None:
        file.write_text(text, encoding="latin-1")
    no_approle(plant, **{label: str(file)}, vault_jwt_role="gateway" if label == "vault_jwt_file" else "")
    result = InProcess(STEM).run(plant)

    assert 2 == result.returncode, result.stderr
    assert f"field '{label}' names a file that" in result.stderr
    assert [] == [one for one in plant.wire.log if one.host == HOST]
    assert not text or text not in result.stderr
