"""`doctor`: whether this host can run the scripts, as the user who runs this command.

It reads and asks; it changes nothing. Of the environment it shows names, and those values that are
addresses and paths by their purpose, without the credentials that a proxy's address may carry.
"""

from __future__ import annotations

import argparse
import contextlib
import email.utils
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import requests
import requests.utils

from pam_scripts.cli.common import Commands
from pam_scripts.cli.shared import Shared
from pam_scripts.core import http
from pam_scripts.core.deadline import Deadline
from pam_scripts.core.errors import PamScriptError
from pam_scripts.core.http import Session
from pam_scripts.core.parallel import concurrently
from pam_scripts.core.times import utc_now
from pam_scripts.gateway import diagnosis
from pam_scripts.gateway.voice import Voice
from pam_scripts.stores.keeper import configuration

_OLDEST_PYTHON = (3, 10)
# Key lives are days, but leases are minutes, and TLS and tokens allow little more.
_CLOCKS_MAY_DIFFER = timedelta(minutes=1)


@dataclass(frozen=True)
class Sight:
    """One thing that was looked at: how it is, and the way out where it is not well."""

    state: Literal["ok", "warning", "wrong"]
    name: str
    found: str
    way_out: str = ""

    def __str__(self) -> str:
        way_out = f"; {self.way_out}" if self.way_out else ""
        return f"{self.state:<8} {self.name}: {self.found}{way_out}"


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    one = commands.add_parser(
        "doctor",
        help="find what is wrong with this host",
        description="Look at the Gateway's host: Python and packages, the Secrets Manager configuration and its "
        "rights, proxy and CAs, whether each host answers, and whether the clocks agree.",
        epilog="Exit status: 0 all well or warnings only; 1 something is wrong. What a script sees when Keeper runs it "
        "may differ: 'diagnose' = 'True' in a record tells it through the Gateway.",
    )
    one.add_argument("hosts", metavar="HOST", nargs="*", help="also ask this host")
    one.set_defaults(work=work)


def work(options: argparse.Namespace, voice: Voice) -> int:
    """Say of everything how it is; return 1 where something is wrong."""
    sights = list(_look_at_host())
    deadline = Deadline(60)
    hosts = set(options.hosts)
    with contextlib.suppress(PamScriptError):
        hosts.add(configuration.read_config()["hostname"])
        shared = Shared.fetch(deadline)
        hosts |= _hosts_of(shared)
        found = f"{len(shared.records)} records are shared, {len(list(shared.ours()))} of them rotations"
        sights.append(Sight("ok", "Secrets Manager", found))
    sights += _look_at_hosts(hosts, deadline)
    for sight in sights:
        voice.say(str(sight))
    return 1 if any(sight.state == "wrong" for sight in sights) else 0


def _hosts_of(shared: Shared) -> set[str]:
    """Return every host that rotations of the shared records talk to, as far as the records can be read."""
    hosts: set[str] = set()
    for uid, script in shared.ours():
        with contextlib.suppress(PamScriptError):
            # What cannot be read of one system hides nothing of the others.
            hosts |= set(script.read(shared.job(uid)).hosts)
    return hosts


def _look_at_host() -> Iterator[Sight]:
    """Look at what stands on this host: interpreter, packages, configuration, proxy, CA."""
    seen = diagnosis.surroundings()
    fit = sys.version_info >= _OLDEST_PYTHON
    yield Sight("ok" if fit else "wrong", "Interpreter", seen["Interpreter"], "" if fit else "use Python 3.10 or newer")
    if " " in sys.executable:
        yield Sight("wrong", "Interpreter", "its path has a blank", "move it: a script command cannot hold blanks")
    missing = [name for name, version in diagnosis.packages().items() if not version]
    way_out = f"{sys.executable} -m pip install {' '.join(missing)}" if missing else ""
    yield Sight("wrong" if missing else "ok", "Packages", seen["Packages"], way_out)
    for name in ("User", "Directory", "Encoding"):
        yield Sight("ok", name, seen[name])
    yield from _configuration()
    yield from _ca()
    yield Sight("ok", "Variables", seen["Variables"])


