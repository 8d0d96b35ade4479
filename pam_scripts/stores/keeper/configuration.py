"""The Gateway's own access to Secrets Manager: where its configuration is, and a client made from it."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from pam_scripts.core.errors import BadInput
from pam_scripts.core.http import Session
from pam_scripts.core.secret import Secret

if TYPE_CHECKING:
    from pam_scripts.stores.keeper.client import Client

# Where a Gateway keeps its Secrets Manager configuration. It is the Gateway's own: read, never written.
CONFIG_VARIABLES = ("KSM_CONFIG", "GATEWAY_CONFIG")
CONFIG_FILES = ("/etc/keeper-gateway/gateway-config.json", "~/.keeper/gateway-config.json")
_CONFIG_KEYS = ("hostname", "clientId", "privateKey", "appKey")
_CONFIG_OPTIONAL = ("serverPublicKey", "serverPublicKeyId", "appOwnerPublicKey")


def read_config() -> dict[str, str]:
    """Return the Gateway's Secrets Manager configuration from the first place that has one.

    Raises BadInput where no place has one, or the first that does is not usable.
    """
    unreadable = ""
    for name in CONFIG_VARIABLES:
        if text := os.environ.get(name, "").strip():
            return _parse_config(text, f"the environment variable {name}")
    for name in CONFIG_FILES:
        path = Path(name).expanduser()
        try:
            return _parse_config(path.read_text(encoding="utf-8"), str(path))
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError) as error:
            unreadable = f" ({path} is there, but cannot be read: {type(error).__name__})"
    places = ", ".join([*CONFIG_VARIABLES, *CONFIG_FILES])
    raise BadInput(
        f"no Secrets Manager configuration was found{unreadable}",
        next_step=f"run as the Gateway's user, or provide it in one of: {places}",
    )


def _parse_config(text: str, place: str) -> dict[str, str]:
    try:
        plain = text if text.lstrip().startswith("{") else base64.b64decode(text, validate=True).decode()
        values = json.loads(plain)
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise BadInput(f"{place} is not a Secrets Manager configuration: neither JSON nor Base64 of it")
    missing = [key for key in _CONFIG_KEYS if not values.get(key)]
    if missing:
        raise BadInput(
            f"{place} is not a bound Secrets Manager configuration: it lacks {', '.join(missing)}",
            next_step="point to the Gateway's own configuration",
        )
    Secret(str(values["privateKey"]))
    Secret(str(values["appKey"]))
    return {key: str(values[key]) for key in (*_CONFIG_KEYS, *_CONFIG_OPTIONAL) if values.get(key)}


class Access:
    """The Gateway's own access to Secrets Manager: its configuration, and a connection on its way."""

    def __init__(self, session: Session) -> None:
        self._config = read_config()
        self._session = session
        session.connect(f"https://{self._config['hostname']}")

    def client(self) -> Client:
        """Return the client; raise BadInput where the configuration is damaged."""
        # Imported while the connection is made: the SDK, with its cryptography, is a fifth of a script's start-up.
        from pam_scripts.stores.keeper.client import Client  # noqa: PLC0415

        return Client(self._config, self._session)
