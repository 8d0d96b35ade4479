"""What all access keys have in common, and the access keys of an application."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from pam_scripts.core.errors import ApiError, Refused
from pam_scripts.core.patience import iso, parse_iso
from pam_scripts.core.roles import Credential, Key
from pam_scripts.core.secret import Secret
from pam_scripts.issuers.seeq.server import SYSTEM, Server

_RIGHT = "User and Group Administration"
# How people read that capability, and how the API spells it (official client, seeq.base.seeq_names).
_RIGHT_NAMES = {"userandgroupadministration", "useradministrationcapability"}
GRANT = f'the admin user must be an administrator or have the capability "{_RIGHT}"'


class Keys:
    """What all of Seeq's access keys have in common: how they log in, and the ways they are deleted."""

    system = SYSTEM
    noun = "access key"
    settling = 10.0
    logins_in_a_row = 1
    proof = "the new key logs in"
    reversible = True
    lag = 0.0
    # Few enough to leave a server room for the people who work on it.
    deletions_at_once = 8

    def __init__(self, server: Server, say: Callable[[str], None]) -> None:
        self._server = server
        self._say = say
        self.ways_to_delete: Sequence[Callable[[Key], None]] = (
            self._delete_by_key_id,
            self._delete_by_item_id,
            self._archive,
        )

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
        self, path: str, action: str, body: Mapping[str, Any], forbidden: str = GRANT
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

    def _delete_by_key_id(self, key: Key) -> None:
        self._server.delete(f"/accesskeys/{quote(key.id, safe='')}", f"delete access key {key.id}")

    def _delete_by_item_id(self, key: Key) -> None:
        self._server.delete(f"/accesskeys/{quote(key.item_id, safe='')}", f"delete access key {key.id}")

    def _archive(self, key: Key) -> None:
        self._server.delete(f"/items/{quote(key.item_id, safe='')}", f"archive access key {key.id}")


class ApplicationKeys(Keys):
    """The access keys of one Seeq application."""

    def __init__(self, server: Server, application_id: str, say: Callable[[str], None]) -> None:
        super().__init__(server, say)
        self._id = application_id
        self._path = f"/applications/{quote(application_id, safe='')}"
        self._name = ""

    @property
    def target(self) -> str:
        """The application as messages name it."""
        return f"application {self._id}" + (f" ({self._name})" if self._name else "")

    @property
    def own_key_id(self) -> str:
        """What the script is logged in with, which may be an access key."""
        return self._server.username

    def list_keys(self) -> list[Key]:
        """GET /applications/{id}: the keys that are not archived.

        Raises Refused for an application whose keys cannot work: archived, or one that
        authenticates through an identity provider.
        """
        action = f"read {self.target}"
        try:
            application = self._server.get(self._path, action)
        except ApiError as error:
            if error.code == HTTPStatus.NOT_FOUND and not self._name:
                error.next_step = "check 'application_id'; the application may be archived, or not this user's to see"
            elif error.code == HTTPStatus.FORBIDDEN:
                error.next_step = GRANT
            raise
        listed = application.get("accessKeys") or []
        if application.get("id") is None or not isinstance(listed, list):
            raise ApiError(SYSTEM, action, "the answer is not an application; is a proxy in the way?")
        first, self._name = not self._name, str(application.get("name") or self._id)
        if first:
            self._say(f"Retrieved application: {self._name} ({self._id})")
        if application.get("isArchived"):
            raise Refused(
                f"{SYSTEM}: {action}: it is archived",
                next_step="restore it, or stop rotating it",
            )
        if application.get("oidcDirectoryId"):
            raise Refused(
                f"{SYSTEM}: {action}: it authenticates through an identity provider (OIDC) and can have no access keys",
                next_step="rotate its secret at the identity provider",
            )
        return [read_key(item, action) for item in listed if not item.get("isArchived")]

    def missing_rights(self) -> list[str]:
        """Say so where the admin may not make keys for applications."""
        if self._may_administer_users():
            return []
        return [f"{self._server.username} may not make keys: {GRANT}"]

    def create_key(self, label: str, expires_at: datetime | None) -> tuple[Key, Credential]:
        """POST /applications/{id}/generate-access-key; the answer carries the password, this once."""
        body = {"label": label, "expiry": iso(expires_at) if expires_at else None}
        return self._create(f"{self._path}/generate-access-key", f"create key for {self.target}", body)

    def act_as(self, credential: Credential) -> None:
        """Nothing to do: whoever makes an application's keys is not logged in with one of them."""


def read_key(item: Mapping[str, Any], action: str) -> Key:
    """Read one key as Seeq lists it; raise ApiError where it cannot be read."""
    try:
        expiry = item.get("expiry")
        return Key(
            id=str(item["keyId"]),
            label=str(item.get("name") or ""),
            created_at=parse_iso(str(item["createdAt"])),
            expires_at=parse_iso(str(expiry)) if expiry else None,
            item_id=str(item.get("id") or ""),
        )
    except (KeyError, ValueError) as error:
        raise ApiError(SYSTEM, action, f"an access key in the answer is not readable ({error})") from None


def _letters(name: str) -> str:
    return re.sub(r"[^a-z]", "", name.lower())
