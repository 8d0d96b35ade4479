"""The plant for `rotate_rabbitmq_password`: an application that logs in to RabbitMQ as one user, or two in turn."""

from __future__ import annotations

import secrets
from pathlib import Path
from types import MappingProxyType

from pam_scripts.rotation.roles import NOT_TOLD
from sandbox.plant import AnyPlant, Issued
from sandbox.services import keeper
from sandbox.services.rabbitmq import HOST

ADMIN = "rotation.admin"


class RabbitPlant(AnyPlant):
    """A RabbitMQ user whose password stands in Keeper and in a vault.

    spare: there is a second user, who has no password yet. admin: where the administrator's login stands, in a record
    `attached` to the script or in the PAM `configuration`. mirrored and first_time are those of `Plant`.
    """

    outputs = MappingProxyType(
        {"rabbitmq_username": "text", "rabbitmq_password": "secret", "rotated_at": "text", "last_rotation": "multiline"}
    )
    _parts = ("username", "password", "credential")

    def __init__(
        self,
        directory: Path,
        *,
        mirrored: bool = True,
        admin: str = "attached",
        first_time: bool = False,
        spare: bool = True,
    ) -> None:
        super().__init__(directory, mirrored=mirrored, first_time=first_time)
        self.admin_password = f"{secrets.token_hex(8)} of the admin"
        self.rabbitmq.add_user(ADMIN, self.admin_password, ["administrator"])
        self.username, self.spare = "erp", "erp-spare" if spare else ""
        self.old_key_id, self.old_password = self.username, f"{secrets.token_hex(8)}-of-last-year"
        self.rabbitmq.add_user(self.username, self.old_password, ["monitoring", "erp"])
        if spare:
            self.rabbitmq.add_user(self.spare, "", ["monitoring", "erp"])
        self._mirror(f"rabbitmq-{self.username}")
        url = f"https://{HOST}"
        own = [
            keeper.text("rabbitmq_admin_login", ADMIN),
            keeper.secret("rabbitmq_admin_password", self.admin_password),
            keeper.text("rabbitmq_url", url),
        ]
        self._add_configuration(self.azure_app, self.azure_secret, own if admin == "configuration" else ())
        self.admin_uid = self.keeper.add_record(
            "login",
            "RabbitMQ admin",
            fields=[keeper.login(ADMIN), keeper.password(self.admin_password)],
            custom=[keeper.text("rabbitmq_url", url)],
        )
        if admin == "attached":
            self.attached = [self.admin_uid]
        named = [keeper.text("username", self.username), keeper.text("username_spare", self.spare)]
        self._add_user_record("RabbitMQ: ERP", "erp", [keeper.text("rabbitmq_url", url), *named])

    @property
    def idle(self) -> str:
        """The user whose turn it is."""
        held = self.keeper.value(self.user_uid, "rabbitmq_username") or self.username
        return self.username if not self.spare or held == self.spare else self.spare

    def add_key(self, label: str, *, created_days_ago: float = 0, expires_in_days: float = 90) -> tuple[str, str]:
        """Have the user whose turn it is be one who has a password already, which ends with the next rotation."""
        assert self.spare, (label, created_days_ago, expires_in_days)  # noqa: S101 - one user has one password
        value = secrets.token_hex(12)
        self.rabbitmq.add_user(self.idle, value, ["monitoring", "erp"])
        return f"{self.idle} (unpublished)", value

    def issued(self) -> list[Issued]:
        """Return the password of each user that has one; passwords have no label, and nobody knows since when."""
        held = {name: self.rabbitmq.password(name) for name in (self.username, self.spare) if name}
        return [
            Issued(name, value, "", NOT_TOLD, None, listed=True, live=True) for name, value in held.items() if value
        ]

    def logs_in(self, key_id: str, value: str) -> bool:
        """Say whether a password logs a user in now."""
        return self.rabbitmq.logs_in(key_id, value)
