"""The audit of packages says that none is weak only where the service said so of each of them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.conftest import ROOT
from tests.supply.conftest import Run
from tools import locks


class Advisories(ThreadingHTTPServer):
    """A service of advisories on loopback, as OSV's `/v1/query` answers. weak: package -> id; dead: what it refuses."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.weak: Mapping[str, str] = {}
        self.dead = ""
        self.asked: set[tuple[str, str]] = set()


class _Handler(BaseHTTPRequestHandler):
    server: Advisories

    def do_POST(self) -> None:
        """Answer one question: of one package in one version."""
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = question["package"]["name"]
        self.server.asked.add((name, question["version"]))
        fixed = {"package": question["package"], "ranges": [{"type": "ECOSYSTEM", "events": [{"fixed": "99.1"}]}]}
        found = {"vulns": [{"id": self.server.weak[name], "affected": [fixed]}]} if name in self.server.weak else {}
        self.send_response(503 if name == self.server.dead else 200)
        self.end_headers()
        self.wfile.write(json.dumps(found).encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def advisories() -> Iterator[Advisories]:
    """Return a service that knows of no weakness, until it is told."""
    with Advisories() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.mark.thorough
def test_all_packages_of_the_lock_are_asked_for_and_each_weakness_is_named(tool: Run, advisories: Advisories) -> None:
    """Both versions of a package that differs by Python are asked for; one advisory is one line, and status 1."""
    advisories.weak = {"pycparser": "PYSEC-2026-1"}
    service = f"http://127.0.0.1:{advisories.server_port}/v1/query"

    done = tool("python", "-m", "tools.audit_packages", "-s", "osv", "--osv-url", service)

    pins = locks.read(ROOT / "requirements-aws.lock")
    versions = [pin.version for pin in pins if pin.name == "pycparser"]
    told = [f"pycparser {version}: PYSEC-2026-1, mended in 99.1" for version in versions]
    assert {(pin.name, pin.version) for pin in pins} == advisories.asked
    assert 2 == len(versions)
    summary = f"audited: {len(pins)} packages of requirements-aws.lock, 2 known weaknesses"
    assert (1, [*told, summary], "") == (done.returncode, done.stdout.splitlines(), done.stderr)


@pytest.mark.thorough
def test_where_nothing_is_known_the_audit_says_how_many_were_asked_for(tool: Run, advisories: Advisories) -> None:
    """Status 0, and one line."""
    service = f"http://127.0.0.1:{advisories.server_port}/v1/query"

    done = tool("python", "-m", "tools.audit_packages", "-s", "osv", "--osv-url", service)

    count = len(advisories.asked)
    assert (0, f"audited: {count} packages of requirements-aws.lock, no known weaknesses\n") == (
        done.returncode,
        done.stdout,
    )


@pytest.mark.parametrize(("options", "status"), [((), 0), (("--must-ask",), 1)])
def test_where_the_service_does_not_answer_for_one_package_nothing_is_claimed(
    options: tuple[str, ...], status: int, tool: Run, advisories: Advisories
) -> None:
    """It says "not audited" and nothing else, not even the weakness that it had found by then."""
    advisories.weak, advisories.dead = {"azure-core": "PYSEC-2026-1"}, "urllib3"
    service = f"http://127.0.0.1:{advisories.server_port}/v1/query"

    done = tool("python", "-m", "tools.audit_packages", *options, "-s", "osv", "--osv-url", service)

    assert ("urllib3" in dict(advisories.asked), status, "not audited\n", "") == (
        True,
        done.returncode,
        done.stdout,
        done.stderr,
    )
