"""The audit's report as one page of HTML that needs nothing beside itself: no font, no image, no server.

Everything works with the keyboard and without colours: bars of the timeline and counters are links to their rows,
filters are radio buttons, `/` leads to the search, every colour has a word beside it. Its own policy lets in the
page's one style and one script, by their hashes, and nothing else, so that it may be put on any intranet server as
it is. Without the script all is there but the search.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from html import escape
from importlib.resources import files
from itertools import groupby

from pam_scripts import __version__
from pam_scripts.cli.audit.finding import SEVERITIES, Finding
from pam_scripts.cli.audit.report import NO_ANSWER, WORDS, Report, Row, day
from pam_scripts.cli.audit.rules import urgency

# Weeks of the timeline before and after the present one; what lies outside is gathered at the ends.
_WEEKS_BEFORE, _WEEKS_AFTER = 3, 26
# What a link may lead to, whatever else was taken for an address: https and a host, without anything that a page reads.
_ADDRESS = re.compile(r"https://[A-Za-z0-9.-]+(?::[0-9]{1,5})?(?:/[A-Za-z0-9.:/?#@=&%_-]*)?")
_STATES: tuple[str, ...] = (*SEVERITIES, "healthy")
_STATE_WORDS = {**WORDS, "healthy": "healthy"}


@dataclass(frozen=True, repr=False)
class Bar:
    """One bar of the timeline: the rows whose keys end in one week. id: the anchor of its rows in the table."""

    id: str
    label: str
    words: str
    rows: Sequence[Row]


def page(report: Report) -> str:
    """Return the whole page."""
    bars = _bars(report)
    body = [
        '<a class="skip" href="#records">Skip to all records</a>',
        *_header(report),
        "<main>",
        *_problems(report),
        *_timeline(report, bars),
        *_records(report, bars),
        "</main>",
        f"<footer>pam-scripts {escape(__version__)}. Of secret values none is printed or compared.</footer>",
    ]
    return document(
        f"Key audit: {len(report.with_problems)} of {len(report.rows)} need attention", body, _part("page.js")
    )


def document(title: str, body: Iterable[str], script: str = "") -> str:
    """Return a page that lets in nothing but its own style and script. body: its lines; script: empty for none."""
    style = _part("page.css")
    allowed = f"style-src '{_digest(style)}'" + (f"; script-src '{_digest(script)}'" if script else "")
    policy = f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="referrer" content="no-referrer">',
            f"<title>{title}</title>",
            f"<style>{style}</style>",
            "</head>",
            "<body>",
            *body,
            *([f"<script>{script}</script>"] if script else []),
            "</body>",
            "</html>",
            "",
        ]
    )


def _part(name: str) -> str:
    return "\n" + files(__package__).joinpath(name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _header(report: Report) -> Iterator[str]:
    counts = Counter(map(_state, report.rows))
    yield "<header>"
    yield "<h1>Keys under rotation</h1>"
    made = f"{report.made_at:%d %B %Y, %H:%M} UTC"
    yield f'<p class="quiet">{len(report.rows)} records, audited on {made}; {report.others} other shared records</p>'
    if report.silent:
        yield f'<p class="silent">{NO_ANSWER}: {escape(", ".join(report.silent))}</p>'
    yield '<ul class="tiles">'
    for state in _STATES:
        inner = f"<b>{counts[state]}</b>{_STATE_WORDS[state]}"
        # A healthy record stands in the table only; the others in the list of problems, under their worst one.
        way = ' href="#records" data-show="well"' if state == "healthy" else f' href="#first-{state}"'
        yield f'<li class="{state}">{f"<a{way}>{inner}</a>" if counts[state] else inner}</li>'
    yield "</ul>"
    yield "</header>"


# -- problems first -------------------------------------------------------------------------------


def _problems(report: Report) -> Iterator[str]:
    yield '<section aria-labelledby="problems">'
    yield '<h2 id="problems">Problems, the most urgent first</h2>'
    found = [(row, one) for row in report.rows for one in row.problems]
    found.sort(key=lambda pair: (urgency(pair[1]), pair[0].title.lower()))
    if not found:
        well = "Nothing is wrong: every key is alive, in its place, and will be replaced in time."
        yield f'<p class="card">{well if report.rows else "No record of a rotation is shared to the application."}</p>'
    yield '<div class="problems">'
    begun: set[str] = set()
    for _, group in groupby(found, key=lambda pair: (pair[1].severity, pair[1].rule)):
        kind = list(group)
        severity = kind[0][1].severity
        yield from _problem(kind, "" if severity in begun else f' id="first-{severity}" tabindex="-1"')
        begun.add(severity)
    yield "</div>"
    yield "</section>"


def _problem(found: Sequence[tuple[Row, Finding]], anchor: str) -> Iterator[str]:
    """Yield one kind of problem, with the records that have it; long lists can be folded, those that can wait are.

    anchor: attributes of what a counter leads to, empty for none.
    """
    first = found[0][1]
    many = 5
    number = f'<span class="quiet">{len(found)} records</span>' if len(found) > 1 else ""
    word = f'<span class="word {first.severity}">{WORDS[first.severity]}</span>'
    head = f"{word}<h3>{escape(first.rule.title[:1].upper() + first.rule.title[1:])}</h3>{number}"
    ways = {one.way_out for _, one in found}
    yield f'<article class="card problem {first.severity}"{anchor}>'
    unfolded = " open" if first.severity == "broken" else ""
    folding = f"<details{unfolded}><summary>{head}</summary>"
    yield folding if len(found) > many else f'<div class="head">{head}</div>'
    yield "<ul>"
    for row, one in found:
        named = ", ".join(filter(None, _places(row)))
        places = f' <span class="quiet">{named}</span>' if named else ""
        uid = f" <code>{escape(row.record)}</code>"
        yield f"<li><div><strong>{escape(row.title)}</strong>{uid}{places}</div><div><p>{escape(one.what)}</p>"
        if len(ways) > 1:
            yield f'<p class="out">{escape(one.way_out)}</p>'
        yield "</div></li>"
    yield "</ul>"
    if len(ways) == 1:
        yield f'<p class="out">{escape(first.way_out)}</p>'
    if len(found) > many:
        yield "</details>"
    yield "</article>"


# -- the timeline ---------------------------------------------------------------------------------


def _bars(report: Report) -> list[Bar]:
    """Sort the rows whose keys have an end into weeks, without a gap; long ago and far away at the ends.

    A key that is dead stands at today, wherever its end was to be.
    """
    today = report.made_at.date()
    this_week = today - timedelta(days=today.weekday())
    first, last = this_week - timedelta(weeks=_WEEKS_BEFORE), this_week + timedelta(weeks=_WEEKS_AFTER)
    weeks: dict[date, list[Row]] = {}
    for row in report.rows:
        if ends := today if row.is_dead else row.expires_at and row.expires_at.date():
            monday = ends - timedelta(days=ends.weekday())
            weeks.setdefault(min(max(monday, first), last), []).append(row)
    start, stop = min([this_week, *weeks]), max([this_week + timedelta(weeks=8), *weeks])
    bars = []
    for number in range((stop - start).days // 7 + 1):
        monday = start + timedelta(weeks=number)
        words = f"Week of {monday.day} {monday:%B %Y}"
        if monday == first:
            words = f"{words} or before"
        elif monday == last:
            words = f"{words} or later"
        bars.append(Bar(f"week-{monday}", f"{monday.day} {monday:%b}", words, weeks.get(monday, [])))
    return bars


def _timeline(report: Report, bars: Sequence[Bar]) -> Iterator[str]:
    endless = sum(1 for row in report.rows if _is_endless(row))
    yield '<section aria-labelledby="timeline">'
    yield '<h2 id="timeline">When keys end</h2>'
    yield '<div class="card">'
    yield '<div class="scroll">'
    yield from _drawing(report, bars)
    yield "</div>"
    yield '<ul class="legend">'
    for state in _STATES:
        yield f'<li><span class="{state}"></span>{_STATE_WORDS[state]}</li>'
    yield "</ul>"
    if endless:
        yield f'<p class="quiet">Not shown: {endless} without an end, or whose end is not known.</p>'
    yield "</div>"
    yield "</section>"


def _drawing(report: Report, bars: Sequence[Bar]) -> Iterator[str]:
    """Yield the picture: one bar for each week, the ill at its foot; every bar leads to its rows."""
    width, height, top, foot = 1120, 230, 26, 30
    pitch = width / len(bars)
    tallest = max((len(bar.rows) for bar in bars), default=0) or 1
    scale = (height - top - foot) / tallest
    base = height - foot
    yield f'<svg viewBox="0 0 {width} {height}" role="group" aria-label="Keys by the week of their end">'
    yield f'<line class="axis" x1="0" x2="{width}" y1="{base}" y2="{base}"/>'
    every = max(1, round(56 / pitch))
    for number, bar in enumerate(bars):
        left = number * pitch
        middle = left + pitch / 2
        if number % every == 0:
            yield f'<text x="{middle:.1f}" y="{height - 10}" text-anchor="middle">{bar.label}</text>'
        if not bar.rows:
            continue
        counts = Counter(map(_state, bar.rows))
        told = ", ".join(f"{counts[state]} {_STATE_WORDS[state]}" for state in _STATES if counts[state])
        dead = sum(row.is_dead for row in bar.rows)
        ends = {f"{dead} dead already": dead, f"{len(bar.rows) - dead} end": len(bar.rows) - dead}
        words = escape(f"{bar.words}: {', '.join(text for text, count in ends.items() if count)}; {told}")
        yield f'<a href="#{bar.id}" aria-label="{words}"><title>{words}</title>'
        yield f'<rect class="reach" x="{left:.1f}" y="0" width="{pitch:.1f}" height="{base}" rx="4"/>'
        y = float(base)
        for state in _STATES:
            if counts[state]:
                tall = max(counts[state] * scale, 3.0)
                y -= tall
                edges = f'x="{left + pitch * 0.14:.1f}" y="{y:.1f}" width="{pitch * 0.72:.1f}" height="{tall:.1f}"'
                yield f'<rect class="{state}" {edges} rx="2"/>'
        yield f'<text class="count" x="{middle:.1f}" y="{y - 6:.1f}" text-anchor="middle">{len(bar.rows)}</text></a>'
    today = report.made_at.date()
    start = date.fromisoformat(bars[0].id.removeprefix("week-"))
    now = ((today - start).days + 0.5) / 7 * pitch
    yield f'<line class="now" x1="{now:.1f}" x2="{now:.1f}" y1="12" y2="{base}"/>'
    yield f'<text x="{now + 4:.1f}" y="12">today</text>'
    yield "</svg>"


# -- all records ----------------------------------------------------------------------------------

_HEADINGS = (
    ("State", ""),
    ("Record", ""),
    ("Target", ""),
    ("Live", "number"),
    ("Age", "number"),
    ("Ends", "number"),
    ("Days left", "number"),
    ("Last used", "number"),
    ("Mirror", ""),
    ("Build", ""),
    ("Other keys", ""),
)


def _records(report: Report, bars: Sequence[Bar]) -> Iterator[str]:
    yield '<section aria-labelledby="records">'
    yield '<h2 id="records" tabindex="-1">All records, by the week in which their keys end</h2>'
    yield "<fieldset><legend>Show</legend>"
    # Healthy rows are folded away where there are others.
    first = "ill" if report.with_problems else "every"
    for name, words in (("every", "all"), ("ill", "with problems"), ("well", "healthy")):
        checked = " checked" if name == first else ""
        yield f'<label><input type="radio" name="show" id="{name}"{checked}> {words}</label>'
    yield '<label for="search" hidden>Search <kbd>/</kbd></label><input type="search" id="search" hidden>'
    yield '<output id="found" for="search"></output>'
    yield "</fieldset>"
    yield '<div class="card rows" tabindex="0" role="region" aria-labelledby="records">'
    yield "<table>"
    cells = "".join(f'<th scope="col"{f" class={kind}" if kind else ""}>{words}</th>' for words, kind in _HEADINGS)
    yield f"<thead><tr>{cells}</tr></thead>"
    for bar in bars:
        yield from _group(bar.id, bar.words, bar.rows)
    yield from _group("endless", "No end, or not known", [row for row in report.rows if _is_endless(row)])
    yield "</table></div>"
    yield "</section>"


def _group(anchor: str, words: str, rows: Iterable[Row]) -> Iterator[str]:
    rows = sorted(rows, key=_end)
    if not rows:
        return
    ill = sum(1 for row in rows if row.problems)
    # A group of one sort only goes with its rows when these are hidden.
    kind = "" if 0 < ill < len(rows) else ' class="bad"' if ill else ' class="fine"'
    yield f"<tbody{kind}>"
    heading = f"{escape(words)} <small class=quiet>({len(rows)})</small>"
    yield f'<tr id="{anchor}"><th colspan="{len(_HEADINGS)}" scope="rowgroup">{heading}</th></tr>'
    for row in rows:
        yield _row(row)
    yield "</tbody>"


def _row(row: Row) -> str:
    state = _state(row)
    problems = "".join(f"<br><small>{escape(one.rule.title)}</small>" for one in row.problems)
    cells = [
        f'<td><span class="word {state}">{_STATE_WORDS[state]}</span></td>',
        f"<td>{escape(row.title)}<br><code>{escape(row.record)}</code>{problems}</td>",
        f"<td>{escape(row.target_name or row.target or '-')}<br><small>{_place(row, row.server)}</small></td>",
        _number(row.live_keys),
        _number(row.age_days),
        f'<td class="number">{day(row.expires_at)}{"<br><small>dead</small>" if row.is_dead else ""}</td>',
        _number(row.days_left),
        f'<td class="number">{day(row.last_used)}</td>',
        f"<td>{escape(row.mirror)}{_small(_places(row)[1:])}</td>",
        f"<td>{escape(row.build or '-')}</td>",
        f"<td>{'<br>'.join(escape(label or 'without label') for label in row.other_labels)}</td>",
    ]
    return f'<tr class="{"ill" if row.problems else "healthy"}">{"".join(cells)}</tr>'


def _end(row: Row) -> tuple[bool, float, str]:
    return not row.is_dead, row.expires_at.timestamp() if row.expires_at else 0.0, row.title.lower()


def _is_endless(row: Row) -> bool:
    return row.expires_at is None and not row.is_dead


def _places(row: Row) -> list[str]:
    """Return the names of the server and of the mirrors, each as a link where there is something to look at."""
    return [_place(row, name) for name in dict.fromkeys([row.server, *row.links])]


def _place(row: Row, name: str) -> str:
    address = row.links.get(name, "")
    if not _ADDRESS.fullmatch(address):
        return escape(name)
    return f'<a href="{escape(address)}" target=_blank rel="noopener noreferrer">{escape(name)}</a>'


def _small(parts: Sequence[str]) -> str:
    return f"<br><small>{', '.join(parts)}</small>" if parts else ""


def _state(row: Row) -> str:
    return row.severity or "healthy"


def _number(value: int | None) -> str:
    return f'<td class="number">{"-" if value is None else value}</td>'
