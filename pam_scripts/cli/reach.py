"""What of `doctor` needs packages: trusted CAs, the proxy, Secrets Manager, and every host that rotations talk to.

Of a proxy's address only host and port are shown: the rest of it may be a credential.
"""

from __future__ import annotations

import contextlib
import email.utils
import os
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path

import requests
import requests.utils

from pam_scripts.cli.observation import Observation
from pam_scripts.cli.shared import Shared
from pam_scripts.core import http
from pam_scripts.core.deadline import Deadline
from pam_scripts.core.errors import PamScriptError
from pam_scripts.core.http import Session
from pam_scripts.core.parallel import concurrently
from pam_scripts.core.times import utc_now
from pam_scripts.stores.keeper import configuration

# Key lives are days, but leases are minutes, and TLS and tokens allow little more.
_CLOCKS_MAY_DIFFER = timedelta(minutes=1)


def look(hosts: Iterable[str], *, configured: bool) -> Iterator[Observation]:
    """Look at all of it. hosts: to be asked beside those of the records. configured: there is a configuration."""
    deadline = Deadline(60)
    asked = set(hosts)
    yield from _ca()
    yield from _unused_proxy()
    if configured:
        try:
            asked.add(configuration.read_config()["hostname"])
            shared = Shared.fetch(deadline)
        except PamScriptError as error:
            yield Observation("wrong", "Secrets Manager", error.cause, error.next_step)
        else:
            asked |= _hosts_of(shared)
            found = f"{len(shared.records)} records are shared, {len(list(shared.ours()))} of them rotations"
            yield Observation("ok", "Secrets Manager", found)
            for remark in shared.remarks:
                yield Observation("warning", "Secrets Manager", remark)
    with concurrently() as submit:
        told = [submit(partial(_host, host, deadline)) for host in sorted(asked)]
    yield from (one.result() for one in told)


def clock(date: str | None, now: datetime) -> timedelta | None:
    """Return how far this host's clock is ahead of a server's Date header; None where there is no date in it."""
    try:
        theirs = email.utils.parsedate_to_datetime(date or "")
    except (TypeError, ValueError):
        return None
    # The header has whole seconds: half a one is the best guess.
    return now - theirs.replace(tzinfo=theirs.tzinfo or timezone.utc) - timedelta(seconds=0.5)


def _hosts_of(shared: Shared) -> set[str]:
    """Return every host that rotations of the shared records talk to, as far as the records can be read."""
    hosts: set[str] = set()
    for uid, script in shared.ours():
        with contextlib.suppress(PamScriptError):
            # What cannot be read of one system hides nothing of the others.
            hosts |= set(script.read(shared.job(uid)).hosts)
    return hosts


def _ca() -> Iterator[Observation]:
    variables = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
    name = next((one for one in variables if os.environ.get(one)), "")
    path = os.environ.get(name, "") or requests.utils.DEFAULT_CA_BUNDLE_PATH
    source = f"{name}, in place of the public ones" if name else "the public ones of the package certifi"
    if Path(path).exists():
        yield Observation("ok", "Trusted CAs", f"{path} ({source})")
    else:
        yield Observation(
            "wrong", "Trusted CAs", f"{path} ({source}) is not there", "correct the path, or unset the variable"
        )


def _unused_proxy() -> Iterator[Observation]:
    if http.only_http_proxy():
        yield Observation(
            "warning", "Proxy", "HTTP_PROXY is set, and not used: all hosts are asked by https", http.SET_PROXY
        )


def _host(host: str, deadline: Deadline) -> Observation:
    """Ask a host for its front page: any answer will do, its certificate and its clock are what counts."""
    url = f"https://{host}/"
    way = http.route_to(url)
    started = utc_now()
    try:
        with Session(deadline).get(url, stream=True) as response:
            date, status = response.headers.get("Date"), response.status_code
    except requests.RequestException as error:
        failed = http.no_answer(host, "reach it", error)
        way_out = failed.next_step or http.CHECK_ROUTE
        found = failed.cause.removeprefix(f"{host}: reach it: ")
        return Observation("wrong", host, found if failed.unreachable else f"{found} ({way})", way_out)
    except PamScriptError as error:
        return Observation("wrong", host, error.cause, error.next_step)
    took = utc_now() - started
    # The server wrote its date somewhere between question and answer.
    ahead = clock(date, started + took / 2)
    reached = f"answers {status} in {took.total_seconds():.1f} s {way}"
    if ahead is None:
        return Observation("ok", host, f"{reached}; it does not say its time")
    if abs(ahead) > _CLOCKS_MAY_DIFFER:
        seconds = abs(ahead.total_seconds())
        apart = f"this host's clock is {seconds:.0f} s {'ahead' if ahead > timedelta() else 'behind'}"
        return Observation("wrong", host, f"{reached}; {apart}", "set the clock by NTP: leases and tokens depend on it")
    return Observation("ok", host, f"{reached}, clocks agree")
