"""What all of Seeq's access keys have in common: how they are read, how they log in, the ways to delete them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from pam_scripts.core.errors import ApiError
from pam_scripts.core.fields import Fields
from pam_scripts.core.secret import Secret
from pam_scripts.core.times import parse_iso
from pam_scripts.issuers.seeq.refusals import NO_RIGHT, SYSTEM
from pam_scripts.issuers.seeq.server import KEY_ID, KEY_PASSWORD, Server
from pam_scripts.rotation.roles import Credential, Issuer, Key, Traits, required_id
from pam_scripts.rotation.shape import Shape

# How people read the capability that GRANT names, and how the API spells it (official client, seeq.base.seeq_names).
_RIGHT_NAMES = {"userandgroupadministration", "useradministrationcapability"}

OUTPUTS: Fields = (KEY_ID, KEY_PASSWORD)

TRAITS = Traits(
    system=SYSTEM,
    noun="access key",
    login_proof="the new key logs in",
    activation_delay=10.0,
    # Few enough to leave a server room for the people who work on it.
    deletions_at_once=8,
)


class Keys(Issuer):
    """What all of Seeq's access keys have in common: how they log in, and the ways they are deleted."""

    def __init__(self, server: Server, say: Callable[[str], None]) -> None:
        self._server = server
        self._say = say

    @property
    def traits(self) -> Traits:
        """What is known of Seeq beforehand."""
        return TRAITS

    def connect(self) -> None:
        """POST /auth/login as the admin."""
        self._server.connect()

    def log_in(self, credential: Credential) -> None:
        """POST /auth/login with the key: id as username, password as password."""
        action = f"log in with access key {credential.key_id}"
        self._server.log_in_with_key(credential.key_id, credential.secret, action)

    def _may_administer_users(self) -> bool:
        """GET /users/me: administrators and user administrators may make keys for others."""
        user = self._server.get("/users/me", "read the admin user's rights")
        granted = [str(name) for name in user.get("capabilities") or []]
        granted += [str(grant.get("capability")) for grant in user.get("capabilityGrants") or []]
        return bool(user.get("isAdmin")) or any(_letters(name) in _RIGHT_NAMES for name in granted)

    def _create(
        self, path: str, action: str, body: Mapping[str, Any], forbidden: str = NO_RIGHT.way_out
    ) -> tuple[Key, Credential]:
        try:
            made = self._server.post(path, action, body)
        except ApiError as error:
            if error.code == HTTPStatus.FORBIDDEN:
                error.next_step = forbidden
            raise
        password = Secret(str(made.get("password") or ""))
        if not password:
            raise ApiError(SYSTEM, action, "the answer carries no password")
        key = read_key(made, action)
        return key, Credential(key.id, password)

    def delete_key(self, key: Key) -> None:
        """DELETE /accesskeys/{keyId}."""
        self._server.delete(f"/accesskeys/{quote(key.id, safe='')}", f"delete access key {key.id}")

    @property
    def other_ways_to_delete(self) -> Sequence[Callable[[Key], None]]:
        """By the item's id, and by archiving the item: which one a server takes is not written down."""
        return (self._delete_by_item_id, self._archive)

    # Without an item's id these ways are none: what a server would delete at the bare path nobody knows.

    def _delete_by_item_id(self, key: Key) -> None:
        if key.item_id:
            self._server.delete(f"/accesskeys/{quote(key.item_id, safe='')}", f"delete access key {key.id}")

    def _archive(self, key: Key) -> None:
        if key.item_id:
            self._server.delete(f"/items/{quote(key.item_id, safe='')}", f"archive access key {key.id}")


def read_key(item: Mapping[str, Any], action: str) -> Key:
    """Read one key as Seeq lists it; raise ApiError where it cannot be read."""
    try:
        expiry = item.get("expiry")
        return Key(
            id=required_id(item, "keyId"),
            label=str(item.get("name") or ""),
            created_at=parse_iso(str(item["createdAt"])),
            expires_at=parse_iso(str(expiry)) if expiry else None,
            item_id=str(item.get("id") or ""),
        )
    except (KeyError, ValueError):
        raise ApiError(SYSTEM, action, "an access key in the answer has no id, or times that are none") from None


def _letters(name: str) -> str:
    return re.sub(r"[^a-z]", "", name.lower())


def shape(prefix: str, owner_tag: str, expires_label: str = "") -> Shape:
    """Return how an access key is laid out; see `Shape` for what the words mean."""
    return Shape(
        id_label=KEY_ID.label,
        value_label=KEY_PASSWORD.label,
        id_part="key-id",
        value_part="key-password",
        both_part="key",
        prefix=prefix,
        owner_tag=owner_tag,
        expires_label=expires_label,
        logs_in_by_id=True,
        # As Seeq's own notebook tags them.
        type_prefix="access-",
    )
