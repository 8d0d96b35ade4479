"""A fleet in the sandbox: a thousand keys with their records and mirrors, most of them healthy, some ill.

Each illness is one that somebody had: its name is the finding that names it, with a number behind it where
there are several ways to it. Every healthy member looks as a rotation leaves it, in one of several ways
that are all right.
"""

from __future__ import annotations

import copy
import hashlib
import json
import secrets
import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pam_scripts import __version__
from pam_scripts.rotation.shape import OWNER_TAGS
from sandbox.plant import SEEQ_HOST, Services
from sandbox.services import keeper
from sandbox.services.entra import App

VAULT = "fleet-vault"
STAGE_VAULT = "stage-vault"
LOCKED_VAULT = "locked-vault"
GROUP = "fleet-apps"
"""The resource group of its container apps."""
LOCKED_GROUP = "locked-apps"
"""One that the login may not look at."""
EVERY = 60
"""Days between two rotations of the fleet's schedule."""
ROTATION = {
    "record_type": "pamUser",
    "schedule": f"DAILY at 04:00 UTC with interval count of {EVERY}",
    "gateway": "Fleet gateway",
    "pam_configuration": "Fleet Azure (pamAzureConfiguration)",
}
"""What Commander lists of a healthy record's rotation."""
BUILD = f"{__version__}+1a2b3c4d"
"""Name of the file that is attached to all of its records."""
LIFE = 90
"""Days that its keys live."""


@dataclass
class Member:
    """One key of the fleet, or one published value: whose it is, its record, its mirrors, when it was rotated last.

    custom: the record's fields, to be changed before the record is made. secrets: the mirror's, by name:
    value and tags and the rest; staged: those of a second mirror, in STAGE_VAULT. admin: UIDs of the records
    attached to its script. aws: the value of its mirror in AWS, empty where there is none;
    aws_name: of the secret there; aws_mark: whose its version says that it is.
    commands: one for each script that is attached. rotation: what Commander lists of it, empty for nothing.
    app: what the sandbox makes of the container app that reads it, empty for none; app_version: of the secret that it
    names; app_ready: whether its newest revision came up.
    """

    stem: str
    number: int
    uid: str
    owner: str
    rotation_id: str
    rotated_at: datetime
    expires_at: datetime | None
    key_id: str
    value: str = field(repr=False)
    custom: list[keeper.Field] = field(default_factory=list, repr=False)
    secrets: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False)
    staged: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False)
    record_type: str = "pamUser"
    editable: bool = True
    admin: list[str] = field(default_factory=list)
    aws: str = field(default="", repr=False)
    aws_name: str = ""
    aws_mark: str = ""
    app: dict[str, Any] = field(default_factory=dict)
    app_version: str = ""
    app_ready: bool = True
    rotation: dict[str, Any] = field(default_factory=lambda: dict(ROTATION))
    commands: list[str] = field(default_factory=lambda: ["/opt/pam-scripts/bin/python"])

    def lose_mirror(self) -> None:
        """Have no mirror."""
        self.put("key_vault_name", "")
        self.secrets, self.staged = {}, {}

    def mirror_to_aws(self, admin: str) -> None:
        """Have a mirror in AWS in place of the vault's. admin: UID of the record with the access key."""
        text = str(self.secrets[self.owner]["value"])
        self.lose_mirror()
        self.put("aws_secret_id", self.owner)
        self.put("aws_region", "eu-central-1")
        self.aws, self.aws_name, self.aws_mark, self.admin = text, self.owner, f"keeper-record={self.uid}", [admin]

    def also_mirror_to_aws(self, admin: str) -> None:
        """Have a mirror in AWS beside the vault's. admin: as for `mirror_to_aws`."""
        name, tags = f"fleet/{self.uid}", next(iter(self.secrets.values()))["tags"]
        self.put("aws_secret_id", name)
        self.put("aws_region", "eu-central-1")
        self.aws, self.aws_name, self.admin = json.dumps({"value": self.value}), name, [*self.admin, admin]
        self.aws_mark = next(f"{tag}={tags[tag]}" for tag in OWNER_TAGS if tag in tags)

    def mirror_twice(self) -> None:
        """Have a mirror in a second vault, that is like the first."""
        self.put("key_vault_name", f"{VAULT}, {STAGE_VAULT}")
        self.staged = copy.deepcopy(self.secrets)

    def keep_previous(self) -> None:
        """Have the value be made here, and the one before under a second name, as the last rotation has set it."""
        self.put("value_format", "hex:16")
        self.put("value", self.value)
        self.put("secret_name_previous", f"{self.owner}-previous")
        second = copy.deepcopy(self.secrets[self.owner])
        self.secrets[f"{self.owner}-previous"] = {**second, "value": "the value before"}

    def be_read(self, *, version: str = "", ready: bool = True, elsewhere: str = "") -> None:
        """Have a container app that reads the mirror's secret, or another one. version: that it names."""
        self.put("container_apps", f"{GROUP}/app-{self.number}")
        self.app = {"reads": {"KEY": (VAULT, elsewhere or next(iter(self.secrets)))}}
        self.app_version, self.app_ready = version, ready

    def log(self, *entries: str) -> None:
        """Have an ops log with these entries, the newest first."""
        self.put("last_rotation", "\n\n".join(entries))

    @property
    def entry(self) -> str:
        """What the last rotation has written into the ops log."""
        return _entry(self.rotated_at, self.rotation_id)

    def put(self, label: str, value: str) -> None:
        """Enter a value into the record."""
        found = next((item for item in self.custom if item.get("label") == label), None)
        if found is None:
            self.custom.append(keeper.text(label, value))
        else:
            found["value"] = [value] if value else []


