"""All records that are shared to the Gateway's application, looked at together.

Keeper is asked once. Records that share a server, a tenant or a vault, and the login to it, are one
group: it is asked in pages for all of them, and groups are asked side by side. So the cost grows with
pages, not with records. No secret value is read but those of the admin credentials, to log in.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from datetime import datetime
from functools import partial
from typing import TypeVar
from urllib.parse import urlsplit

from pam_scripts import publish_secret
from pam_scripts.cli.audit.finding import Rule
from pam_scripts.cli.audit.rules import ATTACHED, NO_ADMIN, NOT_READABLE, SETTING
from pam_scripts.cli.audit.subject import Cadence, Subject
from pam_scripts.cli.looks import entra as entra_look
from pam_scripts.cli.looks import key_vault as vault_look
from pam_scripts.cli.looks import seeq as seeq_look
from pam_scripts.cli.shared import Shared
from pam_scripts.core import entra
from pam_scripts.core.errors import BadInput, defect
from pam_scripts.core.fields import Settings
from pam_scripts.core.gateway import Job, read_ca_bundle
from pam_scripts.core.http import Session
from pam_scripts.core.patience import Deadline
from pam_scripts.core.together import side_by_side
from pam_scripts.issuers import values
from pam_scripts.issuers.entra import Graph
from pam_scripts.issuers.seeq.server import Login, Server, find_admin
from pam_scripts.stores.key_vault import Place

T = TypeVar("T")

# What scripts take for numbers, from the lowest to the highest; labels that a script does not have are none of its.
_NUMBERS = {
    "keep_previous_keys": (0, 100),
    "expiry_days": (1, 3650),
    "days_between_rotations": (1, 3650),
    "deadline_seconds": (10, 3600),
    "health_seconds": (5, 1800),
}
_FLAGS = ("take_over", "dry_run")


def survey(
    shared: Shared, deadline: Deadline, cadence: Cadence, now: datetime, say: Callable[[str], None]
) -> list[Subject]:
    """Look at every record that belongs to a script, and at what it is about. Changes nothing anywhere."""
    readers = []
    for uid, kind in shared.ours():
        record = shared.records[uid]
        subject = Subject(
            uid,
            kind,
            shared.flat(uid),
            now,
            cadence,
            is_editable=bool(record.is_editable),
            record_type=record.type or "",
            custom=record.dict.get("custom") or [],
        )
        readers.append(_Reader(shared, subject))
    say(f"keeper: {len(shared.records)} records, {len(readers)} to audit")
    for reader in readers:
        reader.read()
    _ask_everybody(readers, deadline, say)
    return [reader.subject for reader in readers]


# -- what each record says ------------------------------------------------------------------------


class _Reader:
    """Reads one record into a subject, and keeps what it takes to ask the systems about it."""

    def __init__(self, shared: Shared, subject: Subject) -> None:
        self._shared = shared
        self.subject = subject
        self.ca_bundle = ""
        self.cloud = entra.CLOUDS["public"]
        self.app: entra.AppSecret | None = None
        self.login: Login | None = None
        self.is_readable = False

    def read(self) -> None:
        """Read every field a rotation would read; what it would refuse is a finding."""
        subject = self.subject
        job = self._try(ATTACHED, lambda: self._shared.job(subject.uid, own_first=True))
        if job is None:
            return
        settings = Settings(job.user, subject.kind.fields)
        target = self._try(SETTING, lambda: subject.kind.target_of(job, settings))
        labels = {field.label for field in subject.kind.fields}
        numbers = {
            label: self._try(SETTING, partial(settings.number, label, *bounds))
            for label, bounds in _NUMBERS.items()
            if label in labels
        }
        flags = {label: self._try(SETTING, partial(settings.flag, label)) for label in _FLAGS if label in labels}
        self._try(SETTING, lambda: settings.choice("log_format", "text", "json"))
        subject.keep = numbers.get("keep_previous_keys") or 0
        subject.take_over = flags.get("take_over") or False
        subject.life, subject.days_between = numbers.get("expiry_days"), numbers.get("days_between_rotations")
        self.ca_bundle = self._try(SETTING, lambda: read_ca_bundle(settings)) or ""
        its_own = subject.kind.issuer == "entra"
        before = len(subject.findings)
        self.app = self._try(NO_ADMIN, lambda: entra.find_app(job, its_own=its_own))
        self.is_readable = len(subject.findings) == before
        if target:
            subject.target, subject.tag = target.id, target.tag or target.id
            subject.places = self._try(SETTING, lambda: subject.kind.places(job, settings)) or ()
        if not subject.kind.has_keys:
            self._try(SETTING, lambda: _check_value(job, settings))
            return
        if its_own:
            self.cloud = self._try(SETTING, lambda: entra.find_cloud(job)) or self.cloud
            subject.server = self.cloud.graph
            return
        own_key = subject.kind.issuer == "seeq user"
        found = self._try(NO_ADMIN, lambda: find_admin(job, settings.text("seeq_server_url"), its_own=own_key))
        if found:
            subject.server, self.login = found
            subject.server = urlsplit(subject.server).netloc
            is_own = self.login.record_uid == subject.uid
            subject.admin = "" if is_own else self.login.username

    def _try(self, rule: Rule, read: Callable[[], T]) -> T | None:
        try:
            return read()
        except BadInput as error:
            rule = SETTING if "seeq_server_url" in error.cause else rule
            self.subject.findings.append(rule.found_by(error, subject=self.subject.record.shown))
            return None


def _check_value(job: Job, settings: Settings) -> None:
    """Raise BadInput for settings that `publish_secret` would stop at, as far as they show without the value."""
    value_format = settings.text("value_format").lower()
    if value_format != values.KEEPER:
        values.make(value_format)
    if not settings.text("key_vault_name") and not settings.text("aws_secret_id"):
        raise BadInput(
            f"{job.user.shown}: both 'key_vault_name' and 'aws_secret_id' are empty: there is nowhere to publish to",
            next_step="enter one of them",
        )
    # What stands in for the value has nothing in it that any form would refuse.
    publish_secret.fill(job, settings, "Pw0")


# -- what the systems say --------------------------------------------------------------------------


def _ask_everybody(readers: Sequence[_Reader], deadline: Deadline, say: Callable[[str], None]) -> None:
    """Ask every server, tenant and vault once for all the records that share it and the login to it."""
    seeq = [reader for reader in readers if reader.login and reader.subject.target]
    azure = [one for one in readers if one.subject.kind.issuer == "entra" and one.subject.target and one.is_readable]
    mirrored = [(one, place) for one in readers if one.is_readable for place in one.subject.places]
    by_server = _grouped(seeq, lambda one: (one.subject.server, one.login, one.ca_bundle))
    by_tenant = _grouped(azure, lambda one: (one.cloud, _identity(one.app), one.ca_bundle))
    by_vault = _grouped(
        mirrored, lambda pair: (pair[1].url, pair[1].authority, _identity(pair[0].app), pair[0].ca_bundle)
    )
    work = [
        *(_vault_work(group, deadline, say) for group in by_vault),
        *(_seeq_work(group, deadline, say) for group in by_server),
        *(_entra_work(group, deadline, say) for group in by_tenant),
    ]
    # Within each system one request follows the other.
    with side_by_side() as start:
        for subjects, ask in work:
            start(partial(_carefully, ask, subjects))


def _seeq_work(
    group: list[_Reader], deadline: Deadline, say: Callable[[str], None]
) -> tuple[list[Subject], Callable[[list[Subject]], None]]:
    first = group[0]
    assert first.login  # noqa: S101 - for the type checker: groups are made of those that have one
    session = Session(deadline, first.ca_bundle)
    server = Server(f"https://{first.subject.server}", first.login, session, _nobody)
    return [one.subject for one in group], seeq_look.Look(server, deadline, say).see


def _entra_work(
    group: list[_Reader], deadline: Deadline, say: Callable[[str], None]
) -> tuple[list[Subject], Callable[[list[Subject]], None]]:
    first = group[0]
    session = Session(deadline, first.ca_bundle)

    def see(subjects: list[Subject]) -> None:
        graph = Graph(first.cloud, entra.log_in(first.app, first.cloud.authority, session), session)
        entra_look.Look(graph, deadline, say).see(subjects)

    return [one.subject for one in group], see


def _vault_work(
    group: list[tuple[_Reader, Place]], deadline: Deadline, say: Callable[[str], None]
) -> tuple[list[Subject], Callable[[list[Subject]], None]]:
    first, place = group[0]
    session = Session(deadline, first.ca_bundle)

    def see(subjects: list[Subject]) -> None:
        seen = vault_look.look(place.url, entra.log_in(first.app, place.authority, session), session, say)
        for subject in subjects:
            subject.vaults[place.url] = seen

    return [one.subject for one, _ in group], see


def _grouped(items: Iterable[T], by: Callable[[T], Hashable]) -> list[list[T]]:
    groups: dict[Hashable, list[T]] = {}
    for item in items:
        groups.setdefault(by(item), []).append(item)
    return list(groups.values())


def _carefully(ask: Callable[[list[Subject]], None], subjects: list[Subject]) -> None:
    """Ask; one system's strange answer must not take the other systems' findings away."""
    try:
        ask(subjects)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is said by its type and place
        for subject in subjects:
            subject.findings.append(NOT_READABLE.found(defect(error)))


def _identity(app: entra.AppSecret | None) -> Hashable:
    """Tell Azure logins apart, whichever records they stand in."""
    return (app.tenant_id.lower(), app.client_id.lower(), app.secret) if app else None


def _nobody(_line: str) -> None:
    """Say nothing: what a script would report is not what an audit reports."""
