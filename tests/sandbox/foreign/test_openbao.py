"""A real OpenBao server: it answers as the sandbox's own does, and a mirror in it keeps the contract."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import requests
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from rich.console import Console

from pam_scripts import rotate_seeq_application_key
from sandbox import __main__ as demo
from sandbox import bao
from sandbox.clock import Clock
from sandbox.plant import AnyPlant, Plant, on_loopback
from sandbox.publishing import PublishPlant, previous
from sandbox.services.openbao import Answer, OpenBao
from tests.contracts.test_mirrors import TestOpenBao as InMemory
from tests.support.in_process import InProcess

MERGE = {"content-type": "application/merge-patch+json"}
Asked = tuple[str, str, dict[str, Any] | None]


@pytest.fixture(scope="module")
def server() -> Iterator[bao.Bao]:
    """Return a real server; without one the test is left out."""
    if not bao.INSTALLED.exists():
        pytest.skip("no OpenBao server is installed here; `make foreign` installs one")
    with bao.running() as running:
        yield running


@pytest.fixture
def both(server: bao.Bao) -> list[OpenBao]:
    """Return the sandbox's own server and a real one."""
    return [OpenBao(Clock()), OpenBao(Clock(), server)]


# Of an answer these words count; what else stands there is the server's own business.
WORDS = {
    *("errors", "data", "metadata", "version", "versions", "custom_metadata", "destroyed", "current_version", "auth"),
    *("max_versions", "keys", "type", "path", "options", "policies", "lease_duration", "role_id"),
}
MADE_UP = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d{4}-\d\d-\d\dT[\d:.]+Z")


def told(answer: Answer) -> object:
    """Return what an answer says, as far as the two must agree: status, the known words, and how a time is written."""

    def kept(value: object) -> object:
        if isinstance(value, dict):
            return {
                name: kept(one)
                for name, one in value.items()
                if one is not None and (name in WORDS or name.isdecimal() or (name.islower() and len(name) < 3))
            }
        if isinstance(value, list):
            return sorted(map(repr, map(kept, value)))
        return MADE_UP.sub("*", value) if isinstance(value, str) else value

    return answer.status, kept(answer.content)


def asked(server: OpenBao, token: str, *requests: Asked, namespace: str = "") -> list[object]:
    """Ask a server as somebody; return what it tells."""
    answers = []
    for method, path, body in requests:
        headers = {"x-vault-token": token, "x-vault-namespace": namespace}
        headers |= MERGE if method == "PATCH" else {"content-type": "application/json"}
        sent = json.dumps(body).encode() if body is not None else b""
        answers.append(told(server.ask(method, path, headers, sent)))
    return answers


def put(name: str, cas: int | None, **data: str) -> Asked:
    """Return the request that sets a version."""
    options = {} if cas is None else {"options": {"cas": cas}}
    return "POST", f"secret/data/{name}", {**options, "data": data}


def tags(method: str, name: str, **words: str | None) -> Asked:
    """Return the request that sets custom metadata."""
    return method, f"secret/metadata/{name}", {"custom_metadata": words}


