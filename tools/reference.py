"""Write what follows from the contract: `python -m tools.reference` renews docs/reference/ and record_templates/.

The pages are made from the scripts' fields, the registry of mirrors and consumers, the audit's rules, the errors and
the command lines. They have no dates and no paths of a machine in them, and depend neither on the terminal nor on the
version of Python: the same sources give the same bytes.

The row of a field stands in one place, and every other page links there: fields of logins on admin-records.md, those
of the PAM Configuration alone on pam-configuration.md, fields of several scripts on shared-fields.md, all others on the
page of their script.
"""

from __future__ import annotations

import argparse
import contextlib
import inspect
import io
import json
import os
import re
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast
from unittest.mock import patch

from pam_scripts.assembly.registry import CONSUMERS, MIRRORS
from pam_scripts.cli import main as command
from pam_scripts.cli.audit.rules import RULES
from pam_scripts.cli.scripts import SCRIPTS
from pam_scripts.cli.templates.fills import title_of
from pam_scripts.consumers.container_apps import refusals as container_apps
from pam_scripts.core import errors
from pam_scripts.core.fields import Field, Fields, normalised
from pam_scripts.core.refusals import Refusal
from pam_scripts.gateway import command_line, request
from pam_scripts.gateway.console import Console
from pam_scripts.issuers.aws_user import refusals as aws_user
from pam_scripts.issuers.azure_app import graph
from pam_scripts.issuers.azure_resource import refusals as azure_resource
from pam_scripts.issuers.keycloak import refusals as keycloak
from pam_scripts.issuers.rabbitmq import refusals as rabbitmq
from pam_scripts.issuers.seeq import refusals as seeq
from pam_scripts.logins import azure
from pam_scripts.rotation import ops_log
from pam_scripts.stores.aws_secrets_manager import refusals as aws
from pam_scripts.stores.keeper import refusals as keeper
from pam_scripts.stores.keeper.labels import STANDARD_LABELS
from pam_scripts.stores.key_vault import refusals as key_vault
from pam_scripts.stores.openbao import refusals as openbao

if TYPE_CHECKING:
    from types import ModuleType

    from pam_scripts.assembly.kinds import IssuerKind, Kind
    from pam_scripts.assembly.script import Script

ROOT = Path(__file__).resolve().parents[1]
PAGES = "docs/reference"
TEMPLATES = "record_templates"
ADMINS = "admin-records.md"
CONFIGURATION = "pam-configuration.md"
SHARED = "shared-fields.md"
SCHEMA = "run.schema.json"

REFUSALS: Mapping[str, Sequence[Refusal]] = {
    "Keeper": keeper.REFUSALS,
    "Seeq": seeq.REFUSALS,
    "Entra": (*azure.REFUSALS, *graph.REFUSALS),
    "RabbitMQ": rabbitmq.REFUSALS,
    "Keycloak": keycloak.REFUSALS,
    "Key Vault": key_vault.REFUSALS,
    "Container Apps": container_apps.REFUSALS,
    "Azure": azure_resource.REFUSALS,
    "AWS IAM": aws_user.REFUSALS,
    "AWS Secrets Manager": aws.REFUSALS,
    "OpenBao/Vault": openbao.REFUSALS,
}
"""By system: what is known of its refusals, from the module that declares it, as REFUSALS."""

