"""The pages that people write, and what stands in them: commands, and words of code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT

PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    ROOT / "record_templates/README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]

_BLOCK = re.compile(r"^ *```(?P<language>\w*)\n(?P<text>.*?)^ *```$", re.DOTALL | re.MULTILINE)
_INLINE = re.compile(r"`((?:pam|az|make|import|keeper|sudo|python|pam-scripts) [^`]+)`")


@dataclass(frozen=True)
class Command:
    """One command, and the page that it stands in. text: on one line, without what stands around it there."""

    page: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}: {self.text}"


def prose(page: Path) -> str:
    """Return a page's text without its blocks of code."""
    return _BLOCK.sub("", page.read_text(encoding="utf-8"))


def commands(page: Path) -> Iterator[Command]:
    """Yield the commands of a page, those within a sentence too, once each."""
    text, name = page.read_text(encoding="utf-8"), str(page.relative_to(ROOT))
    # A block of code without a language, and no output, is of commands.
    blocks = [one for one in _BLOCK.finditer(text) if not one["language"] and not text[: one.start()].endswith("-->\n")]
    found = [line for block in blocks for line in _lines(block["text"])]
    found += [" ".join(inline[1].split()) for inline in _INLINE.finditer(prose(page))]
    for line in dict.fromkeys(found):
        yield Command(name, line)


def words(page: Path) -> Iterator[str]:
    """Yield what stands as code in a page's sentences and tables."""
    for found in re.finditer(r"`([^`\n]+)`", prose(page)):
        yield found[1]


def _lines(block: str) -> Iterator[str]:
    """Yield the commands of a block: one a line, continued by a backslash or by an open quote, without comments."""
    waiting = ""
    for line in block.splitlines():
        waiting += line.strip() if not waiting else f" {line.strip()}"
        if waiting.endswith("\\"):
            waiting = waiting[:-1]
        elif waiting.count("'") % 2 == 0:
            if command := re.sub(r" +# .*$", "", waiting).strip():
                yield command
            waiting = ""