class Fleet(Services):
    """All services, and `size` records of one team.

    ill: the names of the illnesses, each of which one member gets (see ILLNESSES); the rest is healthy.
    everywhere: whether each healthy key has a mirror in AWS, too, and an app that reads it.
    uids: the record of each illness by its name; for one that takes two records, the second is under NAME+.
    healthy: the uids of the others. rotations: what Commander lists of them, for `--schedules`.
    apps: the names of the container apps that read their secrets.
    """

    def __init__(
        self, directory: Path, size: int = 1000, ill: Collection[str] | None = None, *, everywhere: bool = False
    ) -> None:
        super().__init__(directory)
        self.everywhere = everywhere
        self.uids: dict[str, str] = {}
        self.healthy: list[str] = []
        self.rotations: list[dict[str, Any]] = []
        self.tenant_id = self.entra.add_tenant()
        for vault in (VAULT, STAGE_VAULT, LOCKED_VAULT):
            self.key_vault.add_vault(vault, self.tenant_id)
        self.azure_app = self.entra.add_application(self.tenant_id, "PAM Gateway")
        _, azure_secret = self.entra.add_secret(self.azure_app.client_id)
        for vault in (VAULT, STAGE_VAULT):
            self.key_vault.grant(vault, self.azure_app.client_id)
        self.published: set[str] = set()
        self.apps: list[str] = []
        self.subscription_id = self.container_apps.add_subscription(self.tenant_id)
        for group in (GROUP, "no-such-group"):
            scope = f"/subscriptions/{self.subscription_id}/resourceGroups/{group}"
            self.container_apps.grant(scope, self.azure_app.client_id)
        self.graph.grant(self.azure_app.client_id, "Application.ReadWrite.OwnedBy", "Policy.Read.All")
        self.graph.restrict(longest="P60D", created_after=self.clock.now())
        admin_password = "correct horse battery staple"
        self.seeq.add_user("rotation.admin", admin_password, is_admin=True)
        self.admin_uid = self.add_admin("Seeq admin", "rotation.admin", admin_password)
        self.configuration_uid = self.keeper.add_record(
            "pamAzureConfiguration",
            "Fleet Azure",
            fields=[keeper.text("azureId", "fleet")],
            custom=[
                keeper.text("subscription_id", self.subscription_id),
                keeper.secret("Tenant Id", self.tenant_id),
                keeper.secret("Client Id", self.azure_app.client_id),
                keeper.secret("Client Secret", azure_secret),
            ],
        )
        key_id, key = self.aws.add_identity("fleet")
        keys = [keeper.text("aws_access_key_id", key_id), keeper.secret("aws_secret_access_key", key)]
        self.aws_admin_uid = self.keeper.add_record("login", "AWS admin", custom=keys)
        # What else is in such a folder, and none of the audit's business.
        self.keeper.add_record("pamUser", "Database user", fields=[keeper.login("sa"), keeper.password("unused")])
        self.keeper.add_record("login", "A web site", fields=[keeper.login("me"), keeper.password("unused")])
        names = list(ILLNESSES) if ill is None else [name for name in ILLNESSES if name in ill]
        for number, name in enumerate(names):
            ILLNESSES[name](self, name, number)
        for number in range(len(self.uids), size):
            self._make(_healthy(self, number))

    def secrets(self) -> set[str]:
        """Return every secret value that was ever issued or given here."""
        return {*super().secrets(), *self.published}

    # -- making members -----------------------------------------------------------------------------

    def member(self, stem: str, number: int, *, rotated_days_ago: float = 10, life: float = LIFE) -> Member:
        """Make a key of its own target, and all that a rotation of so many days ago has left, but the record."""
        now = self.clock.now()
        rotated_at = now - timedelta(days=rotated_days_ago)
        rotation_id = f"{rotated_at:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
        uid = keeper.new_uid()  # a key's label names its record before there is one
        label = f"keeper:{uid}:{rotation_id}"
        ends_in = life - rotated_days_ago
        expires_at: datetime | None = now + timedelta(days=ends_in)
        if stem == "azure":
            app = self.entra.add_application(self.tenant_id, f"Service {number}")
            owner = app.object_id
            key_id, value = self.entra.add_secret(
                app.client_id, display_name=label, created_days_ago=rotated_days_ago, expires_in_days=ends_in
            )
        elif stem == "user":
            owner = self.seeq.add_user(f"user{number}@example.com", f"pass-{uuid.uuid4()}", validity_minutes=90 * 1440)
            key_id, value = self.seeq.add_key(owner, label, created_days_ago=rotated_days_ago, description="Keeper")
            expires_at = None
        elif stem == "value":
            owner, key_id, value, expires_at = f"Service{number}--Password", "", secrets.token_hex(16), None
            self.published.add(value)
        else:
            owner = self.seeq.add_application(f"Report {number}")
            key_id, value = self.seeq.add_key(owner, label, created_days_ago=rotated_days_ago, expires_in_days=ends_in)
        made_member = Member(stem, number, uid, owner, rotation_id, rotated_at, expires_at, key_id, value)
        self._fill_in(made_member)
        return made_member

    def _fill_in(self, member: Member) -> None:
        """Write the record's fields and the mirror's secrets as a rotation does."""
        target = {
            "azure": keeper.text("application_object_id", member.owner),
            "user": keeper.text("username", f"user{member.number}@example.com"),
            "application": keeper.text("application_id", member.owner),
            "value": keeper.text("secret_name", member.owner),
        }[member.stem]
        member.custom = [
            target,
            keeper.text("key_vault_name", VAULT),
            keeper.text("dry_run", "False"),
            keeper.text("deadline_seconds", "<seconds from 10 to 3600; leave this for the default>"),
            keeper.text("environment", "<dev, stage or production, for the ops log; leave this for none>"),
            keeper.text("rotated_at", _iso(member.rotated_at)),
            keeper.multiline("last_rotation", member.entry),
        ]
        if member.stem == "value":
            self._fill_in_value(member)
            return
        labels = (
            ("client_secret_id", "client_secret")
            if member.stem == "azure"
            else ("access_key_id", "access_key_password")
        )
        member.custom += [
            keeper.text("take_over", "False"),
            keeper.text(labels[0], member.key_id),
            keeper.secret(labels[1], member.value),
            *([keeper.text("expires", _iso(member.expires_at))] if member.expires_at else []),
            keeper.text("NOOP", "True"),
            keeper.text("Private Key Type", "ssh-rsa"),
        ]
        if member.stem != "user":
            member.put("expiry_days", str(LIFE))
        stem, tag, owner = {
            "azure": ("azure-app", "entra-application-id", member.owner),
            "user": ("seeq-user", "seeq-user-id", f"user{member.number}@example.com"),
            "application": ("seeq-app", "seeq-application-id", member.owner),
        }[member.stem]
        parts = ("secret-id", "secret") if member.stem == "azure" else ("key-id", "key-password")
        word = owner.replace("@", "-").replace(".", "-")
        ends = {"expiry": _iso(member.expires_at)} if member.expires_at else {}
        for part, value in zip(parts, (member.key_id, member.value), strict=True):
            tags = {tag: owner, "key-type": part, **ends, "rotated-at": _iso(member.rotated_at)}
            member.secrets[f"{stem}-{word}-{part}"] = {
                "value": value,
                "tags": {**tags, "rotation-id": member.rotation_id},
                "expires_on": member.expires_at,
            }
        member.admin = [] if member.stem == "azure" else [self.admin_uid]

    def _fill_in_value(self, member: Member) -> None:
        """Write what publishing leaves: of Keeper's own passwords the record has no copy."""
        made_here = member.number % 3 == 0
        member.put("value_format", "hex:16" if made_here else "keeper")
        member.put("value_template", "Server=db.example.com;User Id={login};Password={password}")
        member.custom.append(keeper.secret("value", member.value if made_here else "<set by rotation>"))
        tags = {"keeper-record": member.uid, "key-type": "value", "rotated-at": _iso(member.rotated_at)}
        text = f"Server=db.example.com;User Id=member {member.number};Password={member.value}"
        member.secrets[member.owner] = {"value": text, "tags": {**tags, "rotation-id": member.rotation_id}}

    def _make(self, member: Member, illness: str = "", vault: str = VAULT) -> str:
        """Put the member's record into Keeper and its secrets into the vault."""
        titles = {
            "azure": "Azure app secret",
            "user": "Seeq user key",
            "application": "Seeq application key",
            "value": "Published secret",
        }
        scripts = [
            {"fileRef": "FileRecordsUid12345678", "command": command, "recordRef": member.admin}
            for command in member.commands
        ]
        self.keeper.add_record(
            member.record_type,
            f"{titles[member.stem]}: {illness or f'member {member.number}'}",
            uid=member.uid,
            fields=[
                keeper.login(
                    f"user{member.number}@example.com" if member.stem == "user" else f"member {member.number}"
                ),
                keeper.password("unused"),
                {"type": "script", "label": "rotationScripts", "value": scripts},
            ],
            custom=member.custom,
            editable=member.editable,
        )
        for name, secret in member.secrets.items():
            self.key_vault.set(vault, name, **secret)
        for name, secret in member.staged.items():
            self.key_vault.set(STAGE_VAULT, name, **secret)
        if member.app:
            app = self.container_apps.add_app(self.subscription_id, GROUP, f"app-{member.number}", **member.app)
            self.apps.append(app.name)
            ready, version = member.app_ready, member.app_version
            if version:
                app.reads = {
                    name: (source[0], f"{source[1]}/{version}") for name, source in member.app["reads"].items()
                }
            if not ready:
                self.container_apps.add_revision(app, ready=False)
        if member.aws:
            mark = hashlib.sha256(f"{member.aws_mark} {member.rotation_id}".encode()).hexdigest()[:38]
            self.aws.add_secret(member.aws_name)
            self.aws.put(member.aws_name, member.aws, version_id=f"{member.rotation_id}-{mark}")
        if member.rotation:
            self.rotations.append({"record_uid": member.uid, "record_title": "As in the vault", **member.rotation})
        if illness:
            self.uids[illness] = member.uid
        else:
            self.healthy.append(member.uid)
        return member.uid

    def add_admin(self, title: str, username: str, password: str) -> str:
        """Add a record with a login to the Seeq server, and return its uid."""
        return self.keeper.add_record(
            "login",
            title,
            fields=[keeper.login(username), keeper.password(password)],
            custom=[keeper.text("seeq_server_url", f"https://{SEEQ_HOST}")],
        )


