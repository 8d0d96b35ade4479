"""A type for values that must never be seen, and the last net under everything that is printed."""

from __future__ import annotations

import hmac
from typing import ClassVar

# A shorter value would blot out ordinary words wherever it happens to stand.
_SHORTEST_REDACTED = 6


class Secret:
    """A secret value. Its repr and str are stars; `reveal()` is the only way to the value."""

    __slots__ = ("_value",)
    _seen: ClassVar[set[str]] = set()

    def __init__(self, value: str) -> None:
        self._value = value
        if len(value) >= _SHORTEST_REDACTED:
            self._seen.add(value)

    def reveal(self) -> str:
        """Return the value itself, for the one call that must carry it."""
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __reduce__(self) -> str:
        raise TypeError("a Secret is not written anywhere")

    @classmethod
    def redact(cls, text: str) -> str:
        """Return the text with every value that any Secret has held replaced by stars."""
        for value in sorted(cls._seen, key=len, reverse=True):
            text = text.replace(value, "***")
        return text
