"""Log in to Seeq with a key that Keeper rotates, read at run time from where its mirror is kept.

Copy this file into a Data Lab project, beside a hidden file `.secrets_auth.ini` that says where the
key is and who may read it; docs/data-lab.md explains both. Then, in a notebook or a Data Lab Function:

    from seeq_credential import SeeqKey

    key = SeeqKey.from_file()
    session = key.login("https://seeq.example.com")
    spy.search({"Name": "Area A_Temperature"}, session=session)

The file holds the right to read one secret, not the secret. No password is printed, kept in a file,
or put into an exception's text.
"""

from __future__ import annotations

import configparser
import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

AZURE, AWS = "Azure auth", "AWS auth"
"""The sections of the hidden file; it has one of the two."""

SETTINGS = {
    AZURE: ("tenant_id", "client_id", "client_secret", "vault_url", "secret_name"),
    AWS: ("aws_access_key_id", "aws_secret_access_key", "region_name", "secret_id"),
}
"""What each section must say. `combined` may be added to the first: `True` for the secret that holds both parts."""

WORDS = (
    ("access_key_id", "access_key_password"),
    ("iam_access_key_id", "iam_secret_access_key"),
    ("access_key_id", "secret_access_key"),
)
"""The words of a JSON object that holds both parts: of a Seeq key, of an AWS user's key, and as a person stores one."""

LOOKS, SECONDS_BETWEEN = 5, 2.0
"""How often a pair of secrets is looked at until both are of one rotation, and the seconds in between."""

_OTHERS = 0o077  # what a file's mode lets its group and everybody do
_TIMEOUT = 15  # seconds that one request may take


class CredentialError(Exception):
    """The key cannot be had, or Seeq does not take it; the text says why and has no secret in it."""


@dataclass(frozen=True)
class Credential:
    """An access key. key_id: its id, a client's user name; password: its secret."""

    key_id: str
    password: str = field(repr=False)


class Source(Protocol):
    """Where the key is kept."""

    def read(self) -> Credential:
        """Return the key as it is stored now; raise CredentialError where it is not whole."""


class SeeqKey:
    """A rotated key: read when it is first needed, and again when Seeq does not take it any more."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._held: Credential | None = None

    @classmethod
    def from_file(cls, path: Path | None = None) -> SeeqKey:
        """Take the source from the hidden file, `.secrets_auth.ini` in the project's home directory by default."""
        return cls(source_from_file(path or Path.home() / ".secrets_auth.ini"))

    def login(self, url: str, session: Any = None) -> Any:  # noqa: ANN401 - spy's session, imported when it is used
        """Log a session in and return it; without one a new one is made, and the notebook's own login stays.

        A key that is refused is read again, once: a rotation stores the new key before it deletes the
        old one, so what is stored after a refusal is newer, or nothing will help. Raises
        CredentialError where it is refused for good; whatever else spy raises is passed on.
        """
        from seeq import spy  # noqa: PLC0415 - so that `read` serves clients without spy, too

        session = session or spy.Session()
        credential = self._held or self.source.read()
        if not _logs_in(session, url, credential):
            refused, credential = credential, self.source.read()
            if credential == refused or not _logs_in(session, url, credential):
                self._held = None
                raise CredentialError(
                    f"Seeq at {url} refuses the access key {credential.key_id}, which is the one that is stored;"
                    " whether it still exists, the last_rotation of its Keeper record says"
                )
        self._held = credential
        return session


@dataclass(frozen=True)
class KeyVaultPair:
    """Azure Key Vault, two secrets: NAME-id and NAME-password."""

    client: Any
    name: str

    def read(self) -> Credential:
        """Read both, again if a rotation set one between the two reads: each is tagged with its rotation."""
        for look in range(LOOKS):
            if look:
                time.sleep(SECONDS_BETWEEN)
            key_id, password = (self.client.get_secret(f"{self.name}-{part}") for part in ("id", "password"))
            rotations = {(one.properties.tags or {}).get("rotation-id") for one in (key_id, password)}
            if len(rotations) == 1:
                return Credential(key_id.value, password.value)
        raise CredentialError(
            f"the secrets {self.name}-id and {self.name}-password are of two rotations: one was interrupted between"
            " them; rotate again"
        )


