"""One HTTP session for every system: verified TLS, every call bounded, nothing taken from the host.

Meant for requests' own use and to be handed to the SDKs, so that all of them keep the same rules.
Proxy and trusted CAs come from the environment as requests reads them: HTTPS_PROXY, NO_PROXY and
REQUESTS_CA_BUNDLE, the last in place of the public CAs.
"""

from __future__ import annotations

import contextlib
import email.utils
import io
import math
import os
import re
import socket
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable, Hashable, Mapping, MutableMapping
from datetime import timezone
from functools import partial
from http import HTTPStatus
from http.client import HTTPResponse
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import SplitResult, urlsplit
from weakref import WeakValueDictionary

import requests
import requests.utils
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError, ReadTimeoutError
from urllib3.util.ssl_ import create_urllib3_context

from pam_scripts import __version__
from pam_scripts.core.deadline import Deadline
from pam_scripts.core.errors import ApiError, BadInput
from pam_scripts.core.fields import split_address
from pam_scripts.core.files import is_plain_file
from pam_scripts.core.parallel import Once
from pam_scripts.core.secret import Secret
from pam_scripts.core.times import iso, utc_now

T = TypeVar("T")

# What an answer may have: ten times the records of a large plant, which Keeper sends in one.
_MOST_BYTES = 32_000_000

# To so many hosts connections stay open: more than the records of one process name.
_MOST_HOSTS = 1000

# A system's own name for an error: a word of letters, digits and underscores.
_CODE = re.compile(r"[A-Za-z]\w{0,59}", re.ASCII)

# TLS contexts, those of other libraries too, would write down there what opens everything that is sent.
os.environ.pop("SSLKEYLOGFILE", None)


class Session(requests.Session):
    """A requests session whose calls end with the run's deadline.

    It follows no redirect (a credential would go to a host nobody named), keeps no cookies (a
    login with a new key must not change who later calls are made as) and reads no .netrc (which
    would replace an Authorization header). A private CA is trusted beside those that are anyway.
    """

    def __init__(self, deadline: Deadline, ca_bundle: str = "", common: Common | None = None) -> None:
        super().__init__()
        self._ca_bundle = ca_bundle
        self._common = common or Common()
        adapter = self._common.adapter(ca_bundle)
        for scheme in ("https://", "http://"):
            self.mount(scheme, adapter)
        self.deadline = deadline
        self.headers["User-Agent"] = f"pam-scripts/{__version__}"
        # For those who share the session, such as a login that goes by its deadline.
        self.own = Once()
        self._connecting: dict[str, list[threading.Thread]] = {}
        self._settings = self._common.settings
        self._answered = self._common.answered

    def trust(self, host: str, ca_bundle: str) -> None:
        """Trust the CA in one more PEM file, for one host alone; before the host is asked for the first time."""
        self.mount(f"https://{host}/", self._common.adapter(self._ca_bundle, ca_bundle))

    def made_once(self, url: str, key: Hashable, make: Callable[[], T]) -> T:
        """Return what all sessions have in common that share connections to a server, trusting the same CAs for it.

        key: what it is. make: as `Once.get` has it.
        """
        return self._common.once.get((self.get_adapter(url), key), make)

    def connect(self, url: str, connections: int = 1) -> None:
        """Begin to connect to a server that will be asked soon, while there is something else to do.

        connections: at a time; 0: one for all that share connections, where whoever comes first asks for the others.
        Nothing is sent. What goes wrong here goes wrong again, and is reported, when the server is asked. One that
        has answered others of this process before has connections that they have left.
        """
        host = urlsplit(url).netloc
        if connections and host in self._answered:
            return
        begin = partial(self.connect_anew, url, connections or 1)
        threads = begin() if connections else self.made_once(url, "connecting", begin)
        self._connecting.setdefault(host, []).extend(threads)

    def connect_anew(self, url: str, connections: int) -> list[threading.Thread]:
        """Begin to make connections until so many are there, as `connect`; return those who make them."""
        adapter = self.get_adapter(url)
        with contextlib.suppress(Exception):
            if isinstance(adapter, _Adapter):
                request = self.prepare_request(requests.Request("GET", url))
                settings = self.merge_environment_settings(url, {}, None, None, None)
                return adapter.connect(
                    request, settings["verify"], settings["proxies"], connections, self.deadline.call_timeout()
                )
        return []

    def merge_environment_settings(self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any) -> Any:  # noqa: ANN401
        """Ask the environment once for each server: requests looks through all of it, twice, for every request."""
        if proxies:
            return super().merge_environment_settings(url, proxies, stream, verify, cert)
        key = (urlsplit(url).netloc, stream, verify, cert)
        if key not in self._settings:
            settings = super().merge_environment_settings(url, proxies, stream, verify, cert)
            _check_environment(url, settings)
            self._settings[key] = settings
        return dict(self._settings[key])

    def prepare_request(self, request: requests.Request) -> requests.PreparedRequest:
        """Put a request together: the session's headers and its own, no cookies, no login of the host's .netrc."""
        prepared = requests.PreparedRequest()
        prepared.prepare_method(request.method)
        prepared.prepare_url(request.url, request.params or None)
        prepared.prepare_headers({**self.headers, **request.headers})
        prepared.prepare_body(request.data, request.files, request.json)
        return prepared

    def send(
        self,
        request: requests.PreparedRequest,
        *,
        stream: bool | None = False,
        verify: bool | str | None = True,
        proxies: MutableMapping[str, str] | None = None,
        **_others: object,
    ) -> requests.Response:
        """Send a request, bounded in time whatever the caller asked for; certificates are always checked.

        The answer is the server's own: requests' `send` would look for redirects and cookies in it.
        """
        if proxies is None:
            settings = self.merge_environment_settings(request.url, {}, None, None, None)
            verify, proxies = settings["verify"], settings["proxies"]
        for thread in self._connecting.get(urlsplit(request.url or "").netloc, ()):
            thread.join(self.deadline.call_timeout())
        response = self._send(request, verify or True, proxies or {})
        if stream:
            return response
        pieces, size = [], 0
        with response:
            for piece in response.iter_content(1 << 16):
                pieces.append(piece)
                size += len(piece)
                if size > _MOST_BYTES:
                    raise TooLong(response=response)
        response._content = b"".join(pieces)  # noqa: SLF001 - where requests itself keeps what it has read
        return response

    def _send(
        self, request: requests.PreparedRequest, verify: bool | str, proxies: MutableMapping[str, str]
    ) -> requests.Response:
        """Send a request; raise Unreachable where no connection was made to a host that has never answered."""
        url = request.url or ""
        host, timeout = urlsplit(url).netloc, self.deadline.call_timeout()
        try:
            response = self.get_adapter(url).send(request, True, timeout, verify, None, proxies)
        except requests.ConnectionError as error:
            if host not in self._answered and (why := _why_no_connection(error)):
                raise Unreachable(why, host, request=request) from None
            raise
        self._answered.add(host)
        return response


