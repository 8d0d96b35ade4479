"""`templates`: the record templates of every script, in three formats from one definition.

What a record has, and what a person is asked for, stands in the script's fields. The files in record_templates/
are what this writes.
"""

from __future__ import annotations

import argparse
import codecs
import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pam_scripts import rotate_seeq_application_key
from pam_scripts.assembly.script import Script
from pam_scripts.cli.common import Commands, pair, progress
from pam_scripts.cli.scripts import SCRIPTS
from pam_scripts.cli.shared import Shared
from pam_scripts.core.deadline import Deadline
from pam_scripts.core.errors import BadInput
from pam_scripts.core.fields import TEXT, Field, Record, normalised
from pam_scripts.core.http import Session
from pam_scripts.gateway.payload import Job
from pam_scripts.gateway.voice import Voice
from pam_scripts.issuers.seeq.server import SERVER_URL, Server, find_admin
from pam_scripts.issuers.seeq.survey import applications

# What a template brings for older Gateways, beside the script's own fields.
_GATEWAY = {"NOOP": "True", "Private Key Type": "ssh-rsa"}
_WEB_COLUMNS = ("Folder", "Title", "Login", "Password", "Website Address", "Notes", "Shared Folder")
FORMATS = ("commander.csv", "commander.json", "web.csv")
_OWN_COLUMNS = ("title", "login")
_HEADER_AND_ONE = 2


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    one = commands.add_parser(
        "templates",
        help="write record templates, empty or filled in for many keys",
        description="Write the record templates of the scripts in three formats, for Keeper Commander (JSON, CSV) and "
        "for the web vault's import. Admin credentials stay placeholders: no file has a secret.",
        epilog="A CSV's first line names fields of the record, title or login; each further line makes a record.",
    )
    one.add_argument("--output", metavar="DIR", type=Path, required=True, help="directory to write to")
    one.add_argument(
        "--script",
        choices=[script.stem for script in SCRIPTS],
        metavar="NAME",
        help=f"only this script's: {', '.join(script.stem for script in SCRIPTS)}",
    )
    source = one.add_mutually_exclusive_group()
    source.add_argument("--csv", metavar="FILE", type=Path, help="a record for each line of this file")
    source.add_argument(
        "--from-seeq",
        metavar="ADMIN",
        type=str.strip,
        help="a record for each application that Seeq lists and no shared record rotates yet; ADMIN is the UID of "
        "the Seeq admin's record",
    )
    one.add_argument(
        "--set",
        metavar="FIELD=VALUE",
        type=pair,
        action="append",
        default=[],
        help="enter this into every record; may be repeated",
    )
    one.set_defaults(work=work)


def work(options: argparse.Namespace, voice: Voice) -> int:
    """Write the files that are asked for; raise BadInput where what is to be filled in does not fit."""
    common = dict(options.set)
    stems = [options.script] if options.script else [script.stem for script in SCRIPTS]
    fills: list[dict[str, str]] = [common]
    if options.from_seeq:
        if options.script not in (None, rotate_seeq_application_key.SCRIPT.stem):
            raise BadInput("--from-seeq makes records for rotate_seeq_application_key only")
        stems = [rotate_seeq_application_key.SCRIPT.stem]
        fills = _fills_from_seeq(options.from_seeq, common, voice)
        if not fills:
            voice.say("Every application has its record; nothing was written")
            return 0
    elif options.csv or common:
        if not options.script:
            raise BadInput("which script the records are for is not said", next_step="add --script NAME")
        script = next(script for script in SCRIPTS if script.stem == options.script)
        common = {_spelt(label, script): value for label, value in common.items()}
        fills = [{**common, **row} for row in _read_fills(options.csv, script)] if options.csv else [common]
    for path in _write(options.output, stems, fills):
        voice.say(f"Wrote {path}")
    return 0


def _fills_from_seeq(admin: str, common: dict[str, str], voice: Voice) -> list[dict[str, str]]:
    deadline = Deadline(600)
    shared = Shared.fetch(deadline, [admin])
    for remark in shared.remarks:
        voice.warn(remark)
    asked = Record.from_flat({SERVER_URL.label: common.get(SERVER_URL.label, "")})
    found = find_admin(Job(asked, None, [shared.flat(admin)]))
    with progress() as say:
        session = Session(deadline)
        if found.ca_bundle:
            session.trust(found.place.host, found.ca_bundle)
        server = Server(found.place, session, say)
        listed = applications(server, say)
    known = [
        shared.flat(uid).get("application_id")
        for uid, script in shared.ours()
        if script.stem == rotate_seeq_application_key.SCRIPT.stem
    ]
    return list(_from_applications(listed, known, common))


def _read_fills(path: Path, script: Script) -> list[dict[str, str]]:
    """Read a CSV whose header names fields, `title` or `login`; each further line is a record.

    As Excel writes it, too: with a byte order mark or in UTF-16, with semicolons or tabs, with blank rows and columns,
    and with headers that are spelt as labels may be. Empty cells leave what the template has. Raises BadInput where
    the file cannot be read so.
    """
    try:
        data = path.read_bytes()
        wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        text = data.decode("utf-16" if wide else "utf-8-sig")
        separator = _separator(text)
        if separator_line := re.match(r"sep=(.)\r?\n", text):
            separator, text = separator_line[1], text[separator_line.end() :]
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput(
            f"{path} cannot be read as CSV ({type(error).__name__})", next_step="save it as 'CSV UTF-8'"
        ) from None
    rows = [(number, row) for number, row in rows if any(row)]
    if len(rows) < _HEADER_AND_ONE:
        raise BadInput(f"{path} has no line below its header")
    header = [_spelt(label, script) for label in rows[0][1]]
    if twice := sorted({label for label in header if label and header.count(label) > 1}):
        raise BadInput(f"{path}: its header names {', '.join(twice)} more than once")
    for number, row in rows[1:]:
        if len(row) != len(header) or any(cell and not label for label, cell in zip(header, row, strict=True)):
            raise BadInput(f"{path}, line {number}: it has not as many cells as the header")
    return [{label: cell for label, cell in zip(header, row, strict=True) if cell} for _, row in rows[1:]]