def _iso(moment: datetime | None) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if moment else ""


def _entry(moment: datetime, rotation_id: str, result: str = "rotated", build: str = BUILD) -> str:
    """Return an entry of the ops log, as far as anybody reads it."""
    return (
        f"Date: {_iso(moment)}\nResult: {result}\nRotation: {rotation_id}\n"
        f"Rotated by: pam-scripts {build} on gateway\nReason: routine rotation"
    )


# -- the healthy ----------------------------------------------------------------------------------


def _healthy(fleet: Fleet, number: int) -> Member:
    """Make a member that nothing is wrong with, in one of the ways that are all right."""
    stem = {7: "value", 8: "user", 9: "azure"}.get(number % 10, "application")
    member = fleet.member(stem, number, rotated_days_ago=number % (EVERY - 1) + 0.5)
    way = number // 10 % 8
    if way == 5:  # a rotation is at work at this moment
        until = fleet.clock.now() + timedelta(minutes=2)
        member.put("rotation_lease", f"20261122T100000Z-00000000 until {_iso(until)}")
    if way == 6:  # a rotation failed, the one after it did not
        failed = member.rotated_at - timedelta(days=1)
        member.log(member.entry, _entry(failed, "20260101T000000Z-00000000", "failed: keeper: no answer in time"))
    if way in (1, 4) and member.rotated_at.day <= 28:  # its schedule is an expression
        months = ",".join(str((member.rotated_at.month + later - 1) % 12 + 1) for later in range(0, 12, 2))
        cron = f"0 {member.rotated_at:%M %H} {member.rotated_at.day} {months} ?"
        member.rotation["schedule"] = f'RotateActionJob|[{{"type": "CRON", "cron": "{cron}", "tz": "Etc/UTC"}}]'
    if way == 7:  # a mirror in a second vault
        member.mirror_twice()
    if stem == "value":
        _healthy_value(fleet, member, way)
    else:
        _healthy_key(fleet, member, way)
    if fleet.everywhere and member.secrets and stem != "value":
        member.also_mirror_to_aws(fleet.aws_admin_uid)
        if not member.app:
            member.be_read()
    return member


