"""What leads two runs through a schedule, where each of them makes requests side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from sandbox.log import Request
from sandbox.wire import Message, Receive, Scope, Send, Wire
from tests.faults.schedules import CLIENTS, Conductor, Schedule
from tests.faults.spots import Spot, spots

HOST = "seeq.example.com"


class _Service:
    """Takes its time to answer; events: which request began and which ended, in order."""

    def __init__(self) -> None:
        self.events: list[str] = []

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        self.events.append(f"begin {scope['path']}")
        await asyncio.sleep(0.01)
        self.events.append(f"end {scope['path']}")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        body: Message = {"type": "http.response.body", "body": b""}
        await send(body)


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    """Return a wire that leads nowhere yet."""
    made = Wire(tmp_path)
    made.start()
    yield made
    made.stop()


def _ask(wire: Wire, client: str, path: str) -> int:
    settings = wire.environment(client)
    proxies, ca = {"https": settings["HTTPS_PROXY"]}, settings["REQUESTS_CA_BUNDLE"]
    return requests.get(f"https://{HOST}{path}", proxies=proxies, verify=ca, timeout=30).status_code


@pytest.mark.parametrize("turns", [(0,), (1, 1), (2, 3, 1), (4, 4)], ids=str)
def test_requests_made_side_by_side_are_let_through_one_by_one(wire: Wire, turns: tuple[int, ...]) -> None:
    """However many requests wait, one is under way at a time, all come through, and turns are counted in them."""
    service, looked = _Service(), list[Request | None]()
    wire.add(HOST, service)
    conductor = Conductor(Schedule(turns), looked.append)
    wire.gate, wire.done = conductor.gate, conductor.done

    def run(client: str) -> list[int]:
        with ThreadPoolExecutor(4) as threads:
            statuses = list(threads.map(lambda number: _ask(wire, client, f"/{client}/{number}"), range(4)))
        wire.loop.call_soon_threadsafe(conductor.ended, client)
        return statuses

    with ThreadPoolExecutor(len(CLIENTS)) as runs:
        statuses = [status for answers in runs.map(run, CLIENTS) for status in answers]
    assert [200] * 8 == statuses
    begun, ended = service.events[::2], service.events[1::2]
    assert [f"begin {event[4:]}" for event in ended] == begun, "each has ended when the next begins"
    order = [request.client for request in looked if request]
    wanted: list[str] = []
    for number, length in enumerate((*turns, 8, 8)):
        client = CLIENTS[number % 2]
        wanted += [client] * min(length, 4 - wanted.count(client))
    assert wanted == order


def test_a_request_is_found_again_in_another_plant() -> None:
    """An address leaves out what is random, tells AWS's actions apart, and counts its like."""
    first, second = (
        [
            Request(1, HOST, "DELETE", f"/api/accesskeys/{key_id}", "", {}, b""),
            Request(2, HOST, "DELETE", f"/api/accesskeys/{key_id[::-1]}", "", {}, b""),
            Request(3, "vault", "PATCH", f"/secrets/seeq-app-{uuid}-key-id/{uuid.replace('-', '')}", "", {}, b""),
            Request(4, "aws", "POST", "/", "", {"x-amz-target": "secretsmanager.GetSecretValue"}, b""),
            Request(5, "aws", "POST", "/", "", {"x-amz-target": "secretsmanager.DescribeSecret"}, b""),
        ]
        for key_id, uuid in (
            ("fZ8pfja1ewmpNnDQ", "53a58e5a-745f-41da-992c-0642f48d155a"),
            ("q4urUYa4w0i1BTG3", "0f685d8c-5ed8-41a8-9f26-99308b241f5c"),
        )
    )
    assert spots(first) == spots(second)
    assert [
        Spot(f"DELETE {HOST}/api/accesskeys/{{id}}", 1),
        Spot(f"DELETE {HOST}/api/accesskeys/{{id}}", 2),
        Spot("PATCH vault/secrets/seeq-app-{id}-key-id/{id}", 1),
        Spot("POST aws/GetSecretValue", 1),
        Spot("POST aws/DescribeSecret", 1),
    ] == spots(first)
