"""A fleet in the sandbox: a thousand keys with their records and mirrors, most of them healthy, some ill.

Each illness is one that somebody had: its name is the finding that names it, with a number behind it where
there are several ways to it. Every healthy member looks as a rotation leaves it, in one of several ways
that are all right.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sandbox.plant import SEEQ_HOST, Services
from sandbox.services import entra, keeper

VAULT = "fleet-vault"
LOCKED_VAULT = "locked-vault"
EVERY = 60
"""Days between two rotations of the fleet's schedule."""
LIFE = 90
"""Days that its keys live."""


@dataclass
class Member:
    """One key of the fleet: whose it is, its record, its mirror, and when it was rotated last.

    custom: the record's fields, to be changed before the record is made. secrets: the mirror's, by name:
    value and tags and the rest. admin: UIDs of the records attached to its script.
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
    record_type: str = "pamUser"
    editable: bool = True
    admin: list[str] = field(default_factory=list)

    def lose_mirror(self) -> None:
        """Have no mirror."""
        self.put("key_vault_name", "")
        self.secrets = {}

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
    uids: the record of each illness by its name; for one that takes two records, the second is under NAME+.
    healthy: the uids of the others.
    """

    def __init__(self, directory: Path, size: int = 1000, ill: Collection[str] | None = None) -> None:
        super().__init__(directory)
        self.uids: dict[str, str] = {}
        self.healthy: list[str] = []
        self.tenant_id = self.entra.add_tenant()
        for vault in (VAULT, LOCKED_VAULT):
            self.key_vault.add_vault(vault, self.tenant_id)
        self.azure_app = self.entra.add_application(self.tenant_id, "PAM Gateway")
        _, azure_secret = self.entra.add_secret(self.azure_app.client_id)
        self.key_vault.grant(VAULT, self.azure_app.client_id)
        self.graph.grant(self.azure_app.client_id, "Application.ReadWrite.OwnedBy")
        self.admin_password = "correct horse battery staple"
        self.seeq.add_user("rotation.admin", self.admin_password, is_admin=True)
        self.admin_uid = self.add_admin("Seeq admin", "rotation.admin", self.admin_password)
        self.configuration_uid = self.keeper.add_record(
            "pamAzureConfiguration",
            "Fleet Azure",
            fields=[keeper.text("azureId", "fleet")],
            custom=[
                keeper.secret("Tenant Id", self.tenant_id),
                keeper.secret("Client Id", self.azure_app.client_id),
                keeper.secret("Client Secret", azure_secret),
            ],
        )
        # What else is in such a folder, and none of the audit's business.
        self.keeper.add_record("pamUser", "Database user", fields=[keeper.login("sa"), keeper.password("unused")])
        self.keeper.add_record("login", "A web site", fields=[keeper.login("me"), keeper.password("unused")])
        names = list(ILLNESSES) if ill is None else [name for name in ILLNESSES if name in ill]
        for number, name in enumerate(names):
            ILLNESSES[name](self, name, number)
        for number in range(len(self.uids), size):
            self._make(_healthy(self, number))

    def environment(self) -> dict[str, str]:
        """Return what a command needs to find its way: proxy, CA, and the Gateway's own configuration."""
        return {**self.wire.environment(), "KSM_CONFIG": self.keeper.config_base64()}

    def secret_values(self) -> set[str]:
        """Return every secret value that was ever issued or given here."""
        config = self.keeper.config()
        return {
            self.admin_password,
            *self.seeq.passwords(),
            *self.entra.values(),
            config["privateKey"],
            config["appKey"],
        }

    # -- making members -----------------------------------------------------------------------------

    def member(self, stem: str, number: int, *, rotated_days_ago: float = 10, life: float = LIFE) -> Member:
        """Make a key of its own target, and all that a rotation of so many days ago has left, but the record."""
        now = self.clock.now()
        rotated_at = now - timedelta(days=rotated_days_ago)
        rotation_id = f"{rotated_at:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
        uid = keeper._new_uid()  # noqa: SLF001 - a key's label names its record before there is one
        label = f"keeper:{uid}:{rotation_id}"
        ends_in = life - rotated_days_ago
        expires_at: datetime | None = now + timedelta(days=ends_in)
        if stem == "azure":
            app = self.entra.add_application(self.tenant_id, f"Service {number}")
            owner = app.object_id
            made = entra.Secret(str(uuid.uuid4()), entra.new_value(), label, rotated_at, now, visible_from=rotated_at)
            made.expires_on = now + timedelta(days=ends_in)
            self.entra.adopt_secret(app.client_id, made)
            key_id, value = made.secret_id, made.value
        elif stem == "user":
            owner = self.seeq.add_user(f"user{number}@example.com", f"pass-{uuid.uuid4()}", validity_minutes=90 * 1440)
            key_id, value = self.seeq.add_key(owner, label, created_days_ago=rotated_days_ago, description="Keeper")
            expires_at = None
        else:
            owner = self.seeq.add_application(f"Report {number}")
            key_id, value = self.seeq.add_key(owner, label, created_days_ago=rotated_days_ago, expires_in_days=ends_in)
        made_member = Member(stem, number, uid, owner, rotation_id, rotated_at, expires_at, key_id, value)
        self._fill_in(made_member)
        return made_member

    def _fill_in(self, member: Member) -> None:
        """Write the record's fields and the mirror's secrets as a rotation does."""
        labels = (
            ("client_secret_id", "client_secret")
            if member.stem == "azure"
            else ("access_key_id", "access_key_password")
        )
        target = {
            "azure": keeper.text("application_object_id", member.owner),
            "user": keeper.text("username", f"user{member.number}@example.com"),
            "application": keeper.text("application_id", member.owner),
        }[member.stem]
        member.custom = [
            target,
            keeper.text("key_vault_name", VAULT),
            keeper.text("take_over", "False"),
            keeper.text("dry_run", "False"),
            keeper.text("ca_bundle", "<path of a PEM file with the private CA; leave this for none>"),
            keeper.text(labels[0], member.key_id),
            keeper.secret(labels[1], member.value),
            *([keeper.text("expires", _iso(member.expires_at))] if member.expires_at else []),
            keeper.text("rotated_at", _iso(member.rotated_at)),
            keeper.multiline("last_rotation", f"Date: {_iso(member.rotated_at)}\nRotation: {member.rotation_id}\n"),
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

    def _make(self, member: Member, illness: str = "", vault: str = VAULT) -> str:
        """Put the member's record into Keeper and its secrets into the vault."""
        titles = {"azure": "Azure app secret", "user": "Seeq user key", "application": "Seeq application key"}
        script = {"fileRef": "FileRecordsUid12345678", "command": "python3", "recordRef": member.admin}
        self.keeper.add_record(
            member.record_type,
            f"{titles[member.stem]}: {illness or f'member {member.number}'}",
            uid=member.uid,
            fields=[
                keeper.login(
                    f"user{member.number}@example.com" if member.stem == "user" else f"member {member.number}"
                ),
                keeper.password("unused"),
                {"type": "script", "label": "rotationScripts", "value": [script]},
            ],
            custom=member.custom,
            editable=member.editable,
        )
        for name, secret in member.secrets.items():
            self.key_vault.set(vault, name, **secret)
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


# -- the healthy ----------------------------------------------------------------------------------


def _healthy(fleet: Fleet, number: int) -> Member:
    """Make a member that nothing is wrong with, in one of the ways that are all right."""
    stem = {8: "user", 9: "azure"}.get(number % 10, "application")
    member = fleet.member(stem, number, rotated_days_ago=number % (EVERY - 1) + 0.5)
    way = number // 10 % 8
    if way == 0:  # no mirror
        member.lose_mirror()
    elif way == 1 and stem == "application":  # the key before lives on, as it is told to
        member.put("keep_previous_keys", "1")
        fleet.seeq.add_key(member.owner, f"keeper:{member.uid}:before", created_days_ago=70, expires_in_days=20)
    elif way == 2 and stem == "application":  # an expired key is still listed
        fleet.seeq.add_key(member.owner, f"keeper:{member.uid}:long-ago", created_days_ago=100, expires_in_days=-10)
    elif way == 3 and stem == "user":  # the user has keys for other purposes
        fleet.seeq.add_key(member.owner, "a spreadsheet", created_days_ago=5)
    elif way == 4:  # the combined secret too
        member.put("key_vault_combined", "True")
        name, secret = next(iter(member.secrets.items()))
        stem_of_name = name.rpartition("-secret-id" if stem == "azure" else "-key-id")[0]
        both = "credential" if stem == "azure" else "key"
        member.secrets[f"{stem_of_name}-{both}"] = {**secret, "tags": {**secret["tags"], "key-type": both}}
    elif way == 5:  # a rotation is at work at this moment
        until = fleet.clock.now() + timedelta(minutes=2)
        member.put("rotation_lease", f"20261122T100000Z-00000000 until {_iso(until)}")
        if stem == "application":
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
    return member


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
    for secret in member.secrets.values():
        secret["tags"]["rotation-id"] = "20260101T000000Z-00000000"


def _missing(_fleet: Fleet, member: Member) -> None:
    member.secrets.popitem()


def _login_refused(fleet: Fleet, member: Member) -> None:
    member.admin = [fleet.add_admin("Seeq admin, password changed", "rotation.admin", "an old password")]


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


def _expired_lease(fleet: Fleet, member: Member) -> None:
    until = fleet.clock.now() - timedelta(hours=3)
    member.put("rotation_lease", f"20261122T100000Z-00000000 until {_iso(until)}")


def _unlogged(_fleet: Fleet, member: Member) -> None:
    member.put("last_rotation", "Date: 2026-01-01T00:00:00Z\nRotation: 20260101T000000Z-00000000\n")


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
    "admin-refused": _on(_login_refused),
    "admin-rights": _on(_no_right),
    "duplicate-field": _on(_twice),
    "visible-value": _on(_visible),
    "half-credential": _on(_put("access_key_password", "")),
    "never-rotated": _on(_never),
    "lease": _on(_expired_lease),
    "not-confirmed": _on(_unlogged),
    "record-expiry": _on(_put("expires", "2030-01-01T00:00:00Z")),
    "dry-run": _on(_put("dry_run", "True")),
    "diagnose": _on(_put("diagnose", "True")),
    "take-over": _on(_put("take_over", "True")),
    "user": _on(lambda fleet, member: fleet.seeq.disable_user(member.owner), "user"),
    "user-login": _on(_put("days_between_rotations", "365"), "user"),
    "gone-3": _on(_left, "user"),
}
"""What makes each illness, by the finding that names it."""
