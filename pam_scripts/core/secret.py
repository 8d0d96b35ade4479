"""A type for values that must never be seen, and the nets under everything that is shown."""

from __future__ import annotations

import hmac
import json
import re
import threading
from typing import ClassVar
from urllib.parse import quote, quote_plus

# A shorter value is hidden as a word of its own only: it would blot out parts of ordinary words.
_LONG = 6

# What a terminal obeys, and what turns the direction of a line; line ends and tabs become blanks instead.
_BREAKS = re.compile("[\t\n\v\f\r\x1c-\x1e\x85\u2028\u2029]+")
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")

# What an agent of a build pipeline obeys in the output that it reads: `##vso[...]` and `##[...]` anywhere in a line,
# `::...::` where a line begins, as any word may after a break.
# https://learn.microsoft.com/azure/devops/pipelines/scripts/logging-commands
# https://github.com/actions/runner/blob/main/src/Runner.Common/ActionCommand.cs
_COMMANDS = re.compile(r"#(?=#\w*\[)|(?<!\S):(?=:[a-z])", re.IGNORECASE)


# What html.escape makes of a text, with its quotes and without: to import it reads all names that HTML has for letters.
_HTML = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
_HTML_QUOTES = str.maketrans({'"': "&quot;", "'": "&#x27;"})


def presentable(text: str) -> str:
    """Return a text as it may be shown on one line: without secret values, and without what its reader would obey.

    That is a terminal, or the agent of a build pipeline. For raw parts, before they are quoted, cut or put into JSON or
    HTML.
    """
    shown = _CONTROLS.sub("\ufffd", _BREAKS.sub(" ", Secret.redact(text)))
    return _COMMANDS.sub(r"\g<0> ", shown)


class _Redactor:
    """The values that must not be seen, each in all the forms that a text may give it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: set[str] = set()
        self._words: re.Pattern[str] | None = None
        self._short: set[str] = set()
        # By their first characters, so that a search costs the same however many there are.
        self._long: dict[str, tuple[str, ...]] = {}

    def add(self, value: str) -> None:
        if not value.strip() or value in self._values:
            return
        with self._lock:
            for form in _forms(value):
                if len(form) >= _LONG:
                    start = form[:_LONG]
                    self._long[start] = (*self._long.get(start, ()), form)
                elif form not in self._short:
                    self._short.add(form)
                    any_of = "|".join(re.escape(short) for short in sorted(self._short, key=len, reverse=True))
                    self._words = re.compile(rf"(?<![^\W_])(?:{any_of})(?![^\W_])")
            self._values.add(value)

    def redact(self, text: str, *, words: bool) -> str:
        spans = [
            (at, at + len(form))
            for at in range(len(text) - _LONG + 1)
            for form in self._long.get(text[at : at + _LONG], ())
            if text.startswith(form, at)
        ]
        if words and self._words:
            spans += [found.span() for found in self._words.finditer(text)]
        pieces, seen = [], 0
        for start, end in sorted(spans):
            if start >= seen:
                pieces += [text[seen:start], "***"]
            seen = max(seen, end)
        return "".join([*pieces, text[seen:]])


def _forms(value: str) -> set[str]:
    """Return what a value becomes in JSON, in Python's quotes, in a URL, in HTML, and where blanks are folded."""
    return {
        value,
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        repr(value)[1:-1],
        quote(value, errors="replace"),
        quote(value, safe="", errors="replace"),
        quote_plus(value, errors="replace"),
        value.translate(_HTML | _HTML_QUOTES),
        value.translate(_HTML),
        " ".join(value.split()),
        _BREAKS.sub(" ", value),
    }


class Secret:
    """A secret value. Its repr and str are stars; `reveal()` is the only way to the value."""

    __slots__ = ("_value",)
    _redactor: ClassVar = _Redactor()

    def __init__(self, value: str) -> None:
        self._value = value
        self._redactor.add(value)

    def reveal(self) -> str:
        """Return the value itself, for the one call that must carry it."""
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(
            self._value.encode(errors="surrogatepass"), other._value.encode(errors="surrogatepass")
        )

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __reduce__(self) -> str:
        raise TypeError("a Secret is not written anywhere")

    @classmethod
    def redact(cls, text: str) -> str:
        """Return a text with every value that any Secret has held replaced by stars, short ones as whole words."""
        return cls._redactor.redact(text, words=True)

    @classmethod
    def redact_whole(cls, text: str) -> str:
        """Return JSON, HTML or CSV with every longer value replaced: the last net, under parts that were redacted.

        A short value there may be a word of the format.
        """
        return cls._redactor.redact(text, words=False)
