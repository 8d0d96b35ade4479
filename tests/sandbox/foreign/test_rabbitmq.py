"""A real RabbitMQ server: it answers as the sandbox's own does, and whole rotations are seen from an AMQP client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pam_scripts import rotate_rabbitmq_password
from sandbox import rabbit
from sandbox.messaging import RabbitPlant
from sandbox.plant import running
from sandbox.services.rabbitmq import FIRST, Answer, RabbitMQ, basic, hash_of
from tests.contracts.on_site import Site
from tests.contracts.test_issuers import TestRabbitMQPasswordOfOneUser as OneUser
from tests.support.in_process import InProcess
from tests.support.invariants import assert_true_state, in_keeper

pika = pytest.importorskip("pika", reason="pika, which logs in by AMQP, is not installed here")

Asked = tuple[str, str, str, dict[str, Any] | None]
"""Who asks, by name and password with a colon; the method, the path, and a body."""

ADMIN, READER, PLAIN = "an.admin:of the admin", "a.reader:of the reader", "erp/eu:of last year"
USER = "/api/users/erp%2Feu"
FORMER = hash_of("of last year")

CASES: dict[str, list[Asked]] = {
    "who one is": [
        (ADMIN, "GET", "/api/whoami", None),
        (READER, "GET", "/api/whoami", None),
        (PLAIN, "GET", "/api/whoami", None),
        ("erp/eu:wrong", "GET", "/api/whoami", None),
        ("erp/eu:", "GET", "/api/whoami", None),
        ("nobody:any", "GET", "/api/whoami", None),
        ("", "GET", "/api/whoami", None),
    ],
    "who may": [
        (READER, "GET", USER, None),
        (PLAIN, "GET", USER, None),
        (READER, "PUT", USER, {"password": "any", "tags": ""}),
        ("an.admin:wrong", "GET", USER, None),
        (ADMIN, "DELETE", "/api/connections/username/erp%2Feu", None),
        (ADMIN, "GET", "/api/users/nobody", None),
    ],
    "a password": [
        (ADMIN, "PUT", USER, {"password": "new", "tags": "policymaker,erp"}),
        ("erp/eu:new", "GET", "/api/whoami", None),
        (PLAIN, "GET", "/api/whoami", None),
        (ADMIN, "PUT", USER, {"password": "newer"}),
        (ADMIN, "PUT", USER, {"password": "newer", "tags": ["policymaker"]}),
        (ADMIN, "GET", USER, None),
    ],
    "a hash": [
        (ADMIN, "PUT", USER, {"password": "new", "tags": "monitoring"}),
        (ADMIN, "PUT", USER, {"password_hash": FORMER, "tags": "monitoring"}),
        (PLAIN, "GET", "/api/whoami", None),
        ("erp/eu:new", "GET", "/api/whoami", None),
        (ADMIN, "PUT", USER, {"password_hash": "no hash!", "tags": ""}),
        (ADMIN, "PUT", USER, {"password_hash": "", "tags": "monitoring"}),
        (PLAIN, "GET", "/api/whoami", None),
        ("erp/eu:", "GET", "/api/whoami", None),
        (ADMIN, "GET", USER, None),
        (ADMIN, "PUT", USER, {"tags": "monitoring"}),
        (ADMIN, "GET", USER, None),
    ],
}


@pytest.fixture(scope="module")
def server() -> Iterator[rabbit.Rabbit]:
    """Return a real server; without one the test is left out."""
    if not rabbit.INSTALLED.exists():
        pytest.skip("no RabbitMQ server is installed here: apt-get install rabbitmq-server")
    with rabbit.running() as server:
        yield server


def told(answer: Answer) -> tuple[int, object]:
    """Return what an answer says, less the salt of a hash."""
    content = answer.content
    if isinstance(content, dict) and content.get("password_hash"):
        content = {**content, "password_hash": len(content["password_hash"])}
    return answer.status, content


def asked(service: RabbitMQ, requests: list[Asked]) -> list[object]:
    """Ask a server, from the same users each time."""
    service.add_user("an.admin", "of the admin", ["administrator"])
    service.add_user("a.reader", "of the reader", ["monitoring"])
    service.add_user("erp/eu", "of last year")
    answers: list[object] = []
    for login, method, path, body in requests:
        headers = {"authorization": basic(*login.split(":"))} if login else {}
        sent = b"" if body is None else json.dumps(body).encode()
        answers.append(told(service.ask(method, path, {**headers, "content-type": "application/json"}, sent)))
    return answers


@pytest.mark.parametrize("case", CASES)
def test_it_answers_as_the_sandbox_does(case: str, server: rabbit.Rabbit) -> None:
    """The same requests, the same status and words."""
    assert asked(RabbitMQ(server), CASES[case]) == asked(RabbitMQ(), CASES[case])


def reaches(server: rabbit.Rabbit, name: str, password: str) -> Any:  # noqa: ANN401 - pika has no types
    """Log in as an AMQP client; return the connection."""
    login = pika.PlainCredentials(name, password)
    return pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", server.amqp_port, credentials=login))


def plant_at(server: rabbit.Rabbit, directory: Path, *, spare: bool) -> RabbitPlant:
    """Make a plant whose users live in a real server, and may log in by AMQP."""

    class Real(RabbitPlant):
        def _with(self, service: Any) -> Any:  # noqa: ANN401 - any service
            if isinstance(service, RabbitMQ):
                service.stand_behind(server)
            return super()._with(service)

    plant = Real(directory, spare=spare)
    everything = json.dumps({"configure": ".*", "write": ".*", "read": ".*"}).encode()
    for name in filter(None, (plant.username, plant.spare)):
        headers = {"authorization": basic(*FIRST), "content-type": "application/json"}
        server.answer("PUT", f"/api/permissions/%2F/{name}", headers, everything)
    return plant


@pytest.mark.parametrize("spare", [True, False])
def test_an_amqp_client_sees_the_rotation(server: rabbit.Rabbit, tmp_path: Path, spare: bool) -> None:
    """What Keeper holds logs in by AMQP, before and after; the former password does not; its live connection ends."""
    with running(plant_at(server, tmp_path, spare=spare)) as plant:
        plant.set_field("close_connections", "True")
        open_before = reaches(server, *in_keeper(plant))

        result = InProcess("rotate_rabbitmq_password").run(plant)

        assert (0, "") == (result.returncode, result.stderr)
        assert_true_state(plant)
        reaches(server, *in_keeper(plant)).close()
        with pytest.raises(pika.exceptions.ProbableAuthenticationError):
            reaches(server, "erp", plant.old_password)
        with pytest.raises(pika.exceptions.ConnectionClosedByBroker):
            open_before.sleep(10)


def test_a_live_connection_survives_where_that_is_not_asked_for(server: rabbit.Rabbit, tmp_path: Path) -> None:
    """It goes on with the password that has ended, as the log says."""
    with running(plant_at(server, tmp_path, spare=False)) as plant:
        open_before = reaches(server, *in_keeper(plant))

        result = InProcess("rotate_rabbitmq_password").run(plant)

        assert 0 == result.returncode, result.stderr
        assert "Open connections of user erp live on" in result.stdout
        open_before.process_data_events(time_limit=0.2)
        open_before.close()


def test_what_is_put_back_logs_in_by_amqp(
    server: rabbit.Rabbit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hash of before is set again as it was read: the former password is the present one."""
    with running(plant_at(server, tmp_path, spare=False)) as plant:
        for name, value in plant.environment().items():
            monkeypatch.setenv(name, value)
        site = Site(plant, rotate_rabbitmq_password.SCRIPT)
        issuer = OneUser().ready(site)
        before = plant.rabbitmq.user("erp")
        key, _ = OneUser().make(site, issuer)
        with pytest.raises(pika.exceptions.ProbableAuthenticationError):
            reaches(server, "erp", plant.old_password)
        issuer.delete_key(key)

        assert before == plant.rabbitmq.user("erp")
        reaches(server, "erp", plant.old_password).close()
