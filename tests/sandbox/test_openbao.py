"""The sandbox's OpenBao, asked by HashiCorp's client for Python, unmodified: what it reads is what a server says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import hvac
import hvac.exceptions
import pytest

from sandbox.clock import Clock
from sandbox.services.openbao import ENGINE, HOST, ROLE, OpenBao
from sandbox.wire import Wire

SECRET = "plant/reports"


@pytest.fixture
def bao() -> OpenBao:
    """Make a server with a policy for one secret."""
    bao = OpenBao(Clock())
    bao.allow_to_mirror(SECRET)
    return bao


@pytest.fixture
def client(bao: OpenBao, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[hvac.Client]:
    """Return the client, led to the server at its host name and logged in by AppRole."""
    wire = Wire(tmp_path)
    wire.serve(bao)
    wire.start()
    for name, value in wire.environment().items():
        monkeypatch.setenv(name, value)
    role_id, secret_id = bao.add_approle()
    client = hvac.Client(f"https://{HOST}", verify=str(wire.ca_file))
    client.auth.approle.login(role_id, secret_id)
    yield client
    wire.stop()


def test_a_version_is_set_by_check_and_set_alone_where_it_is_asked_for(bao: OpenBao, client: hvac.Client) -> None:
    """The number that the client names must be the newest, 0 for none; a policy's first version asks for its tags."""
    kv = client.secrets.kv.v2
    bao.tag(SECRET, {"team": "reports"})

    assert 1 == kv.create_or_update_secret(SECRET, {"a": "1"}, cas=0, mount_point=ENGINE)["data"]["version"]
    for stale in (0, 2):
        with pytest.raises(hvac.exceptions.InvalidRequest, match="check-and-set parameter did not match"):
            kv.create_or_update_secret(SECRET, {"a": "2"}, cas=stale, mount_point=ENGINE)
    assert 2 == kv.create_or_update_secret(SECRET, {"a": "2"}, cas=1, mount_point=ENGINE)["data"]["version"]
    read = kv.read_secret_version(SECRET, mount_point=ENGINE, raise_on_deleted_version=True)["data"]
    assert ({"a": "2"}, {"team": "reports"}) == (read["data"], read["metadata"]["custom_metadata"])


def test_a_destroyed_version_is_gone_and_counted(bao: OpenBao, client: hvac.Client) -> None:
    """A read of it says so, and the next version has the next number."""
    kv = client.secrets.kv.v2
    bao.put(SECRET, {"a": "1"})
    kv.destroy_secret_versions(SECRET, [1], mount_point=ENGINE)

    with pytest.raises(hvac.exceptions.InvalidPath):
        kv.read_secret_version(SECRET, mount_point=ENGINE, raise_on_deleted_version=True)
    assert 2 == kv.create_or_update_secret(SECRET, {"a": "2"}, cas=1, mount_point=ENGINE)["data"]["version"]
    versions = kv.read_secret_metadata(SECRET, mount_point=ENGINE)["data"]["versions"]
    assert [True, False] == [versions[number]["destroyed"] for number in ("1", "2")]


def test_policies_and_tokens_are_kept_to(bao: OpenBao, client: hvac.Client) -> None:
    """What no line allows is forbidden, a withdrawn secret id is none, and a sealed server serves nobody."""
    with pytest.raises(hvac.exceptions.Forbidden):
        client.secrets.kv.v2.read_secret_version("another", mount_point=ENGINE, raise_on_deleted_version=True)
    rights = client.sys.get_capabilities([f"{ENGINE}/data/{SECRET}", f"{ENGINE}/data/another"])
    assert (["read", "update"], ["deny"]) == (rights[f"{ENGINE}/data/{SECRET}"], rights[f"{ENGINE}/data/another"])

    role_id, secret_id = bao.add_approle(ROLE)
    bao.withdraw(secret_id)
    with pytest.raises(hvac.exceptions.InvalidRequest, match="invalid role or secret ID"):
        client.auth.approle.login(role_id, secret_id, use_token=False)
    bao.memory.sealed = True
    with pytest.raises(hvac.exceptions.VaultDown):
        client.secrets.kv.v2.read_secret_metadata(SECRET, mount_point=ENGINE)
