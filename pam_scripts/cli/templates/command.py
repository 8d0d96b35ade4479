"""`templates` on the command line.

What a record has, and what a person is asked for, stands in the script's fields. The files in record_templates/
are what this writes.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pam_scripts import rotate_seeq_application_key
from pam_scripts.cli.common import Commands, fetch, pair
from pam_scripts.cli.scripts import SCRIPTS
from pam_scripts.cli.shared import Shared
from pam_scripts.cli.templates import commander, files
from pam_scripts.cli.templates.commander import Attach, Existing
from pam_scripts.cli.templates.fills import Fill, canonical_label, from_seeq, read_fills
from pam_scripts.cli.templates.schedule import DEFAULT, schedule
from pam_scripts.core.deadline import Deadline
from pam_scripts.core.errors import BadInput
from pam_scripts.core.fields import normalised
from pam_scripts.gateway.console import Console
from pam_scripts.stores.keeper.records import attached_scripts, configurations

BATCHES = ("set-up", "upgrade", "take-out")
_SEVERAL = 2


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    one = commands.add_parser(
        "templates",
        help="write record templates, empty or filled in for many keys, and Commander's batches for records",
        description="Write the record templates of the scripts for Keeper Commander (JSON, CSV, a project file) and "
        "for the web vault's import; or, for records that are there, the batches of Commander's commands that attach "
        "scripts and set rotations. Admin credentials stay placeholders: no file has a secret.",
        epilog="A CSV's first line names fields of the record, title or login; each further line makes a record.",
    )
    one.add_argument("--output", metavar="DIR", type=Path, required=True, help="directory to write to")
    one.add_argument(
        "--script",
        choices=[script.stem for script in SCRIPTS],
        metavar="NAME",
        help=f"only this script's: {', '.join(script.stem for script in SCRIPTS)}",
    )
    _add_sources(one)
    one.add_argument(
        "--set",
        metavar="FIELD=VALUE",
        type=pair,
        action="append",
        default=[],
        help="enter this into every record; may be repeated",
    )
    one.add_argument("--compact", action="store_true", help="leave out the fields that are not filled in")
    _add_attaching(one)
    one.set_defaults(work=work)


def _add_sources(one: argparse.ArgumentParser) -> None:
    source = one.add_mutually_exclusive_group()
    source.add_argument("--csv", metavar="FILE", type=Path, help="a record for each line of this file")
    source.add_argument(
        "--from-seeq",
        metavar="ADMIN",
        type=str.strip,
        help="a record for each application that Seeq lists and no shared record rotates yet; ADMIN is the UID of "
        "the Seeq admin record",
    )
    source.add_argument(
        "--batch",
        choices=BATCHES,
        help="no templates, but batches for Commander's run-batch, of the records that are shared already: set-up "
        "attaches the script where there is none, and sets every rotation; upgrade attaches FILE and removes the old "
        "script, so that an older FILE goes back; take-out removes schedule and script",
    )


def _add_attaching(one: argparse.ArgumentParser) -> None:
    asked = one.add_argument_group("for Commander's project file and batches")
    asked.add_argument(
        "--record",
        metavar="UID",
        type=str.strip,
        action="append",
        default=[],
        help="with --batch, this record only (default: all that are shared, but for take-out); may be repeated",
    )
    asked.add_argument(
        "--credential",
        metavar="RECORD",
        type=str.strip,
        action="append",
        default=[],
        help="admin record to attach with the script: with --batch its UID, else its title; may be repeated",
    )
    asked.add_argument(
        "--configuration",
        metavar="UID",
        type=str.strip,
        default="",
        help="with --batch set-up, the PAM Configuration (default: the only one shared to the application)",
    )
    asked.add_argument(
        "--file",
        metavar="FILE",
        default="",
        help="path of the script to attach, on the machine that Commander runs on (default: dist/NAME.py)",
    )
    asked.add_argument(
        "--command",
        metavar="PYTHON",
        default="",
        help=f"what the Gateway starts the script with (default: as before, else {commander.PYTHON})",
    )
    asked.add_argument(
        "--schedule",
        metavar="CRON",
        type=schedule,
        default=DEFAULT,
        help="when to rotate, in UTC: six fields, the seconds first, as Quartz has them; each record gets a minute of "
        "its own from the one that is named to the end of the hour (default: '%(default)s')",
    )
    asked.add_argument("--folder", metavar="PATH", default="", help="the folder of the project file's records")


def work(options: argparse.Namespace, console: Console) -> int:
    """Write the files that are asked for; raise BadInput where what is to be filled in does not fit."""
    contents = _batches(options, console) if options.batch else _templates(options, console)
    for path in _write(options.output, contents):
        console.say(f"Wrote {path}")
    return 0


# -- templates ------------------------------------------------------------------------------------


def _templates(options: argparse.Namespace, console: Console) -> Mapping[str, str]:
    """Return the files of the scripts that are asked for, by name."""
    if options.record or options.configuration:
        raise BadInput("--record and --configuration are for --batch only")
    common = dict(options.set)
    scripts = [script for script in SCRIPTS if options.script in (None, script.stem)]
    fills: Sequence[Fill] = [common]
    titles = options.credential
    if options.from_seeq:
        if options.script not in (None, rotate_seeq_application_key.SCRIPT.stem):
            raise BadInput("--from-seeq makes records for rotate_seeq_application_key only")
        scripts = [rotate_seeq_application_key.SCRIPT]
        deadline = Deadline(600)
        shared = Shared.fetch(deadline, [options.from_seeq])
        for remark in shared.remarks:
            console.warn(remark)
        fills = from_seeq(shared, options.from_seeq, common, deadline)
        titles = titles or [shared.flat(options.from_seeq).title]
        if not fills:
            console.say("Every application has its record; nothing was written")
            return {}
    elif options.csv or common:
        if not options.script:
            raise BadInput("it is not said which script the records are for", next_step="add --script NAME")
        common = {canonical_label(label, scripts[0]): value for label, value in common.items()}
        fills = [{**common, **row} for row in read_fills(options.csv, scripts[0])] if options.csv else [common]
    if options.file and len(scripts) > 1:
        raise BadInput("--file names the file of one script", next_step="add --script NAME")
    contents: dict[str, str] = {}
    for script in scripts:
        attach = Attach(options.schedule, options.file, options.command, titles or [script.admin_title])
        made = files.records(script, fills, compact=options.compact)
        contents |= {
            f"{script.stem}.commander.csv": files.commander_csv(made),
            f"{script.stem}.commander.json": files.commander_json(made),
            f"{script.stem}.web.csv": files.web_csv(made),
            f"{script.stem}.project.json": commander.project(script, made, attach, options.folder),
        }
    return contents


# -- batches --------------------------------------------------------------------------------------


def _batches(options: argparse.Namespace, console: Console) -> Mapping[str, str]:
    """Return the batches of the records that are there, by file name."""
    if options.set or options.compact or options.folder:
        raise BadInput("--set, --compact and --folder are for templates, not for --batch")
    if options.batch == "take-out" and not options.record:
        raise BadInput("it is not said which records are to be taken out", next_step="add --record UID for each")
    shared = fetch(options, Deadline(600), console)
    attach = Attach(options.schedule, options.file, options.command, options.credential)
    existing = [one for one in _existing(shared, options) if _can_be_done(one, options.batch, console)]
    contents: dict[str, str] = {}
    scripts = [script for script in SCRIPTS if any(one.script is script for one in existing)]
    if options.file and len(scripts) > 1:
        raise BadInput(
            "--file names the file of one script, and the records belong to several", next_step="add --script NAME"
        )
    for script in scripts:
        records = [one for one in existing if one.script is script]
        if options.batch == "set-up":
            contents[f"{script.stem}.set-up.txt"] = commander.set_up(records, attach, _configuration(shared))
        elif options.batch == "upgrade":
            added, deleted = commander.upgrade(records, attach)
            contents |= {f"{script.stem}.upgrade-1-add.txt": added, f"{script.stem}.upgrade-2-delete.txt": deleted}
        else:
            contents[f"{script.stem}.take-out.txt"] = commander.take_out(records)
    if not contents:
        console.say("There is no record to do this for; nothing was written")
    return contents


def _existing(shared: Shared, options: argparse.Namespace) -> Iterator[Existing]:
    """Yield the records that are asked for, by title; raise BadInput for one that is not shared, or of no script."""
    chosen = [(uid, shared.script(uid)) for uid in dict.fromkeys(options.record)] or list(shared.ours())
    found = [
        Existing(
            script,
            shared.flat(uid),
            shared.records[uid].type or "",
            attached_scripts(shared.records[uid].dict.get("fields") or []),
        )
        for uid, script in chosen
        if options.script in (None, script.stem)
    ]
    yield from sorted(found, key=lambda one: (one.record.title, one.record.uid))


def _can_be_done(one: Existing, batch: str, console: Console) -> bool:
    """Whether a batch can be written for a record; say why not."""
    if normalised(one.record_type) != "pamuser":
        console.warn(f"{one.record.shown} is not a PAM User record, and is left out; convert it in the vault")
        return False
    if not one.fits_a_batch:
        console.warn(
            f"{one.record.shown} has a script whose command or UIDs have a line end or a control character, and is "
            "left out; look in the vault at who has edited it, and delete the script there"
        )
        return False
    if batch == "upgrade" and one.is_without:
        console.warn(f"{one.record.shown} has no script attached, and is left out; --batch set-up attaches it")
        return False
    if batch != "take-out" and len(one.scripts) >= _SEVERAL:
        console.warn(
            f"{one.record.shown} has {len(one.scripts)} scripts attached, and is left out; delete the extra ones"
        )
        return False
    return True


def _configuration(shared: Shared) -> str:
    """Return the UID of the PAM Configuration; raise BadInput where none is named and it is not the only one."""
    found = [shared.configuration] if shared.configuration else configurations(shared.records)
    if len(found) != 1:
        raise BadInput(
            f"{len(found)} PAM Configurations are shared to the Gateway's application",
            next_step="name the one by --configuration UID",
        )
    return found[0]


def _write(directory: Path, contents: Mapping[str, str]) -> list[Path]:
    """Write files into a directory, over what is there; return what was written."""
    if not contents:
        return []
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in contents.items():
            (directory / name).write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise BadInput(f"{directory} cannot be written to ({type(error).__name__})") from None
    return [directory / name for name in contents]