SMALLEST: Mapping[str, tuple[Mapping[str, str], Mapping[str, str]]] = {
    "rotate_seeq_application_key": (
        {"application_id": "0EF1A2B3-4C5D-6E70-8F90-A1B2C3D4E5F6"},
        {"login": "keeper-rotation", "password": "PASSWORD", "seeq_server_url": "https://seeq.plant.example"},
    ),
    "rotate_azure_app_secret": (
        {"application_object_id": "0fe1a2b3-4c5d-6e7f-8091-a2b3c4d5e6f7"},
        {
            "tenant_id": "1fe1a2b3-4c5d-6e7f-8091-a2b3c4d5e6f7",
            "application_client_id": "2fe1a2b3-4c5d-6e7f-8091-a2b3c4d5e6f7",
            "client_secret": "CLIENT-SECRET",
        },
    ),
    "rotate_azure_resource_key": (
        {
            "resource_id": "/subscriptions/3fe1a2b3-4c5d-4e7f-8091-a2b3c4d5e6f7/resourceGroups/plant/providers/"
            "Microsoft.Cache/redis/plant-cache",
        },
        {
            "tenant_id": "1fe1a2b3-4c5d-6e7f-8091-a2b3c4d5e6f7",
            "application_client_id": "2fe1a2b3-4c5d-6e7f-8091-a2b3c4d5e6f7",
            "client_secret": "CLIENT-SECRET",
        },
    ),
    "rotate_seeq_user_key": (
        {"login": "reports"},
        {"login": "keeper-rotation", "password": "PASSWORD", "seeq_server_url": "https://seeq.plant.example"},
    ),
    "rotate_rabbitmq_password": (
        {"login": "erp", "rabbitmq_url": "https://rabbitmq.plant.example:15671"},
        {
            "login": "keeper-rotation",
            "password": "PASSWORD",
            "rabbitmq_url": "https://rabbitmq.plant.example:15671",
        },
    ),
    "rotate_keycloak_client_secret": (
        {"login": "erp", "keycloak_url": "https://keycloak.plant.example"},
        {
            "login": "keeper-rotation",
            "password": "PASSWORD",
            "keycloak_url": "https://keycloak.plant.example",
            "keycloak_realm": "plant",
        },
    ),
    "rotate_aws_access_key": (
        {"aws_user_name": "erp-export"},
        {"aws_access_key_id": "AKIAIOSFODNN7EXAMPLE", "aws_secret_access_key": "SECRET-ACCESS-KEY"},
    ),
    "publish_secret": ({"key_vault_name": "plant-stage-kv", "secret_name": "RabbitMq--Password"}, {}),
}
"""By script: the least that its PAM User record needs, and the record attached to it, with values for example."""

SEVERITIES = (
    ("broken", "it does not work now, or the next rotation fails"),
    ("soon", "it works, and will stop working soon"),
    ("look", "it works, and somebody should look at it and decide"),
)

_GENERATED = "`make docs` writes this page from the code: change it there, not here."
_HELP_COLUMNS = 98
_PAGE_COLUMNS = 120

Kinds: TypeAlias = Literal["input", "login", "output"]
"""What fields are for: to be filled in, to log in with, or to be written by a rotation."""

Row: TypeAlias = "tuple[object, ...]"
"""What the row of a field says; fields of the same row share it."""

Places: TypeAlias = "Mapping[Row, Section]"
"""In which section each row stands."""


@dataclass(frozen=True, eq=False)
class Section:
    """A part of a page about some fields; their rows may stand in another section."""

    page: str
    title: str
    kind: Kinds
    fields: Fields
    text: str = ""

    def link_from(self, page: str, text: str = "") -> str:
        """Return a link that leads here from a page. text: what it says, the title where it is empty."""
        anchor = re.sub(r"[^\w\- ]", "", self.title.lower()).replace(" ", "-")
        return f"[{text or self.title}]({'' if page == self.page else self.page}#{anchor})"


def row(field: Field[Any]) -> Row:
    """Return what the row of a field says."""
    return (field.label, field.parser.expected, field.default, field.required, field.output, field.type, field.meaning)


# -- the files ------------------------------------------------------------------------------------


def made() -> dict[str, bytes]:
    """Return the content of every generated file, by its path below the repository's root."""
    files = {f"{PAGES}/{name}": text.encode() for name, text in pages().items()}
    files[f"{PAGES}/{SCHEMA}"] = f"{json.dumps(ops_log.schema(), indent=2)}\n".encode()
    with tempfile.TemporaryDirectory() as directory, contextlib.redirect_stdout(io.StringIO()):
        options = command.parser().parse_args(["templates", "--output", directory])
        options.work(options, Console())
        files |= {f"{TEMPLATES}/{path.name}": path.read_bytes() for path in Path(directory).iterdir()}
    return files