class Common:
    """What several sessions in one process share, whose deadlines are their own: connections, by the CAs they trust.

    connections: how many to one host stay open. once: what else they have between them. settings: what the
    environment says of each server. answered: the hosts that have ever answered.
    """

    def __init__(self, connections: int = requests.adapters.DEFAULT_POOLSIZE) -> None:
        self._connections = connections
        self._lock = threading.Lock()
        self._adapters: dict[tuple[str, ...], _Adapter] = {}
        self.once = Once()
        self.settings: dict[Hashable, Mapping[str, Any]] = {}
        self.answered: set[str] = set()

    def adapter(self, *ca_bundles: str) -> _Adapter:
        """Return the connections for which these CA files are trusted beside the public ones."""
        named = tuple(filter(None, ca_bundles))
        with self._lock:
            if named not in self._adapters:
                self._adapters[named] = _Adapter(*named, connections=self._connections)
            return self._adapters[named]


class TooLong(requests.RequestException):
    """An answer is larger than `_MOST_BYTES`."""


class Unreachable(requests.ConnectionError):
    """No connection was made, so nothing was sent. why: the reason in our words. host: the one that was asked."""

    def __init__(self, why: str, host: str, **options: Any) -> None:  # noqa: ANN401 - passed on
        super().__init__(why, **options)
        self.why, self.host = why, host


def _why_no_connection(error: requests.ConnectionError) -> str:
    """Say why no connection could be made; empty where one was, or may have been, and was lost.

    urllib3 calls it a proxy's error, too, when a connection through one is lost after the request was sent.
    """
    reason = getattr(error.args[0], "reason", None) if error.args else None
    inner = getattr(reason, "original_error", reason)
    if isinstance(inner, NameResolutionError):
        return "the host name cannot be resolved"
    if isinstance(inner, ConnectTimeoutError):
        return "the connection timed out"
    if isinstance(inner, NewConnectionError):
        return "the connection was refused, or there is no route"
    # What http.client says of a proxy's answer; one in trouble itself (5xx) may be well a moment later.
    refused = re.match(r"Tunnel connection failed: (4[0-9]{2})\b", str(inner)) if isinstance(inner, OSError) else None
    return f"the proxy refuses it with {phrase(int(refused[1]))}" if refused else ""