def _spelt(label: str, script: Script) -> str:
    """Return the label of the script's field, or the word of our own, that somebody means; as it is for none."""
    labels = (*_OWN_COLUMNS, *(one.label for one in script.inputs))
    return next((one for one in labels if normalised(one) == normalised(label)), label)


def _separator(text: str) -> str:
    """Return what stands between the cells of a header: a comma, but where there are more semicolons or tabs."""
    header = text.lstrip().partition("\n")[0]
    return max(",;\t", key=header.count)


def _from_applications(
    listed: Iterable[Mapping[str, object]], known: Iterable[str], common: Mapping[str, str]
) -> Iterator[dict[str, str]]:
    """Yield what to fill in for each application that Seeq lists and no record rotates yet.

    known: ids of applications that have a record. Those that log in through an identity provider have no
    keys and are left out.
    """
    taken = {one.upper() for one in known}
    for item in listed:
        application_id, name = str(item.get("id")), str(item.get("name") or item.get("id"))
        if application_id.upper() not in taken and not item.get("oidcDirectoryId") and not item.get("isArchived"):
            title = _title(rotate_seeq_application_key.SCRIPT, name)
            yield {**common, "title": title, "login": name, "application_id": application_id}


# -- the records ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Template:
    """One record to be: `values` has its custom fields with their types, in their order."""

    record_type: str
    title: str
    login: str
    password: str
    values: Sequence[tuple[Field[Any], str]]


def _files(script: Script, fills: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Return the files of one script, by name.

    fills: for each PAM User record what to enter: a field's label, `title` or `login`, to its value. What
    is not given stays the default or the placeholder. Raises BadInput for a name that is no input field.
    """
    templates = [*(_user_record(script, fill) for fill in fills), _admin_record(script)]
    made = (_commander_csv(templates), _commander_json(templates), _web_csv(templates))
    return {f"{script.stem}.{ending}": text for ending, text in zip(FORMATS, made, strict=True)}


def _write(directory: Path, stems: Iterable[str], fills: Sequence[Mapping[str, str]]) -> list[Path]:
    """Write the files of these scripts into a directory, over what is there; return what was written."""
    contents = {
        name: text for script in SCRIPTS if script.stem in stems for name, text in _files(script, fills).items()
    }
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in contents.items():
            (directory / name).write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise BadInput(f"{directory} cannot be written to ({type(error).__name__})") from None
    return [directory / name for name in contents]


def _user_record(script: Script, fill: Mapping[str, str]) -> _Template:
    inputs = {one.label for one in script.inputs}
    unknown = sorted(set(fill) - inputs - set(_OWN_COLUMNS))
    if unknown:
        raise BadInput(
            f"{script.stem} has no field {', '.join(unknown)}",
            next_step=f"its fields are {', '.join([*_OWN_COLUMNS, *sorted(inputs)])}",
        )
    values = [(one, fill.get(one.label) or _default(one)) for one in script.fields]
    # A record whose password Keeper itself is to change in its system must not say that there is nothing to do.
    values += [(Field(label, "", TEXT), value) for label, value in _GATEWAY.items() if script.has_keys]
    title, login = fill.get("title") or _title(script, "NAME"), fill.get("login") or f"<{script.login_prompt}>"
    return _Template("pamUser", title, login, "", values)


def _title(script: Script, name: str) -> str:
    """Return the title of a target's record; without a colon, which a sync of Keeper's to other vaults refuses."""
    return " ".join(f"{script.record_title} {name}".replace(":", " ").split())


def _admin_record(script: Script) -> _Template:
    # An issuer's login is needed; a mirror's only where there is such a mirror.
    is_needed = bool(script.issuer.ADMIN_FIELDS)
    asked = {one.label: _default(one, is_needed=is_needed) for one in script.admin_fields}
    values = [(one, asked[one.label]) for one in script.admin_fields if one.label not in ("login", "password")]
    return _Template("login", script.admin_title, asked.get("login", ""), asked.get("password", ""), values)


def _default(one: Field[Any], *, is_needed: bool = True) -> str:
    """Return what stands in a field that nobody filled in; in angle brackets it counts as empty."""
    if one.output:
        return "<set by rotation>"
    if one.default and not one.prompt:
        return one.default
    skip = "; leave this for none"
    asks = one.prompt or one.meaning + ("" if one.required else skip)
    return f"<{asks if is_needed or 'leave this' in asks else asks + skip}>"


# -- the formats ----------------------------------------------------------------------------------


def _commander_csv(templates: Iterable[_Template]) -> str:
    """Return what Commander imports: every line a record, fields as `$type:label`."""
    return _csv(
        [
            *("", one.title, one.login, one.password, "", "", "", "$type", one.record_type),
            *(cell for each, value in one.values for cell in (f"${each.type}:{each.label}", value)),
        ]
        for one in templates
    )


def _commander_json(templates: Iterable[_Template]) -> str:
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


def _web_csv(templates: Sequence[_Template]) -> str:
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
