"""`templates`: the record templates of every script, in three formats from one definition.

What a record has stands in the script's FIELDS and ADMIN_FIELDS; here stand only the words that ask a
person for what has no default. The files in record_templates/ are what this writes.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pam_scripts.cli.common import Commands, pair, progress
from pam_scripts.cli.kinds import KINDS, Kind
from pam_scripts.cli.looks import seeq
from pam_scripts.cli.shared import Shared
from pam_scripts.core.errors import BadInput
from pam_scripts.core.fields import Field, Record
from pam_scripts.core.gateway import Job, Voice
from pam_scripts.core.http import Session
from pam_scripts.core.patience import Deadline
from pam_scripts.issuers.seeq.server import Server, find_admin

_APPLICATION_KEYS = KINDS[0].stem
# What a template brings for older Gateways, beside the script's own fields.
_GATEWAY = {"NOOP": "True", "Private Key Type": "ssh-rsa"}
_WEB_COLUMNS = ("Folder", "Title", "Login", "Password", "Website Address", "Notes", "Shared Folder")
FORMATS = ("commander.csv", "commander.json", "web.csv")
_OWN_COLUMNS = ("title", "login")


@dataclass(frozen=True)
class Words:
    """What a script's templates say to a person: titles, and what to enter where there is no default."""

    title: str
    login: str
    admin_title: str
    asks: Mapping[str, str] = field(default_factory=dict)
    admin_asks: Mapping[str, str] = field(default_factory=dict)


