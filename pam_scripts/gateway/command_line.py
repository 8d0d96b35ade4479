"""The command line of an attachable script: an engineer's, since a Gateway gives it no arguments."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable

import pam_scripts
from pam_scripts.core.errors import NotCertain, OldKeysAlive


def add_sources(
    one: argparse.ArgumentParser,
    credential: str = "a record attached to the script (default: those that the record's own script settings name); "
    "may be repeated",
) -> None:
    """Add the options that name the records beside a rotation's own. credential: the help for `--credential`."""
    one.add_argument("--credential", metavar="UID", type=str.strip, action="append", default=[], help=credential)
    one.add_argument(
        "--configuration",
        metavar="UID",
        type=str.strip,
        default="",
        help="the PAM Configuration (default: the only one shared to the application)",
    )


def uids_as_values(arguments: Iterable[str]) -> list[str]:
    """Return arguments such that a UID which begins with a hyphen is none of the options.

    A blank before it does that: whoever takes UIDs strips them.
    """
    return [f" {one}" if re.fullmatch(r"-[\w-]{21}", one, re.ASCII) else one for one in arguments]


def read(title: str) -> argparse.Namespace:
    """Read the command line of an attachable script; ends the process where it cannot be read. title: what it does."""
    parser = argparse.ArgumentParser(
        description=title,
        epilog="Without options it reads the Keeper Gateway's payload from standard input. "
        "Exit status: 0 rotated and confirmed; 1 failed, nothing changed or all put back; 2 bad input, nothing "
        f"touched; {OldKeysAlive.status} rotated, but old keys are still alive; {NotCertain.status} not certain, "
        "a person must look.",
    )
    parser.add_argument("--version", action="version", version=pam_scripts.__build__)
    parser.add_argument("--json-lines", action="store_true", help="sum the run up in JSON, on the last line of stdout")
    parser.add_argument("--check", action="store_true", help="look at everything for one record and change nothing")
    parser.add_argument("--record", metavar="UID", type=str.strip, help="the PAM User record to check")
    add_sources(parser, "a record attached to the script (default: those that the record's own script settings name)")
    arguments = parser.parse_args(uids_as_values(sys.argv[1:]))
    if arguments.check != bool(arguments.record):
        parser.error("--check and --record UID go together")
    return arguments
