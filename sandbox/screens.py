"""Screens of a demo: each fits a terminal of 24 lines and 80 columns, and waits there until it is read."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence

from rich.console import Console, RenderableType
from rich.segment import Segment, Segments
from rich.text import Text

WIDTH, HEIGHT = 80, 24

# The title, and the last line, where a terminal asks whether to go on.
_FRAME = 2


class Screens:
    """The steps of a demo, one after the other. steps: how many there are to be; wait: called after each screen.

    A terminal gets screens. Anything else gets the same without an end: whole lines, which whoever reads them wraps.
    """

    def __init__(self, console: Console, steps: int, wait: Callable[[], object] = lambda: None) -> None:
        self._console = console
        self._steps = steps
        self._step = 0
        self._wait = wait

    def show(self, title: str, *parts: RenderableType) -> None:
        """Show one step; no part of it, such as a table, goes over the end of a screen."""
        self._step += 1
        title = f"{self._step} of {self._steps}  {title}"
        if not self._console.is_terminal:
            self._console.rule(f"[bold]{title}", align="left")
            for part in parts:
                self._console.print(part, soft_wrap=isinstance(part, Text))
            return
        for number, lines in enumerate(self._pages(parts)):
            self._console.rule(f"[bold]{title}{', continued' if number else ''}", align="left")
            self._console.print(Segments([segment for line in lines for segment in (*line, Segment.line())]), end="")
            self._wait()

    def _pages(self, parts: Sequence[RenderableType]) -> Iterator[list[list[Segment]]]:
        page: list[list[Segment]] = []
        for part in parts:
            whole = hanging(part.copy()) if isinstance(part, Text) else part
            lines = self._console.render_lines(whole, pad=False)
            if len(page) + len(lines) > HEIGHT - _FRAME:
                yield page
                page = []
            page += lines
        yield page


def hanging(text: Text) -> Text:
    """Break a line at blanks, so that what it goes on with stands further in; a word is never cut."""
    lines = textwrap.wrap(text.plain, WIDTH, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
    return Text("\n".join(lines), text.style) if len(lines) > 1 else text
