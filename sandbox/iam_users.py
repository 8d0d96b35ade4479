"""The plant for `rotate_aws_access_key`: an IAM user with one access key, that a team uses."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from types import MappingProxyType

from sandbox.plant import AnyPlant, Issued
from sandbox.services import keeper
from sandbox.services.iam import OWN_ACTIONS, PARTITIONS

USER = "erp-export"


class IamPlant(AnyPlant):
    """An IAM user whose access key stands in Keeper and in a vault.

    admin: who makes the keys: an administrator whose key is in a record `attached` to the script, or in the PAM
    `configuration`; or the user with their `own_key`. mirrored and first_time are those of `Plant`. partition: the part
    of AWS that the account is in, where that is not the public one.
    """

    outputs = MappingProxyType(
        {
            "iam_access_key_id": "text",
            "iam_secret_access_key": "secret",
            "rotated_at": "text",
            "last_rotation": "multiline",
        }
    )
    _parts = ("access-key-id", "secret-access-key", "access-key")

    def __init__(
        self,
        directory: Path,
        *,
        mirrored: bool = True,
        admin: str = "attached",
        first_time: bool = False,
        partition: str = "aws",
    ) -> None:
        super().__init__(directory, mirrored=mirrored, first_time=first_time)
        self.iam.partition = PARTITIONS[partition]
        self.user = self.iam.add_user(USER, *(OWN_ACTIONS if admin == "own_key" else ()))
        self.old_key_id = self.old_password = ""
        if first_time:
            self.old_key_id, self.old_password = "AKIANONEYET234567ABC", "none yet"
        else:
            self.old_key_id, self.old_password = self.iam.add_key(USER, created_days_ago=100)
            self.iam.use(self.old_key_id, days_ago=1)
        self._mirror(f"aws-user-{USER}")
        self.admin_key_id, secret = self.aws.add_identity("iam-admin")
        key = [keeper.text("access_key_id", self.admin_key_id), keeper.secret("secret_access_key", secret)]
        self._add_configuration(self.azure_app, self.azure_secret, key if admin == "configuration" else ())
        if admin == "attached":
            custom = [
                keeper.text("aws_access_key_id", self.admin_key_id),
                keeper.secret("aws_secret_access_key", secret),
            ]
            self.attached = [self.keeper.add_record("login", "AWS admin key", custom=custom)]
        self._add_user_record("AWS access key: ERP export", USER, [keeper.text("aws_user_name", USER)])

    def add_key(self, label: str, *, created_days_ago: float = 0, expires_in_days: float = 90) -> tuple[str, str]:  # noqa: ARG002 - keys have neither
        """Add the second key, which is the last that there is room for."""
        return self.iam.add_key(USER, created_days_ago)

    def issued(self) -> list[Issued]:
        """Return every key that the user ever had; they have no label and no end."""
        return [
            Issued(key_id, value, "", self._born(key_id), None, bool(status), status == "Active")
            for key_id, value in self.user.keys.items()
            for status in (self.iam.status(key_id),)
        ]

    def logs_in(self, key_id: str, value: str) -> bool:
        """Say whether an access key is let in now."""
        return self.iam.logs_in(key_id, value)

    def _marks(self) -> Mapping[str, str]:
        return {"aws-user-name": USER, "rotation-id": "20260101T000000Z-0badc0de"}

    def _born(self, key_id: str) -> datetime:
        return self.user.times[key_id]