# In each the secret has the case's own name, and asks begin with nothing there.
CASES: dict[str, list[Asked]] = {
    "nothing": [
        ("GET", "secret/data/nothing", None),
        ("GET", "secret/metadata/nothing", None),
        ("GET", "secret/data/nothing?version=3", None),
        ("POST", "secret/destroy/nothing", {"versions": [1]}),
        tags("PATCH", "nothing", a="b"),
    ],
    "versions": [
        put("versions", 0, a="1"),
        put("versions", 0, a="2"),
        put("versions", 1, a="2"),
        put("versions", None, a="3"),
        ("GET", "secret/data/versions", None),
        ("GET", "secret/data/versions?version=1", None),
        ("GET", "secret/metadata/versions", None),
        ("POST", "secret/destroy/versions", {"versions": [1, 9]}),
        ("GET", "secret/data/versions?version=1", None),
        ("POST", "secret/destroy/versions", {"versions": []}),
        ("POST", "secret/destroy/versions", {"versions": [3]}),
        ("GET", "secret/data/versions", None),
        ("GET", "secret/metadata/versions", None),
        put("versions", 2, a="4"),
        put("versions", 3, a="4"),
        ("POST", "secret/data/versions", {}),
    ],
    "deleted": [
        put("deleted", None, a="1"),
        ("DELETE", "secret/data/deleted", None),
        ("GET", "secret/data/deleted", None),
        put("deleted", 0, a="2"),
        put("deleted", 1, a="2"),
        ("POST", "secret/delete/deleted", {"versions": [2]}),
        ("GET", "secret/data/deleted", None),
    ],
    "tags": [
        tags("POST", "tags", a="1", b="2"),
        ("GET", "secret/data/tags", None),
        ("GET", "secret/metadata/tags", None),
        put("tags", 0, a="1"),
        tags("PATCH", "tags", a=None, c="3"),
        ("GET", "secret/data/tags", None),
        tags("PATCH", "tags", a="x" * 513),
        tags("PATCH", "tags", a=""),
        tags("PATCH", "tags", a="a\nb"),
        tags("POST", "tags", **{f"k{number}": "v" for number in range(65)}),
        ("GET", "secret/metadata/tags", None),
    ],
    "many": [
        ("POST", "secret/metadata/many", {"max_versions": 2}),
        *[put("many", number, a=f"{number}") for number in range(4)],
        ("GET", "secret/metadata/many", None),
        ("GET", "secret/data/many?version=2", None),
    ],
    "lists": [
        put("lists/a", None, a="1"),
        put("lists/b/c", None, a="1"),
        ("GET", "secret/metadata/lists/?list=true", None),
        ("LIST", "secret/metadata/lists", None),
        ("GET", "secret/metadata/lists/none/?list=true", None),
    ],
    "engines": [
        ("GET", "sys/internal/ui/mounts/secret/engines", None),
        ("GET", "sys/internal/ui/mounts/nowhere/engines", None),
        ("GET", "nowhere/data/engines", None),
        ("GET", "secret/nothing/engines", None),
        ("POST", "secret/data/engines", None),
    ],
    "who": [
        ("GET", "auth/token/lookup-self", None),
        ("POST", "sys/capabilities-self", {"paths": ["secret/data/who"]}),
        ("POST", "sys/capabilities-self", {"paths": []}),
    ],
}


@pytest.mark.parametrize("name", CASES)
def test_both_servers_say_the_same_to_root(both: list[OpenBao], name: str) -> None:
    """Requests that a mirror makes, or that get in its way."""
    ours, real = (asked(server, server.server.root_token, *CASES[name]) for server in both)

    if name == "who":
        ours, real = ours[1:], real[1:]
    assert real == ours


POLICY = {
    "secret/data/limited/a": ["read", "update"],
    "secret/metadata/limited/a": ["create", "read", "patch"],
    "secret/destroy/limited/a": ["update"],
    "secret/data/limited/+/x": ["read"],
    "secret/metadata/limited/*": ["list"],
}
LIMITED: list[Asked] = [
    ("GET", "sys/internal/ui/mounts/secret/limited/a", None),
    ("GET", "sys/internal/ui/mounts/secret/elsewhere", None),
    ("GET", "sys/internal/ui/mounts/first/x", None),
    ("GET", "secret/data/limited/a", None),
    ("GET", "secret/data/limited/b", None),
    put("limited/a", 0, a="1"),
    tags("POST", "limited/a", a="1"),
    tags("POST", "limited/a", a="2"),
    tags("PATCH", "limited/a", a="2"),
    put("limited/a", 0, a="1"),
    ("GET", "secret/data/limited/a", None),
    ("DELETE", "secret/data/limited/a", None),
    ("POST", "secret/destroy/limited/a", {"versions": [1]}),
    ("GET", "secret/metadata/limited/?list=true", None),
    ("GET", "secret/metadata/?list=true", None),
    ("GET", "secret/data/limited/b/x", None),
    ("PUT", "sys/policies/acl/rotation", {"policy": "{}"}),
    (
        "POST",
        "sys/capabilities-self",
        {"paths": ["secret/data/limited/a", "secret/data/limited/z/x", "secret/data/no", "secret/metadata/limited/q"]},
    ),
]