@dataclass(frozen=True)
class KeyVaultCombined:
    """Azure Key Vault, one secret with both parts as JSON: never of two rotations."""

    client: Any
    name: str

    def read(self) -> Credential:
        """Read it."""
        return _credential(self.client.get_secret(self.name).value, f"the secret {self.name}")


@dataclass(frozen=True)
class SecretsManager:
    """AWS Secrets Manager, one secret with both parts as JSON: never of two rotations."""

    client: Any
    secret_id: str

    def read(self) -> Credential:
        """Read its current version."""
        answer = self.client.get_secret_value(SecretId=self.secret_id)
        return _credential(answer.get("SecretString"), f"the secret {self.secret_id}")


def source_from_file(path: Path) -> Source:
    """Return the source that a hidden file names; raise CredentialError for what the file lacks."""
    # Values may have percent signs. A parser's own message would show the line, which may be a secret.
    parser = configparser.ConfigParser(interpolation=None)
    try:
        if os.name == "posix" and path.stat().st_mode & _OTHERS:
            raise CredentialError(f"{path} may be read by other users of this machine; in a terminal: chmod 600 {path}")
        parser.read_string(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CredentialError(f"{path} cannot be read: {error.strerror}") from None
    except (configparser.Error, UnicodeDecodeError):
        raise CredentialError(f"{path} is not an INI file: [section], then lines of name = value") from None
    present = [section for section in SETTINGS if parser.has_section(section)]
    if len(present) != 1:
        raise CredentialError(f"{path} needs one section, [{AZURE}] or [{AWS}]; it has {len(present)} of them")
    section = parser[present[0]]
    missing = [name for name in SETTINGS[section.name] if not section.get(name)]
    if missing:
        raise CredentialError(f"{path}: [{section.name}] lacks {', '.join(missing)}")
    return _key_vault(section) if section.name == AZURE else _secrets_manager(section)


def _key_vault(section: configparser.SectionProxy) -> Source:
    from azure.identity import ClientSecretCredential  # noqa: PLC0415 - only where the key is in Key Vault
    from azure.keyvault.secrets import SecretClient  # noqa: PLC0415 - the same

    identity = ClientSecretCredential(
        section["tenant_id"],
        section["client_id"],
        section["client_secret"],
        connection_timeout=_TIMEOUT,
        read_timeout=_TIMEOUT,
    )
    client = SecretClient(section["vault_url"], identity, connection_timeout=_TIMEOUT, read_timeout=_TIMEOUT)
    kind = KeyVaultCombined if section.getboolean("combined", fallback=False) else KeyVaultPair
    return kind(client, section["secret_name"])


def _secrets_manager(section: configparser.SectionProxy) -> Source:
    import boto3  # noqa: PLC0415 - only where the key is in AWS
    from botocore.config import Config  # noqa: PLC0415 - the same

    client = boto3.client(
        "secretsmanager",
        region_name=section["region_name"],
        aws_access_key_id=section["aws_access_key_id"],
        aws_secret_access_key=section["aws_secret_access_key"],
        config=Config(connect_timeout=_TIMEOUT, read_timeout=_TIMEOUT, retries={"mode": "standard"}),
    )
    return SecretsManager(client, section["secret_id"])


def _credential(text: str | None, what: str) -> Credential:
    try:
        both = json.loads(text or "")
        key_id, password = next(words for words in WORDS if {*words} <= {*both})
        return Credential(both[key_id], both[password])
    except (ValueError, TypeError, StopIteration):
        raise CredentialError(f"{what} is not JSON with {' or '.join(map(' and '.join, WORDS))}") from None


def _logs_in(session: Any, url: str, credential: Credential) -> bool:  # noqa: ANN401 - spy's session
    """Log in and say whether Seeq takes the key."""
    from seeq import spy  # noqa: PLC0415 - as above

    try:
        spy.login(url=url, access_key=credential.key_id, password=credential.password, session=session, quiet=True)
    except spy.errors.SPyRuntimeError as error:
        # Spy tells a refusal from a lost connection by words alone; what it raised it from has the HTTP status.
        if getattr(error.__context__, "status", None) != 401:  # noqa: PLR2004 - HTTP: Unauthorized
            raise
        return False
    return True
