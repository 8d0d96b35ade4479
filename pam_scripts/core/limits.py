"""Limits: what the owners of a credential allow it to be used for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pam_scripts.core.errors import BadInput
from pam_scripts.core.fields import Field, Names, Record

NAMES = Names(r".{1,2048}", "a name, in which * stands for any characters")
"""What a field of limits takes."""


@dataclass(frozen=True, repr=False)
class Limit:
    """The lists of names that bound one use of a credential: each list that is there must have the name.

    label: the field's. lists: the name of each record that has one, with its list.
    """

    label: str = ""
    lists: Sequence[tuple[str, tuple[str, ...]]] = ()

    @classmethod
    def of(cls, field: Field[tuple[str, ...]], records: Iterable[Record]) -> Limit:
        """Return the limit that these records set by a field; raise BadInput where one is not readable."""
        found = [(record.shown, names) for record in records if (names := field.read(record))]
        return cls(field.label, tuple(found))

    def refused_by(self, *names: str) -> str:
        """Return the record whose list has none of these names for one thing, without regard to case; empty for none.

        `*` is the only pattern.
        """
        for record, allowed in self.lists:
            if not any(_matches(pattern, name) for pattern in allowed for name in names if name):
                return record
        return ""

    def check(self, what: str, *names: str) -> None:
        """Raise BadInput naming the record and its field where one of the lists does not have what is asked for."""
        if record := self.refused_by(*names):
            raise BadInput(
                f"{what} is not among those that {record} allows in '{self.label}'",
                next_step="ask the owner of that record to add it, or enter another one here",
            )

    def names(self, *names: str) -> bool:
        """Say whether each list that is there, and at least one is, has one of these names to the letter."""
        wanted = {name.lower() for name in names if name}
        return bool(self.lists) and all(wanted & {name.lower() for name in allowed} for _, allowed in self.lists)


NO_LIMIT = Limit()


def _matches(pattern: str, name: str) -> bool:
    return bool(re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), name, re.IGNORECASE | re.DOTALL))
