"""Labels: how a key says which Keeper record it serves, and which rotation made it."""

from __future__ import annotations

import re
from datetime import datetime

from pam_scripts.core.times import parse_iso

_PREFIX = "keeper:"
# From this length on, what a server has left of a label that it cut short says whose it is.
_ENOUGH = len(_PREFIX) + 8
_LABEL = re.compile(r"keeper:(?P<owner>[^:\s]+):(?P<rotation>\S+)")
_ROTATION_ID = re.compile(r"(\d{4})(\d\d)(\d\dT\d\d)(\d\d)(\d\dZ)-\S+")


def new_id(started: datetime, mark: str) -> str:
    """Return the id of a rotation, in the order of which rotations began. started: in UTC. mark: tells two apart."""
    return f"{started:%Y%m%dT%H%M%SZ}-{mark}"


def begun_at(rotation: str) -> datetime | None:
    """Return when a rotation began, which its id begins with; None for what is no id of a rotation."""
    match = _ROTATION_ID.fullmatch(rotation)
    try:
        return parse_iso("{}-{}-{}:{}:{}".format(*match.groups())) if match else None
    except ValueError:
        return None


def label(owner: str, rotation_id: str) -> str:
    """Return the label of a key made by a rotation for the Keeper record with the UID `owner`."""
    return f"{_PREFIX}{owner}:{rotation_id}"


def owner_in(text: str) -> str:
    """Return the UID of the Keeper record whose rotation made the key with this label, empty for any other label."""
    match = _LABEL.fullmatch(text)
    return match["owner"] if match else ""


def rotation_in(text: str) -> str:
    """Return the id of the rotation that made the key with this label, empty for any other label."""
    match = _LABEL.fullmatch(text)
    return match["rotation"] if match else ""


def is_truncated(text: str, whole: str) -> bool:
    """Say whether a text is what a server has left of this label."""
    return len(text) >= _ENOUGH and whole.startswith(text)


def serves(text: str, owner: str) -> bool:
    """Say whether a label, even one that was cut short, is of a key for the Keeper record with the UID `owner`."""
    return owner_in(text) == owner or is_truncated(text, label(owner, ""))


def is_ours(text: str) -> bool:
    """Say whether a label is one of this package's, whichever record it serves, and even where it was cut short."""
    return text.startswith(_PREFIX)
