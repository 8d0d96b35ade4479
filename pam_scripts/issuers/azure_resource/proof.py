"""Logging in to a resource with a key, by the smallest request that tells whether it is valid.

https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key
https://learn.microsoft.com/rest/api/storageservices/get-account-information
https://redis.io/docs/latest/commands/auth/
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from http.client import HTTPException, HTTPSConnection

import requests
from urllib3.util import create_urllib3_context, make_headers

from pam_scripts.core import http
from pam_scripts.core.errors import ApiError
from pam_scripts.core.http import Session
from pam_scripts.core.secret import Secret
from pam_scripts.issuers.azure_resource.refusals import SYSTEM

_BLOB_VERSION = "2021-12-02"

# Refusals that say nothing of the key: the resource's firewall turns this host, or its network, away.
_FIREWALL = ("AuthorizationFailure", "IpAuthorizationError", "NetworkAclDenyRequest")

# More than Redis answers to a login.
_MOST_BYTES = 512


@dataclass(frozen=True, repr=False)
class Place:
    """The host that takes a resource's keys, which by its name is the resource's own. account: whose keys they are."""

    host: str
    port: int
    account: str


class Inconclusive(Exception):
    """The answer says nothing of the key: it is not the resource's own, or refuses this host."""


def log_in_to_blobs(place: Place, key: Secret, session: Session, action: str) -> None:
    """GET the account's information, signed with a key; raise ApiError where that is refused, or no answer comes.

    Raises Inconclusive where the account's firewall turns this host away.
    """
    url = f"https://{place.host}/?comp=properties&restype=account"
    stamp = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": _BLOB_VERSION}
    headers = {**stamp, "Authorization": f"SharedKey {place.account}:{_signature(place.account, key, stamp)}"}
    try:
        response = session.get(url, headers=headers)
    except requests.RequestException as error:
        raise http.no_answer(SYSTEM, action, error) from None
    code = http.code_in(response.headers.get("x-ms-error-code"))
    if code in _FIREWALL:
        raise Inconclusive(f"its firewall turns this host away ({code})")
    if response.status_code != HTTPStatus.OK:
        shown = http.phrase(response.status_code) + (f" ({code})" if code else "")
        raise ApiError(SYSTEM, action, shown, code=response.status_code, name=code)
    if "x-ms-account-kind" not in response.headers:
        raise ApiError(SYSTEM, action, "the answer is not Storage's; is a proxy in the way?")


def _signature(account: str, key: Secret, stamp: Mapping[str, str]) -> str:
    """Return the signature of a request by Shared Key.

    What is signed: the method, eleven lines for headers that the request does not have, its `x-ms-` headers, what it
    asks for.
    """
    lines = ["GET", *[""] * 11, *(f"{name}:{stamp[name]}" for name in sorted(stamp))]
    text = "\n".join([*lines, f"/{account}/", "comp:properties", "restype:account"])
    try:
        secret = base64.b64decode(key.reveal(), validate=True)
    except (binascii.Error, ValueError):
        # No key of an account; it is refused as any wrong one is.
        secret = key.reveal().encode()
    return base64.b64encode(hmac.new(secret, text.encode(), hashlib.sha256).digest()).decode()


def log_in_to_redis(place: Place, key: Secret, session: Session, action: str, ca_bundle: str = "") -> None:
    """AUTH with a key over TLS, directly or through the proxy of the environment; raise ApiError as for blobs.

    ca_bundle: a CA to trust beside the public ones, empty for none.
    """
    try:
        answer = _ask_redis(place, key, session, ca_bundle)
    except ssl.SSLCertVerificationError:
        raise ApiError(SYSTEM, action, "the server's certificate is not trusted", permanent=True) from None
    except TimeoutError:
        raise ApiError(SYSTEM, action, f"no answer in time from {place.host}", unreachable=True) from None
    except (OSError, HTTPException) as error:
        cause = f"no connection to {place.host}, port {place.port} ({type(error).__name__})"
        raise ApiError(SYSTEM, action, cause, unreachable=True) from None
    if answer.startswith(b"+OK"):
        return
    word = http.code_in(answer[1:].split(b" ")[0].decode("latin-1")) if answer.startswith(b"-") else ""
    if word in ("WRONGPASS", "ERR", "NOAUTH"):
        raise ApiError(SYSTEM, action, f"Redis refuses it ({word})", code=HTTPStatus.UNAUTHORIZED, name=word)
    raise ApiError(SYSTEM, action, f"Redis refuses logins at present ({word})" if word else "the answer is not Redis's")


def _ask_redis(place: Place, key: Secret, session: Session, ca_bundle: str) -> bytes:
    url = f"https://{place.host}:{place.port}/"
    settings = session.merge_environment_settings(url, {}, None, None, None)
    proxy = http.proxy_for(url, settings["proxies"])
    context = create_urllib3_context()
    trusted = requests.utils.DEFAULT_CA_BUNDLE_PATH if settings["verify"] is True else settings["verify"]
    context.load_verify_locations(trusted)
    if ca_bundle:
        context.load_verify_locations(ca_bundle)
    timeout = session.deadline.call_timeout()
    first = (proxy.hostname or "", proxy.port or 80) if proxy else (place.host, place.port)
    connection = HTTPSConnection(*first, timeout=timeout, context=context)
    try:
        if proxy:
            login = f"{proxy.username}:{proxy.password or ''}" if proxy.username else None
            connection.set_tunnel(place.host, place.port, headers=make_headers(proxy_basic_auth=login))
        connection.connect()
        password = key.reveal().encode()
        connection.sock.sendall(b"*2\r\n$4\r\nAUTH\r\n$%d\r\n%b\r\n" % (len(password), password))
        return bytes(connection.sock.recv(_MOST_BYTES))
    finally:
        connection.close()
