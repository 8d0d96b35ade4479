"""What is asked of a run: the fields that every record may carry. Its command line: command_line.py."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, replace
from datetime import timedelta

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
