"""What Keeper Commander takes whole: a project file, and batches of commands for `run-batch`.

Read and tried with Commander 18.1.8; its traps are told where they are avoided. `pam project extend` makes
records and attaches their scripts. Of `rotation_settings` it takes no notice for records that belong to no machine, so
a schedule is set by a batch.
"""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pam_scripts.assembly.script import Script
from pam_scripts.cli.templates.files import Template
from pam_scripts.cli.templates.schedule import with_spread_minute
from pam_scripts.core.fields import Record, is_placeholder
from pam_scripts.core.secret import presentable
from pam_scripts.issuers import values

PYTHON = "/opt/pam-scripts/bin/python"
"""What docs/install.md makes."""


@dataclass(frozen=True, repr=False)
class Attach:
    """How scripts are attached and rotations set.

    file: the script as the machine has it that Commander runs on; empty for what `make bundle` writes. command: what
    the Gateway starts it with; empty for what a record has, else PYTHON. credentials: UIDs of the attached records; in
    a project file, titles. schedule: in Quartz's form.
    """

    schedule: str
    file: str = ""
    command: str = ""
    credentials: Sequence[str] = ()

    def file_of(self, script: Script) -> str:
        """Return the file to attach."""
        return self.file or f"dist/{script.stem}.py"


# -- the project file -----------------------------------------------------------------------------


def project(script: Script, templates: Iterable[Template], attach: Attach, folder: str) -> str:
    """Return the project file of PAM User records. A Login takes no custom fields there: the admin record is left out.

    folder: path of the folder to put them into, as Commander takes it; empty to leave it to Commander.
    """
    users = [_user(script, one, attach, folder) for one in templates if one.record_type == "pamUser"]
    return json.dumps({"pam_data": {"users": users}}, indent=2, ensure_ascii=False) + "\n"


def _user(script: Script, one: Template, attach: Attach, folder: str) -> dict[str, Any]:
    attached: dict[str, Any] = {"file": attach.file_of(script), "script_command": attach.command or PYTHON}
    if attach.credentials:
        attached["additional_credentials"] = list(attach.credentials)
    user: dict[str, Any] = {"type": one.record_type, "title": one.title, "login": _literal(one.login)}
    if folder:
        user["folder_path"] = folder
    user["custom"] = [
        {"type": each.type, "label": each.label, "value": _literal(value)} for each, value in one.values if value
    ]
    user["scripts"] = [attached]
    if not _keeper_rotates(script, {each.label: value for each, value in one.values}):
        cron = with_spread_minute(attach.schedule, one.title)
        user["rotation_settings"] = {
            "rotation": "scripts_only",
            "enabled": "on",
            "schedule": {"type": "CRON", "cron": cron},
        }
    return user


def _literal(value: str) -> str:
    """Return what Commander makes this value of: it obeys one that begins with `$`, and cuts at a first `=`."""
    return f"$BASE64:{base64.b64encode(value.encode()).decode()}" if value.startswith(("$", "=")) else value


def _keeper_rotates(script: Script, entered: Mapping[str, str]) -> bool:
    """Whether Keeper itself changes the password that the script publishes, so that scripts alone must not be set."""
    made_of = entered.get(values.VALUE_FORMAT.label, "")
    return not script.has_keys and (is_placeholder(made_of) or made_of.lower() in ("", values.KEEPER))


# -- batches --------------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class Existing:
    """A record that is there. scripts: those attached to it, as the vault keeps them."""

    script: Script
    record: Record
    record_type: str
    scripts: Sequence[Mapping[str, Any]]

    @property
    def is_without(self) -> bool:
        """Whether no script is attached."""
        return not self.scripts

    @property
    def fits_a_batch(self) -> bool:
        """Whether what is attached has no line end: in a batch, more commands would stand behind it.

        Whoever edits a record writes there what they like, and who runs the batch may do more.
        """
        words = [word for one in self.scripts for word in (one.get("command"), one.get("fileRef"))]
        return all(str(word or "").isprintable() for word in (*words, *self.credentials(Attach(""))))

    def credentials(self, attach: Attach) -> Sequence[str]:
        """Return the UIDs to attach: those that are asked for, else those that it has."""
        return attach.credentials or [uid for one in self.scripts for uid in one.get("recordRef") or []]

    def command(self, attach: Attach) -> str:
        """Return what the script is to be started with."""
        return attach.command or next((str(one["command"]) for one in self.scripts if one.get("command")), PYTHON)


def set_up(records: Iterable[Existing], attach: Attach, configuration: str) -> str:
    """Return the batch that attaches the script where none is attached, and sets every record's rotation."""
    lines = []
    for one in records:
        lines.append(_title(one))
        if one.is_without:
            lines.append(_add(one, attach))
        cron = with_spread_minute(attach.schedule, one.record.title)
        uid = one.record.uid
        if _keeper_rotates(one.script, {values.VALUE_FORMAT.label: one.record.get(values.VALUE_FORMAT.label)}):
            # Which resource Keeper changes the password on is known to the vault alone: its profile stays.
            lines.append(_command("edit", f"--record={uid}", "--schedule-only", f"--schedulecron={cron}", "--force"))
            continue
        profile = (f"--config={configuration}", "--rotation-profile=scripts_only")
        lines.append(
            _command("edit", f"--record={uid}", *profile, f"--schedulecron={cron}", "--enable", "--force"),
        )
    return _batch(lines)


def upgrade(records: Iterable[Existing], attach: Attach) -> tuple[str, str]:
    """Return two batches: one attaches the new file beside the old, the other takes the old one away.

    Two, since a batch goes on after a command that failed: where the file is not found, no record may lose its script.
    """
    records = list(records)
    added = [line for one in records for line in (_title(one), _add(one, attach))]
    deleted = [line for one in records for line in (_title(one), *_delete(one))]
    return _batch(added), _batch(deleted)


def take_out(records: Iterable[Existing]) -> str:
    """Return the batch that takes the schedule and the script off records.

    Not by `--disable`: with scripts only, Commander turns off the rotation of the whole PAM Configuration then.
    """
    lines = []
    for one in records:
        lines.append(_title(one))
        if not _keeper_rotates(one.script, {values.VALUE_FORMAT.label: one.record.get(values.VALUE_FORMAT.label)}):
            profile = ("--rotation-profile=scripts_only", "--schedule-only", "--on-demand")
            lines.append(_command("edit", f"--record={one.record.uid}", *profile, "--force"))
        lines += _delete(one)
    return _batch(lines)


def _title(one: Existing) -> str:
    return f"# {presentable(one.record.title)}"


def _add(one: Existing, attach: Attach) -> str:
    # `--` and `=`, since a UID may begin with a hyphen.
    return _command(
        *("script", "add", f"--script={attach.file_of(one.script)}", f"--script-command={one.command(attach)}"),
        *(f"--add-credential={uid}" for uid in dict.fromkeys(one.credentials(attach))),
        *("--", one.record.uid),
    )


def _delete(one: Existing) -> Iterator[str]:
    for uid in (script.get("fileRef") for script in one.scripts):
        if uid:
            yield _command("script", "delete", f"--script={uid}", "--", one.record.uid)


def _command(*words: str) -> str:
    return shlex.join(("pam", "rotation", *words))


def _batch(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
