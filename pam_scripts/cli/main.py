"""The command: its parser, its list of commands, and the last net under all of them."""

from __future__ import annotations

import argparse
import contextlib
import gc
import sys
from collections.abc import Sequence
from types import ModuleType

import pam_scripts
from pam_scripts.cli import doctor
from pam_scripts.core.errors import BadInput, NotCertain, OutOfTime, PamScriptError, defect
from pam_scripts.core.host import HERE
from pam_scripts.gateway import diagnosis
from pam_scripts.gateway.command_line import uids_as_values
from pam_scripts.gateway.console import Console, prepare_output

try:
    from pam_scripts.cli import check, compromised, payload, rollback, rotate
    from pam_scripts.cli.audit import command as audit
    from pam_scripts.cli.templates import command as templates
except ModuleNotFoundError as error:
    if (error.name or "").startswith("pam_scripts"):
        raise
    # Packages are missing: `doctor` alone goes without, and says which.
    COMMANDS: Sequence[ModuleType] = (doctor,)
else:
    COMMANDS = (check, audit, rotate, rollback, compromised, templates, payload, doctor)
"""Modules, in the order of the help: each has `add_parser`, and `work`, which returns the exit status."""

_NEED_PACKAGES = ("check", "audit", "rotate", "rollback", "compromised", "templates", "payload")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status."""
    prepare_output()
    options = parser().parse_args(uids_as_values(sys.argv[1:] if arguments is None else arguments))
    console = Console()
    try:
        return _work(options, console)
    finally:
        with contextlib.suppress(KeyboardInterrupt):
            console.finish()
        # The process ends here, and is not taken apart object by object, as an attached file's.
        gc.freeze()


def _work(options: argparse.Namespace, console: Console) -> int:
    try:
        with HERE.stopping(_interrupt):
            return int(options.work(options, console))
    except PamScriptError as error:
        console.fail(error)
        return error.status
    except KeyboardInterrupt as told:
        # A fleet's runs deal with signals themselves, and are waited for.
        console.fail(OutOfTime(f"stopped by {told}", state="nothing is under way"))
        return OutOfTime.status
    except Exception as error:  # noqa: BLE001 - the last net: no traceback ever, it could carry values
        console.fail(NotCertain(defect(error)))
        return NotCertain.status


def _interrupt(name: str) -> None:
    """End a command that is told to stop; name: the signal's."""
    raise KeyboardInterrupt(name)


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    whole = argparse.ArgumentParser(
        prog="pam-scripts",
        description="See trouble before it happens: look at rotations, records and this host; and rotate many at once.",
        epilog="All but templates from a CSV need the Gateway's Secrets Manager configuration: run them as the "
        "Gateway's user.",
    )
    whole.add_argument("--version", action="version", version=pam_scripts.__build__)
    commands = whole.add_subparsers(metavar="COMMAND", required=True)
    for one in COMMANDS:
        one.add_parser(commands)
    for name in _NEED_PACKAGES if len(COMMANDS) == 1 else ():
        refused = commands.add_parser(name, add_help=False, prefix_chars="\0")
        refused.add_argument("rest", nargs="*")
        refused.set_defaults(work=_refuse)
    return whole


def _refuse(_options: argparse.Namespace, _console: Console) -> int:
    """Raise BadInput for a command that needs packages which are missing."""
    names = diagnosis.missing()
    raise BadInput(f"packages are missing: {', '.join(names)}", next_step=diagnosis.way_to_install(names))
