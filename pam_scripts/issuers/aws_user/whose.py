"""Whose the access keys of a user are, as far as the record tells: IAM's keys have no label.

A rotation begins only where every key that no store holds is the record's own to delete, or may be taken over.
"""

from __future__ import annotations

from datetime import datetime

from pam_scripts.core.times import iso
from pam_scripts.issuers.aws_user import UnfinishedRotation, UserSettings
from pam_scripts.issuers.aws_user.client import AccessKey
from pam_scripts.rotation import labels
from pam_scripts.rotation.roles import Key


def label_of(settings: UserSettings, key: AccessKey) -> str:
    """Return the label that a key would have: its rotation's, by the ops log or the lease; empty for other keys."""
    if key.id in settings.known:
        return labels.label(settings.owner, settings.known[key.id])
    if key.id != settings.held.key_id:
        for rotation in _may_have_made(settings, key.created_at):
            return labels.label(settings.owner, rotation.rotation_id)
    return ""


def is_ours(settings: UserSettings, key: Key, held: AccessKey | None, used: datetime | None) -> bool:
    """Say whether a key is the record's own to delete: a rotation of it made the key, kept it, or was to delete it.

    Where the record holds the key of an interrupted rotation, an older key is what that rotation was to delete, even
    if it is in use. A key that is known only by the time when it was made is no left-over if it was used after its
    rotation was over. held: the key that the record holds, if it is listed. used: when the key was last used, None for
    never.
    """
    if key.id in settings.known or key.id in settings.left_alive:
        return True
    if held and key.created_at < held.created_at and _may_have_made(settings, held.created_at):
        return True
    return any(used is None or used <= rotation.until for rotation in _may_have_made(settings, key.created_at))


def is_used_by_somebody(key: AccessKey, used: datetime | None, since: datetime | None) -> bool:
    """Say whether an active key was used since a moment, or at all where that is None: no rotation takes it over.

    used: when it was last used, None for never. since: when the key was made that the record holds.
    """
    return key.active and used is not None and (since is None or used >= since)


def last_use(moment: datetime | None) -> str:
    """Return the words for when a key was last used."""
    return f"last used {iso(moment)}" if moment else "never used"


def _may_have_made(settings: UserSettings, created_at: datetime) -> list[UnfinishedRotation]:
    """Return the unfinished rotations that may have made a key, by when it was made."""
    return [rotation for rotation in settings.unfinished if rotation.may_have_made(created_at)]
