"""What came of many runs as one page of HTML that needs nothing beside itself; it looks as the audit's does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from html import escape

from pam_scripts import __version__
from pam_scripts.cli.audit.page import document
from pam_scripts.cli.fleet.crowd import Outcome
from pam_scripts.cli.fleet.report import Result, cause
from pam_scripts.cli.fleet.screen import shown_seconds
from pam_scripts.core.errors import ENDS
from pam_scripts.core.secret import presentable
from pam_scripts.core.times import iso

# By exit status: the audit's word for how urgent it is, which decides the colour.
_STATES = {0: "healthy", 1: "soon", 2: "look", 3: "broken", 4: "broken", None: "look"}
_HEADINGS = (
    ("", ""),
    ("Record", ""),
    ("Target", ""),
    ("New key", ""),
    ("Next due", "number"),
    ("Seconds", "number"),
)


def page(result: Result) -> str:
    """Return the whole page."""
    done = sum(1 for one in result.outcomes if one.status == 0)
    body = [
        '<a class="skip" href="#records">Skip to all records</a>',
        *_header(result, done),
        "<main>",
        *_problems(result),
        *_records(result),
        "</main>",
        f"<footer>pam-scripts {escape(__version__)}. No secret value stands in this page.</footer>",
    ]
    return document(f"Run {result.mark}: {done} of {len(result.outcomes)} {_verb(result)}", body)


def _verb(result: Result) -> str:
    return {"check": "looked at"}.get(result.command, "done")


def _header(result: Result, done: int) -> Iterator[str]:
    counts = Counter(one.words for one in result.outcomes)
    states = {one.words: _STATES[one.status] for one in result.outcomes}
    yield "<header>"
    yield f"<h1>Run {result.mark}: {done} of {len(result.outcomes)} {_verb(result)}</h1>"
    left_out = f"; {len(result.done_before)} were done before" if result.done_before else ""
    left_out += f"; {len(result.passed)} only Keeper can rotate" if result.passed else ""
    took = shown_seconds(result.seconds)
    yield f'<p class="quiet">pam-scripts {result.command}, ended on {iso(result.made_at)} after {took}{left_out}</p>'
    yield '<ul class="tiles">'
    for words, state in states.items():
        yield f'<li class="{state}"><b>{counts[words]}</b>{escape(words)}</li>'
    yield "</ul>"
    yield "</header>"


def _problems(result: Result) -> Iterator[str]:
    bad = sorted((one for one in result.outcomes if one.status), key=lambda one: -(one.status or 0))
    if not bad:
        return
    yield '<section aria-labelledby="problems">'
    yield '<h2 id="problems">What to look at, the gravest first</h2>'
    yield '<div class="problems">'
    for one in bad:
        state = _STATES[one.status]
        yield f'<article class="card problem {state}">'
        word = f'<span class="word {state}">{one.status}</span>'
        yield f'<div class="head">{word}<h3>{escape(ENDS[one.status or 0])}</h3></div>'
        yield f"<ul><li><strong>{escape(presentable(one.title))}</strong> <code>{escape(one.uid)}</code>"
        yield f"<p>{escape(cause(one))}</p></li></ul>"
        yield "</article>"
    yield "</div></section>"


def _records(result: Result) -> Iterator[str]:
    yield '<section aria-labelledby="records">'
    yield '<h2 id="records" tabindex="-1">All records</h2>'
    yield '<div class="card scroll" tabindex="0" role="region" aria-labelledby="records">'
    yield "<table>"
    cells = "".join(f'<th scope="col"{f" class={kind}" if kind else ""}>{words}</th>' for words, kind in _HEADINGS)
    yield f"<thead><tr>{cells}</tr></thead>"
    yield "<tbody>"
    for one in result.outcomes:
        yield _row(one)
    yield "</tbody></table></div></section>"


def _row(one: Outcome) -> str:
    entry = one.entry
    due = f"{entry.next_due:%Y-%m-%d}" if entry and entry.next_due else "-"
    cells = [
        f'<td><span class="word {_STATES[one.status]}">{escape(one.words)}</span></td>',
        f"<td>{escape(presentable(one.title))}<br><code>{escape(one.uid)}</code></td>",
        f"<td>{escape(presentable(entry.target if entry else '') or '-')}<br><small>{escape(one.script)}</small></td>",
        f"<td><code>{escape(presentable(entry.new_key if entry else '') or '-')}</code></td>",
        f'<td class="number">{due}</td>',
        f'<td class="number">{f"{one.seconds:.1f}" if one.status is not None else "-"}</td>',
    ]
    return f'<tr class="{"ill" if one.status else "healthy"}">{"".join(cells)}</tr>'
