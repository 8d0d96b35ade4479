"""The audit's report for a terminal: a block of lines for each record within its width, and no word broken.

In colours where the package rich is installed (requirements-cli.txt), which knows what the terminal can and that
NO_COLOR means none; the words and the lines are the same without it.
"""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pam_scripts.cli.audit.report import MARKS, Report, Row, facts, summary

_COLOURS = {"broken": "bold red", "soon": "bold yellow", "look": "bold magenta", None: "green"}
# Names in `facts` that stand in the first line, or in front of the others.
_ELSEWHERE = ("", "UID", "RECORD", "TARGET")


@dataclass(frozen=True, repr=False)
class Line:
    """A line before it is broken between words.

    prefix: stands in front of it; what is broken off stands below its own first word. parts: its texts, each with the
    style in which it is shown, in rich's words.
    """

    prefix: str
    parts: Sequence[tuple[str, str]]
    prefix_style: str = ""

    def broken(self, width: int) -> list[str]:
        """Return it as lines without prefix and styles; a word that is longer than a line has one of its own."""
        text = "".join(text for text, _ in self.parts)
        room = max(1, width - len(self.prefix))
        return textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False, expand_tabs=False)

    def prefixes(self) -> Iterator[str]:
        """Yield what stands in front of each of these lines."""
        return itertools.chain([self.prefix], itertools.repeat(" " * len(self.prefix)))


def shown(report: Report, width: int, *, only_problems: bool = False) -> str:
    """Return the report as a terminal of a width gets it, each record with a blank line after it."""
    lines: list[Line] = []
    for row in report.with_problems if only_problems else report.rows:
        lines += [*_block(row), Line("", ())]
    lines += [Line("", [(told, "bold")]) for told in summary(report).split("\n")]
    return _in_colours(lines, width) or "\n".join(_plain(lines, width))


def _block(row: Row) -> Iterator[Line]:
    """Yield a record's lines: what it is, its facts, and each problem with its way out."""
    named, colour = facts(row), _COLOURS[row.severity]
    told = [
        f"{name.lower()} {value}" for name, value in named.items() if name not in _ELSEWHERE and value not in ("", "-")
    ]
    yield Line(f"{MARKS[row.severity]}  ", [(row.title, "bold"), (f" ({row.record})", "dim")], colour)
    yield Line("    ", [(", ".join(filter(None, [named["TARGET"], *told])), "dim")])
    for one in row.problems:
        yield Line("      ", [(one.rule.title, _COLOURS[one.severity]), (f": {one.what}", "")])
        yield Line("        -> ", [(one.way_out, "cyan")], "cyan")


def _plain(lines: Sequence[Line], width: int) -> Iterator[str]:
    for line in lines:
        for prefix, part in zip(line.prefixes(), line.broken(width) or [""], strict=False):
            yield f"{prefix}{part}"


def _in_colours(lines: Sequence[Line], width: int) -> str:
    """Return the lines in what colours the terminal has; empty where rich is not installed."""
    try:
        from rich.console import Console  # noqa: PLC0415 - an optional extra
        from rich.text import Text  # noqa: PLC0415 - the same
    except ImportError:
        return ""
    console = Console(width=width)
    with console.capture() as captured:
        for line in lines:
            # Titles are other people's words: as Text, nothing in them is taken for a style.
            text, place = Text.assemble(*line.parts), 0
            for prefix, part in zip(line.prefixes(), line.broken(width) or [""], strict=False):
                place = text.plain.index(part, place)
                whole = Text(prefix, line.prefix_style) + text[place : place + len(part)]
                console.print(whole, no_wrap=True, overflow="ignore", crop=False)
                place += len(part)
    return captured.get().rstrip("\n")