def _healthy_value(fleet: Fleet, member: Member, way: int) -> None:
    """Change a published value in a way that is all right."""
    if way == 0:  # AWS is its only mirror
        member.mirror_to_aws(fleet.aws_admin_uid)
    elif way == 1:  # services accept the one before, too
        member.keep_previous()
    elif way == 2:  # and what that name held already, the last rotation has left there
        member.keep_previous()
        member.be_read(elsewhere=f"{member.owner}-previous")
        second = member.secrets[f"{member.owner}-previous"]
        second["tags"]["rotation-id"] = "20260101T000000Z-00000000"
        member.log(member.entry, _entry(member.rotated_at - timedelta(days=60), "20260101T000000Z-00000000"))
    elif way == 5:  # the rotation at work has written one of two vaults so far
        member.mirror_twice()
        _older(member.staged)


def _healthy_key(fleet: Fleet, member: Member, way: int) -> None:
    """Change a key, or what is around it, in a way that is all right."""
    stem = member.stem
    if way == 0:  # no mirror
        member.lose_mirror()
    elif way == 1 and stem == "application":  # the key before lives on, as it is told to
        member.put("keep_previous_keys", "1")
        fleet.seeq.add_key(member.owner, f"keeper:{member.uid}:before", created_days_ago=70, expires_in_days=20)
    elif way == 2 and stem == "application":  # an expired key is still listed
        fleet.seeq.add_key(member.owner, f"keeper:{member.uid}:long-ago", created_days_ago=100, expires_in_days=-10)
    elif way == 3 and stem == "application":  # an app reads it from the vault
        member.be_read()
    elif way == 3 and stem == "user":  # the user has keys for other purposes
        fleet.seeq.add_key(member.owner, "a spreadsheet", created_days_ago=5)
    elif way == 4:  # the combined secret too
        member.put("key_vault_combined", "True")
        name, secret = next(iter(member.secrets.items()))
        stem_of_name = name.rpartition("-secret-id" if stem == "azure" else "-key-id")[0]
        both = "credential" if stem == "azure" else "key"
        member.secrets[f"{stem_of_name}-{both}"] = {**secret, "tags": {**secret["tags"], "key-type": both}}
    elif way == 5 and stem == "application":  # the rotation at work has made its key
        fleet.seeq.add_key(member.owner, f"keeper:{member.uid}:20261122T100000Z-00000000")
    elif way == 6 and stem == "azure":  # the client id in place of the object id
        app = next(app for app in fleet.entra.applications() if app.object_id == member.owner)
        member.put("application_object_id", app.client_id)
        member.put("secret_name_prefix", "by-client-id")
        member.secrets = {
            name.replace(f"azure-app-{member.owner}", f"by-client-id-{app.client_id}"): {
                **secret,
                "tags": {**secret["tags"], "entra-application-id": app.client_id},
            }
            for name, secret in member.secrets.items()
        }