_ANY = {
    "ca_bundle": "path of a PEM file with the private CA of your servers; leave this for none",
    "seeq_server_url": "https://HOST where it is not the one of the Seeq admin record",
    "key_vault_name": "names of the Azure Key Vaults that mirror it, with commas; leave this for none",
    "aws_secret_id": "name or ARN of the secret in AWS Secrets Manager that mirrors it; leave this for none",
    "aws_region": "the region of that secret; leave this for the one in its ARN or in the PAM AWS configuration",
    "container_apps": "RESOURCE-GROUP/APP of Azure Container Apps to restart, with commas; leave this for none",
    "health_urls": "https://HOST/PATH to poll until it answers 200, several with commas; leave this for none",
    "environment": "dev, stage or production, for the ops log; leave this for none",
}
WORDS = {
    "rotate_seeq_application_key": Words(
        "Seeq application key",
        "name of the Seeq application",
        "Seeq admin",
        {**_ANY, "application_id": "Seeq ID of the application"},
        {
            "login": "login of a Seeq administrator",
            "password": "password of that administrator",
            "seeq_server_url": "https://HOST of Seeq",
        },
    ),
    "rotate_seeq_user_key": Words(
        "Seeq user key",
        "user name of the Seeq user",
        "Seeq admin",
        {
            **_ANY,
            "username": "user name in Seeq where it is not the login of this record",
            "user_id": "Seeq ID of the user where the name alone does not tell",
        },
        {
            "login": "login of the user or of a user administrator",
            "password": "password of that login",
            "seeq_server_url": "https://HOST of Seeq",
        },
    ),
    "rotate_azure_app_secret": Words(
        "Azure app secret",
        "name of the Azure application",
        "Azure admin application",
        {
            **_ANY,
            "application_object_id": "object id or client id of the application",
        },
        {
            "tenant_id": "id of the Entra tenant",
            "application_client_id": "client id of the admin application",
            "client_secret": "client secret of the admin application",
        },
    ),
    "publish_secret": Words(
        "Published secret",
        "user name that the password belongs to, if any",
        "Mirror admin",
        {
            **_ANY,
            "value_template": "text to store, with {password} and {login} in it; leave this for the value alone",
            "value_quoting": "sql, url, list or plain; leave this for what the template looks like",
            "secret_name": "name of the secret in every Key Vault",
        },
        {
            "tenant_id": "id of the Entra tenant, for Key Vault and Container Apps; leave this for none",
            "application_client_id": "client id of the application that writes the mirrors; leave this for none",
            "client_secret": "client secret of that application; leave this for none",
            "subscription_id": "id of the Azure subscription of the container apps; leave this for none",
            "aws_access_key_id": "access key id of the AWS identity; leave this for none",
            "aws_secret_access_key": "secret access key of that identity; leave this for none",
        },
    ),
}


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
        choices=[kind.stem for kind in KINDS],
        metavar="NAME",
        help=f"only this script's: {', '.join(kind.stem for kind in KINDS)}",
    )
    source = one.add_mutually_exclusive_group()
    source.add_argument("--csv", metavar="FILE", type=Path, help="a record for each line of this file")
    source.add_argument(
        "--from-seeq",
        metavar="ADMIN",
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
    stems = [options.script] if options.script else [kind.stem for kind in KINDS]
    fills: list[dict[str, str]] = [common]
    if options.from_seeq:
        if options.script not in (None, _APPLICATION_KEYS):
            raise BadInput("--from-seeq makes records for rotate_seeq_application_key only")
        stems = [_APPLICATION_KEYS]
        fills = _fills_from_seeq(options.from_seeq, common)
        if not fills:
            voice.say("Every application has its record; nothing was written")
            return 0
    elif options.csv or common:
        if not options.script:
            raise BadInput("which script the records are for is not said", next_step="add --script NAME")
        fills = [{**common, **row} for row in _read_fills(options.csv)] if options.csv else fills
    for path in _write(options.output, stems, fills):
        voice.say(f"Wrote {path}")
    return 0


def _fills_from_seeq(admin: str, common: dict[str, str]) -> list[dict[str, str]]:
    deadline = Deadline(600)
    shared = Shared.fetch(deadline, [admin])
    url, login = find_admin(Job(Record("", "", {}), None, [shared.flat(admin)]), common.get("seeq_server_url", ""))
    with progress() as say:
        server = Server(url, login, Session(deadline), say)
        listed = seeq.Look(server, deadline, say).applications()
    known = [shared.flat(uid).get("application_id") for uid, kind in shared.ours() if kind.stem == _APPLICATION_KEYS]
    return list(_from_applications(listed, known, common))


def _read_fills(path: Path) -> list[dict[str, str]]:
    """Read a CSV whose header names fields, `title` or `login`; each further line is a record.

    Empty cells leave what the template has. Raises BadInput where the file cannot be read so.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"{path} cannot be read as CSV ({type(error).__name__})") from None
    if not rows:
        raise BadInput(f"{path} has no line below its header")
    for number, row in enumerate(rows, 2):
        if None in row or None in row.values():
            raise BadInput(f"{path}, line {number}: it has not as many cells as the header")
    return [{label.strip(): value.strip() for label, value in row.items() if value.strip()} for row in rows]


def _from_applications(
    applications: Iterable[Mapping[str, object]], known: Iterable[str], common: Mapping[str, str]
) -> Iterator[dict[str, str]]:
    """Yield what to fill in for each application that Seeq lists and no record rotates yet.

    known: ids of applications that have a record. Those that log in through an identity provider have no
    keys and are left out.
    """
    taken = {one.upper() for one in known}
    for item in applications:
        application_id, name = str(item.get("id")), str(item.get("name") or item.get("id"))
        if application_id.upper() not in taken and not item.get("oidcDirectoryId") and not item.get("isArchived"):
            title = f"{WORDS['rotate_seeq_application_key'].title}: {name}"
            yield {**common, "title": title, "login": name, "application_id": application_id}


# -- the records ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Template:
    """One record to be: `values` has its custom fields with their types, in their order."""

    record_type: str
    title: str
    login: str
    password: str
    values: Sequence[tuple[Field, str]]


def _files(kind: Kind, fills: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Return the files of one script, by name.

    fills: for each PAM User record what to enter: a field's label, `title` or `login`, to its value. What
    is not given stays the default or the placeholder. Raises BadInput for a name that is no input field.
    """
    templates = [*(_user_record(kind, fill) for fill in fills), _admin_record(kind)]
    made = (_commander_csv(templates), _commander_json(templates), _web_csv(templates))
    return {f"{kind.stem}.{ending}": text for ending, text in zip(FORMATS, made, strict=True)}


def _write(directory: Path, stems: Iterable[str], fills: Sequence[Mapping[str, str]]) -> list[Path]:
    """Write the files of these scripts into a directory, over what is there; return what was written."""
    contents = {name: text for kind in KINDS if kind.stem in stems for name, text in _files(kind, fills).items()}
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in contents.items():
            (directory / name).write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise BadInput(f"{directory} cannot be written to ({type(error).__name__})") from None
    return [directory / name for name in contents]


def _user_record(kind: Kind, fill: Mapping[str, str]) -> _Template:
    words = WORDS[kind.stem]
    inputs = {one.label for one in kind.fields if not one.output}
    unknown = sorted(set(fill) - inputs - set(_OWN_COLUMNS))
    if unknown:
        raise BadInput(
            f"{kind.stem} has no field {', '.join(unknown)}",
            next_step=f"its fields are {', '.join([*_OWN_COLUMNS, *sorted(inputs)])}",
        )
    values = [(one, fill.get(one.label) or _default(one, words.asks)) for one in kind.fields]
    # A record whose password Keeper itself is to change in its system must not say that there is nothing to do.
    values += [(Field(label, ""), value) for label, value in _GATEWAY.items() if kind.has_keys]
    return _Template(
        "pamUser", fill.get("title") or f"{words.title}: NAME", fill.get("login") or f"<{words.login}>", "", values
    )


def _admin_record(kind: Kind) -> _Template:
    words = WORDS[kind.stem]
    asked = {one.label: _default(one, words.admin_asks) for one in kind.admin_fields}
    values = [(one, asked[one.label]) for one in kind.admin_fields if one.label not in ("login", "password")]
    return _Template("login", words.admin_title, asked.get("login", ""), asked.get("password", ""), values)


def _default(one: Field, asks: Mapping[str, str]) -> str:
    """Return what stands in a field that nobody filled in; in angle brackets it counts as empty."""
    if one.output:
        return "<set by rotation>"
    if one.label == "deadline_seconds":
        # A number here would keep the default from growing.
        return f"<seconds from 10 to 3600; leave this for the default, {one.default}, more where consumers are named>"
    return one.default or f"<{asks.get(one.label) or f'{one.meaning}; leave this for none'}>"


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