def old(root: Path, files: Mapping[str, bytes]) -> list[str]:
    """Return the paths of generated files that are missing below a root, or hold something else, or are no more.

    Among them are pages written by hand of which a table is old.
    """
    files = {**files, **_with_tables(root)}
    differing = [
        name for name, text in files.items() if not (root / name).is_file() or (root / name).read_bytes() != text
    ]
    there = {f"{PAGES}/{path.name}" for path in (root / PAGES).glob("*")}
    return sorted({*differing, *(there - files.keys())})


def renew(root: Path) -> list[str]:
    """Write the generated files that are old, and delete pages that are no more; return the paths of both."""
    files = {**made(), **_with_tables(root)}
    renewed = old(root, files)
    for name in renewed:
        path = root / name
        if name in files:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(files[name])
        else:
            path.unlink()
    return renewed


def _with_tables(root: Path) -> dict[str, bytes]:
    """Return the pages below a root that are written by hand, by their paths, with the tables in them made anew."""
    there = {name: root / name for name in BY_HAND if (root / name).is_file()}
    return {
        name: _TABLE.sub(lambda found: f"{found[1]}{TABLES[found[2]]()}\n", path.read_text(encoding="utf-8")).encode()
        for name, path in there.items()
    }


def pages() -> dict[str, str]:
    """Return the text of each page, by its name."""
    admins = list(_login_sections(ADMINS, lambda one: one.ADMIN_FIELDS))
    shared = list(_shared_sections())
    by_script = {script.stem: _script_sections(script) for script in SCRIPTS}
    places: dict[Row, Section] = {}
    on_scripts = (section for sections in by_script.values() for section in sections)
    for section in [*admins, *shared, *on_scripts]:
        for field in section.fields:
            places.setdefault(row(field), section)
    scripts = {
        f"{script.stem}.md": _page(f"`{script.stem}`", *_opening(script), *_rendered(by_script[script.stem], places))
        for script in SCRIPTS
    }
    return {
        "README.md": _index(),
        **scripts,
        SHARED: _page(
            "Fields that several scripts share",
            _text(
                "They stand in PAM User records. Where a script's field takes something else, or has another default, "
                "its row is on the page of that script."
            ),
            *_rendered(shared, places),
        ),
        ADMINS: _page(
            "Admin records",
            _text(
                "Records that are attached to a script, for it to log in with. One record may hold several logins. "
                "*required*: without it the record is no such login. Most logins may stand in the "
                f"[PAM Configuration]({CONFIGURATION}) as well; which of them is used, and what else there is, is in "
                "[credentials](../credentials.md)."
            ),
            *_rendered(admins, places),
        ),
        CONFIGURATION: _page(
            "The PAM Configuration",
            _text(
                "What is read from the PAM Configuration of the record that is rotated: a login, where no attached "
                "record has it, and limits, which hold beside those of the login's own record. *Keeper's own* fields "
                "are in the Configuration already, of one cloud or the other; all others are custom fields. What each "
                "is for: [credentials](../credentials.md)."
            ),
            *_configuration(admins),
        ),
        "command.md": _command_lines(),
        "findings.md": _findings(),
        "exit-statuses.md": _exit_statuses(),
        "refusals.md": _refusals(),
        "ops-log.md": _ops_log(),
    }


# -- the fields -----------------------------------------------------------------------------------


def _login_sections(page: str, fields: Callable[[IssuerKind | Kind], Fields]) -> Iterator[Section]:
    """Yield the logins of issuers, then those of mirrors and consumers, which may be the same ones.

    fields: what each of them reads of the records that the page is about.
    """
    with_login = [script for script in SCRIPTS if fields(script.issuer)]
    for title in dict.fromkeys(script.admin_title for script in with_login):
        users = [script for script in with_login if script.admin_title == title]
        text = f"The login of {_listed(f'[`{script.stem}`]({script.stem}.md)' for script in users)}."
        yield Section(page, title, "login", [field for one in users for field in fields(one.issuer)], text)
    for word, kind, _ in _kinds():
        if fields(kind):
            title = f"{'Login' if kind.ADMIN_FIELDS else 'Limit'} of the {word} `{_name(kind)}`"
            yield Section(page, title, "login", fields(kind), f"The same for every script that has the {word}.")