def test_both_let_the_same_through(both: list[OpenBao]) -> None:
    """Each policy's line, what has none, and the first version, which is an update once there are tags."""
    answers = []
    for server in both:
        server.add_engine("first", 1)
        server.allow("limited", POLICY)
        answers.append(asked(server, server.add_token("limited"), *LIMITED))

    assert answers[1] == answers[0]
    assert [200, 403, 404] == sorted({status for status, _ in answers[0] if status != 204})  # type: ignore[misc, has-type]


def test_both_take_the_same_logins(both: list[OpenBao]) -> None:
    """By AppRole: the right one, wrong ones, one that was withdrawn, none; a way that is not there; a namespace."""
    answers = []
    for server in both:
        server.allow("logins", {"secret/data/logins": ["read"]})
        role_id, secret_id = server.add_approle("logins", lasts="90s")
        wrong = [
            {"role_id": "no", "secret_id": secret_id},
            {"role_id": role_id, "secret_id": "no"},
            {"role_id": role_id},
        ]
        right = {"role_id": role_id, "secret_id": secret_id}
        tries: list[Asked] = [("POST", "auth/approle/login", body) for body in (*wrong, right)]
        tries += [("POST", "auth/nowhere/login", right), ("POST", "auth/jwt/login", {"role": "x", "jwt": "a.b.c"})]
        found = asked(server, "", *tries)
        found += asked(server, "", ("POST", "auth/approle/login", right), namespace="nowhere")
        server.root("POST", "auth/approle/role/logins/secret-id/destroy", {"secret_id": secret_id})
        found += asked(server, "", ("POST", "auth/approle/login", right))
        token = server.add_token("logins")
        found += asked(server, token, ("GET", "secret/data/logins", None), ("GET", "auth/token/lookup-self", None))[:1]
        server.revoke(token)
        found += asked(server, token, ("GET", "secret/data/logins", None), ("GET", "auth/token/lookup-self", None))
        answers.append(found)

    assert answers[1] == answers[0]


def test_a_namespace_has_its_own(both: list[OpenBao]) -> None:
    """Engines, policies and logins of one are unknown in the other."""
    answers = []
    for server in both:
        server.add_namespace("plant")
        server.add_engine("team", namespace="plant")
        server.allow("inner", {"team/data/x": ["read"]}, namespace="plant")
        server.allow("inner", {"secret/data/x": ["read"]})
        role_id, secret_id = server.add_approle("inner", mount="plants", namespace="plant")
        body = {"role_id": role_id, "secret_id": secret_id}
        login: Asked = ("POST", "auth/plants/login", body)
        found = asked(server, "", login) + asked(server, "", login, namespace="plant")
        headers = {"x-vault-namespace": "plant"}
        made = server.ask("POST", "auth/plants/login", headers, json.dumps(body).encode())
        looks: list[Asked] = [("GET", "sys/internal/ui/mounts/team/x", None), ("GET", "team/data/x", None)]
        token = made.content["auth"]["client_token"]
        found += asked(server, token, *looks, namespace="plant") + asked(server, token, *looks)
        answers.append(found)

    assert answers[1] == answers[0]


def jwt(key: rsa.RSAPrivateKey, **claims: object) -> str:
    """Return a JWT with these claims, signed with the key."""

    def text(value: bytes) -> str:
        return base64.urlsafe_b64encode(value).rstrip(b"=").decode()

    signed = ".".join(text(json.dumps(part).encode()) for part in ({"alg": "RS256", "typ": "JWT"}, claims))
    return f"{signed}.{text(key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def test_both_take_the_same_jwts(both: list[OpenBao]) -> None:
    """One that is signed and fresh; one of another subject, of another key, and one that has ended."""
    key, other = (rsa.generate_private_key(65537, 2048) for _ in range(2))
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    now = int(time.time())
    good = {"sub": "gateway", "iat": now, "exp": now + 600}
    tokens = [
        jwt(key, **good),
        jwt(key, **{**good, "sub": "somebody"}),
        jwt(other, **good),
        jwt(key, **{**good, "iat": now - 9000, "exp": now - 8000}),
    ]
    statuses = []
    for server in both:
        server.allow("jwt", {"secret/data/jwt": ["read"]})
        server.add_jwt_role("gateway", public.decode(), "gateway", "jwt")
        bodies = [{"role": "gateway", "jwt": token} for token in tokens] + [{"role": "nobody", "jwt": tokens[0]}]
        found = [server.ask("POST", "auth/jwt/login", {}, json.dumps(body).encode()) for body in bodies]
        statuses.append([answer.status for answer in found])

    assert [200, 400, 400, 400, 400] == statuses[0]
    assert statuses[1] == statuses[0]


