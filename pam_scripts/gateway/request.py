"""What is asked of a run beside its records: the fields that every record may carry, and the command line."""

from __future__ import annotations

import argparse
import re
import ssl
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta

import pam_scripts
from pam_scripts.core.errors import NotCertain, OldKeysAlive
from pam_scripts.core.fields import FLAG, TEXT, Choice, Field, Fields, Number, Record
from pam_scripts.core.files import is_plain_file
from pam_scripts.core.limits import NAMES
from pam_scripts.rotation.roles import Plan


@dataclass(frozen=True, repr=False)
class PemFile:
    """The path of a PEM file with certificates that this host's user may read."""

    expected: str = "the path of a PEM file on the Gateway's host that its user may read"

    def read(self, text: str) -> str:
        """Return the path, once its certificates were read."""
        try:
            if text and not is_plain_file(text):
                raise ValueError(text)
            if text:
                ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(text)
        except (OSError, ssl.SSLError):
            raise ValueError(text) from None
        return text


_DEADLINE = Number(10, 3600)
_HEALTH = Number(5, 1800)

DRY_RUN = Field("dry_run", "'True': look at everything, report, change nothing", FLAG, default="False")
DIAGNOSE = Field(
    "diagnose", "'True': tell what the script sees of its host, and do nothing else", FLAG, default="False"
)
DEADLINE_SECONDS = Field(
    "deadline_seconds",
    "seconds that the whole run may take; the default grows by twice `health_seconds` where consumers are named",
    _DEADLINE,
    default="120",
    # A number in a template would keep the default from growing.
    prompt="seconds from 10 to 3600; leave this for the default, more where consumers are named",
)
CA_BUNDLE = Field(
    "ca_bundle",
    "path of a PEM file on the Gateway's host: a private CA to trust beside the public ones, for the servers that "
    "this record's credential is for; in the PAM Configuration for all but Keeper's",
    PemFile(),
    prompt="path of a PEM file with the private CA of these servers; leave this for none",
)
ALLOW_TARGETS = Field(
    "allow_targets",
    "whose keys may be replaced with this login: ids or user names, with commas, * for any characters; empty: any",
    NAMES,
    prompt="ids or user names whose keys may be replaced with this login, with commas; leave this for any",
)
HEALTH_SECONDS = Field(
    "health_seconds", "seconds that consumers may take to be well again after a reload", _HEALTH, default="180"
)
ENVIRONMENT = Field(
    "environment",
    "where this credential is used, for the ops log: `dev`, `stage`, `production`",
    TEXT,
    prompt="dev, stage or production, for the ops log; leave this for none",
)
ROTATION_REASON = Field("rotation_reason", "why it is rotated, for the ops log", TEXT, default="routine rotation")
LOG_FORMAT = Field(
    "log_format",
    "`json`: the last line on stdout sums the run up for a SIEM",
    Choice(("text", "json")),
    default="text",
)
KEEP_PREVIOUS_KEYS = Field(
    "keep_previous_keys", "how many of the newest old keys stay alive", Number(0, 100), default="0"
)
TAKE_OVER = Field(
    "take_over",
    "'True': also delete keys that another Keeper record's rotation made; of an Azure resource with two keys: begin, "
    "though whoever uses the other one is cut off",
    FLAG,
    default="False",
)

PLAN_FIELDS: Fields = (KEEP_PREVIOUS_KEYS, TAKE_OVER)
"""Fields of every script that replaces keys."""


def run_fields(deadline_seconds: int) -> Fields:
    """Return the fields that every script's record may carry. deadline_seconds: what a run may take by default."""
    deadline = replace(DEADLINE_SECONDS, default=f"{deadline_seconds}")
    return (DRY_RUN, DIAGNOSE, deadline, HEALTH_SECONDS, ENVIRONMENT, ROTATION_REASON, LOG_FORMAT)


def longest_run(deadline_seconds: int) -> int:
    """Return the seconds that a run can take at most, whatever its record says. deadline_seconds: its default."""
    return max(_DEADLINE.highest, deadline_seconds + 2 * _HEALTH.highest)


def read_plan(record: Record, life: timedelta | None, *, has_keys: bool) -> Plan:
    """Return what the rotation of a PAM User record is to do. has_keys: whether there are keys to keep or delete."""
    return Plan(
        owner=record.uid,
        life=life,
        keep=KEEP_PREVIOUS_KEYS.read(record) if has_keys else 0,
        take_over=TAKE_OVER.read(record) if has_keys else False,
        health_seconds=HEALTH_SECONDS.read(record),
    )


def uids_as_values(arguments: Iterable[str]) -> list[str]:
    """Return arguments such that a UID which begins with a hyphen is none of the options.

    A blank before it does that: whoever takes UIDs strips them.
    """
    return [f" {one}" if re.fullmatch(r"-[\w-]{21}", one, re.ASCII) else one for one in arguments]


def command_line(title: str) -> argparse.Namespace:
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
    parser.add_argument(
        "--credential",
        metavar="UID",
        type=str.strip,
        action="append",
        default=[],
        help="a record attached to the script (default: those that the record's own script settings name)",
    )
    parser.add_argument(
        "--configuration",
        metavar="UID",
        type=str.strip,
        default="",
        help="the PAM Configuration (default: the only one shared to the application)",
    )
    arguments = parser.parse_args(uids_as_values(sys.argv[1:]))
    if arguments.check != bool(arguments.record):
        parser.error("--check and --record UID go together")
    return arguments