def _configuration(admins: Sequence[Section]) -> Iterator[str]:
    """Yield, for each login, by which labels the PAM Configuration has it. admins: the sections of admin records."""
    every = Section(CONFIGURATION, "Every run", "login", [request.CA_BUNDLE])
    own = {normalised(label) for label in STANDARD_LABELS}
    listed: dict[str, Section] = {}
    for section in [every, *_login_sections(CONFIGURATION, lambda one: one.CONFIGURATION_FIELDS)]:
        rows, elsewhere = [], dict[Section, list[str]]()
        for label, field in {field.label: field for field in section.fields}.items():
            shown, place = f"`{label}`", listed.setdefault(label, section)
            if place is section:
                whose = "Keeper's own" if normalised(label) in own else "custom"
                rows.append((shown, whose, field.type, _meant_by(field, section, admins)))
            elif place is not every:
                elsewhere.setdefault(place, []).append(shown)
        yield f"## {section.title}"
        yield from [_text(section.text)] if section.text else []
        if rows:
            yield _table(("label", "whose field", "type", "in an admin record"), rows)
        if elsewhere:
            them = (f"{_listed(labels)} of {place.link_from(CONFIGURATION)}" for place, labels in elsewhere.items())
            yield _text(f"The same as for others: {_listed(them)}.")


def _meant_by(field: Field[Any], section: Section, admins: Iterable[Section]) -> str:
    """Return what a field of the PAM Configuration is: the field of an admin record that it stands for, if any."""
    for place in sorted(admins, key=lambda place: place.title != section.title):
        for one in place.fields:
            # One that has another label here is made from the admin record's field, and means the same.
            if field in (one, replace(one, label=field.label, type=field.type)):
                return place.link_from(CONFIGURATION, f"`{one.label}`")
    return _cell(f"*not read there*: {field.meaning}; it takes {field.parser.expected}")


def _shared_sections() -> Iterator[Section]:
    """Yield what several scripts have, with a section for each mirror and each consumer."""
    for word, kind, fields in _kinds():
        text = f"`{kind.LABEL}` asks for it. A build that was made without `{_name(kind)}` refuses that field."
        own = dict.fromkeys(f"`{field.label}`" for field in fields if not _is_shared(field))
        text += f" More of its fields are on the pages of the scripts: {_listed(own)}." if own else ""
        yield _shared(f"{word.capitalize()} `{_name(kind)}`", "input", fields, text)
    yield _shared("Whose keys", "input", (field for script in SCRIPTS for field in script.issuer.FIELDS))
    yield _shared("Which keys are deleted", "input", request.PLAN_FIELDS)
    every_run = (field for script in SCRIPTS for field in request.run_fields(script.deadline_seconds))
    yield _shared("Every run", "input", every_run)
    yield _shared("What a rotation writes", "output", (field for script in SCRIPTS for field in script.outputs))


def _shared(title: str, kind: Kinds, fields: Iterable[Field[Any]], text: str = "") -> Section:
    return Section(SHARED, title, kind, [field for field in fields if _is_shared(field)], text)


def _script_sections(script: Script) -> list[Section]:
    if script.issuer.ADMIN_FIELDS:
        login = (
            f"The script logs in with it. The templates call it *{script.admin_title}*. Mirrors and consumers find "
            f"[their logins]({ADMINS}) in it, or in other records that are attached."
        )
    else:
        login = (
            "The script itself logs in nowhere; its mirrors and consumers do, each with what this record has for it. "
            f"The templates call it *{script.admin_title}*."
        )
    page = f"{script.stem}.md"
    return [
        Section(page, "What is filled in", "input", script.inputs),
        Section(page, "What a rotation writes", "output", script.outputs),
        Section(page, "The admin record", "login", script.admin_fields, login),
    ]


