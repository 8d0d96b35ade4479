"""Values that are made here, at random."""

from __future__ import annotations

import base64
import secrets
import string
import uuid
from collections.abc import Callable, Mapping

from pam_scripts.core.secret import Secret

_ALPHANUMERIC = string.ascii_letters + string.digits

KINDS: Mapping[str, tuple[Callable[[int], str], int, int]] = {
    "hex": (secrets.token_hex, 16, 256),
    "base64": (lambda length: base64.b64encode(secrets.token_bytes(length)).decode(), 16, 256),
    "alnum": (lambda length: "".join(secrets.choice(_ALPHANUMERIC) for _ in range(length)), 22, 512),
}
"""By name: what is made of a number, and the numbers that may be asked for: at least 128 bits of randomness."""


def make(value_format: str) -> Secret:
    """Return a new value: of `uuid`, or of `KIND:NUMBER`."""
    if value_format == "uuid":
        return Secret(str(uuid.UUID(bytes=secrets.token_bytes(16), version=4)))
    kind, _, number = value_format.partition(":")
    return Secret(KINDS[kind][0](int(number)))