class TestRealOpenBao(InMemory):
    """The contract of mirrors, with a real server behind the sandbox's front."""

    script, kind = rotate_seeq_application_key.SCRIPT, Plant
    server: ClassVar[bao.Bao]
    number: ClassVar[int] = 0

    @pytest.fixture(autouse=True)
    def _standing_behind(self, server: bao.Bao) -> None:
        type(self).server = server

    def prepare(self, plant: AnyPlant) -> None:
        """Have it answer, and take a secret that no test has used."""
        plant.openbao.stand_behind(self.server)
        type(self).number += 1
        self.secret = f"plant/reports-{self.number}"
        super().prepare(plant)


def test_the_value_before_follows_under_its_second_name(server: bao.Bao) -> None:
    """From one publication to the next, against a real server."""
    with on_loopback(PublishPlant, value_format="alnum:32", mirrored=False) as plant:
        plant.openbao.stand_behind(server)
        plant.add_openbao_mirror("plant/value", held={"value": plant.written(plant.old_password)})
        plant.keep_previous("the-value-of-two-years-ago")
        for _ in range(2):
            last = plant.openbao.value("plant/value")
            result = InProcess("publish_secret").run(plant)

            assert (0, "") == (result.returncode, result.stderr)
            assert last == plant.openbao.value(previous("plant/value")) != plant.openbao.value("plant/value")


def test_its_pages_show_a_secret_where_the_audit_leads(server: bao.Bao) -> None:
    """The address is answered with its pages, and these know the way below an engine that it begins with."""
    root = f"http://127.0.0.1:{server.port}"
    page = requests.get(f"{root}/ui/vault/secrets/secret/show/plant/reports?namespace=team", timeout=30)
    scripts = re.findall(r'<script src="(/ui/assets/[^"]+)"', page.text)
    code = [requests.get(f"{root}{script}", timeout=30).text for script in scripts]

    assert (200, "text/html") == (page.status_code, page.headers["content-type"].partition(";")[0])
    for known in ('path:"/:backend"', 'path:"/show/*secret"', 'as:"namespace"'):
        assert any(known in text for text in code), known


@pytest.mark.parametrize("first_time", [False, True])
def test_a_rotation_goes_through(server: bao.Bao, first_time: bool) -> None:
    """The whole script against a real server: the new key in its secret, older versions gone, a second one too."""
    name = f"plant/whole-{first_time}"
    with on_loopback(Plant, first_time=first_time) as plant:
        plant.openbao.stand_behind(server)
        plant.set_field("key_vault_name", "")
        old = {"access_key_id": plant.old_key_id, "access_key_password": plant.old_password}
        plant.add_openbao_mirror(name, held=None if first_time else {**old, "note": "of the team"})
        for _ in range(2):
            result = InProcess("rotate_seeq_application_key").run(plant)
            assert 0 == result.returncode, result.stderr

        held = plant.openbao.value(name) or {}
        assert plant.logs_in(held["access_key_id"], held["access_key_password"])
        assert first_time or held["note"] == "of the team"
        assert [True] == [version.data is not None for version in plant.openbao.versions(name) if not version.destroyed]
        assert plant.application_id == plant.openbao.tags(name)["seeq-application-id"]


def test_the_demo_shows_it(
    server: bao.Bao,
    dist: Path,
    runtime_python: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`make demo MIRROR=openbao` ends well, with a server of its own; what stands there is shown as dots."""
    assert server.port
    monkeypatch.setattr(demo, "RUNTIME_PYTHON", Path(runtime_python))
    for variable in ("HTTPS_PROXY", "REQUESTS_CA_BUNDLE"):
        monkeypatch.setenv(variable, "")
    script = dist / "rotate_seeq_application_key.py"
    ended = demo.show(demo.DEMOS[script.stem], script, Console(width=200), mirror="openbao")

    shown = capsys.readouterr().out
    assert 0 == ended, shown
    assert "OpenBao" in shown
    assert "Key Vault" not in shown
