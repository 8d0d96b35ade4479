"""The wire: real TLS at real host names on loopback, and an HTTPS proxy that leads there.

A client needs two settings to come here and no knowledge of it: `HTTPS_PROXY` and
`REQUESTS_CA_BUNDLE`. The proxy maps an allow-list of host names to one TLS server and refuses
every other, so that nothing under test can reach the outside by mistake.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import itertools
import json
import logging
import re
import socket
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trustme
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sandbox.log import Request

if TYPE_CHECKING:
    from sandbox.faults import Fault, Rule
    from sandbox.services import Service

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Gate = Callable[[Request], Awaitable[None]]
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

ERROR_PAGE = b"<html><head><title>Gateway</title></head><body>Please sign in to the network.</body></html>"


class _Protocol(HttpToolsProtocol):
    """Uvicorn's protocol, which also tells the application its transport, so that it can cut it."""

    _numbers = itertools.count(1)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport, "connection": next(self._numbers)}


class Wire:
    """One TLS server for all the services, behind one CONNECT proxy, in a thread of its own.

    Every request goes through `rules` (the first that takes it decides), is kept in `log`, and
    waits at `gate` where one is set; `done` is told when it was dealt with, whatever came of it.
    `round_trip` (seconds) is added by the proxy to every exchange, connection set-up and TLS
    handshake included, half in each direction.
    """

    def __init__(self, directory: Path) -> None:
        self.log: list[Request] = []
        self.rules: list[Rule] = []
        self.gate: Gate | None = None
        self.done: Callable[[Request], None] | None = None
        self.round_trip = 0.0
        self.refused: list[str] = []
        self._apps: dict[str, App] = {}
        # By host and port: who talks there, and which port of this machine that is.
        self._talks: dict[str, Talk] = {}
        self._tunnels: dict[str, int] = {}
        self._connections = {"tls": 0, "connect": 0}
        # Who is behind a connection that the proxy made, by the connection's own port.
        self._clients: dict[int, str] = {}
        self.ca_file = directory / "sandbox-ca.pem"
        _authority().cert_pem.write_to_path(str(self.ca_file))
        self._listen = [_listener(), _listener()]
        self.tls_port, self.proxy_port = (sock.getsockname()[1] for sock in self._listen)
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="sandbox", daemon=True)

    # -- set-up ---------------------------------------------------------------------------------

    def add(self, host: str, app: App) -> None:
        """Serve `app` at https://host; `*.` in front stands for any one name there."""
        self._apps[host.lower()] = app

    def remove(self, host: str) -> None:
        """Serve nothing there any more: the proxy refuses the host."""
        del self._apps[host.lower()]

    def add_tcp(self, host: str, port: int, talk: Talk) -> None:
        """Have `talk` deal with whoever connects to a port of a host, over TLS; before the start."""
        self._talks[f"{host}:{port}"] = talk

    def lead(self, host: str, port: int, local_port: int) -> None:
        """Lead whoever connects to a port of a host to a port of this machine, where a server has its own TLS."""
        self._tunnels[f"{host}:{port}"] = local_port

    def close_tcp(self, host: str, port: int) -> None:
        """Let nobody reach that port any more."""
        del self._tunnels[f"{host}:{port}"]

    def certificate(self, host: str, file: Path) -> None:
        """Write a certificate for a host, with its key, to a file, for a server that does not run here."""
        issued = _authority().issue_cert(host)
        issued.private_key_and_cert_chain_pem.write_to_path(str(file))

    def serve(self, *services: Service) -> None:
        """Serve each of the services at all its hosts."""
        for service in services:
            for host in service.hosts:
                self.add(host, service.app)

    def start(self) -> None:
        """Start listening, and return once requests are taken."""
        self._thread.start()
        self._ready.wait()

    def stop(self) -> None:
        """Close every connection and end the thread."""
        self.loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(timeout=10)

    def environment(self, client: str = "") -> dict[str, str]:
        """All that a client needs to come here; `client` is a name for it, which the log will show."""
        account = f"{client}:any@" if client else ""
        return {
            "HTTPS_PROXY": f"http://{account}127.0.0.1:{self.proxy_port}",
            "REQUESTS_CA_BUNDLE": str(self.ca_file),
        }

    @property
    def tls_handshakes(self) -> int:
        """How many TLS connections were made."""
        return self._connections["tls"]

    def app_for(self, host: str) -> App | None:
        """Return the service at a host name, if the sandbox has one there."""
        name = host.lower()
        return self._apps.get(name) or self._apps.get("*." + name.partition(".")[2])

    # -- serving --------------------------------------------------------------------------------

    async def _serve(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._stopped = asyncio.Event()
        # A request that a fault leaves without an answer is what was asked for, not an error to log.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL + 1)
        config = uvicorn.Config(
            self._answer,
            interface="asgi3",
            http=_Protocol,
            lifespan="off",
            log_config=None,
            access_log=False,
            ws="none",
            timeout_graceful_shutdown=1,
            timeout_keep_alive=60,
            server_header=False,
            proxy_headers=False,
            ssl_context_factory=lambda _config, _default: self._tls(),
        )
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server._serve(sockets=[self._listen[0]]))  # noqa: SLF001 - the public one installs signal handlers, which only a main thread may
        proxy = await asyncio.start_server(self._proxy, sock=self._listen[1])
        talking = [await self._listen_at(place, talk) for place, talk in self._talks.items()]
        while not server.started:  # noqa: ASYNC110 - uvicorn offers a flag, no event
            await asyncio.sleep(0.005)
        self._ready.set()
        await self._stopped.wait()
        # Uvicorn's own way to stop waits for what is under way, and sleeps before that.
        for listening in (proxy, *talking, *server.servers):
            listening.close()
        for connection in list(server.server_state.connections):
            connection.transport.abort()
        serving.cancel()

    async def _listen_at(self, place: str, talk: Talk) -> asyncio.Server:
        async def deal(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await talk(reader, writer)
            writer.close()

        listener = _listener()
        self._tunnels.setdefault(place, listener.getsockname()[1])
        return await asyncio.start_server(deal, sock=listener, ssl=_certified(place.partition(":")[0]))

    def _tls(self) -> ssl.SSLContext:
        def choose(tls: ssl.SSLObject | ssl.SSLSocket, name: str | None, _context: ssl.SSLContext) -> int | None:
            self._connections["tls"] += 1
            if name is None or self.app_for(name) is None:
                return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
            tls.context = _certified(name)
            return None

        # It has no certificate of its own: the callback puts one in its place that has the host's.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.sni_callback = choose
        return context

    # -- one request ----------------------------------------------------------------------------

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]}
        body = await _body(receive)
        request = Request(
            number=len(self.log) + 1,
            host=headers.get("host", "").partition(":")[0],
            method=scope["method"],
            path=scope["path"],
            query=scope["query_string"].decode("latin-1"),
            headers=headers,
            body=body,
            connection=scope["state"]["connection"],
            client=self._clients.get(scope["client"][1], ""),
        )
        self.log.append(request)
        if self.gate is not None:
            await self.gate(request)
        rule = next((rule for rule in self.rules if rule.takes(request)), None)
        app = self.app_for(request.host)
        try:
            if app is None:
                await _reply(send, 421, {"content-type": "text/plain"}, b"no such host in the sandbox")
            else:
                await self._carry_out(request, rule.fault if rule else None, app, scope, send)
        finally:
            request.ended = time.monotonic()
            if self.done is not None:
                self.done(request)

    async def _carry_out(self, request: Request, fault: Fault | None, app: App, scope: Scope, send: Send) -> None:
        if fault is None:
            answer = await _run(app, scope, request.body)
            request.status = answer[0]
            await _reply(send, *answer)
            return
        request.fault = fault.answer + ("" if fault.effect else " before effect")
        await asyncio.sleep(fault.delay)
        real = (200, {"content-type": "application/json"}, b"{}")
        if fault.effect:
            real = await _run(app, scope, request.body)
        if fault.before:
            await fault.before(request)
        if fault.answer in ("none", "hang"):
            if fault.answer == "hang":
                await _until_gone(scope["state"]["transport"])
            scope["state"]["transport"].abort()
            return
        status, answer_headers, content = real
        if fault.answer == "broken":
            content = content[: len(content) // 2]
        elif fault.answer == "html":
            status, answer_headers, content = 200, {"content-type": "text/html"}, ERROR_PAGE
        elif fault.answer == "status":
            status = fault.status
            answer_headers = {"content-type": "application/json"}
            if fault.retry_after is not None:
                answer_headers["retry-after"] = fault.retry_after
            content = json.dumps({"error": {"code": str(status), "message": "injected"}}).encode()
        request.status = status
        await _reply(send, status, answer_headers, content)
        if fault.after:
            await fault.after(request)

    # -- the proxy ------------------------------------------------------------------------------

    async def _proxy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Cancelled is how the connections still open end when the sandbox stops.
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            method, _, rest = head.partition("\r\n")[0].partition(" ")
            host, _, port = rest.split(" ")[0].rpartition(":")
            # The TCP handshake with the proxy and the CONNECT exchange are two round trips of a real client;
            # the first is free on loopback, so both are waited for here.
            await asyncio.sleep(2 * self.round_trip)
            web = self.tls_port if port == "443" and self.app_for(host) else None
            local = self._tunnels.get(f"{host.lower()}:{port}", web)
            if method != "CONNECT" or local is None:
                self.refused.append(rest.split(" ")[0])
                writer.write(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                await writer.drain()
            else:
                self._connections["connect"] += 1
                inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", local)
                self._clients[inner_writer.get_extra_info("sockname")[1]] = _account(head)
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                await asyncio.gather(
                    self._pump(reader, inner_writer), self._pump(inner_reader, writer), return_exceptions=True
                )
        writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Each piece leaves half a round trip after it came, in order: calls made for later times run later.
        loop = asyncio.get_running_loop()
        try:
            while data := await reader.read(65536):
                loop.call_later(self.round_trip / 2, writer.write, data)
        finally:
            loop.call_later(self.round_trip / 2, writer.close)


@functools.cache
def _authority() -> trustme.CA:
    """Return the CA of this process: every sandbox in it shares one, as making keys takes time."""
    return trustme.CA()


@functools.cache
def _certified(name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _authority().issue_cert(name).configure_cert(context)
    return context


def _listener() -> socket.socket:
    # The protocol is named so that asyncio knows it for TCP and turns Nagle's delay off.
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", 0))
    sock.listen(256)
    sock.setblocking(False)
    return sock


def _account(head: str) -> str:
    """Return the user name that a client gave the proxy in the head of its request, empty for none."""
    given = re.search(r"(?im)^proxy-authorization: *basic +(\S+)", head)
    return base64.b64decode(given[1]).decode().partition(":")[0] if given else ""


async def _until_gone(transport: asyncio.Transport) -> None:
    while not transport.is_closing():  # noqa: ASYNC110 - a transport offers a flag, no event
        await asyncio.sleep(0.02)


async def _body(receive: Receive) -> bytes:
    chunks = []
    while True:
        message = await receive()
        chunks.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(chunks)


async def _run(app: App, scope: Scope, body: bytes) -> tuple[int, dict[str, str], bytes]:
    """Have the application answer, whole, so that a fault can still change what leaves."""
    start: dict[str, Any] = {}
    chunks: list[bytes] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            start.update(message)
        else:
            chunks.append(message.get("body", b""))

    await app(scope, receive, send)
    headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in start["headers"]}
    return start["status"], headers, b"".join(chunks)


async def _reply(send: Send, status: int, headers: dict[str, str], content: bytes) -> None:
    kept = [(k.lower().encode(), v.encode()) for k, v in headers.items() if k.lower() != "content-length"]
    kept.append((b"content-length", str(len(content)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": kept})
    await send({"type": "http.response.body", "body": content})
