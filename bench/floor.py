"""The floor: how fast a rotation could be at all, were everything free but the way to the systems and back.

Every request that the promises of docs/safety.md ask for is written out here, with those whose answers it
has to wait for. What does not wait for each other goes side by side, every connection is made in advance,
and libraries ask for nothing of their own. The longest chain through it, times the round trip, is the floor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

# Before the first request to a system: TCP to the proxy, CONNECT, and the handshake of TLS 1.3, one round
# trip each (RFC 8446, section 2). All systems at once, since the job names all of them.
SET_UP = 3


@dataclass(frozen=True)
class Step:
    """One request: the system it goes to, those it waits for, and why it is needed and waits."""

    system: str
    waits_for: tuple[str, ...]
    why: str


STEPS: Mapping[str, Step] = MappingProxyType(
    {
        # Look.
        "read record": Step("Keeper", (), "its revision and present key; the job names its UID"),
        "log in": Step("Seeq", (), "the admin's login comes with the job"),
        "get token": Step("Entra", (), "the Azure application comes with the job"),
        "list keys": Step("Seeq", ("log in",), "what is to be deleted; needs the session"),
        "read id": Step("Key Vault", ("get token",), "what to put back; needs the token"),
        "read password": Step("Key Vault", ("get token",), "the same"),
        "list versions of id": Step("Key Vault", ("get token",), "those to disable at the end; needs the token"),
        "list versions of password": Step("Key Vault", ("get token",), "the same"),
        "take lease": Step(
            "Keeper",
            ("read record", "list keys", "read id", "read password"),
            "saves that revision; nothing is written before everything was looked at",
        ),
        # Create and verify.
        "create key": Step("Seeq", ("take lease",), "only the holder of the lease may create"),
        "verify": Step("Seeq", ("create key",), "logs in with the new key"),
        # Publish.
        "read record again": Step("Keeper", ("take lease",), "a save starts from the revision after the lease's"),
        "save record": Step(
            "Keeper", ("verify", "read record again"), "a store never holds a key that does not log in"
        ),
        "set id": Step("Key Vault", ("save record",), "mirrors follow the truth, once it says that it has the key"),
        "set password": Step("Key Vault", ("save record",), "beside the id: a pair is mixed for as short as can be"),
        # Look again before the point of no return.
        "read record back": Step(
            "Keeper", ("set id", "set password"), "what it holds is known from reading alone; the lease is still ours"
        ),
        "read id back": Step("Key Vault", ("set id", "set password"), "what it holds is known from reading alone"),
        "read password back": Step("Key Vault", ("set id", "set password"), "the same"),
        "list keys again": Step("Seeq", ("set id", "set password"), "no other rotation came first, all stores written"),
        # Delete.
        "delete old key": Step(
            "Seeq",
            ("read record back", "read id back", "read password back", "list keys again"),
            "only when every store was seen to hold the new one",
        ),
        "disable old id": Step(
            "Key Vault",
            ("list versions of id", "read record back", "list keys again"),
            "only past the point of no return",
        ),
        "disable old password": Step(
            "Key Vault", ("list versions of password", "read record back", "list keys again"), "the same"
        ),
        # Confirm.
        "list keys at the end": Step("Seeq", ("delete old key",), "the list is the judge of a deletion"),
        "read id at the end": Step("Key Vault", ("delete old key",), "each store still holds ours"),
        "read password at the end": Step("Key Vault", ("delete old key",), "the same"),
        "write ops log": Step(
            "Keeper",
            (
                "list keys at the end",
                "read id at the end",
                "read password at the end",
                "disable old id",
                "disable old password",
            ),
            "says what came of it, and gives the lease back, after which nothing may be written; it is refused where "
            "the record does not hold ours any more",
        ),
    }
)


def chain(steps: Mapping[str, Step] = STEPS) -> list[str]:
    """Return the longest chain of steps that wait for each other, first to last."""
    longest: dict[str, list[str]] = {}

    def until(name: str) -> list[str]:
        if name not in longest:
            before = [until(other) for other in steps[name].waits_for]
            longest[name] = [*max(before, key=len, default=[]), name]
        return longest[name]

    return max((until(name) for name in steps), key=len)


def round_trips(steps: Mapping[str, Step] = STEPS) -> int:
    """Return the length of the longest chain in round trips, connections included."""
    return SET_UP + len(chain(steps))


def connections(steps: Mapping[str, Step] = STEPS) -> int:
    """Return the fewest connections that do: one to each system."""
    return len({step.system for step in steps.values()})