class _Answer(HTTPResponse):
    """An answer that ends in time as a whole: a socket's own timeout counts for each piece that comes."""

    def __init__(self, sock: socket.socket, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - passed on
        super().__init__(sock, *arguments, **options)
        raw = self.fp.detach()  # a BufferedReader, as http.client makes it
        self.fp = io.BufferedReader(_DeadlineReader(raw, sock))


class _DeadlineReader(io.RawIOBase):
    """Reads from a socket until its timeout, counted from the start, is used up."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket) -> None:
        self._raw, self._socket = raw, sock
        self._until = time.monotonic() + (sock.gettimeout() or math.inf)

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int | None:  # noqa: ANN401 - as io has it
        """Read what is there; raise TimeoutError once the time is up."""
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        if left < math.inf:
            self._socket.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        """Let go of the socket."""
        self._raw.close()
        super().close()


class _PlainConnection(HTTPConnection):
    """A connection without TLS, for health pages."""

    response_class = _Answer


class _PlainPool(HTTPConnectionPool):
    """Connections without TLS to one host."""

    ConnectionCls = _PlainConnection


def proxy_for(url: str, proxies: Mapping[str, str]) -> SplitResult | None:
    """Return the address of the proxy that a request goes through, None for none; one without a scheme is http.

    proxies: as requests has them of the environment. Raises ValueError where it is not the address of one.
    """
    proxy = requests.utils.select_proxy(url, dict(proxies))
    if not proxy:
        return None
    parts = split_address(proxy if "//" in proxy else f"http://{proxy}")
    # Without a scheme requests would take a login for one.
    if parts.scheme not in ("", "http", "https") or (parts.username is not None and "//" not in proxy):
        raise ValueError(parts.scheme)
    return parts


def _check_environment(url: str, settings: Mapping[str, Any]) -> None:
    """Raise BadInput naming the variable where what the environment says of CAs or the proxy cannot be used."""
    verify = settings["verify"]
    if isinstance(verify, str) and not (Path(verify).is_dir() or (Path(verify).exists() and is_plain_file(verify))):
        name = next((one for one in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE") if os.environ.get(one) == verify), "")
        raise BadInput(
            f"the environment variable {name} does not name a readable file of CA certificates",
            next_step="correct it, or take it out of the environment of the Gateway's service",
        )
    try:
        proxy_for(url, settings["proxies"])
    except ValueError:
        raise BadInput(
            "the environment variable HTTPS_PROXY (or ALL_PROXY) is not the address of a proxy",
            next_step="enter http://HOST:PORT there, or take it out of the environment of the Gateway's service",
        ) from None


class _Connection(HTTPSConnection):
    """A connection that may wait for its first request.

    Servers send session tickets right after the handshake of TLS 1.3 (RFC 8446, 4.6.1), and urllib3 takes
    anything unread for the end of a connection: what is unread is looked at first.
    """

    response_class = _Answer

    @property
    def is_connected(self) -> bool:
        """Whether the connection can be used for one more request; looked at once, as a ticket may come at any time."""
        nothing_unread = super().is_connected
        if nothing_unread or not isinstance(self.sock, ssl.SSLSocket):
            return nothing_unread
        timeout = self.sock.gettimeout()
        self.sock.setblocking(False)
        try:
            self.sock.recv(1)
        except ssl.SSLWantReadError:
            # There was nothing but tickets.
            return True
        except OSError:
            return False
        finally:
            self.sock.settimeout(timeout)
        return False


class _Pool(HTTPSConnectionPool):
    """Connections to one host, which can be made ahead of the first request."""

    ConnectionCls = _Connection

    def connect(self, connections: int, timeout: float) -> list[threading.Thread]:
        """Begin to make so many connections as requests would, within so many seconds, for the first that come."""
        # All are taken before the first one is there to be taken again.
        taken = [self._get_conn() for _ in range(connections)]
        threads = [threading.Thread(target=self._connect, args=(one, timeout), daemon=True) for one in taken]
        for thread in threads:
            thread.start()
        return threads

    def _connect(self, connection: Any, timeout: float) -> None:  # noqa: ANN401 - urllib3's own type is private
        with contextlib.suppress(Exception):
            if connection.is_closed:
                connection.timeout = timeout
                if self.proxy:
                    self._prepare_proxy(connection)
                else:
                    connection.connect()
            self._put_conn(connection)


_POOLS = {"http": _PlainPool, "https": _Pool}


class _Adapter(requests.adapters.HTTPAdapter):
    """Connections that send at once, read the trusted CAs once, and may trust one more PEM file.

    Through a proxy urllib3 leaves Nagle's algorithm on: a request's body then waits for the proxy to
    acknowledge its head, some 40 ms for every call that has one. The CA file joins those that
    requests asks for.
    """

    def __init__(self, *ca_bundles: str, connections: int) -> None:
        # requests would make two managers, each with connections of its own, for two threads that come first.
        self._lock = threading.Lock()
        self._context = context = create_urllib3_context()
        # urllib3 does both at every connection. To read the public CAs takes 15 ms of CPU time, more than all the
        # rest of a handshake; and to change a context that another thread connects with may end the process.
        for name in ("load_verify_locations", "set_alpn_protocols"):
            setattr(context, name, _once(getattr(context, name)))
        for ca_bundle in ca_bundles:
            context.load_verify_locations(ca_bundle)
        # By scheme and host, as long as urllib3 has them: to find those of a request anew takes as long as to write it.
        self._pools = WeakValueDictionary[Hashable, Any]()
        super().__init__(pool_connections=_MOST_HOSTS, pool_maxsize=connections)

    def get_connection_with_tls_context(
        self,
        request: requests.PreparedRequest,
        verify: Any,  # noqa: ANN401 - as `send`
        proxies: Any = None,  # noqa: ANN401
        cert: Any = None,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """Return the connections that a request is sent on: the same ones for all requests to a server."""
        key = (*urlsplit(request.url or "")[:2], verify)
        if (found := self._pools.get(key)) is None:
            found = self._pools[key] = super().get_connection_with_tls_context(request, verify, proxies, cert)
        return found

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - passed on
        """Make direct connections with the context."""
        super().init_poolmanager(*arguments, ssl_context=self._context, **options)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - passed on
        """Make connections through a proxy with the context, and without Nagle's algorithm."""
        at_once = HTTPConnection.default_socket_options
        with self._lock:
            made = super().proxy_manager_for(*arguments, ssl_context=self._context, socket_options=at_once, **options)
            made.pool_classes_by_scheme = _POOLS
        return made

    def connect(
        self,
        request: requests.PreparedRequest,
        verify: Any,  # noqa: ANN401 - as `send`
        proxies: Any,  # noqa: ANN401
        connections: int,
        timeout: float,
    ) -> list[threading.Thread]:
        """Begin to make connections that the request could be sent on, for the first that come."""
        pool: Any = self.get_connection_with_tls_context(request, verify, proxies)
        self.cert_verify(pool, request.url, verify, None)  # type: ignore[no-untyped-call]  # requests leaves it so
        threads: list[threading.Thread] = pool.connect(connections, timeout)
        return threads


def _once(call: Callable[..., None]) -> Callable[..., None]:
    """Have a call made once for the same arguments: whoever comes meanwhile waits for its end, and goes on."""
    lock, made = threading.Lock(), set[str]()

    def once(*arguments: object, **named: object) -> None:
        with lock:
            key = repr((arguments, named))
            if key not in made:
                call(*arguments, **named)
                made.add(key)

    return once


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Read Retry-After, seconds or a date (RFC 9110, 10.2.3); None where it is missing or unreadable."""
    value = (headers.get("Retry-After") or headers.get("retry-after") or "").strip()
    if re.fullmatch(r"[0-9]{1,9}", value):
        return float(value)
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return None
    return max(0.0, (moment.replace(tzinfo=moment.tzinfo or timezone.utc) - utc_now()).total_seconds())


def phrase(code: int) -> str:
    """Write an HTTP status for people: `403 Forbidden`."""
    try:
        return f"{code} {HTTPStatus(code).phrase}"
    except ValueError:
        return str(code)


CHECK_ROUTE = "check firewall, HTTPS_PROXY and NO_PROXY"
SET_PROXY = "set HTTPS_PROXY to the proxy's address in the environment of the Gateway's service"


def only_http_proxy() -> bool:
    """Say whether the environment names a proxy for http alone, through which nothing here goes."""
    proxies = urllib.request.getproxies_environment()
    return "http" in proxies and not {"https", "all"} & proxies.keys()


def route_to(url: str) -> str:
    """Say whether a request goes through a proxy, and which: its host and port, never what it is logged in to with."""
    try:
        proxy = proxy_for(url, requests.utils.get_environ_proxies(url))
    except ValueError:
        return "through a proxy that has no address"
    return f"through the proxy {proxy.netloc.rpartition('@')[2]}" if proxy else "directly"


def no_answer(system: str, action: str, error: Exception) -> ApiError:
    """Return the error for a call that brought no answer: its outcome is unknown."""
    if isinstance(error, Unreachable):
        return ApiError(
            system,
            action,
            f"no connection to {error.host} ({route_to(f'https://{error.host}/')}): {error.why}",
            unreachable=True,
            next_step=f"HTTP_PROXY is not used for https: {SET_PROXY}" if only_http_proxy() else CHECK_ROUTE,
        )
    if isinstance(error, requests.exceptions.SSLError):
        return ApiError(
            system,
            action,
            "the server's certificate is not trusted",
            permanent=True,
            next_step="for a private CA set REQUESTS_CA_BUNDLE, or the record's field 'ca_bundle', to its PEM file",
        )
    if isinstance(error, TooLong):
        most = f"{_MOST_BYTES // 1_000_000} MB"
        return ApiError(system, action, f"the answer has more than {most}; is a proxy in the way?", permanent=True)
    if isinstance(error, requests.exceptions.Timeout) or any(isinstance(one, ReadTimeoutError) for one in error.args):
        return ApiError(system, action, "no answer in time")
    return ApiError(system, action, f"no answer ({type(error).__name__})")


def recognised_reason(reason: object, known: Mapping[str, str]) -> str:
    """Return our words for what a server says freely, which is never repeated: it may carry whatever it was sent.

    known: our words by a pattern for its own.
    """
    if not isinstance(reason, str) or not reason.strip():
        return ""
    for pattern, words in known.items():
        if re.search(pattern, reason, re.IGNORECASE):
            return words
    return f"the server gave a reason that is not repeated here; see its log at {iso(utc_now())}"


def code_in(answer: object) -> str:
    """Return a system's own name for an error, as its answer has it; empty where it is no such name."""
    return answer if isinstance(answer, str) and _CODE.fullmatch(answer) and Secret.redact(answer) == answer else ""


OTHER_JSON = ""
"""The word under which an answer stands that is no JSON object."""

# Reads a system's own name for an error from an error answer, and says its reason in our words.
Explain = Callable[[Mapping[str, Any]], tuple[str, str]]


def call(  # noqa: PLR0913 - each is one fact of a request
    session: requests.Session,
    method: str,
    url: str,
    *,
    system: str,
    action: str,
    explain: Explain,
    headers: Mapping[str, str] | None = None,
    json: Mapping[str, Any] | None = None,
    form: Mapping[str, str] | None = None,
    any_json: bool = False,
) -> tuple[dict[str, Any], Mapping[str, str]]:
    """Make one call, and return the answer's JSON object and headers.

    Raises ApiError for any status but 2xx, for no answer, and for one that is not a JSON object
    (a proxy's web page, a body cut short): those count as no answer at all. any_json: other JSON will
    do too, and is returned in an object, as OTHER_JSON.
    """
    try:
        response = session.request(method, url, headers=dict(headers or {}), json=json, data=form)
    except requests.RequestException as error:
        raise no_answer(system, action, error) from None
    if not HTTPStatus.OK <= response.status_code < HTTPStatus.MULTIPLE_CHOICES:
        raise _refused(response, system, action, explain)
    if not response.content:
        return {}, response.headers
    answer = _object(response, any_json=any_json)
    if answer is None:
        raise ApiError(system, action, "the answer is not the JSON it should be; is a proxy in the way?")
    return answer, response.headers


def _refused(response: requests.Response, system: str, action: str, explain: Explain) -> ApiError:
    name, words = explain(_object(response) or {})
    name = code_in(name)
    detail = "; ".join(part for part in (name, words) if part)
    redirected = HTTPStatus.MULTIPLE_CHOICES <= response.status_code < HTTPStatus.BAD_REQUEST
    return ApiError(
        system,
        action,
        phrase(response.status_code) + (f" ({detail})" if detail else ""),
        code=response.status_code,
        name=name,
        retry_after=retry_after(response.headers),
        next_step="the server leads elsewhere: enter the address it leads to" if redirected else "",
    )


def _object(response: requests.Response, *, any_json: bool = False) -> dict[str, Any] | None:
    try:
        answer = response.json()
    except requests.JSONDecodeError:
        return None
    if any_json and not isinstance(answer, dict):
        return {OTHER_JSON: answer}
    return answer if isinstance(answer, dict) else None
