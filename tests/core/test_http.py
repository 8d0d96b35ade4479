"""The one HTTP session, against a server on loopback that tries to lead it astray."""

from __future__ import annotations

import email.utils
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from urllib3.connection import HTTPSConnection

from pam_scripts.core import http
from pam_scripts.core.deadline import Deadline
from pam_scripts.core.errors import ApiError, BadInput, OutOfTime
from pam_scripts.core.http import Common, Session, retry_after
from pam_scripts.core.times import utc_now
from sandbox import faults
from sandbox.faults import Rule
from sandbox.wire import Wire

HOST = "api.example.com"
URL = f"https://{HOST}"


async def echo(request: Request) -> Response:
    """Answer with the headers that came, and set a cookie."""
    answer = JSONResponse(dict(request.headers))
    answer.set_cookie("session", "abc")
    return answer


async def elsewhere(_request: Request) -> Response:
    """Lead to a host that nobody named."""
    return RedirectResponse("https://other.example.com/echo", 307)


async def forbidden(_request: Request) -> Response:
    """Refuse, with the system's own words and a wait."""
    return JSONResponse({"code": "NotYou", "words": "You may\nnot."}, 403, {"Retry-After": "7"})


async def page(_request: Request) -> Response:
    """Answer a web page."""
    return PlainTextResponse("<html>Sign in</html>", media_type="text/html")


async def listed(_request: Request) -> Response:
    """Answer JSON that is no object."""
    return JSONResponse([1, 2])


async def empty(_request: Request) -> Response:
    """Answer nothing, successfully."""
    return Response(status_code=204)


