"""Words that messages are made of."""

from __future__ import annotations


def count(number: int, noun: str) -> str:
    """Write so many of something: `1 key`, `2 keys`."""
    return f"{number} {noun}" + ("" if number == 1 else "s")
