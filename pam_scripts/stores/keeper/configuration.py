"""The Gateway's own access to Secrets Manager: where its configuration is, and a client made from it."""

from __future__ import annotations

import base64
import codecs
import contextlib
import importlib
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pam_scripts.core import host
from pam_scripts.core.errors import BadInput
from pam_scripts.core.fields import split_address
from pam_scripts.core.secret import Secret

if TYPE_CHECKING:
    from pam_scripts.core.http import Session
    from pam_scripts.stores.keeper.client import Client, Paced

# Where a Gateway keeps its Secrets Manager configuration. It is the Gateway's own: read, never written.
# https://docs.keeper.io/en/keeperpam/privileged-access-manager/getting-started/gateways
CONFIG_FILE_VARIABLE = "PAM_SCRIPTS_KSM_CONFIG"
CONFIG_VARIABLES = ("KSM_CONFIG", "GATEWAY_CONFIG")
AWS_SECRET_VARIABLE = "AWS_KMS_SECRET_NAME"  # noqa: S105 - a variable's name
_CONFIG_KEYS = ("hostname", "clientId", "privateKey", "appKey")
_CONFIG_OPTIONAL = ("serverPublicKey", "serverPublicKeyId", "appOwnerPublicKey")

_ONE_TIME_TOKEN = re.compile(r"([A-Za-z0-9.-]{2,}:)?[A-Za-z0-9_-]{43}=?(:[^:\s]+){0,2}")
_PATH = re.compile(r"(~?/|\.{1,2}[/\\]|[A-Za-z]:[/\\]|\\\\)\S.*|\S+\.json", re.DOTALL)
_SECONDS_FOR_AWS = 10


def read_config() -> dict[str, str]:
    """Return the Gateway's Secrets Manager configuration from the first place that has one.

    Raises BadInput where no place has one, or the first that does is not usable.
    """
    return find_config()[1]


def find_config() -> tuple[str, dict[str, str]]:
    """Return the first place that has a configuration, a variable's name or a path, and what it holds; as above."""
    unreadable = ""
    for place, read in _places():
        try:
            text = read()
        except FileNotFoundError:
            continue
        except OSError as error:
            unreadable += f" ({place} is there, but cannot be read: {type(error).__name__})"
            continue
        if text:
            shown = f"the environment variable {place}" if place in CONFIG_VARIABLES else place
            return place, _parse_config(text, shown)
    places = ", ".join([CONFIG_FILE_VARIABLE, *CONFIG_VARIABLES, AWS_SECRET_VARIABLE, *config_files()])
    raise BadInput(
        f"no Secrets Manager configuration was found{unreadable}",
        next_step=f"run as the Gateway's user, or provide it in one of: {places}",
    )


def is_gateways(place: str) -> bool:
    """Say whether a place, as `find_config` names it, is where a Gateway keeps its own configuration."""
    files = {str(Path(path).expanduser()) for path in config_files()}
    return place == "GATEWAY_CONFIG" or place in files or place.startswith("the AWS secret")


def config_files() -> list[str]:
    """Return the paths where a Gateway keeps its configuration on a host like this one."""
    return host.HERE.configuration_files(os.environ)


def _places() -> Iterator[tuple[str, Callable[[], str]]]:
    """Go through all places in their order: each with what reads it, which raises OSError where that cannot be done."""
    if named := os.environ.get(CONFIG_FILE_VARIABLE, "").strip():
        yield str(Path(named).expanduser()), lambda: _named_file(named)
    for name in CONFIG_VARIABLES:
        yield name, lambda name=name: os.environ.get(name, "").strip()  # type: ignore[misc]  # mypy loses the default
    if secret := os.environ.get(AWS_SECRET_VARIABLE, "").strip():
        yield f"the AWS secret that {AWS_SECRET_VARIABLE} names", lambda: _aws_secret(secret)
    for path in config_files():
        yield str(Path(path).expanduser()), lambda path=path: _text_of(Path(path).expanduser()) or " "  # type: ignore[misc]


def _named_file(path: str) -> str:
    try:
        return _text_of(Path(path).expanduser()) or " "
    except OSError as error:
        raise BadInput(
            f"the environment variable {CONFIG_FILE_VARIABLE} names a file that cannot be read "
            f"({type(error).__name__})",
            next_step="enter the path of a configuration there that the script's user may read, or unset it",
        ) from None


def _text_of(path: Path) -> str:
    """Read a file as an editor or a console of any kind may have written it."""
    data = path.read_bytes()
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data.decode("utf-16" if wide else "utf-8-sig", errors="replace")