def _look_at_hosts(hosts: Iterable[str], deadline: Deadline) -> list[Sight]:
    """Ask every host for its front page: any answer will do, its certificate and its clock are what counts."""
    with concurrently() as submit:
        told = [submit(partial(_host, host, deadline)) for host in sorted(hosts)]
    return [one.result() for one in told]


def clock(date: str | None, now: datetime) -> timedelta | None:
    """Return how far this host's clock is ahead of a server's Date header; None where there is no date in it."""
    try:
        theirs = email.utils.parsedate_to_datetime(date or "")
    except (TypeError, ValueError):
        return None
    # The header has whole seconds: half a one is the best guess.
    return now - theirs.replace(tzinfo=theirs.tzinfo or timezone.utc) - timedelta(seconds=0.5)


def _configuration() -> Iterator[Sight]:
    name = "Secrets Manager configuration"
    try:
        host = configuration.read_config()["hostname"]
    except PamScriptError as error:
        yield Sight("wrong", name, error.cause, error.next_step)
        return
    variable = next((one for one in configuration.CONFIG_VARIABLES if os.environ.get(one, "").strip()), "")
    if variable:
        yield Sight("ok", name, f"from the environment variable {variable}, for {host}")
        return
    paths = [Path(one).expanduser() for one in configuration.CONFIG_FILES]
    path = next(one for one in paths if one.is_file())
    rights = path.stat()
    mode = f"{stat.filemode(rights.st_mode)}, owner {_owner(path)}"
    open_to_others = os.name == "posix" and bool(rights.st_mode & (stat.S_IRGRP | stat.S_IROTH | stat.S_IWOTH))
    yield Sight(
        "warning" if open_to_others else "ok",
        name,
        f"{path} ({mode}), for {host}",
        f"others on this host can read it: chmod 600 {path}" if open_to_others else "",
    )


def _owner(path: Path) -> str:
    try:
        return path.owner()
    except (KeyError, NotImplementedError, OSError):
        return "unknown"


def _ca() -> Iterator[Sight]:
    variables = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
    name = next((one for one in variables if os.environ.get(one)), "")
    path = os.environ.get(name, "") or requests.utils.DEFAULT_CA_BUNDLE_PATH
    source = f"{name}, in place of the public ones" if name else "the public ones of the package certifi"
    if Path(path).exists():
        yield Sight("ok", "Trusted CAs", f"{path} ({source})")
    else:
        yield Sight(
            "wrong", "Trusted CAs", f"{path} ({source}) is not there", "correct the path, or unset the variable"
        )


def _proxy(url: str) -> str:
    """Return the proxy for a URL without its credentials, empty for none."""
    address = requests.utils.get_environ_proxies(url).get("https", "")
    parts = urlsplit(address if "//" in address else f"//{address}")
    return parts.netloc.rpartition("@")[2]


def _host(host: str, deadline: Deadline) -> Sight:
    url = f"https://{host}/"
    proxy = _proxy(url)
    way = f"through the proxy {proxy}" if proxy else "directly"
    started = utc_now()
    try:
        with Session(deadline).get(url, stream=True) as response:
            date, status = response.headers.get("Date"), response.status_code
    except requests.RequestException as error:
        failed = http.no_answer(host, "reach it", error)
        way_out = failed.next_step or "check firewall, HTTPS_PROXY and NO_PROXY"
        return Sight("wrong", host, f"{failed.cause.rpartition(': ')[2]} ({way})", way_out)
    took = utc_now() - started
    # The server wrote its date somewhere between question and answer.
    ahead = clock(date, started + took / 2)
    reached = f"answers {status} in {took.total_seconds():.1f} s {way}"
    if ahead is None:
        return Sight("ok", host, f"{reached}; it does not say its time")
    if abs(ahead) > _CLOCKS_MAY_DIFFER:
        seconds = abs(ahead.total_seconds())
        apart = f"this host's clock is {seconds:.0f} s {'ahead' if ahead > timedelta() else 'behind'}"
        return Sight("wrong", host, f"{reached}; {apart}", "set the clock by NTP: leases and tokens depend on it")
    return Sight("ok", host, f"{reached}, clocks agree")