# -- the ill --------------------------------------------------------------------------------------

Ailing = Callable[[Fleet, str, int], None]


def _on(change: Callable[[Fleet, Member], object], stem: str = "application", **options: float) -> Ailing:
    """Return what makes a healthy member of a stem and then changes it."""

    def make(fleet: Fleet, name: str, number: int) -> None:
        member = fleet.member(stem, number, **options)
        change(fleet, member)
        fleet._make(member, name)

    return make


def _nothing(_fleet: Fleet, _member: Member) -> None:
    """Change nothing: the dates alone make it ill."""


def _put(label: str, value: str) -> Callable[[Fleet, Member], object]:
    return lambda _fleet, member: member.put(label, value)


def _key(label: str, *, held: bool = True, days_ago: float = 1) -> Callable[[Fleet, Member], object]:
    """Add a live key; without `held` the one in Keeper is deleted."""

    def change(fleet: Fleet, member: Member) -> None:
        fleet.seeq.add_key(member.owner, label.format(uid=member.uid), created_days_ago=days_ago)
        if not held:
            fleet.seeq.delete_key(member.key_id)

    return change


def _secret(which: int, **properties: object) -> Callable[[Fleet, Member], object]:
    """Set properties of one of the mirror's secrets."""

    def change(_fleet: Fleet, member: Member) -> None:
        secret = list(member.secrets.values())[which]
        tags = properties.get("tags")
        changed = {**properties, "tags": {**secret["tags"], **tags}} if isinstance(tags, dict) else properties
        secret.update(changed)

    return change


def _older(mirror: dict[str, dict[str, Any]]) -> None:
    """Make a mirror that of another rotation."""
    for secret in mirror.values():
        secret["tags"] = {**secret["tags"], "rotation-id": "20260101T000000Z-00000000"}


def _second_name(change: Callable[[dict[str, Any]], object]) -> Callable[[Fleet, Member], object]:
    """Keep the value before under a second name, and change what stands there."""

    def ail(_fleet: Fleet, member: Member) -> None:
        member.keep_previous()
        change(member.secrets[f"{member.owner}-previous"])

    return ail


def _without_second(_fleet: Fleet, member: Member) -> None:
    member.keep_previous()
    member.secrets.popitem()


def _in_second(change: Callable[[dict[str, dict[str, Any]]], object]) -> Callable[[Fleet, Member], object]:
    """Change the second of two mirrors."""

    def ail(_fleet: Fleet, member: Member) -> None:
        member.mirror_twice()
        change(member.staged)

    return ail