def _aws_secret(name: str) -> str:
    """Read an AWS secret with the host's own identity, which is how the Gateway reads it."""
    try:
        # By name: an attached file must not seem to need what only few hosts do.
        botocore = importlib.import_module("botocore.session")
        config = importlib.import_module("botocore.config").Config(
            connect_timeout=_SECONDS_FOR_AWS,
            read_timeout=_SECONDS_FOR_AWS,
            retries={"total_max_attempts": 2},
            ignore_configured_endpoint_urls=True,
        )
    except ImportError:
        raise BadInput(
            f"the environment variable {AWS_SECRET_VARIABLE} names an AWS secret, and the package boto3 that reads it "
            "is not installed",
            next_step="install requirements-aws.txt into the virtualenv that the script runs with",
        ) from None
    try:
        # An ARN says the region itself.
        region = name.split(":")[3] if name.startswith("arn:") and name.count(":") > 3 else None  # noqa: PLR2004
        # The proxy botocore finds by itself, the CAs that all else here trusts it does not.
        verify = os.environ.get("AWS_CA_BUNDLE") or os.environ.get("REQUESTS_CA_BUNDLE")
        client = botocore.get_session().create_client("secretsmanager", region, config=config, verify=verify)
        found: Any = client.get_secret_value(SecretId=name).get("SecretString")
    except Exception as error:  # noqa: BLE001 - botocore has many, and what they say could carry anything
        code = getattr(error, "response", {}).get("Error", {}).get("Code", "")
        told = code if isinstance(code, str) and re.fullmatch(r"\w{1,60}", code) else type(error).__name__
        raise BadInput(
            f"the AWS secret that the environment variable {AWS_SECRET_VARIABLE} names cannot be read ({told})",
            next_step="grant secretsmanager:GetSecretValue on it to the host's role, and set AWS_REGION",
        ) from None
    return found.strip() if isinstance(found, str) and found.strip() else " "


def _parse_config(text: str, place: str) -> dict[str, str]:
    # A byte order mark, blanks, line ends and quotes around it, and Base64 in lines of its own, are of no account.
    plain = text.strip("\ufeff\x00 \t\r\n").strip("\"'")
    values = _json(plain)
    if values is None:
        encoded = "".join(plain.split()).replace("-", "+").replace("_", "/").rstrip("=")
        try:
            inner = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True).decode("utf-8-sig")
        except ValueError:
            inner = ""
        values = _json(inner)
    if not isinstance(values, dict):
        raise _unusable(plain, place)
    missing = [key for key in _CONFIG_KEYS if not values.get(key)]
    if missing:
        token = ", and holds a one-time token that nobody has redeemed" if values.get("clientKey") else ""
        raise BadInput(
            f"{place} is not a bound Secrets Manager configuration: it lacks {', '.join(missing)}{token}",
            next_step="point to the Gateway's own configuration",
        )
    try:
        split_address(f"https://{values['hostname']}")
    except ValueError:
        raise BadInput(
            f"{place} is not a usable Secrets Manager configuration: its hostname is none",
            next_step="point to the Gateway's own configuration",
        ) from None
    Secret(str(values["privateKey"]))
    Secret(str(values["appKey"]))
    return {key: str(values[key]) for key in (*_CONFIG_KEYS, *_CONFIG_OPTIONAL) if values.get(key)}


def _json(text: str) -> Any:  # noqa: ANN401 - whatever JSON it is
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _unusable(text: str, place: str) -> BadInput:
    """Return the error for what is no configuration, in words for what it seems to be; it is never shown."""
    if not text:
        return BadInput(f"{place} is empty", next_step="point to the Gateway's own configuration")
    if _PATH.fullmatch(text):
        return BadInput(
            f"{place} holds a path, where the configuration itself belongs",
            next_step=f"name the file in the environment variable {CONFIG_FILE_VARIABLE}",
        )
    if _ONE_TIME_TOKEN.fullmatch(text):
        return BadInput(
            f"{place} holds a one-time token, which is no configuration yet",
            next_step="redeem it (`ksm init default TOKEN`, or `gateway ott-init TOKEN`), and provide what that prints",
        )
    return BadInput(
        f"{place} is not a Secrets Manager configuration: neither JSON nor Base64 of it",
        next_step="point to the Gateway's own configuration",
    )


class Access:
    """The Gateway's own access to Secrets Manager: its configuration, and a connection on its way."""

    def __init__(self, session: Session, config: dict[str, str] | None = None) -> None:
        """Begin to connect. config: where it was read already."""
        self._config = config or read_config()
        self._session = session
        session.connect(f"https://{self._config['hostname']}")

    def client(self, paced: Paced = contextlib.nullcontext) -> Client:
        """Return the client; raise BadInput where the configuration is damaged. paced: as `Client` has it."""
        # Imported while the connection is made: the SDK, with its cryptography, is a fifth of a script's start-up.
        from pam_scripts.stores.keeper.client import Client  # noqa: PLC0415

        return Client(self._config, self._session, paced)
