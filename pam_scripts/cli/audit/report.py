"""The audit's report as a table for people, as JSON and as CSV for machines."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType
from typing import Any

from pam_scripts.cli.audit.finding import SEVERITIES, Finding, Severity
from pam_scripts.cli.audit.rules import DEAD, find_other_builds, find_shared_targets, judge, mirror_state
from pam_scripts.cli.audit.subject import Subject
from pam_scripts.core.secret import presentable
from pam_scripts.core.times import iso
from pam_scripts.core.words import count
from pam_scripts.rotation.roles import NOT_TOLD

WORDS = {"broken": "broken", "soon": "soon", "look": "to look at"}
NO_ANSWER = "Did not answer in time"
MARKS = {"broken": "!!", "soon": "! ", "look": "? ", None: "ok"}
_COLUMNS = (
    *("", "UID", "RECORD", "TARGET", "LIVE", "AGE", "EXPIRES"),
    *("LEFT", "LAST USED", "MIRROR", "BUILD", "OTHER KEYS"),
)
_WIDEST = (2, 22, 46, 34, 4, 6, 10, 6, 10, 8, 16, 40)
_CSV_COLUMNS = (
    *("severity", "record", "title", "script", "target", "target_name", "server", "key_id", "live_keys"),
    *("created_at", "age_days", "expires_at", "days_left", "last_used", "rotated_at", "mirror", "build"),
    *("other_labels", "codes", "problems", "ways_out"),
)


@dataclass(frozen=True, repr=False)
class Row:
    """What the audit says of one record, fit to be shown. Times are in UTC; None is for what is not there, or not told.

    target: as the record names it, of a value the secret's name; target_name: as its issuer does. server: its
    host. key_id: the key that Keeper holds, where its issuer lists it. live_keys: of the target, as far as they are
    the record's.
    created_at: of a value when it was published. mirror: how all its vaults compare with Keeper (same, differs,
    mixed, missing, unknown; none where there is to be none). build: of the script, that ran on it last. other_labels:
    those of the live keys beside the one in Keeper. unlimited: the labels of limits that would bound it, and that no
    owner of a credential has set. links: addresses at which a person sees the key, by the names of `server` and of its
    mirrors.
    """

    record: str
    title: str
    script: str
    target: str
    target_name: str
    server: str
    key_id: str
    live_keys: int | None
    created_at: datetime | None
    age_days: int | None
    expires_at: datetime | None
    days_left: int | None
    last_used: datetime | None
    rotated_at: datetime | None
    mirror: str
    build: str
    other_labels: Sequence[str]
    problems: Sequence[Finding]
    unlimited: Sequence[str] = ()
    links: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, subject: Subject) -> Row:
        """Judge one subject, and return what to say of it."""
        now, seen, present, expires_at = subject.now, subject.seen, subject.present, subject.expires_at
        created_at = present.created_at if present else None
        if not subject.script.has_keys or created_at == NOT_TOLD:
            created_at = subject.rotated_at
        return cls(
            record=presentable(subject.uid),
            title=presentable(subject.record.title),
            script=subject.script.stem,
            target=presentable(subject.shown_target),
            target_name=presentable(seen.name) if seen else "",
            server=subject.issuer.server if subject.issuer else "",
            key_id=presentable(present.id) if present else "",
            live_keys=len(subject.alive) if seen and not seen.trouble else None,
            created_at=created_at,
            age_days=(now - created_at).days if created_at else None,
            expires_at=expires_at,
            days_left=int((expires_at - now).total_seconds() / 86400) if expires_at else None,
            last_used=seen.last_used.get(subject.key_id) if seen else None,
            rotated_at=subject.rotated_at,
            mirror=mirror_state(subject),
            build=subject.build.name if subject.build else "",
            other_labels=[presentable(key.label) for key in subject.alive if key.id != subject.key_id],
            problems=[
                replace(one, what=presentable(one.what), way_out=presentable(one.way_out)) for one in judge(subject)
            ],
            unlimited=subject.spec.unlimited if subject.spec else (),
            links={presentable(name): presentable(address) for name, address in subject.links.items() if address},
        )

    @property
    def severity(self) -> Severity | None:
        """The most urgent of its problems, None for a healthy record."""
        return self.problems[0].severity if self.problems else None

    @property
    def is_dead(self) -> bool:
        """Whether what Keeper holds logs nobody in now, whenever it was to end."""
        return any(one.rule in DEAD for one in self.problems)

    def plain(self) -> dict[str, Any]:
        """Return the row as JSON and CSV have it."""
        times = ("created_at", "expires_at", "last_used", "rotated_at")
        plain = {
            name: value
            for name, value in vars(self).items()
            if name not in ("problems", "other_labels", "unlimited", "links", *times)
        }
        plain |= {name: iso(moment) if (moment := getattr(self, name)) else None for name in times}
        plain["other_labels"] = list(self.other_labels)
        plain["unlimited"] = list(self.unlimited)
        plain["links"] = dict(self.links)
        plain["problems"] = [
            {
                "code": one.rule.code,
                "severity": one.severity,
                "title": one.rule.title,
                "what": one.what,
                "way_out": one.way_out,
            }
            for one in self.problems
        ]
        return plain


@dataclass(frozen=True, repr=False)
class Report:
    """The whole: rows with the most urgent first, when it was made, and how many records belong to no script.

    silent: the hosts that did not answer in the time that each had.
    """

    rows: Sequence[Row]
    made_at: datetime
    others: int
    silent: Sequence[str] = ()

    @classmethod
    def of(
        cls,
        subjects: Sequence[Subject],
        made_at: datetime,
        others: int,
        built: Mapping[str, Collection[str]] = MappingProxyType({}),
        silent: Sequence[str] = (),
    ) -> Report:
        """Judge all subjects, each by itself and all together. built: as `find_other_builds` has it."""
        find_shared_targets(subjects)
        find_other_builds(subjects, built)
        return cls(sorted(map(Row.of, subjects), key=_urgency), made_at, others, [presentable(host) for host in silent])

    @property
    def with_problems(self) -> list[Row]:
        """The rows with problems."""
        return [row for row in self.rows if row.problems]


def table(report: Report, *, only_problems: bool = False) -> str:
    """Return plain columns: one line for each record, those with problems first, with what is wrong and the way out.

    Lines have any length: a terminal gets `terminal.shown`.
    """
    rows = report.with_problems if only_problems else report.rows
    cells = [_cells(row) for row in rows]
    widths = [min(widest, max(len(line[place]) for line in [_COLUMNS, *cells])) for place, widest in enumerate(_WIDEST)]
    lines = [_line(_COLUMNS, widths)] if rows else []
    for row, line in zip(rows, cells, strict=True):
        lines.append(_line(line, widths))
        for one in row.problems:
            lines += [f"      {one.rule.title}: {one.what}", f"        -> {one.way_out}"]
    return "\n".join([*lines, "", summary(report)] if lines else [summary(report)])


def summary(report: Report) -> str:
    """Say in one sentence how things are."""
    counts = Counter(row.severity for row in report.rows)
    parts = [f"{counts[severity]} {WORDS[severity]}" for severity in SEVERITIES if counts[severity]]
    state = f"{len(report.with_problems)} with problems ({', '.join(parts)})" if parts else "nothing wrong"
    ours, others = count(len(report.rows), "record"), count(report.others, "other record")
    told = f"{ours} of rotations: {state}; {others}; {iso(report.made_at)}"
    if report.silent:
        told += f"\n{NO_ANSWER}: {', '.join(report.silent)}"
    unlimited = Counter(label for row in report.rows for label in row.unlimited)
    if unlimited:
        named = ", ".join(f"'{label}' ({count})" for label, count in sorted(unlimited.items()))
        told += f"\nRecords whose credential has no limit: {named}"
    return told


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
        "silent": list(report.silent),
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
            "codes": " ".join(one.rule.code for one in row.problems),
            "problems": "\n".join(f"{one.rule.title}: {one.what}" for one in row.problems),
            "ways_out": "\n".join(one.way_out for one in row.problems),
        }
        writer.writerow([_without_formula(values[name]) for name in _CSV_COLUMNS])
    return file.getvalue()


def day(moment: datetime | None) -> str:
    """Write a day, or a dash where there is none."""
    return f"{moment:%Y-%m-%d}" if moment else "-"


def facts(row: Row) -> dict[str, str]:
    """Return what stands in the table of a record, by the names of its columns."""
    return dict(zip(_COLUMNS, _cells(row), strict=True))


def _cells(row: Row) -> list[str]:
    return [
        MARKS[row.severity],
        row.record,
        row.title,
        row.target_name or row.target,
        "-" if row.live_keys is None else str(row.live_keys),
        "-" if row.age_days is None else f"{row.age_days} d",
        day(row.expires_at),
        "-" if row.days_left is None else f"{row.days_left} d",
        day(row.last_used),
        row.mirror,
        row.build or "-",
        ", ".join(label or "without label" for label in row.other_labels),
    ]


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    shown = [cell if len(cell) <= width else f"{cell[: width - 1]}~" for cell, width in zip(cells, widths, strict=True)]
    return "  ".join(cell.ljust(width) for cell, width in zip(shown, widths, strict=True)).rstrip()


def _without_formula(value: object) -> object:
    """Return a cell that no spreadsheet takes for a formula: titles and labels are other people's words."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t")) else value


def _urgency(row: Row) -> tuple[int, bool, float, str]:
    severity = SEVERITIES.index(row.severity) if row.severity else len(SEVERITIES)
    ends = row.expires_at.timestamp() if row.expires_at else 0.0
    return severity, row.expires_at is None, ends, row.title.lower()