def _missing_in_aws(fleet: Fleet, member: Member) -> None:
    """Somebody has deleted the secret in AWS for good."""
    member.mirror_to_aws(fleet.aws_admin_uid)
    member.aws = ""


def _older_in_aws(fleet: Fleet, member: Member) -> None:
    """Keeper has a rotation after the one that AWS has."""
    member.mirror_to_aws(fleet.aws_admin_uid)
    member.log(_entry(member.rotated_at, "20261201T000000Z-00000000"))


def _replica_in_aws(fleet: Fleet, member: Member) -> None:
    """Name the region of a replica."""
    member.mirror_to_aws(fleet.aws_admin_uid)
    name, elsewhere = member.owner, fleet.aws.regions[1]
    member.put("aws_region", elsewhere)
    fleet.aws.add_secret(name, member.aws)
    fleet.aws.replicate(name, elsewhere)
    member.aws = ""


def _in_aws(change: Callable[[Fleet, str], object]) -> Ailing:
    """Return what makes a value that is mirrored in AWS, and then changes its secret there, by its name."""

    def make(fleet: Fleet, name: str, number: int) -> None:
        member = fleet.member("value", number)
        member.mirror_to_aws(fleet.aws_admin_uid)
        fleet._make(member, name)
        change(fleet, member.owner)

    return make


def _failed(error: str) -> Callable[[Fleet, Member], object]:
    """Have a rotation fail after the one that the record holds the key of."""

    def ail(_fleet: Fleet, member: Member) -> None:
        failed = member.rotated_at + timedelta(days=1)
        member.log(_entry(failed, "20261201T000000Z-00000000", f"failed: {error}"), member.entry)

    return ail


def _vaults_differ(_fleet: Fleet, member: Member) -> None:
    """Nothing tells which of the two vaults has what Keeper has."""
    member.mirror_twice()
    _older(member.staged)
    member.log()


def _unpublished(_fleet: Fleet, member: Member) -> None:
    for label in ("value", "rotated_at", "last_rotation"):
        member.put(label, "<set by rotation>")
    member.secrets = {}


def _set(attribute: str, value: object) -> Callable[[Fleet, Member], object]:
    return lambda _fleet, member: setattr(member, attribute, value)


def _no_live_key(fleet: Fleet, member: Member) -> None:
    fleet.seeq.delete_key(member.key_id)


def _gone(_fleet: Fleet, member: Member) -> None:
    member.put("application_id", str(uuid.uuid4()).upper())
    member.lose_mirror()


def _oidc(fleet: Fleet, member: Member) -> None:
    member.put("application_id", fleet.seeq.add_application("Federated", oidc_directory_id=str(uuid.uuid4())))
    member.lose_mirror()


def _graph_gone(_fleet: Fleet, member: Member) -> None:
    member.put("application_object_id", str(uuid.uuid4()))
    member.lose_mirror()


def _left(_fleet: Fleet, member: Member) -> None:
    member.put("username", "left.the.company@example.com")
    member.lose_mirror()


def _mixed(_fleet: Fleet, member: Member) -> None:
    list(member.secrets.values())[1]["tags"]["rotation-id"] = "20260101T000000Z-00000000"


def _differs(_fleet: Fleet, member: Member) -> None:
    _older(member.secrets)


def _missing(_fleet: Fleet, member: Member) -> None:
    member.secrets.popitem()


def _login_refused(fleet: Fleet, member: Member) -> None:
    member.admin = [fleet.add_admin("Seeq admin, password changed", "rotation.admin", "an old password")]


def _not_allowed(fleet: Fleet, member: Member) -> None:
    admin = fleet.add_admin("Seeq admin with a limit", "rotation.admin", "correct horse battery staple")
    fleet.keeper.edit(admin, lambda data: data["custom"].append(keeper.text("allow_targets", "another application")))
    member.admin = [admin]


def _no_right(fleet: Fleet, member: Member) -> None:
    fleet.seeq.add_user("reader", "the reader's password")
    member.admin = [fleet.add_admin("Seeq reader", "reader", "the reader's password")]


def _not_shared(fleet: Fleet, member: Member) -> None:
    member.admin = [fleet.keeper.add_record("login", "private", shared=False)]


def _twice(_fleet: Fleet, member: Member) -> None:
    member.custom.append(keeper.text("Access Key Id", "another"))


def _visible(_fleet: Fleet, member: Member) -> None:
    next(item for item in member.custom if item.get("label") == "access_key_password")["type"] = "text"


