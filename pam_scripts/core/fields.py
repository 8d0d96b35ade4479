"""The fields of a Keeper record: a script's contract, and how its values are read.

Labels are compared without regard to case, blanks and underscores. A template's placeholder,
words in angle brackets, counts as empty.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pam_scripts.core.errors import BadInput
from pam_scripts.core.secret import Secret

_TRUE = {"true", "yes", "on", "1"}
_FALSE = {"false", "no", "off", "0"}


@dataclass(frozen=True)
class Field:
    """One labelled field of a record, as the contract has it.

    type: the Keeper field type; `secret` is the one whose value the vault hides.
    output: the script writes it. required: the script cannot run without it.
    default: what an empty input field means.
    """

    label: str
    meaning: str
    type: Literal["text", "secret", "multiline", "login", "password"] = "text"
    output: bool = False
    required: bool = False
    default: str = ""


def normalised(label: str) -> str:
    """Return a label as labels are compared: `Tenant Id`, `tenant_id` and `tenantId` are one."""
    return re.sub(r"[\s_]+", "", label).lower()


def is_placeholder(value: str) -> bool:
    """Say whether a value is a template's placeholder, such as `<set by rotation>`.

    Every one of ours has a blank in it; a generated password within angle brackets has none.
    """
    return value.startswith("<") and value.endswith(">") and " " in value


def flat_value(value: object) -> str:
    """Return one field's value as text: the first of several, empty for none and for placeholders."""
    if isinstance(value, list):
        value = next((item for item in value if item not in (None, "")), "")
    if value is None or isinstance(value, Mapping):
        return ""
    text = str(value)
    return "" if is_placeholder(text.strip()) else text


@dataclass(frozen=True)
class Record:
    """One Keeper record as the Gateway hands it over: flat, label (or type) to value.

    Its repr shows uid and title only.
    """

    uid: str
    title: str
    values: Mapping[str, str] = field(repr=False)

    @classmethod
    def from_flat(cls, flat: Mapping[str, Any]) -> Record:
        """Read one object of the payload's `records`; of labels that compare equal the first counts."""
        values: dict[str, str] = {}
        for label, value in flat.items():
            if normalised(label) not in ("uid", "title"):
                values.setdefault(normalised(label), flat_value(value))
        return cls(str(flat.get("uid") or ""), str(flat.get("title") or ""), values)

    def get(self, *labels: str) -> str:
        """Return the first of these fields that has a value, without blanks around it; empty if none has."""
        return next((value for label in labels if (value := self.values.get(normalised(label), "").strip())), "")

    def secret(self, label: str) -> Secret:
        """Return a field's value to the letter, as a Secret."""
        return Secret(self.values.get(normalised(label), ""))

    def has(self, *labels: str) -> bool:
        """Say whether every one of these fields has a value."""
        return all(self.get(label) for label in labels)

    @property
    def shown(self) -> str:
        """The record as messages name it."""
        return f"record '{self.title}' ({self.uid})"


class Settings:
    """The input fields of one record, read by the contract: defaults filled in, values checked.

    Every reader raises BadInput naming the field and the way out.
    """

    def __init__(self, record: Record, contract: Iterable[Field]) -> None:
        self._record = record
        self._contract = {item.label: item for item in contract if not item.output}

    def text(self, label: str, pattern: str = r"(?s:.*)", shape: str = "") -> str:
        """Return the field's value; `shape` says in words what `pattern` asks of the whole value."""
        value = self._record.get(label)
        if not value:
            if self._contract[label].required:
                raise BadInput(f"{self._record.shown}: field '{label}' is empty; enter {self._contract[label].meaning}")
            value = self._contract[label].default
        if value and not re.fullmatch(pattern, value):
            raise self.bad(label, value, shape)
        return value

    def flag(self, label: str) -> bool:
        """Return the field's value as true or false."""
        value = self.text(label).lower()
        if value in _TRUE | _FALSE:
            return value in _TRUE
        raise self.bad(label, value, "'True' or 'False'")

    def choice(self, label: str, *words: str) -> str:
        """Return the field's value as one of these words."""
        value = self.text(label).lower()
        if value in words:
            return value
        raise self.bad(label, value, " or ".join(f"'{word}'" for word in words))

    def number(self, label: str, lowest: int, highest: int) -> int:
        """Return the field's value as a whole number within bounds."""
        value = self.text(label)
        shape = f"a whole number from {lowest} to {highest}"
        if not re.fullmatch(r"\d{1,9}", value) or not lowest <= int(value) <= highest:
            raise self.bad(label, value, shape)
        return int(value)

    def bad(self, label: str, value: str, shape: str) -> BadInput:
        """Return the error for a value that is not what the field takes."""
        return BadInput(f"{self._record.shown}: field '{label}' is {_short(value)!r}; it must be {shape}")


def _short(value: str) -> str:
    longest = 60
    return value if len(value) <= longest else f"{value[:longest]}..."
