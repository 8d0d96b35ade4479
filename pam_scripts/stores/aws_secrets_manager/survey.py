"""AWS Secrets Manager: what AWS says of a secret and its versions; never a secret's value.

https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_DescribeSecret.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pam_scripts.core.errors import ApiError, PamScriptError
from pam_scripts.core.http import Session
from pam_scripts.core.retry import retrying
from pam_scripts.gateway.specs import MirrorLook
from pam_scripts.rotation.seen import SeenMirror, SeenSecret, Trouble
from pam_scripts.rotation.shape import ROTATION_MARK
from pam_scripts.stores.aws_secrets_manager import (
    CURRENT,
    LABEL,
    Mark,
    Place,
    Wire,
    refuse_what_is_not_written,
    rotation_in,
)


def survey(look: MirrorLook, session: Session, say: Callable[[str], None]) -> SeenMirror:
    """Return the secret that a mirror is, by its name in small letters; why it could not be asked, where it could not.

    A secret without a value counts as none. That of another rotation has its id, and the tag of whom it is for, where
    that is not `another target`.
    """
    place = look.group
    assert isinstance(place, Place)  # noqa: S101 - for the type checker: this module is asked for AWS's alone
    name = place.secret_id.lower()
    say(f"aws {place.region}: secret {place.secret_id}")
    try:
        wire = Wire(place.region, place.identity, session)
        described = retrying(session.deadline, lambda: _describe(wire, place.secret_id))
        if described.get("DeletedDate"):
            return SeenMirror(deleted=frozenset({name}))
        refuse_what_is_not_written(described, place.secret_id, place.region)
    except ApiError as error:
        if error.name == "ResourceNotFoundException":
            return SeenMirror()
        return _unreadable(error)
    except PamScriptError as error:
        return _unreadable(error)
    stages = described.get("VersionIdsToStages") or {}
    current = next((version for version, labels in stages.items() if CURRENT in labels), "")
    return SeenMirror({name: SeenSecret(enabled=True, tags=_tags(place, current), expires_at=None)} if current else {})


def _describe(wire: Wire, secret_id: str) -> Mapping[str, Any]:
    return wire.ask(f"describe the secret {secret_id}", "describe_secret", SecretId=secret_id)


def _unreadable(error: PamScriptError) -> SeenMirror:
    way_out = error.next_step or f"check '{LABEL}' and the region"
    return SeenMirror(trouble=Trouble("vault-unreadable", error.cause, way_out))


def _tags(place: Place, version: str) -> Mapping[str, str]:
    """Return what a version's id says, as the tags of a secret elsewhere do."""
    is_ours = Mark(place.owner_tag, place.owner).is_on(version)
    if is_ours is None:
        return {}
    return {ROTATION_MARK: rotation_in(version), place.owner_tag: place.owner if is_ours else "another target"}
