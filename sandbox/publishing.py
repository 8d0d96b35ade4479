"""The plant for `publish_secret`: a connection string in Key Vault, and the services that read it.

The record's login is known to a database. Either Keeper rotates its password there, and the script
is told the new one; or the value is made by the script, and whoever reads it takes it as it is.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from sandbox.plant import VAULT, AnyPlant, Issued
from sandbox.services import keeper
from sandbox.services.openbao import ENGINE

SECRET = "ConnectionStrings--DefaultConnection"
TEMPLATE = "Server=sql.example.com;User Id={login};Password={password};Encrypt=True"
STAGE_VAULT = "stage-vault"
_EARLIER = "20260101T000000Z-0badc0de"


class PublishPlant(AnyPlant):
    """A database login whose connection string stands in two vaults.

    value_format: what the record says of the value. old_password: the one that stands everywhere
    before the first run. new_password: what Keeper made, and hands to the next run.
    """

    outputs = MappingProxyType({"value": "secret", "rotated_at": "text", "last_rotation": "multiline"})

    def __init__(
        self,
        directory: Path,
        *,
        mirrored: bool = True,
        first_time: bool = False,
        value_format: str = "keeper",
        template: str = TEMPLATE,
    ) -> None:
        super().__init__(directory, mirrored=mirrored, first_time=first_time)
        self.value_format = value_format
        self._keeps_previous = False
        self.template = template
        self.old_key_id, self.old_password = "", "the-password-of-last-year"
        self.new_password, self._former = new_password(), self.old_password
        self._given = {self.old_password, self.new_password}
        self.id_name = self.password_name = self.combined_name = SECRET
        self.vaults: tuple[str, ...] = (VAULT, STAGE_VAULT)
        self.key_vault.add_vault(STAGE_VAULT, self.tenant_id, self.cloud.vaults)
        self.key_vault.grant(STAGE_VAULT, self.azure_app.client_id)
        self._add_configuration(self.azure_app, self.azure_secret)
        self.user_uid = self.keeper.add_record(
            "pamUser",
            "ERP database",
            fields=[keeper.login("erp_user"), keeper.password(self.new_password)],
            custom=[
                keeper.text("value_format", value_format),
                keeper.text("value_template", template),
                keeper.text("secret_name", SECRET),
                keeper.text("key_vault_name", ", ".join(self.vaults) if mirrored else ""),
                *([keeper.secret("value", self.old_password)] if value_format != "keeper" and not first_time else []),
            ],
        )
        for vault in self.vaults if mirrored and not first_time else ():
            self.key_vault.set(vault, SECRET, self.written(self.old_password), tags={"keeper-record": self.user_uid})
        self.gateway = self._make_gateway()

    def written(self, value: str) -> str:
        """Return the connection string for a value that needs no quotes."""
        return self.template.replace("{login}", "erp_user").replace("{password}", value)

    def value_in(self, text: str | None) -> str:
        """Return the value in a connection string; empty for none, the whole text where it is not one of ours."""
        if not text or text == "{}":
            return ""
        pattern = re.escape(self.written("\0")).replace("\0", "(.*)")
        match = re.fullmatch(pattern, text)
        return match[1] if match else text

    def keep_previous(self, held: str | None = None) -> None:
        """Have each mirror that the record names keep the value before under a second name.

        held: the value that stands there, as a rotation of the record has set it; None for nothing.
        """
        self._keeps_previous = True
        text, tags = None if held is None else self.written(held), {"keeper-record": self.user_uid}
        self._given |= {held} if held else set()
        if self.keeper.value(self.user_uid, "key_vault_name"):
            self.set_field("secret_name_previous", previous(SECRET))
            for vault in self.vaults if text else ():
                self.key_vault.set(vault, previous(SECRET), text or "", tags=tags)
        if self.aws_secret:
            self.aws.add_secret(previous(self.aws_secret))
            mark = hashlib.sha256(f"keeper-record={self.user_uid} {_EARLIER}".encode()).hexdigest()[:38]
            if text:
                self.aws.put(previous(self.aws_secret), text, version_id=f"{_EARLIER}-{mark}")
            self.set_field("aws_secret_id_previous", previous(self.aws_secret))
        if self.openbao_secrets:
            second = [previous(name) for name in self.openbao_secrets]
            self.openbao.allow_to_mirror(*self.openbao_secrets, *second)
            for name in second if text else ():
                self.openbao.put(name, {"value": text})
                self.openbao.tag(name, tags)
            self.set_field("vault_path_previous", ", ".join(f"{ENGINE}/{name}" for name in second))

    def second_holdings(self) -> Mapping[str, str]:
        """Return the value that stands under each second name, empty for none; nothing where no mirror has one."""
        if not self._keeps_previous:
            return {}
        found = {f"vault {vault}": self.key_vault.value(vault, previous(SECRET)) for vault in self.vaults}
        if self.aws_secret:
            found["AWS"] = self.aws.value(previous(self.aws_secret))
        for name in self.openbao_secrets:
            found[f"OpenBao {name}"] = (self.openbao.value(previous(name)) or {}).get("value")
        return {place: self.value_in(text) for place, text in found.items()}

    def rotate_password(self) -> None:
        """Have Keeper make the next password, put it into the database, and hand it to the next run."""
        self.new_password, self._former = new_password(), self.new_password
        self._given.add(self.new_password)

    def holdings(self) -> Mapping[str, str]:
        """Return the value that stands in each place, empty for none."""
        places = {f"vault {vault}": self.value_in(self.key_vault.value(vault, SECRET)) for vault in self.vaults}
        if self.value_format != "keeper":
            places["Keeper"] = self.keeper.value(self.user_uid, "value") or ""
        if self.aws_secret:
            places["AWS"] = self.value_in(self.aws.value(self.aws_secret))
        for name in self.openbao_secrets:
            places[f"OpenBao {name}"] = self.value_in((self.openbao.value(name) or {}).get("value"))
        return places

    def made(self) -> set[str]:
        """Return every value that there ever was: given, or made by a run and written to the record."""
        held = {
            str(item["value"][0])
            for data in self.keeper.history(self.user_uid)
            for item in data["custom"]
            if item.get("label") == "value" and item["value"]
        }
        return {*self._given, *held}

    # -- what all plants have ---------------------------------------------------------------------

    def payload(self, attached: Sequence[str] | None = None) -> bytes:
        """Return what the Gateway pipes into the script, with the password that Keeper made."""
        attached = self.attached if attached is None else attached
        return self.gateway.payload(
            self.user_uid, attached=attached, new_password=self.new_password, old_password=self._former
        )

    def add_key(self, label: str, *, created_days_ago: float = 0, expires_in_days: float = 90) -> tuple[str, str]:
        """Refuse: there are no keys here."""
        raise NotImplementedError(f"{label}: no system issues these values ({created_days_ago}, {expires_in_days})")

    def issued(self) -> list[Issued]:
        """Return nothing: no system issues these values."""
        return []

    def logs_in(self, key_id: str, value: str) -> bool:
        """Say whether the database takes a value: the one that Keeper made last, or any that was made here."""
        assert not key_id  # noqa: S101 - values have none
        return value == self.new_password if self.value_format == "keeper" else value in self.made()

    def secrets(self) -> set[str]:
        """Return every secret value that was ever issued or given here."""
        return {*super().secrets(), *self.made()}


def previous(name: str) -> str:
    """Return the second name of a secret."""
    return f"{name}-previous"


def new_password() -> str:
    """Return a password such as Keeper makes, with characters that ask for quotes in some forms and not in others."""
    return f"{secrets.token_hex(6)}$%!{secrets.token_hex(6)}"
