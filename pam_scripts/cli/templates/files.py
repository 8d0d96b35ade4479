"""The records of a script, and the files that make them: for Commander's import and the web vault's."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pam_scripts.assembly.script import Script
from pam_scripts.cli.templates.fills import OWN_COLUMNS, Fill, title_of
from pam_scripts.core.errors import BadInput
from pam_scripts.core.fields import TEXT, Field

# What a template brings for older Gateways, beside the script's own fields.
_GATEWAY = {"NOOP": "True", "Private Key Type": "ssh-rsa"}
_WEB_COLUMNS = ("Folder", "Title", "Login", "Password", "Website Address", "Notes", "Shared Folder")


@dataclass(frozen=True, repr=False)
class Template:
    """One record to be: `values` has its custom fields with their types, in their order."""

    record_type: str
    title: str
    login: str
    password: str
    values: Sequence[tuple[Field[Any], str]]


def records(script: Script, fills: Sequence[Fill], *, compact: bool) -> list[Template]:
    """Return the PAM User records of a script, and its admin record as the last.

    fills: what is not given stays the default or the placeholder; with `compact` its field is left out. Raises BadInput
    for a name that is no input field, and where two records would have the same title.
    """
    for fill in fills:
        _check(script, fill)
    titles = _titles(script, fills)
    users = [_user_record(script, fill, title, compact=compact) for fill, title in zip(fills, titles, strict=True)]
    return [*users, _admin_record(script)]


def _check(script: Script, fill: Fill) -> None:
    inputs = {one.label for one in script.inputs}
    unknown = sorted(set(fill) - inputs - set(OWN_COLUMNS))
    if unknown:
        raise BadInput(
            f"{script.stem} has no field {', '.join(unknown)}",
            next_step=f"its fields are {', '.join([*OWN_COLUMNS, *sorted(inputs)])}",
        )


def _titles(script: Script, fills: Sequence[Fill]) -> list[str]:
    """Return a title for each record, no two alike: Commander makes no records of which two have the same."""
    named = [next((fill[label] for label in script.identified_by if fill.get(label)), "") for fill in fills]
    titles = [
        fill.get("title") or title_of(script, fill.get("login") or name or "NAME")
        for fill, name in zip(fills, named, strict=True)
    ]
    count = Counter(titles)
    titles = [
        f"{title} ({name})" if count[title] > 1 and name else title for title, name in zip(titles, named, strict=True)
    ]
    if twice := [title for title, number in Counter(titles).items() if number > 1]:
        raise BadInput(f"more than one record would be called {twice[0]!r}", next_step="give each a title of its own")
    return titles


def _user_record(script: Script, fill: Fill, title: str, *, compact: bool) -> Template:
    values = [(one, fill.get(one.label) or ("" if compact else _default(one))) for one in script.fields]
    # A record whose password Keeper itself is to change in its system must not say that there is nothing to do.
    values += [(Field(label, "", TEXT), value) for label, value in _GATEWAY.items() if script.has_keys]
    login = fill.get("login") or f"<{script.login_prompt}>"
    return Template("pamUser", title, login, "", [(one, value) for one, value in values if value])


def _admin_record(script: Script) -> Template:
    # An issuer's login is needed; a mirror's only where there is such a mirror.
    is_needed = bool(script.issuer.ADMIN_FIELDS)
    asked = {one.label: _default(one, is_needed=is_needed) for one in script.admin_fields}
    values = [(one, asked[one.label]) for one in script.admin_fields if one.label not in ("login", "password")]
    return Template("login", script.admin_title, asked.get("login", ""), asked.get("password", ""), values)


def _default(one: Field[Any], *, is_needed: bool = True) -> str:
    """Return what stands in a field that nobody filled in; in angle brackets it counts as empty."""
    if one.output:
        return "<set by rotation>"
    if one.default and not one.prompt:
        return one.default
    skip = "; leave this for none"
    asks = one.prompt or one.meaning + ("" if one.required else skip)
    return f"<{asks if is_needed or 'leave this' in asks else asks + skip}>"


def commander_csv(templates: Iterable[Template]) -> str:
    """Return what Commander imports: every line a record, fields as `$type:label`."""
    return _csv(
        [
            *("", one.title, one.login, one.password, "", "", "", "$type", one.record_type),
            *(cell for each, value in one.values for cell in (f"${each.type}:{each.label}", value)),
        ]
        for one in templates
    )


def commander_json(templates: Iterable[Template]) -> str:
    """Return the same as JSON."""
    records = []
    for one in templates:
        own = {"login": one.login, "password": one.password}
        records.append(
            {
                "title": one.title,
                "$type": one.record_type,
                **{name: value for name, value in own.items() if value},
                "custom_fields": {f"${each.type}:{each.label}": value for each, value in one.values},
            }
        )
    return json.dumps({"records": records}, indent=2, ensure_ascii=False) + "\n"


def web_csv(templates: Sequence[Template]) -> str:
    """Return what the web vault imports. It knows no types: typed fields are left out, so that none is in sight."""
    rows = [
        [
            *("", one.title, one.login, one.password, "", "", ""),
            *(cell for each, value in one.values if each.type == "text" for cell in (each.label, value)),
        ]
        for one in templates
    ]
    pairs = (max(map(len, rows)) - len(_WEB_COLUMNS)) // 2
    header = [*_WEB_COLUMNS, *(f"{word}{number}" for number in range(1, pairs + 1) for word in ("Name", "Value"))]
    return _csv([header, *rows])


def _csv(rows: Iterable[Sequence[str]]) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(rows)
    return file.getvalue()