def _never(fleet: Fleet, member: Member) -> None:
    fleet.seeq.delete_key(member.key_id)
    fleet.seeq.add_key(member.owner, "made by hand")
    for label in ("access_key_id", "access_key_password", "expires", "rotated_at", "last_rotation"):
        member.put(label, "<set by rotation>")
    member.secrets = {}


def _listed(**told: str) -> Callable[[Fleet, Member], object]:
    """Have Commander list something else of its rotation."""
    return lambda _fleet, member: member.rotation.update(told)


def _built(build: str) -> Callable[[Fleet, Member], object]:
    """Have been rotated by another build."""
    return lambda _fleet, member: member.log(_entry(member.rotated_at, member.rotation_id, build=build))


def _expired_lease(fleet: Fleet, member: Member) -> None:
    until = fleet.clock.now() - timedelta(hours=3)
    member.put("rotation_lease", f"20261122T100000Z-00000000 until {_iso(until)}")


def _same_target(fleet: Fleet, name: str, number: int) -> None:
    """Two records for one application, of which the second was never rotated."""
    first, second = fleet.member("application", number), fleet.member("application", number)
    _never(fleet, second)
    second.put("application_id", first.owner)
    fleet._make(first, name)
    fleet._make(second, f"{name}+")


def _locked(fleet: Fleet, name: str, number: int) -> None:
    member = fleet.member("application", number)
    member.put("key_vault_name", LOCKED_VAULT)
    fleet._make(member, name, LOCKED_VAULT)


def _deleted(fleet: Fleet, name: str, number: int) -> None:
    member = fleet.member("application", number)
    fleet._make(member, name)
    fleet.key_vault.delete(VAULT, next(iter(member.secrets)))


def _foreign(_fleet: Fleet, member: Member) -> None:
    for secret in member.secrets.values():
        secret["tags"]["seeq-application-id"] = str(uuid.uuid4()).upper()


def _app(fleet: Fleet, member: Member) -> App:
    return next(app for app in fleet.entra.applications() if app.object_id == member.owner)


def _full(fleet: Fleet, member: Member) -> None:
    app = _app(fleet, member)
    app.audience = "PersonalMicrosoftAccount"
    fleet.entra.add_secret(app.client_id, created_days_ago=400, expires_in_days=-30)


