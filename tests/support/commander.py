"""Keeper Commander's own code on what is written for it, as far as it goes without a vault's server.

A vault in memory has one shared folder and the admin record. What Commander would send, the records it makes, the
scripts it attaches and the commands of a batch, is caught where it leaves Commander.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from keepercommander import api, record_management
from keepercommander.commands import discoveryrotation
from keepercommander.commands.pam_import import base
from keepercommander.commands.pam_import.extend import PAMProjectExtendCommand
from keepercommander.params import KeeperParams
from keepercommander.subfolder import SharedFolderNode

ADMIN = "AdminRecordUid12345678"
ADMIN_TITLE = "Seeq admin"
CONFIGURATION = "ConfigurationUid123456"
FOLDER = "SharedFolderUid1234567"
FOLDER_NAME = "PAM rotations"
# The fields that Keeper's own record type has.
_PAM_USER = (
    *({"$ref": "login", "required": True}, {"$ref": "password"}, {"$ref": "text", "label": "distinguishedName"}),
    *({"$ref": "text", "label": "connectDatabase"}, {"$ref": "checkbox", "label": "managed"}),
    *({"$ref": "script", "label": "rotationScripts"}, {"$ref": "fileRef"}, {"$ref": "oneTimeCode"}),
)
# What Commander adds to what stands on the line.
_OF_COMMANDER = ("command", "action", "trust_cache")
_COMMANDS = {
    "edit": discoveryrotation.PAMCreateRecordRotationCommand,
    "script add": discoveryrotation.PAMScriptAddCommand,
    "script delete": discoveryrotation.PAMScriptDeleteCommand,
}


@dataclass
class Made:
    """A record that Commander made. custom: values by type and label; script: what it attaches; settings: rotation."""

    title: str
    login: str
    folder: str
    custom: dict[tuple[str, str], str]
    script: Any
    settings: Any


@dataclass
class Vault:
    """A vault that somebody is logged in to."""

    patched: pytest.MonkeyPatch
    params: Any = field(default_factory=KeeperParams)
    attached: dict[str, Any] = field(default_factory=dict)
    created: list[tuple[Any, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Put in the folder and the admin record."""
        self.params.session_token = "logged in"
        folder = SharedFolderNode()
        folder.uid, folder.name = FOLDER, FOLDER_NAME
        self.params.folder_cache[FOLDER] = folder
        self.params.record_type_cache = {1: json.dumps({"$id": "pamUser", "fields": _PAM_USER})}
        self.add(ADMIN, "login", ADMIN_TITLE)
        self.patched.setattr(api, "sync_down", lambda *_, **_more: None)
        self.patched.setattr(record_management, "add_record_to_folder", self._create)
        self.patched.setattr(base, "add_pam_scripts", lambda _, uid, scripts: self.attached.update({uid: scripts}))

    def add(self, uid: str, record_type: str, title: str) -> None:
        """Put a record into the shared folder."""
        data = {"title": title, "type": record_type, "fields": [{"type": "login", "value": ["plant"]}], "custom": []}
        self.params.record_cache[uid] = {
            "record_uid": uid,
            "version": 3,
            "revision": 1,
            "shared": False,
            "client_modified_time": 0,
            "record_key_unencrypted": bytes(32),
            "data_unencrypted": json.dumps(data).encode(),
        }
        self.params.subfolder_record_cache.setdefault(FOLDER, set()).add(uid)

    def extend(self, path: Path) -> list[Made]:
        """Do what `pam project extend` does with a file, in its order; return the records that it makes."""
        project: dict[str, Any] = {
            "data": json.loads(path.read_text(encoding="utf-8")),
            "ksm_shared_folders": [{"uid": FOLDER, "name": FOLDER_NAME, "folder_tree": {}}],
            "folders": {},
            "pam_config": {"pam_config_uid": CONFIGURATION},
            "error_count": 0,
        }
        command = PAMProjectExtendCommand()
        command.process_folders(self.params, project)
        command.map_records(self.params, project)
        command.autodetect_folders(self.params, project)
        if project["error_count"]:
            return []
        made = []
        for user in project["mapped_users"]:
            folders = project["folders"]
            named = folders["path_to_folder_uid"].get(user.folder_path)
            user.create_record(self.params, named or folders["users_folder_uid"])
            record, folder = self.created[-1]
            custom = {(one.type, one.label): one.value[0] for one in record.custom}
            login = next(one.value[0] for one in record.fields if one.type == "login")
            [script] = self.attached[user.uid]
            made.append(Made(record.title, login, folder, custom, script, user.rotation_settings))
        return made

    def run_batch(self, *paths: Path) -> list[tuple[str, dict[str, Any]]]:
        """Run batches; return each command that Commander's parsers took, with its arguments."""
        from keepercommander import cli  # noqa: PLC0415 - takes seconds: not where other tests are collected

        taken: list[tuple[str, dict[str, Any]]] = []
        for name, command in _COMMANDS.items():

            def note(_self: object, _params: object, name: str = name, **arguments: Any) -> None:  # noqa: ANN401
                taken.append(
                    (name, {key: value for key, value in arguments.items() if value and key not in _OF_COMMANDER})
                )

            self.patched.setattr(command, "execute", note)
        cli.do_command(self.params, shlex.join(["run-batch", *map(str, paths)]))
        return taken

    def _create(self, _params: object, record: Any, folder: str) -> None:  # noqa: ANN401
        self.created.append((record, folder))


def schedule(cron: str) -> list[dict[str, str]]:
    """Return the schedule that Commander makes of a cron; none where it refuses it, as it goes on without then."""
    try:
        return list(discoveryrotation.parse_schedule_data({"schedule_cron_data": [cron]}) or [])
    except TypeError:
        # What it logs of a refusal is malformed.
        return []