@pytest.fixture
def wire(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    """Serve one host, and nothing at the host that the redirect leads to but the same application."""
    made = Wire(tmp_path)
    routes = [
        Route(f"/{name}", endpoint, methods=["GET", "POST"])
        for name, endpoint in {
            "echo": echo,
            "elsewhere": elsewhere,
            "forbidden": forbidden,
            "page": page,
            "list": listed,
            "empty": empty,
        }.items()
    ]
    for host in (HOST, "other.example.com"):
        made.add(host, Starlette(routes=routes))
    made.start()
    for name, value in made.environment().items():
        monkeypatch.setenv(name, value)
    yield made
    made.stop()


@pytest.fixture
def session(wire: Wire) -> Session:
    """Return the session of a run of one minute."""
    assert wire.ca_file.exists()
    return Session(Deadline(60))


def explain(answer: Mapping[str, Any]) -> tuple[str, str]:
    """Read the error answers of the server here."""
    return str(answer.get("code", "")), http.recognised_reason(answer.get("words"), {"you may": "the right is missing"})


def call(session: Session, path: str, **more: Any) -> tuple[dict[str, Any], Mapping[str, str]]:  # noqa: ANN401 - handed on
    """Make one call as the package's modules do."""
    return http.call(session, "GET", f"{URL}/{path}", system="system", action="do it", explain=explain, **more)


def test_a_redirect_is_not_followed(wire: Wire, session: Session) -> None:
    """Credentials go to the host that was named and to no other."""
    with pytest.raises(ApiError, match=r"307.*enter the address it leads to"):
        call(session, "elsewhere")

    assert [HOST] == [request.host for request in wire.log]


def test_a_callers_wish_to_follow_is_not_heard(wire: Wire, session: Session) -> None:
    """An SDK that asks for redirects to be followed gets the answer as it is."""
    assert 307 == session.get(f"{URL}/elsewhere", allow_redirects=True).status_code
    assert [HOST] == [request.host for request in wire.log]


def test_cookies_are_not_kept(session: Session) -> None:
    """A login's cookie is not sent with the next call."""
    session.get(f"{URL}/echo")

    assert "cookie" not in session.get(f"{URL}/echo").json()
    assert [] == list(session.cookies)


def test_netrc_is_not_read(session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry for the host neither adds a header nor replaces the one that is given."""
    file = tmp_path / "netrc"
    file.write_text(f"machine {HOST} login somebody password something\n")
    monkeypatch.setenv("NETRC", str(file))
    assert requests.utils.get_netrc_auth(URL), "requests itself would use it"

    assert "authorization" not in session.get(f"{URL}/echo").json()
    given = session.get(f"{URL}/echo", headers={"Authorization": "Bearer ours"}).json()
    assert "Bearer ours" == given["authorization"]


def test_a_request_that_was_put_together_before_goes_the_same_way(wire: Wire, session: Session) -> None:
    """Through the environment's proxy, and trusting its CAs: nothing else leads to the host here."""
    prepared = session.prepare_request(requests.Request("GET", f"{URL}/echo", headers={"accept": "text/plain"}))

    assert session.send(prepared).ok
    (sent,) = wire.log
    assert ("text/plain", True) == (sent.headers["accept"], sent.headers["user-agent"].startswith("pam-scripts/"))


def test_certificates_are_checked_whatever_is_asked_for(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """`verify=False`, from an SDK or on the session, does not let an untrusted server in."""
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    with pytest.raises(requests.exceptions.SSLError):
        session.get(f"{URL}/echo", verify=False)

    session.verify = False
    with pytest.raises(requests.exceptions.SSLError):
        session.get(f"{URL}/echo")


@pytest.mark.parametrize("private_ca", [True, False], ids=["private-ca", "public-cas"])
def test_a_body_leaves_with_its_head_through_a_proxy_too(wire: Wire, private_ca: bool) -> None:
    """Nagle's algorithm is off: with it every call that has a body waits 40 ms for an acknowledgement."""
    session = Session(Deadline(60), str(wire.ca_file) if private_ca else "")
    with session.get(f"{URL}/echo", stream=True) as response:
        assert isinstance(response.raw.connection, HTTPSConnection)
        sock = response.raw.connection.sock
        assert wire.proxy_port == sock.getpeername()[1]
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize("proxied", [True, False], ids=["through-the-proxy", "direct"])
def test_a_private_ca_is_trusted_beside_the_others(
    proxied: bool, wire: Wire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The given file adds to what the environment trusts, which goes on being trusted."""
    assert wire.proxy_port
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    url = f"{URL}/echo"
    if not proxied:
        monkeypatch.delenv("HTTPS_PROXY")
        resolve = socket.getaddrinfo
        monkeypatch.setattr("socket.getaddrinfo", lambda _host, *rest, **more: resolve("127.0.0.1", *rest, **more))
        url = f"https://{HOST}:{wire.tls_port}/echo"

    assert 200 == Session(Deadline(60), str(other)).get(url).status_code
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    assert 200 == Session(Deadline(60), str(wire.ca_file)).get(url).status_code
    with pytest.raises(requests.exceptions.SSLError):
        Session(Deadline(60), str(other)).get(url)


def test_the_trusted_cas_are_read_once(wire: Wire, session: Session) -> None:
    """A second connection goes by what the first one read, whatever stands in the file by then."""
    session.get(f"{URL}/echo")
    trustme.CA().cert_pem.write_to_path(str(wire.ca_file))

    assert session.get("https://other.example.com/echo").ok
    assert 2 == wire.tls_handshakes
    with pytest.raises(ApiError, match="certificate is not trusted"):
        call(Session(Deadline(60)), "echo")


def test_the_environment_is_asked_once_for_each_server(
    wire: Wire, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it said of a server's proxy holds for the whole run; another server is asked for by itself."""
    session.get(f"{URL}/echo")
    monkeypatch.setenv("NO_PROXY", "*")

    assert session.get(f"{URL}/echo").ok
    assert 2 == len(wire.log)
    with pytest.raises(requests.ConnectionError):
        session.get("https://other.example.com/echo")


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "ALL_PROXY"])
@pytest.mark.parametrize(
    "value",
    [
        "http://[::1",
        "http://host:port",
        "host:0",
        "http://a..b:1",
        "http://two words:1",
        "[",
        "http://",
        "socks5://h:1",
    ],
)
def test_a_proxy_that_is_none_is_refused_by_its_name(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is sent, and nothing goes past it; what stands there may be a password, and is not shown."""
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, value)

    with pytest.raises(BadInput, match=r"HTTPS_PROXY \(or ALL_PROXY\) is not the address of a proxy") as caught:
        call(Session(Deadline(60)), "echo")
    assert value not in str(caught.value).partition("; ")[0]


@pytest.mark.parametrize("scheme", ["", "http://"])
def test_a_proxy_for_everything_is_used_with_and_without_its_scheme(
    scheme: str, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As curl and requests read ALL_PROXY, so does whatever asks or tells of the way."""
    monkeypatch.delenv("HTTPS_PROXY")
    monkeypatch.setenv("ALL_PROXY", f"{scheme}127.0.0.1:{wire.proxy_port}")

    assert f"through the proxy 127.0.0.1:{wire.proxy_port}" == http.route_to(URL)
    assert Session(Deadline(60)).get(f"{URL}/echo").ok
    assert [HOST] == [one.host for one in wire.log]


# -- connecting ahead -----------------------------------------------------------------------------


@pytest.mark.parametrize("proxied", [True, False])
def test_what_is_connected_ahead_is_used(
    wire: Wire, session: Session, monkeypatch: pytest.MonkeyPatch, *, proxied: bool
) -> None:
    """Requests side by side find their connections made, after the servers' session tickets came, too."""
    root = URL
    if not proxied:
        monkeypatch.delenv("HTTPS_PROXY")
        resolve = socket.getaddrinfo
        monkeypatch.setattr("socket.getaddrinfo", lambda _host, *rest, **more: resolve("127.0.0.1", *rest, **more))
        root = f"https://{HOST}:{wire.tls_port}"
    session.connect(root, 2)
    # Longer than tickets take to arrive on loopback.
    time.sleep(0.3)
    assert ([], 2) == (wire.log, wire.tls_handshakes)
    wire.rules.append(Rule(faults.delay(0.2)))

    with ThreadPoolExecutor() as threads:
        answers = list(threads.map(session.get, [f"{root}/echo"] * 2))
    assert [200, 200] == [answer.status_code for answer in answers]
    assert 2 == wire.tls_handshakes


@pytest.mark.parametrize("looks", [(True, True, True), (False, True, True)], ids=["before", "between"])
def test_session_tickets_end_no_connection_whenever_they_come(
    looks: Sequence[bool], wire: Wire, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before a look at what is unread, or between two: no end of the connection."""
    session.connect(URL)
    time.sleep(0.3)
    # What urllib3 finds when it looks whether something has come.
    found = iter(looks)
    monkeypatch.setattr("urllib3.connection.wait_for_read", lambda *_arguments, **_named: next(found))

    assert session.get(f"{URL}/echo").ok
    assert 1 == wire.tls_handshakes


def test_one_connection_is_made_for_all_who_share_them_where_one_asks_for_all(wire: Wire) -> None:
    """As to log in: three sessions begin, whoever asks first waits for what another has begun."""
    wire.round_trip = 0.1
    common = Common()
    sessions = [Session(Deadline(60), common=common) for _ in range(3)]
    for each in sessions:
        each.connect(URL, 0)

    assert sessions[-1].get(f"{URL}/echo").ok
    assert 1 == wire.tls_handshakes


def test_a_request_waits_for_the_connection_that_is_on_its_way(wire: Wire, session: Session) -> None:
    """Nothing is connected twice because it was asked too early."""
    wire.round_trip = 0.1
    session.connect(URL)

    assert session.get(f"{URL}/echo").ok
    assert 1 == wire.tls_handshakes


def test_more_hosts_than_connections_stay_open_to_are_asked_all_the_same(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connections to a host that was asked long ago are closed, and made anew where it is asked again."""
    monkeypatch.setattr(http, "_MOST_HOSTS", 1)
    session = Session(Deadline(60))

    assert [200, 200, 200] == [
        session.get(f"https://{host}/echo").status_code for host in (HOST, "other.example.com", HOST)
    ]
    assert 3 == wire.tls_handshakes


def test_what_goes_wrong_while_connecting_ahead_is_told_by_the_request(wire: Wire, tmp_path: Path) -> None:
    """A certificate that is not trusted is as little trusted ahead; the request says so."""
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    session = Session(Deadline(60))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REQUESTS_CA_BUNDLE", str(other))
        session.connect(URL)
        with pytest.raises(ApiError, match="certificate is not trusted"):
            call(session, "echo")
    assert [] == wire.log


def test_every_call_is_bounded_whatever_the_caller_says(wire: Wire) -> None:
    """A server that never answers is left after the call's share of the run's time."""
    wire.rules.append(Rule(faults.hang()))
    started = time.monotonic()

    with pytest.raises(ApiError, match="no answer in time"):
        call(Session(Deadline(2)), "echo")
    assert time.monotonic() - started < 5


def test_past_the_deadline_no_request_is_sent(wire: Wire) -> None:
    """A run that is out of time asks nothing any more."""
    with pytest.raises(OutOfTime):
        call(Session(Deadline(0)), "echo")

    assert [] == wire.log


def test_an_answer_is_its_json_object_and_headers(session: Session) -> None:
    """A call gives what the server said; an empty success is an empty object."""
    answer, headers = call(session, "echo", headers={"X-Given": "yes"})

    assert "yes" == answer["x-given"]
    assert "application/json" == headers["Content-Type"]
    assert {} == call(session, "empty")[0]


def test_a_refusal_carries_status_name_words_and_wait(session: Session) -> None:
    """The error says system, action and cause in one line, and knows code and Retry-After."""
    with pytest.raises(ApiError) as caught:
        call(session, "forbidden")

    assert "system: do it: 403 Forbidden (NotYou; the right is missing)" == str(caught.value)
    assert (403, 7.0, False) == (caught.value.code, caught.value.retry_after, caught.value.transient)


@pytest.mark.parametrize("path", ["page", "list"])
def test_an_answer_of_another_kind_counts_as_none(path: str, session: Session) -> None:
    """A web page, or JSON that is no object, leaves open what was done: no status, worth asking again."""
    with pytest.raises(ApiError, match="is a proxy in the way") as caught:
        call(session, path)

    assert (None, True) == (caught.value.code, caught.value.transient)


@pytest.mark.parametrize("fault", [faults.no_effect_no_answer(), faults.broken_body()], ids=["reset", "cut-short"])
def test_a_lost_answer_counts_as_none(fault: faults.Fault, wire: Wire, session: Session) -> None:
    """A connection that breaks, and half a body, leave open what was done."""
    wire.rules.append(Rule(fault))

    with pytest.raises(ApiError) as caught:
        call(session, "echo")
    assert (None, True) == (caught.value.code, caught.value.transient)


def test_an_untrusted_certificate_names_the_way_out(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line says what is wrong and both places for a private CA."""
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")

    with pytest.raises(ApiError, match=r"certificate is not trusted.*REQUESTS_CA_BUNDLE.*'ca_bundle'"):
        call(session, "echo")


# -- Retry-After ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "seconds"), [("0", 0.0), ("17", 17.0), (" 5 ", 5.0)])
def test_retry_after_in_seconds(value: str, seconds: float) -> None:
    """A number is seconds."""
    assert seconds == retry_after({"Retry-After": value})


def test_retry_after_as_a_date() -> None:
    """A date is counted from now; one that has passed means no wait."""
    future = email.utils.format_datetime(utc_now() + timedelta(seconds=90), usegmt=True)
    past = email.utils.format_datetime(utc_now() - timedelta(seconds=90), usegmt=True)

    assert 80 < (retry_after({"retry-after": future}) or 0) <= 90
    assert 0 == retry_after({"Retry-After": past})


@pytest.mark.parametrize(
    "value", ["", "soon", "-3", "1.5", "\u00b2", "Wed, 99 Nov 2026 05:50:00 GMT", "Wed, 22 Nov 2026"]
)
def test_a_retry_after_that_cannot_be_read_counts_as_none(value: str) -> None:
    """Whatever a proxy writes there, it does not stop a run."""
    assert retry_after({"Retry-After": value}) is None


@pytest.mark.parametrize("zone", ["", " -0000"])
def test_a_retry_after_date_without_a_zone_does_not_stop_a_run(zone: str) -> None:
    """RFC 9110 asks for GMT; a date that leaves it out is taken for it, or for none."""
    found = retry_after({"Retry-After": f"Sun, 22 Nov 2037 05:50:00{zone}"})

    assert found is None or found > 0