def _opening(script: Script) -> Iterator[str]:
    """Yield what stands on a script's page before its fields."""
    yield _text(script.title)
    yield _text(f"What it does, and what is particular: [its page](../{script.stem}.md).")
    yield "## The smallest record"
    user, admin = SMALLEST[script.stem]
    cells = [("PAM User", label, value) for label, value in user.items()]
    cells += [(script.admin_title, label, value) for label, value in admin.items()]
    yield _table(("record", "field", "for example"), ((record, f"`{a}`", f"`{b}`") for record, a, b in cells))
    labels = dict.fromkeys(f"`{label}`" for label in (*script.identified_by, *script.suggested_by))
    yield _text(
        f"Everything else has a default.{'' if admin else ' The identity of the host itself writes the mirror here.'} "
        f"The command `pam-scripts` takes a PAM User record for this script's where it has the field "
        f"{_listed(labels, 'or')}, filled in or not."
    )


def _rendered(sections: Iterable[Section], places: Places) -> Iterator[str]:
    """Yield sections as they stand on their page: their rows, then where the rows of their other fields stand."""
    for section in sections:
        fields = list({row(field): field for field in section.fields}.values())
        own = [field for field in fields if places[row(field)] is section]
        elsewhere: dict[Section, list[str]] = {}
        for field in fields:
            if places[row(field)] is not section:
                elsewhere.setdefault(places[row(field)], []).append(f"`{field.label}`")
        if fields:
            yield f"## {section.title}"
            yield from [_text(section.text)] if section.text else []
        if own:
            yield _table(*_columns(section, own))
        if elsewhere:
            header = ("further fields" if own else "fields", "where they are explained")
            yield _table(header, ((", ".join(labels), at.link_from(section.page)) for at, labels in elsewhere.items()))


def _columns(section: Section, fields: Fields) -> tuple[list[str], list[list[str]]]:
    """Return header and cells of a section's table."""
    columns: dict[str, Callable[[Field[Any]], str]] = {
        "label": lambda field: f"`{field.label}`",
        "type": lambda field: field.type,
        "what it takes": lambda field: _cell(field.parser.expected),
        "default": lambda field: (
            "*required*" if field.required else f"`{field.default}`" if field.default else "*empty*"
        ),
        "meaning": lambda field: _cell(field.meaning),
        "scripts": _scripts_with,
    }
    left_out = {"input": {"type"}, "login": set(), "output": {"what it takes", "default"}}[section.kind]
    if section.page != SHARED:
        left_out |= {"scripts"}
    header = [name for name in columns if name not in left_out]
    return header, [[columns[name](field) for name in header] for field in fields]


def _kinds() -> list[tuple[str, Kind, Fields]]:
    """Return each mirror and each consumer: which of both it is, its module, and its fields in all scripts."""
    mirrors: list[tuple[str, Kind, Fields]] = [
        ("mirror", kind, [field for script in SCRIPTS for field in kind.fields(script.issuer.SHAPE)])
        for kind in MIRRORS
    ]
    return [*mirrors, *(("consumer", kind, kind.FIELDS) for kind in CONSUMERS)]


def _name(kind: Kind) -> str:
    """Return a mirror's or a consumer's name, as `make bundle WITH=...` takes it."""
    return cast("ModuleType", kind).__name__.rpartition(".")[2]


def _users(field: Field[Any]) -> list[str]:
    return [script.stem for script in SCRIPTS if row(field) in map(row, script.fields)]


def _is_shared(field: Field[Any]) -> bool:
    return len(_users(field)) > 1


def _scripts_with(field: Field[Any]) -> str:
    users = _users(field)
    others = [script.stem for script in SCRIPTS if script.stem not in users]
    if len(others) > 1:
        return _listed(f"`{stem}`" for stem in users)
    return f"all but `{others[0]}`" if others else "all"