ILLNESSES: dict[str, Ailing] = {
    "expired": _on(_nothing, rotated_days_ago=30, life=29),
    "expires-first": _on(_nothing, rotated_days_ago=20, life=40),
    "overdue": _on(_nothing, rotated_days_ago=70),
    "expires-soon": _on(_nothing, rotated_days_ago=80),
    "short-life": _on(_put("expiry_days", "45")),
    "no-live-key": _on(_no_live_key),
    "not-alive": _on(_key("made by hand", held=False)),
    "left-behind": _on(_key("keeper:{uid}:20261101T000000Z-00000000")),
    "old-keys": _on(_key("left over from a project", days_ago=200)),
    "other-record": _on(_key("keeper:AnotherRecordsUid12345:20261101T000000Z-00000000")),
    "same-target": _same_target,
    "archived": _on(lambda fleet, member: fleet.seeq.archive_application(member.owner)),
    "gone": _on(_gone),
    "gone-2": _on(_graph_gone, "azure"),
    "identity-provider": _on(_oidc),
    "vault-mixed": _on(_mixed),
    "vault-differs": _on(_differs, "azure"),
    "vault-missing": _on(_missing),
    "vault-deleted": _deleted,
    "vault-disabled": _on(_secret(1, enabled=False)),
    "vault-foreign": _on(_foreign),
    "vault-expiry": _on(_secret(0, tags={"expiry": "2027-12-31T00:00:00Z"})),
    "vault-unreadable": _locked,
    "vault-unreadable-2": _on(_put("key_vault_name", "no-such-vault")),
    "not-editable": _on(_set("editable", False)),
    "not-pam-user": _on(_set("record_type", "login")),
    "setting": _on(_put("application_id", "<Seeq ID of the application>")),
    "setting-2": _on(_put("seeq_server_url", "http://seeq.example.com")),
    "setting-3": _on(_put("key_vault_name", "no vault")),
    "setting-4": _on(_put("keep_previous_keys", "all")),
    "attached": _on(_not_shared),
    "no-admin": _on(_set("admin", [])),
    "not-allowed": _on(_not_allowed),
    "admin-refused": _on(_login_refused),
    "admin-rights": _on(_no_right),
    "duplicate-field": _on(_twice),
    "visible-value": _on(_visible),
    "unknown-field": _on(_put("keep_previous_key", "1")),
    "half-credential": _on(_put("access_key_password", "")),
    "never-rotated": _on(_never),
    "lease": _on(_expired_lease),
    "last-failed": _on(_failed("seeq: create key: 500 Internal Server Error; all put back as it was")),
    "last-failed-2": _on(_failed("key vault: set secret S: 403 Forbidden; the new value is in use already"), "value"),
    "no-rotation": _on(_set("rotation", {})),
    "no-schedule": _on(_listed(schedule="[Manual Rotation]")),
    "no-schedule-2": _on(_listed(schedule="[empty]"), "value"),
    "rotation-disabled": _on(lambda _fleet, member: member.rotation.update(disabled=True)),
    "no-gateway": _on(_listed(gateway="[Does not exist]")),
    "no-gateway-2": _on(_listed(pam_configuration="[No config found]")),
    "consumer-gone": _on(_put("container_apps", f"{GROUP}/no-such-app")),
    "consumer-gone-2": _on(_put("container_apps", "no-such-group/app-1"), "value"),
    "consumer-unreadable": _on(_put("container_apps", f"{LOCKED_GROUP}/app-1")),
    "consumer-version": _on(lambda _fleet, member: member.be_read(version="0123456789abcdef0123456789abcdef")),
    "consumer-ill": _on(lambda _fleet, member: member.be_read(ready=False)),
    "consumer-elsewhere": _on(lambda _fleet, member: member.be_read(elsewhere="another-team-s-secret")),
    "no-script": _on(_set("commands", [])),
    "no-script-2": _on(_set("commands", []), "value"),
    "no-command": _on(_set("commands", [""])),
    "several-scripts": _on(_set("commands", ["python3", "python3"])),
    "old-build": _on(_built("0.1.9+1a2b3c4d")),
    "old-build-2": _on(_built("0.1.9")),
    "other-build": _on(_built(f"{__version__}+99999999")),
    "record-expiry": _on(_put("expires", "2030-01-01T00:00:00Z")),
    "dry-run": _on(_put("dry_run", "True")),
    "diagnose": _on(_put("diagnose", "True")),
    "take-over": _on(_put("take_over", "True")),
    "user": _on(lambda fleet, member: fleet.seeq.disable_user(member.owner), "user"),
    "user-login": _on(_put("days_between_rotations", "365"), "user"),
    "gone-3": _on(_left, "user"),
    "not-pam-user-2": _on(_set("record_type", "login"), "value"),
    "vault-missing-2": _on(_in_second(lambda mirror: mirror.popitem())),
    "vault-differs-2": _on(_in_second(_older)),
    "vault-missing-3": _on(_in_second(lambda mirror: mirror.clear()), "value"),
    "vault-disabled-2": _on(_secret(0, enabled=False), "value"),
    "vault-missing-4": _on(_missing_in_aws, "value"),
    "vault-differs-4": _on(_older_in_aws, "value"),
    "vault-replica": _on(_replica_in_aws, "value"),
    "vault-managed": _in_aws(lambda fleet, name: fleet.aws.give_to_service(name, "rds")),
    "vault-rotated": _in_aws(lambda fleet, name: fleet.aws.rotate_by_itself(name)),
    "vault-foreign-2": _on(_secret(0, tags={"keeper-record": "AnotherRecordsUid12345"}), "value"),
    "vault-differs-3": _on(_in_second(_older), "value"),
    "vaults-differ": _on(_vaults_differ, "value"),
    "vault-previous": _on(_second_name(lambda second: second["tags"].pop("rotation-id")), "value"),
    "vault-previous-2": _on(_second_name(lambda second: _older({"": second})), "value"),
    "vault-missing-5": _on(_without_second, "value"),
    "vault-foreign-3": _on(
        _second_name(lambda second: second["tags"].update({"keeper-record": "AnotherRecordsUid12345"})), "value"
    ),
    "overdue-2": _on(_nothing, "value", rotated_days_ago=70),
    "dry-run-2": _on(_put("dry_run", "True"), "value"),
    "setting-5": _on(_put("value_format", "hex:4"), "value"),
    "setting-6": _on(_put("secret_name", "<name of the secret in every Key Vault>"), "value"),
    "setting-7": _on(lambda _fleet, member: member.lose_mirror(), "value"),
    "setting-8": _on(_put("value_template", "Server=db.example.com;Password={passwort}"), "value"),
    "never-rotated-2": _on(_unpublished, "value"),
    "cannot-log-in": _on(lambda fleet, member: setattr(_app(fleet, member), "has_principal", False), "azure"),
    "cannot-log-in-2": _on(lambda fleet, member: setattr(_app(fleet, member), "is_enabled", False), "azure"),
    "policy": _on(lambda fleet, member: setattr(_app(fleet, member), "created_on", fleet.clock.now()), "azure"),
    "no-room": _on(_full, "azure"),
    "principal-secrets": _on(
        lambda fleet, member: fleet.entra.add_principal_secret(_app(fleet, member).client_id), "azure"
    ),
}
"""What makes each illness, by the finding that names it."""
