"""What a lock holds: the packages of a Gateway's host, each at one version, with the hashes of its files.

`make lock` writes `requirements.lock` and `requirements-aws.lock` with uv, each once for all supported Pythons and
platforms. Here they are read, without the network and by the standard library alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

LOCKS = {
    "requirements.lock": ("requirements.txt",),
    "requirements-aws.lock": ("requirements.txt", "requirements-aws.txt"),
}
"""Each lock, and the files of ranges that it is made of. The second holds all of the first, at the same versions."""

_PIN = re.compile(r"(?P<name>[\w.-]+)==(?P<version>[^\s;]+)(?: ; (?P<marker>.+))?")


class LockError(Exception):
    """A lock says what is not read here; the message has the line."""


@dataclass(frozen=True)
class Pin:
    """One package of a lock.

    `marker` says on which Pythons and platforms it is installed, empty for all. `hashes` are the SHA-256 of its files,
    in hexadecimal. `wanted_by` names the packages that ask for it, and as `-r FILE` the files of ranges that do.
    """

    name: str
    version: str
    marker: str
    hashes: Sequence[str]
    wanted_by: Sequence[str]

    @property
    def purl(self) -> str:
        """What it is called across languages, as a package URL."""
        return f"pkg:pypi/{self.name}@{self.version}"


def read(path: Path) -> list[Pin]:
    """Return the packages of a lock, in its order. Raises `LockError` where a line is no pin with hashes."""
    pins = []
    text = path.read_text(encoding="utf-8").replace("\\\n", "")
    # A pin is one line, with its hashes, and the comments below say who wants it.
    for block in re.findall(r"^(?![\s#]).+\n(?:[ \t]+#.*\n)*", text, re.MULTILINE):
        line, *comments = block.splitlines()
        requirement, *hashes = re.split(r"\s+--hash=sha256:", line.strip())
        found = _PIN.fullmatch(requirement.strip())
        if not found or not hashes or not all(re.fullmatch(r"[0-9a-f]{64}", each) for each in hashes):
            raise LockError(f"{path.name}: is no version with SHA-256 hashes: {line[:100]}")
        wanted = [re.sub(r"^\s+#\s+(?:via\b\s*)?", "", comment) for comment in comments]
        # A constraint (-c) wants nothing: it only says which version, if any.
        wanted = [each for each in wanted if each and not each.startswith("-c ")]
        pins.append(Pin(found["name"], found["version"], found["marker"] or "", hashes, wanted))
    return pins