def _index() -> str:
    scripts = [(f"[`{script.stem}`]({script.stem}.md)", script.title) for script in SCRIPTS]
    others = (
        (f"[Shared fields]({SHARED})", "what the PAM User records of several scripts have"),
        (f"[Admin records]({ADMINS})", "what is attached to a script, for it to log in with"),
        (f"[The PAM Configuration]({CONFIGURATION})", "which logins and limits may stand there, and by which labels"),
        ("[Command lines](command.md)", "every option of `pam-scripts`, of its commands, and of a script"),
        ("[Findings](findings.md)", "what `pam-scripts audit` finds, and the way out of each"),
        ("[Exit statuses](exit-statuses.md)", "which failure ends a script with which status"),
        ("[The ops log](ops-log.md)", "every fact that a run leaves in the record, and in its line of JSON"),
        ("[Refusals](refusals.md)", "what each system refuses, what the line then says, and the way out"),
    )
    return _page(
        "Reference",
        _text(
            "What each field takes, what each command accepts, and what each finding and each exit status means. How "
            "to set a rotation up is in the [README](../../README.md)."
        ),
        _table(("script", "what it does"), scripts),
        _table(("page", "what it has"), others),
        "## How to read the tables of fields",
        _bullets(
            "Labels are compared without regard to case, blanks and underscores.",
            "A field counts as empty, too, while it holds a template's words in angle brackets.",
            "*default* is what an empty field means; *empty*: nothing. *required*: the script stops with status 2 "
            "where the field is empty.",
            "What a person fills in is of Keeper's type *text*, unless the table has another type. The vault hides "
            "the types *secret* and *password*.",
            "Each row stands once. The other pages link to it.",
        ),
    )


# -- the tables of pages written by hand ----------------------------------------------------------


def _records_of_templates() -> str:
    """Return which records the templates of each script make, and what the admin's needs."""
    rows = []
    for script in SCRIPTS:
        labels = [f"`{label}`" for label in SMALLEST[script.stem][1]]
        needs = _listed(labels) if labels else "the logins of its mirrors and consumers"
        rows.append((f"`{script.stem}`", title_of(script, "NAME"), f"{script.admin_title}: {needs}"))
    return _table(("script", "PAM User record", "admin record, and the least in it"), rows)


def _typed_by_hand() -> str:
    """Return the fields of admin records that an import which knows no types leaves out."""
    rows = dict.fromkeys(
        (script.admin_title, f"`{field.label}`", "Hidden Field")
        for script in SCRIPTS
        for field in script.admin_fields
        if field.type == "secret"
    )
    return textwrap.indent(_table(("record", "custom field", "its type"), rows), "   ")


def _what_is_read() -> str:
    """Return where the credential of each script stands, and by which tag its secrets are known."""
    rows = []
    for script in SCRIPTS:
        shape = script.issuer.SHAPE
        parts = [shape.id_part, shape.value_part] if shape.id_part else []
        pair, both = ([f"`{shape.prefix}-TARGET-{part}`" for part in named] for named in (parts, [shape.both_part]))
        rows.append(
            (
                f"`{script.stem}`",
                ", ".join(f"`{label}`" for label in shape.record_labels) or "`value`, where it was made here",
                ", ".join(pair) or "what `secret_name` says",
                both[0] if pair else "",
                f"`{shape.owner_tag}`",
            )
        )
    header = ("script", "Keeper record", "Key Vault", "Key Vault, with `key_vault_combined`", "tag")
    return _table(header, rows)


BY_HAND = (f"{TEMPLATES}/README.md", "docs/mirrors.md")
"""The pages that are written by hand but for a table."""

TABLES: Mapping[str, Callable[[], str]] = {
    "records": _records_of_templates,
    "hidden fields": _typed_by_hand,
    "what is read": _what_is_read,
}
"""By name: what makes the table below `<!-- table: NAME -->` in a page that is written by hand."""

_TABLE = re.compile(r"( *<!-- table: ([\w ]+) -->\n\n)(?: *\|.*\n)*")


# -- the command lines, the findings, the exit statuses -------------------------------------------


