"""How a script's credential is laid out wherever it is kept: one `Shape` for the record and for every mirror."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from pam_scripts.core.errors import PamScriptError

ROTATION_TAG = "rotation-id"
"""The tag of a secret that says which rotation has set it."""

OWNER_TAGS = (
    "seeq-application-id",
    "seeq-user-id",
    "entra-application-id",
    "azure-resource-id",
    "rabbitmq-user",
    "keycloak-client",
    "aws-user-name",
    "keeper-record",
)
"""The tags by which scripts mark a secret as their target's, each one of them."""

EXPIRY_TAG = "expiry"
"""The tag of a secret that says when its key ends, ISO 8601 in UTC."""


@dataclass(frozen=True, repr=False)
class Target:
    """Whose credential it is.

    id: the word for it in the names of secrets. tag: the value of the owner tag on its secrets; empty: the id.
    """

    id: str
    tag: str = ""

    @property
    def tag_value(self) -> str:
        """The value of the owner tag on a secret of this target."""
        return self.tag or self.id


@dataclass(frozen=True, repr=False)
class Shape:
    """How one script's credential is laid out.

    id_label, value_label: the record's fields for the two, and the words for them in a JSON object that holds both;
    id_label is empty for a value that has no id. owner_tag: the name of the tag that says whose a secret is. id_part,
    value_part, both_part: what the names of secrets end in where a mirror keeps the two apart, and where it keeps both
    together. sample: a text as long as an id or a value, to measure with. prefix: what those names begin with by
    default. expires_label: the record's field for the key's end, empty where keys have none. value_in_record: whether
    the record holds the value, or only mirrors do. logs_in_by_id: whether a client names the id when it logs in. form:
    turns the value into the text that mirrors hold. type_prefix: what the tag for the part puts before it.
    """

    value_label: str
    value_part: str
    owner_tag: str
    id_label: str = ""
    id_part: str = ""
    both_part: str = ""
    prefix: str = ""
    expires_label: str = ""
    value_in_record: bool = True
    logs_in_by_id: bool = False
    form: Callable[[str], str] = str
    sample: str = "x" * 64
    type_prefix: str = ""

    def key_type(self, part: str) -> str:
        """Return the word by which a secret's tag says which part of the credential it is."""
        return part if part == self.both_part else f"{self.type_prefix}{part}"

    def part_of(self, key_type: str) -> str:
        """Return the part that such a word stands for, the bare one too, as it was written before; empty for none."""
        parts = (self.id_part, self.value_part, self.both_part)
        return next((part for part in parts if part and key_type in (part, self.key_type(part))), "")

    @property
    def record_labels(self) -> tuple[str, ...]:
        """The record's fields that hold the credential."""
        value = (self.value_label,) if self.value_in_record else ()
        return ((self.id_label,) if self.id_label else ()) + value

    @property
    def expiry_labels(self) -> tuple[str, ...]:
        """The record's fields that hold the key's end: one, or none."""
        return (self.expires_label,) if self.expires_label else ()

    def combine(self, key_id: object, value: object, beside: Mapping[str, Any] | None = None) -> str:
        """Return the JSON object that holds both. beside: what else stands in it, not ours."""
        return json.dumps({**(beside or {}), self.id_label: key_id, self.value_label: value})

    def value_in(self, text: str) -> str:
        """Return the value that `form` makes this text of; empty where there is none, or `form` is another by now."""
        mark = "ValueInThisPlace"
        first, *others = map(re.escape, self.form(mark).split(mark))
        match = re.fullmatch(rf"{first}(.+)" + r"\1".join(others), text, re.DOTALL)
        written = match[1] if match and others else ""
        # As it stands there, percent-encoded, or in quotes or braces, which is how texts are quoted.
        for value in (written, unquote(written), written[1:-1]):
            with suppress(PamScriptError):
                if value and self.form(value) == text:
                    return value
        return ""

    def split(self, text: str) -> tuple[str, str, Mapping[str, Any]]:
        """Return a JSON object's own two words as `combine` writes them, the key's id, and what else stands in it.

        A text that has not both is returned as it is, without an id.
        """
        try:
            words = json.loads(text) if self.id_label else None
        except ValueError:
            words = None
        ours = (self.id_label, self.value_label)
        if not isinstance(words, dict):
            return text, "", {}
        beside = {word: value for word, value in words.items() if word not in ours}
        if not {*ours} <= words.keys():
            return text, "", beside
        return self.combine(*(words[word] for word in ours)), str(words[self.id_label]), beside
