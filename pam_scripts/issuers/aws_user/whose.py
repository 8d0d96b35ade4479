"""Whose the access keys of a user are, as far as the record tells: IAM's keys have no label.

A rotation begins only where every key that no store holds is the record's own to delete, or may be taken over.
"""

from __future__ import annotations

from datetime import datetime

from pam_scripts.core.times import iso
from pam_scripts.issuers.aws_user import UserSettings, Work
from pam_scripts.issuers.aws_user.client import AccessKey
from pam_scripts.rotation import labels
from pam_scripts.rotation.roles import Key


def label_of(settings: UserSettings, key: AccessKey) -> str:
    """Return the label that a key would have, by what the ops log and the lease say of it; empty for no rotation's."""
    if key.id in settings.known:
        return labels.label(settings.owner, settings.known[key.id])
    if key.id != settings.held.key_id:
        for work in _works(settings, key.created_at):
            return labels.label(settings.owner, work.rotation_id)
    return ""


def is_ours(settings: UserSettings, key: Key, held: AccessKey | None, used: datetime | None) -> bool:
    """Say whether a rotation of the record has made a key, has left it alive, or was about to delete it.

    Where one was interrupted whose key the record holds, what is older is what that one would have deleted, whoever
    uses it yet. What is taken for a left-over by its time alone is none once it was used after that rotation was over.
    held: the key that the record holds, if it is listed. used: when the key was last used, None for never.
    """
    if key.id in settings.known or key.id in settings.cared_for:
        return True
    if held and key.created_at < held.created_at and _works(settings, held.created_at):
        return True
    return any(used is None or used <= work.until for work in _works(settings, key.created_at))


def is_used_by_somebody(key: AccessKey, used: datetime | None, since: datetime | None) -> bool:
    """Say whether a key is in use, which no rotation takes over: since the one in the record was made, where one is."""
    return key.active and used is not None and (since is None or used >= since)


def use(moment: datetime | None) -> str:
    """Say when a key was last used."""
    return f"last used {iso(moment)}" if moment else "never used"


def _works(settings: UserSettings, created_at: datetime) -> list[Work]:
    """Return the interrupted rotations that may have made a key, by when that was."""
    return [work for work in settings.unfinished if work.may_have_made(created_at)]
