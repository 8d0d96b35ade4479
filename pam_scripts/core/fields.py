"""The fields of a Keeper record: what each is called, what it takes, and how its value is read.

A field is written down once, as a `Field` in the module that reads it. Scripts, the audit, record
templates and the reference pages all ask that one.

Labels are compared without regard to case, blanks and underscores. A template's placeholder,
words in angle brackets, counts as empty.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv6Address
from typing import Any, Generic, Literal, Protocol, TypeAlias, TypeVar
from urllib.parse import SplitResult, urlsplit

from pam_scripts.core.errors import BadInput
from pam_scripts.core.secret import Secret

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

FieldType: TypeAlias = Literal["text", "secret", "multiline", "login", "password"]
"""Keeper's types of fields; `secret` and `password` are those whose value the vault hides."""

# What has no width or no ink (Unicode's Default_Ignorable_Code_Point, control characters, fillers), for a pattern.
_UNSEEN = (
    r"\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    r"\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U000e0000-\U000e0fff"
)

_TRUE = ("true", "yes", "on", "1")
_FALSE = ("false", "no", "off", "0")

# Labels, normalised, whose values are secret wherever they stand: `password`, `client_secret`, `aws_secret_access_key`
# and others' own words for such; not `client_secret_id` and `secret_name`.
_SECRET_LABEL = re.compile(
    r"(?:(?:password|passphrase|secret|token|secretkey|secretaccesskey|privatekey|keypair|pemkey|pincode|onetimecode)"
    r"|^value)[0-9]*$"
)