def _command_lines() -> str:
    commands = argparse.ArgumentParser().add_subparsers()
    for module in command.COMMANDS:
        module.add_parser(commands)
    blocks = []
    for name in ("", *commands.choices):
        arguments = [*([name] if name else []), "--help"]
        blocks.append(_help(f"pam-scripts {name}".rstrip(), partial(command.parser().parse_args, arguments)))
    script = SCRIPTS[0]
    return _page(
        "Command lines",
        _text("`pam-scripts` is installed with the package. Every attachable file is a command, too."),
        *(block for pair in blocks for block in pair),
        *_help(f"{script.stem}.py", partial(command_line.read, script.title)),
        _text("The other scripts take the same options."),
    )


def _help(prog: str, ask: Callable[[], object]) -> tuple[str, str]:
    """Return a heading, and what a program prints that is asked for help. ask: reads its command line."""
    output = io.StringIO()
    with (
        # argparse leaves two columns of the terminal free.
        patch.dict(os.environ, COLUMNS=str(_HELP_COLUMNS + 2), NO_COLOR="1"),
        patch.object(sys, "argv", [prog, "--help"]),
        contextlib.redirect_stdout(output),
        contextlib.suppress(SystemExit),
    ):
        ask()
    usage, *blocks = output.getvalue().strip().split("\n\n")
    # Versions of Python lay out usage and arguments differently, so that is done here.
    blocks = [_usage(prog, usage), *(_arguments(block) if ":\n  " in block else block for block in blocks)]
    body = "\n\n".join(blocks)
    return f"## `{prog}`", f"```\n$ {prog} --help\n{body}\n```"


def _usage(prog: str, printed: str) -> str:
    """Return a usage with its lines broken between options, never within one."""
    start = f"usage: {prog} "
    parts = re.findall(r"\[[^]]*\]|\S+", printed[printed.index("[-h]") :])
    whole = " ".join(part.replace(" ", "\0") for part in parts)
    return _wrapped(whole, _HELP_COLUMNS, start, " " * len(start)).replace("\0", " ")


def _arguments(printed: str) -> str:
    """Return some arguments with what is said of them in one column."""
    title, _, lines = printed.partition("\n")
    items = []
    # An argument is indented by two or four blanks, the further lines of what is said of it by more.
    for item in re.split(r"\n(?= {2,4}\S)", lines):
        name, *text = re.split(r"\s{2,}", item.strip(), maxsplit=1)
        items.append((" " * (len(item) - len(item.lstrip())) + name, " ".join("".join(text).split())))
    column = max(len(name) for name, _ in items) + 2
    told = [_wrapped(text, _HELP_COLUMNS, name.ljust(column), " " * column) if text else name for name, text in items]
    return "\n".join([title, *told])


def _findings() -> str:
    severities = [f"*{name}*: {meaning}." for name, meaning in SEVERITIES]
    rows = [
        (
            f"`{rule.code}`",
            f"{rule.severity}, at worst {rule.at_worst}" if rule.at_worst else rule.severity,
            *map(_cell, (rule.title, rule.meaning, rule.way_out)),
        )
        for rule in RULES
    ]
    return _page(
        "Findings",
        _text(
            "What `pam-scripts audit` says of a record, the most urgent first. A report names the way out more exactly "
            "where it can. Code and severity stand in JSON and CSV."
        ),
        _bullets(*severities),
        _table(("code", "severity", "finding", "what that means", "the way out"), rows),
    )


def _exit_statuses() -> str:
    kinds = [
        each for each in vars(errors).values() if inspect.isclass(each) and issubclass(each, errors.PamScriptError)
    ]
    # PamScriptError is what all of them are, and says nothing of a particular failure.
    rows = [
        (
            str(kind.status),
            f"`{kind.__name__}`",
            _cell(" ".join((inspect.getdoc(kind) or "").partition("\n\n")[0].split())),
        )
        for kind in sorted(kinds, key=lambda kind: kind.status)
        if kind is not errors.PamScriptError
    ]
    return _page(
        "Exit statuses",
        _text(
            "Which failure ends a script with which status, by its class in the code. What to do about each is in the "
            "[troubleshoot](../troubleshoot.md#by-exit-status); the statuses of the commands are in "
            "[their help](command.md)."
        ),
        _table(
            ("status", "failure", "meaning"),
            [("0", "none", "All that was asked for is done and confirmed."), *rows],
        ),
    )


