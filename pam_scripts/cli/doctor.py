"""`doctor`: whether this host can run the scripts, as the user who runs this command.

It reads and asks; it changes nothing. Of the environment it shows names, and those values that are
addresses and paths by their purpose, without the credentials that a proxy's address may carry. It needs no
package that may be missing: what asks others stands in `reach`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pam_scripts.cli.observation import Observation
from pam_scripts.core import host
from pam_scripts.core.errors import PamScriptError
from pam_scripts.gateway import diagnosis
from pam_scripts.gateway.console import Console
from pam_scripts.stores.keeper import configuration

if TYPE_CHECKING:
    from pam_scripts.cli.common import Commands

_OLDEST_PYTHON = (3, 10)
_CONFIGURATION = "Secrets Manager configuration"


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


def work(options: argparse.Namespace, console: Console) -> int:
    """Say of everything how it is; return 1 where something is wrong."""
    observations = list(_look_at_host())
    configured = all(observation.state != "wrong" for observation in observations if observation.name == _CONFIGURATION)
    try:
        from pam_scripts.cli import reach  # noqa: PLC0415 - it needs packages, which are told of where they are missing
    except ModuleNotFoundError as error:
        observations.append(
            Observation("wrong", "Hosts", f"not asked, nor Secrets Manager: the module {error.name} is missing")
        )
    else:
        observations += reach.look(options.hosts, configured=configured)
    for observation in observations:
        console.say(str(observation))
    return 1 if any(observation.state == "wrong" for observation in observations) else 0


def _look_at_host() -> Iterator[Observation]:
    """Look at what stands on this host: interpreter, packages, configuration."""
    seen = diagnosis.describe_host()
    fit = sys.version_info >= _OLDEST_PYTHON
    yield Observation(
        "ok" if fit else "wrong", "Interpreter", seen["Interpreter"], "" if fit else "use Python 3.10 or newer"
    )
    if " " in sys.executable:
        yield Observation(
            "wrong", "Interpreter", "its path has a space", "move it: a script command cannot hold spaces"
        )
    missing = diagnosis.missing()
    yield Observation("wrong" if missing else "ok", "Packages", seen["Packages"], diagnosis.way_to_install(missing))
    for name in ("User", "Directory", "Encoding"):
        yield Observation("ok", name, seen[name])
    yield from _configuration()
    yield Observation("ok", "Gateway's log", host.HERE.log)
    yield Observation("ok", "Variables", seen["Variables"])


def _configuration() -> Iterator[Observation]:
    try:
        place, config = configuration.find_config()
    except PamScriptError as error:
        yield Observation("wrong", _CONFIGURATION, error.cause, error.next_step)
        return
    server, path = config["hostname"], Path(place)
    if place in configuration.CONFIG_VARIABLES:
        yield Observation("ok", _CONFIGURATION, f"from the environment variable {place}, for {server}")
        return
    if not path.is_file():
        yield Observation("ok", _CONFIGURATION, f"from {place}, for {server}")
        return
    rights, way_out = host.HERE.rights(path)
    yield Observation("warning" if way_out else "ok", _CONFIGURATION, f"{path} ({rights}), for {server}", way_out)
