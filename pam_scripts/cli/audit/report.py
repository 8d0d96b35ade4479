"""The audit's report as a table for people, as JSON and as CSV for machines."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pam_scripts.cli.audit.rules import SEVERITIES
from pam_scripts.cli.audit.survey import Report, Row
from pam_scripts.core.patience import iso

WORDS = {"broken": "broken", "soon": "soon", "look": "to look at"}
_MARKS = {"broken": "!!", "soon": "! ", "look": "? ", None: "ok"}
_COLUMNS = ("", "RECORD", "TARGET", "LIVE", "AGE", "EXPIRES", "LEFT", "LAST USED", "MIRROR", "OTHER KEYS")
_WIDEST = (2, 46, 34, 4, 6, 10, 6, 10, 8, 40)
_CSV_COLUMNS = (
    *("severity", "record", "title", "script", "target", "target_name", "server", "key_id", "live_keys"),
    *("created_at", "age_days", "expires_at", "days_left", "last_used", "rotated_at", "mirror"),
    *("other_labels", "codes", "problems", "ways_out"),
)


def table(report: Report, *, only_problems: bool = False) -> str:
    """Return plain columns: one line for each record, the ill first, each with what is wrong and the way out."""
    rows = report.ill if only_problems else report.rows
    cells = [_cells(row) for row in rows]
    widths = [min(widest, max(len(line[place]) for line in [_COLUMNS, *cells])) for place, widest in enumerate(_WIDEST)]
    lines = [_line(_COLUMNS, widths)] if rows else []
    for row, line in zip(rows, cells, strict=True):
        lines.append(_line(line, widths))
        for one in row.problems:
            lines += [f"      {one.title}: {one.what}", f"        -> {one.way_out}"]
    return "\n".join([*lines, "", summary(report)] if lines else [summary(report)])


def summary(report: Report) -> str:
    """Say in one sentence how things are."""
    counts = Counter(row.severity for row in report.rows)
    parts = [f"{counts[severity]} {WORDS[severity]}" for severity in SEVERITIES if counts[severity]]
    state = f"{len(report.ill)} with problems ({', '.join(parts)})" if parts else "nothing wrong"
    return f"{len(report.rows)} records of rotations: {state}; {report.others} other records; {iso(report.made_at)}"


def as_json(report: Report) -> str:
    """Return everything, times as ISO 8601 in UTC."""
    counts = Counter(row.severity for row in report.rows)
    whole = {
        "made_at": iso(report.made_at),
        "summary": {
            "records": len(report.rows),
            **{str(severity): counts[severity] for severity in SEVERITIES},
            "healthy": counts[None],
            "other_records": report.others,
        },
        "records": [row.plain() for row in report.rows],
    }
    return json.dumps(whole, indent=2, ensure_ascii=False)


def as_csv(report: Report) -> str:
    """Return one line for each record; several problems stand in one cell, one below the other."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(_CSV_COLUMNS)
    for row in report.rows:
        values: dict[str, Any] = {
            **row.plain(),
            "severity": row.severity or "healthy",
            "other_labels": "\n".join(row.other_labels),
            "codes": " ".join(one.code for one in row.problems),
            "problems": "\n".join(f"{one.title}: {one.what}" for one in row.problems),
            "ways_out": "\n".join(one.way_out for one in row.problems),
        }
        writer.writerow([_harmless(values[name]) for name in _CSV_COLUMNS])
    return file.getvalue()


def day(moment: datetime | None) -> str:
    """Write a day, or a dash where there is none."""
    return f"{moment:%Y-%m-%d}" if moment else "-"


def _cells(row: Row) -> list[str]:
    return [
        _MARKS[row.severity],
        row.title,
        row.target_name or row.target,
        "-" if row.live_keys is None else str(row.live_keys),
        "-" if row.age_days is None else f"{row.age_days} d",
        day(row.expires_at),
        "-" if row.days_left is None else f"{row.days_left} d",
        day(row.last_used),
        row.mirror,
        ", ".join(label or "without label" for label in row.other_labels),
    ]


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    shown = [cell if len(cell) <= width else f"{cell[: width - 1]}~" for cell, width in zip(cells, widths, strict=True)]
    return "  ".join(cell.ljust(width) for cell, width in zip(shown, widths, strict=True)).rstrip()


def _harmless(value: object) -> object:
    """Return a cell that no spreadsheet takes for a formula: titles and labels are other people's words."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t")) else value