_KINDS: Mapping[ops_log.Kind, str] = {
    "text": "text",
    "id": "text",
    "time": "time in UTC, ISO 8601 to the second, or null",
    "list": "list of texts",
    "flag": "true, false or null",
    "status": "number",
    "result": "one of the results below",
}
_RESULTS = {
    "rotated": "all is done and confirmed",
    "looked": "a look by `--check` or `dry_run` found nothing in the way",
    "failed": "nothing was changed, or all was put back",
    "old_keys_alive": "the new key is everywhere, and other keys still log in",
    "uncertain": "the end could not be confirmed, and a person must look",
}


def _ops_log() -> str:
    facts = [
        (f"`{fact.key}`", fact.title or "*not there*", _KINDS[fact.kind], _cell(fact.meaning)) for fact in ops_log.FACTS
    ]
    results = [
        (f"`{result}`", ", ".join(map(str, statuses)), _RESULTS[result]) for result, statuses in ops_log.RESULTS.items()
    ]
    return _page(
        "The ops log",
        _text(
            f"What a run leaves: in the record's `last_rotation`, which holds the last {ops_log.KEPT} runs, and as one "
            f"line of JSON, the last on stdout, with `log_format` = `json` or `--json-lines`. [{SCHEMA}]({SCHEMA}) is "
            "the line's JSON Schema. In the record each fact stands on a line `NAME: VALUE`, each element of a list on "
            "a line of its own; `none` stands for nothing, and what seldom has anything to tell stands there only then."
        ),
        _table(("key in JSON", "name in the record", "value", "meaning"), facts),
        "## Results",
        _table(("result", "exit status", "meaning"), results),
    )


def _refusals() -> str:
    blocks = []
    for system, refusals in REFUSALS.items():
        rows = [
            (
                ", ".join(f"`{code}`" for code in refusal.codes),
                *map(_cell, (refusal.answer, refusal.said, refusal.way_out)),
                str(refusal.status),
            )
            for refusal in refusals
        ]
        header = ("code", "what it answers", "what the line says", "the way out", "exit status")
        blocks += [f"## {system}", _table(header, rows)]
    return _page(
        "Refusals",
        _text(
            "What the systems refuse for reasons of their own, the words that the one line has for it, and what to "
            "grant, change or run. The line begins with the record, the system, and what was asked of it. The code is "
            "the system's own name for the refusal, or ours where it gives none. The exit status is that of a run that "
            "could put everything back."
        ),
        *blocks,
    )


# -- Markdown -------------------------------------------------------------------------------------


def _page(title: str, *blocks: str) -> str:
    return "\n\n".join([f"# {title}", _GENERATED, *blocks]) + "\n"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    above = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    return "\n".join([*above, *(f"| {' | '.join(line)} |" for line in rows)])


def _bullets(*items: str) -> str:
    return "\n".join(_wrapped(item, _PAGE_COLUMNS, "- ", "  ") for item in items)


def _text(text: str) -> str:
    return _wrapped(text, _PAGE_COLUMNS)


def _wrapped(text: str, columns: int, first: str = "", later: str = "") -> str:
    return textwrap.fill(
        text, columns, initial_indent=first, subsequent_indent=later, break_long_words=False, break_on_hyphens=False
    )


def _cell(text: str) -> str:
    """Return text as a table's cell shows it: no bar ends the cell, no address becomes a link."""
    text = re.sub(r"(?<!`)https?://[\w./-]*\w", r"`\g<0>`", text)
    return text.replace("|", "\\|")


def _listed(items: Iterable[str], word: str = "and") -> str:
    *first, last = items
    return f"{', '.join(first)} {word} {last}" if first else last


def main() -> int:
    """Renew what is old and name it; return 0."""
    renewed = renew(ROOT)
    sys.stdout.writelines(f"{name}\n" for name in renewed or ["All that is generated is as it was."])
    return 0


if __name__ == "__main__":
    sys.exit(main())