# https://www.rfc-editor.org/rfc/rfc1123#page-13, and the underscore that internal names have all the same.
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST = re.compile(rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*\.?")


def split_address(text: str) -> SplitResult:
    """Return the parts of an address; raise ValueError unless it leads somewhere: to a host, at a port that there is.

    Names that are not ASCII are taken as DNS has them: `xn--...`.
    """
    parts = urlsplit(text)
    host, port = parts.hostname or "", parts.port
    if ":" in host:
        IPv6Address(host)
    elif not _HOST.fullmatch(host):
        raise ValueError(text)
    # Whatever else is there would be read in one way here, and in another by who connects.
    whole = (f"[{host}]" if ":" in host else host) + (f":{port}" if port else "")
    if "%" in host or parts.netloc.rpartition("@")[2].lower() != whole:
        raise ValueError(text)
    return parts


class Parser(Protocol[T_co]):
    """Reads the text of a field, and says in words what it accepts."""

    @property
    def expected(self) -> str:
        """The values that are taken, in words: `a whole number from 1 to 90`."""

    def read(self, text: str) -> T_co:
        """Return the value that a text stands for; raise ValueError with the part of it that is wrong.

        An empty text is only read where the field has no default: it stands for none of what is taken.
        """


@dataclass(frozen=True, repr=False)
class Text:
    """Text that matches a pattern as a whole; `expected` says in words what the pattern asks."""

    pattern: str = r"(?s:.*)"
    expected: str = "text"

    def read(self, text: str) -> str:
        """Return the text as it is."""
        if text and not re.fullmatch(self.pattern, text):
            raise ValueError(text)
        return text


@dataclass(frozen=True, repr=False)
class Number:
    """A whole number within bounds, both included."""

    lowest: int
    highest: int

    @property
    def expected(self) -> str:
        """The bounds."""
        return f"a whole number from {self.lowest} to {self.highest}"

    def read(self, text: str) -> int:
        """Return the number."""
        if not re.fullmatch(r"[0-9]{1,9}", text) or not self.lowest <= int(text) <= self.highest:
            raise ValueError(text)
        return int(text)


@dataclass(frozen=True, repr=False)
class Flag:
    """`True` or `False`, in the words that people use for them."""

    expected: str = "'True' or 'False'"

    def read(self, text: str) -> bool:
        """Return the truth value."""
        word = text.lower()
        if word not in _TRUE + _FALSE:
            raise ValueError(text)
        return word in _TRUE


@dataclass(frozen=True, repr=False)
class Choice:
    """One of some words, without regard to case; read as it is written here."""

    words: tuple[str, ...]

    @property
    def expected(self) -> str:
        """The words."""
        return " or ".join(f"'{word}'" for word in self.words)

    def read(self, text: str) -> str:
        """Return the word."""
        if not text:
            return ""
        found = next((word for word in self.words if normalised(word) == normalised(text)), "")
        if not found:
            raise ValueError(text)
        return found


@dataclass(frozen=True, repr=False)
class Names:
    """Several names with commas between them, each of which matches a pattern; a name that comes again counts once."""

    pattern: str
    each: str
    separator: str = r"[,\n]"

    @property
    def expected(self) -> str:
        """What each name must be."""
        return f"{self.each}; several with commas"

    def read(self, text: str) -> tuple[str, ...]:
        """Return the names in their order."""
        names = [name for part in re.split(self.separator, text) if (name := part.strip())]
        for name in names:
            if not re.fullmatch(self.pattern, name):
                raise ValueError(name)
        return tuple(dict.fromkeys(names))


@dataclass(frozen=True, repr=False)
class HttpsAddress:
    """Where a server is: https, a host, a port where it is another than 443. Read as https://HOST in small letters."""

    expected: str = "https://HOST, without user name and path"
    paths: tuple[str, ...] = ("",)

    def read(self, text: str) -> str:
        """Return the address without its path; `paths` are those that may stand behind it and mean nothing."""
        if not text:
            return ""
        try:
            parts = split_address(text)
        except ValueError:
            raise ValueError(text) from None
        is_server = parts.scheme == "https" and "@" not in parts.netloc
        if not is_server or parts.path.rstrip("/") not in self.paths or parts.query or parts.fragment:
            raise ValueError(text)
        return f"https://{parts.netloc.lower().removesuffix(':443')}"


@dataclass(frozen=True, repr=False)
class HttpsAddresses:
    """Several addresses of servers with commas between them, each as HttpsAddress."""

    each: HttpsAddress = HttpsAddress()

    @property
    def expected(self) -> str:
        """What each address must be."""
        return f"{self.each.expected}; several with commas"

    def read(self, text: str) -> tuple[str, ...]:
        """Return the addresses in their order."""
        return tuple(dict.fromkeys(self.each.read(part.strip()) for part in text.split(",") if part.strip()))


@dataclass(frozen=True, repr=False)
class PageAddresses(Names):
    """Several addresses of pages, which may have no query and no user name; read as they are written."""

    pattern: str = r"https?://[^\s,/@?#]+(?:/[^\s,?#@]*)?"
    each: str = "an address such as https://host/health"
    separator: str = r"[,\s]"

    def read(self, text: str) -> tuple[str, ...]:
        """Return the addresses in their order."""
        addresses = super().read(text)
        for address in addresses:
            try:
                split_address(address)
            except ValueError:
                raise ValueError(address) from None
        return addresses


TEXT = Text()
FLAG = Flag()


@dataclass(frozen=True, repr=False)
class Field(Generic[T]):
    """One labelled field of a record, as the contract has it.

    meaning: what it says, for people. parser: what it may hold. default: what an empty input field
    means. required: the script cannot run without it. output: the script writes it. prompt: what a
    template asks a person to enter; without one that is the meaning. type: the Keeper field type.
    """

    label: str
    meaning: str
    parser: Parser[T]
    default: str = ""
    required: bool = False
    output: bool = False
    prompt: str = ""
    type: FieldType = "text"

    def read(self, record: Record) -> T:
        """Return the field's value in a record, its default where it is empty there.

        Raises BadInput naming the record, the field and the way out.
        """
        if spellings := record.contradictions.get(normalised(self.label)):
            raise BadInput(
                f"{record.shown}: field '{self.label}' is in the record more than once with different values, as "
                + " and ".join(f"'{spelling}'" for spelling in spellings),
                next_step="delete the extra ones",
            )
        holds_several = isinstance(self.parser, (Names, HttpsAddresses))
        value = record.several(self.label) if holds_several else record.get(self.label)
        if not value and self.required:
            raise BadInput(f"{record.shown}: field '{self.label}' is empty; enter {self.meaning}")
        try:
            return self.parser.read(value or self.default)
        except ValueError as error:
            raise self.bad(record, str(error)) from None

    def first(self, records: Iterable[Record]) -> T | None:
        """Return the value in the first of these records that has one, None where none has; raise as `read`."""
        label = normalised(self.label)
        return next((self.read(each) for each in records if each.get(label) or label in each.contradictions), None)

    def bad(self, record: Record, value: str) -> BadInput:
        """Return the error for a value that the field does not take.

        It is shown only where it is nearly a number, a flag or a choice: what else stands in a wrong place may be a
        password.
        """
        is_word = isinstance(self.parser, (Number, Flag, Choice)) and re.fullmatch(r"[\w.+-]{1,20}", value)
        found = f"is {value!r}" if is_word else "has a value that is not shown" if value else "is empty"
        return BadInput(f"{record.shown}: field '{self.label}' {found}; it must be {self.parser.expected}")


Fields: TypeAlias = Sequence[Field[Any]]
"""Fields of different types, in the order in which a record has them."""


# An audit of thousands of records asks for the same few hundred labels again and again.
@functools.lru_cache(maxsize=4096)
def normalised(label: str) -> str:
    """Return a label as labels are compared: `Tenant Id`, `tenant_id` and `tenantId` are one.

    Characters that cannot be seen, such as come with what is pasted from a web page, are none.
    """
    return re.sub(rf"[\s_{_UNSEEN}]+", "", label).lower()


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


def _hide(label: str, value: object, depth: int = 4) -> None:
    """Have every secret of a field kept out of all that is shown. depth: how far lists and objects are gone into."""
    if isinstance(value, Mapping) and depth:
        for name, part in value.items():
            _hide(label if _SECRET_LABEL.search(normalised(label)) else str(name), part, depth - 1)
    elif isinstance(value, list) and depth:
        for part in value:
            _hide(label, part, depth - 1)
    elif _SECRET_LABEL.search(normalised(label)) and not isinstance(value, bool) and flat_value(value):
        Secret(str(value))
        Secret(str(value).strip())


@dataclass(frozen=True, repr=False)
class Record:
    """One Keeper record as the Gateway hands it over: flat, label (or type) to value.

    contradictions: the spellings of each label that stands there more than once, with different values.
    spelled: each label as a person has written it, by how labels are compared. lists: of fields that hold several
    values, all of them. Its repr shows uid and title only.
    """

    uid: str
    title: str
    values: Mapping[str, str]
    contradictions: Mapping[str, Sequence[str]] = field(default_factory=dict)
    spelled: Mapping[str, str] = field(default_factory=dict)
    lists: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @classmethod
    def from_flat(cls, flat: Mapping[str, Any]) -> Record:
        """Read one object of the payload's `records`; of labels that compare equal the first counts.

        A label that comes again to the letter has a number appended there: `dry_run2`.
        """
        values: dict[str, str] = {}
        spelled: dict[str, str] = {}
        lists: dict[str, Sequence[str]] = {}
        entered: dict[str, dict[str, str]] = {}
        for label, value in flat.items():
            _hide(label, value)
            name, text = normalised(label), flat_value(value)
            first = name.rstrip("0123456789")
            if name in ("uid", "title"):
                continue
            values.setdefault(name, text)
            if isinstance(value, list) and name not in lists:
                lists[name] = [one for item in value if (one := flat_value(item).strip())]
            spelled.setdefault(name, label)
            for same in {name, first} & entered.keys() | {name}:
                entered.setdefault(same, {})[label] = text.strip()
        twice = {name: list(texts) for name, texts in entered.items() if len(set(texts.values())) > 1}
        return cls(str(flat.get("uid") or ""), str(flat.get("title") or ""), values, twice, spelled, lists)

    def get(self, *labels: str) -> str:
        """Return the first of these fields that has a value, without blanks around it; empty if none has."""
        return next((value for label in labels if (value := self.values.get(normalised(label), "").strip())), "")

    def several(self, label: str) -> str:
        """Return all values of a field with commas between them, as one text with commas has them."""
        return ",".join(self.lists.get(normalised(label), ())) or self.get(label)

    def secret(self, label: str) -> Secret:
        """Return a field's value to the letter, as a Secret."""
        return Secret(self.values.get(normalised(label), ""))

    def has(self, *labels: str) -> bool:
        """Say whether every one of these fields has a value."""
        return all(self.get(label) for label in labels)

    def having(self, label: str, value: str) -> Record:
        """Return the record as if this stood in a field, and nowhere anything else."""
        name = normalised(label)
        contradictions = {other: texts for other, texts in self.contradictions.items() if other != name}
        lists = {other: texts for other, texts in self.lists.items() if other != name}
        return replace(self, values={**self.values, name: value}, contradictions=contradictions, lists=lists)

    @property
    def shown(self) -> str:
        """The record as messages name it."""
        return f"record '{self.title}' ({self.uid})"


# A record that a person has made has fewer, and shorter ones: what is looked at is bounded, and so is the time for it.
_MOST_LABELS = 300
_LONGEST_LABEL = 60


def near_misses(record: Record, ours: Iterable[Field[Any]], known: Iterable[str]) -> list[str]:
    """Return a line on each field of a record that is filled in, but not read, and nearly one of ours by its label.

    Nearly: two letters differ at most, or it is a leading part of the words of ours. ours: what is read there. known:
    labels that mean something, here or elsewhere, and so are nobody's mistake.
    """
    labels = list(dict.fromkeys(field.label for field in ours))
    wanted = [(label, normalised(label), _words(label)) for label in labels]
    meant = {normalised(label) for label in (*labels, *known)}
    lines = []
    for name, spelled in list(record.spelled.items())[:_MOST_LABELS]:
        # A label that comes again has a number behind it.
        if not name or len(name) > _LONGEST_LABEL or not record.get(name) or {name, name.rstrip("0123456789")} & meant:
            continue
        words = _words(spelled)
        # Two of four letters would make any word one of ours.
        most = min(2, len(name) // 3)
        near = [
            f"'{label}'"
            for label, other, whole in wanted
            if words == whole[: len(words)] or (abs(len(name) - len(other)) <= most and _distance(name, other) <= most)
        ]
        if near:
            meant_ones = " or ".join(near)
            lines.append(f"{record.shown}: field '{spelled}' is not known, and not read; did you mean {meant_ones}?")
    return lines


def _words(label: str) -> list[str]:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", label).replace("_", " ").lower().split()


def _distance(one: str, other: str) -> int:
    """Return how many letters must be put in, taken out or replaced to make one word of the other."""
    row = list(range(len(other) + 1))
    for number, letter in enumerate(one, 1):
        before, row = row, [number]
        for place, wanted in enumerate(other):
            row.append(min(before[place] + (letter != wanted), before[place + 1] + 1, row[place] + 1))
    return row[-1]
