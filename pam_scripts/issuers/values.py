"""Values that no system issues: those that Keeper made, and those that are ours to make.

There is nothing to log in to and nothing to delete. Who accepts the value learns it from the
stores; where Keeper has changed a system already, there is no way back.
"""

from __future__ import annotations

import base64
import re
import secrets
import string
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime

from pam_scripts.core.errors import BadInput
from pam_scripts.core.patience import utc_now
from pam_scripts.core.roles import Credential, Key
from pam_scripts.core.secret import Secret

KEEPER = "keeper"

_ALPHANUMERIC = string.ascii_letters + string.digits

# By name: what is made of a number, and the numbers that may be asked for.
_KINDS: dict[str, tuple[Callable[[int], str], int, int]] = {
    "hex": (secrets.token_hex, 16, 256),
    "alnum": (lambda length: "".join(secrets.choice(_ALPHANUMERIC) for _ in range(length)), 22, 512),
    "base64": (lambda length: base64.b64encode(secrets.token_bytes(length)).decode(), 16, 256),
}

FORMATS = "`keeper` (as Keeper made it), `uuid`, `hex:24` and `base64:24` (random bytes), `alnum:32` (characters)"


def make(value_format: str) -> Secret:
    """Return a new value of a kind: `uuid`, `hex:24`, `base64:24`, `alnum:32`; raise BadInput for any other.

    The numbers are bytes of randomness for hex and base64, characters for alnum; at least 128 bits.
    """
    if value_format == "uuid":
        return Secret(str(uuid.UUID(bytes=secrets.token_bytes(16), version=4)))
    kind, _, number = value_format.partition(":")
    if kind in _KINDS and re.fullmatch(r"[0-9]{1,3}", number):
        produce, least, most = _KINDS[kind]
        if least <= int(number) <= most:
            return Secret(produce(int(number)))
        raise BadInput(f"field 'value_format' is {value_format!r}; {kind} takes a number from {least} to {most}")
    raise BadInput(f"field 'value_format' is {value_format[:60]!r}", next_step=f"enter one of {FORMATS}")


class Value:
    """One value on its way to those who use it.

    reversible: the value before still works, since nobody but the stores knows of the new one.
    """

    system = ""
    noun = "value"
    own_key_id = ""
    proof = ""
    settling = 0.0
    logins_in_a_row = 1
    lag = 0.0
    deletions_at_once = 1

    def __init__(self, value: Secret, target: str, rotation_id: str, *, reversible: bool) -> None:
        self._value = value
        self._id = rotation_id
        self._made: list[Key] = []
        self.target = target
        self.reversible = reversible
        self.ways_to_delete: Sequence[Callable[[Key], None]] = (self._forget,)

    def connect(self) -> None:
        """Nobody to log in to."""

    def list_keys(self) -> list[Key]:
        """Return the one value, once it is under way."""
        return list(self._made)

    def missing_rights(self) -> list[str]:
        """None: nobody is asked."""
        return []

    def create_key(self, label: str, expires_at: datetime | None) -> tuple[Key, Credential]:
        """Bring the value into the rotation, under the rotation's own id."""
        key = Key(self._id, label, utc_now(), expires_at)
        self._made = [key]
        return key, Credential(self._id, self._value)

    def log_in(self, credential: Credential) -> None:
        """Nothing to log in to."""

    def _forget(self, key: Key) -> None:
        self._made = [made for made in self._made if made.id != key.id]

    def act_as(self, credential: Credential) -> None:
        """Nothing to log in to."""
