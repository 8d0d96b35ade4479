"""What a script is: an issuer and the words for its records; everything else follows from the registry."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar

import pam_scripts
from pam_scripts.assembly.registry import CONSUMERS, MIRRORS, included, labels_left_out
from pam_scripts.core.deadline import Deadline
from pam_scripts.core.errors import BadInput
from pam_scripts.core.fields import TEXT, Field, Fields, Record, near_misses
from pam_scripts.core.http import Common, Session
from pam_scripts.gateway import request
from pam_scripts.gateway.payload import Job
from pam_scripts.gateway.run import NOTHING_CHANGED, main
from pam_scripts.gateway.specs import ConsumerSpec, IssuerSpec, MirrorSpec
from pam_scripts.rotation.lease import LEASE, LEASE_MARGIN
from pam_scripts.rotation.ops_log import OPS_LOG, ROTATED_AT
from pam_scripts.rotation.roles import Rotation, Run, SourceOfTruth
from pam_scripts.rotation.shape import Shape, Target
from pam_scripts.stores.keeper.configuration import Access
from pam_scripts.stores.keeper.labels import STANDARD_LABELS

if TYPE_CHECKING:
    from pam_scripts.assembly.kinds import IssuerKind, Kind

T = TypeVar("T")

IDENTIFYING: Mapping[str, Sequence[str]] = {
    "rotate_seeq_application_key": ("application_id",),
    "rotate_azure_app_secret": ("application_object_id",),
    "rotate_rabbitmq_password": ("rabbitmq_url", "username_spare"),
    "rotate_keycloak_client_secret": ("keycloak_url", "keycloak_client"),
    "rotate_seeq_user_key": ("username", "user_id"),
    "rotate_azure_resource_key": ("resource_id",),
    "rotate_aws_access_key": ("aws_user_name",),
    "publish_secret": ("secret_name", "value_format", "value_template"),
}
"""By script: the labels that identify its records; a record with any of them filled in is that script's."""

# It may stand in anybody's record.
_GENERIC = "username"

# Labels that are no field of a script of its own, or of another script only, and nearly one of this script's.
_READ_ELSEWHERE = (LEASE, "client_secret_id", "value")

Spec: TypeAlias = IssuerSpec | MirrorSpec | ConsumerSpec


@dataclass(frozen=True, repr=False)
class RotationSpec:
    """What a job's records ask for, read and checked before any system is asked.

    issuer: None where its part could not be used. problems: all that a run would refuse; it raises the first.
    ca_bundle: path of the CA that the PAM Configuration names for all but Keeper, empty for none.
    """

    issuer: IssuerSpec | None
    mirrors: Sequence[MirrorSpec]
    consumers: Sequence[ConsumerSpec]
    problems: Sequence[BadInput]
    ca_bundle: str = ""

    @property
    def specs(self) -> list[Spec]:
        """All parts."""
        return [*([self.issuer] if self.issuer else []), *self.mirrors, *self.consumers]

    @property
    def unlimited(self) -> list[str]:
        """The labels of the limits that no owner of a credential has set, as far as they would bound this record."""
        limits = chain(*(spec.limits for spec in self.specs))
        return list(dict.fromkeys(limit.label for limit in limits if limit.label and not limit.lists))

    @property
    def hosts(self) -> Mapping[str, int]:
        """The hosts that will be asked, and how many connections at a time."""
        hosts = [spec.hosts for spec in self.specs]
        return {host: max(each.get(host, 0) for each in hosts) for host in chain(*hosts)}


class Resources(Protocol):
    """What a run has to do its work with."""

    @property
    def common(self) -> Common:
        """What its sessions share, with other runs of its process where there are any."""

    def truth(self, run: Run, uid: str, shape: Shape, longest_lease: timedelta, /) -> Callable[[], SourceOfTruth]:
        """Begin to make the store of the PAM User record, and return what gives it once it is needed."""


class OwnResources(Resources):
    """What a run has that is alone in its process: all that it needs is made for it."""

    def __init__(self) -> None:
        self._common = Common()

    @property
    def common(self) -> Common:
        """What it shares with its own client of Keeper: the public CAs are read once."""
        return self._common

    def truth(self, run: Run, uid: str, shape: Shape, longest_lease: timedelta, /) -> Callable[[], SourceOfTruth]:
        """Begin to connect to Keeper."""
        access = Access(Session(run.deadline, common=self._common))

        def make() -> SourceOfTruth:
            # As with the order below: connecting comes first.
            from pam_scripts.stores.keeper.record import RecordStore  # noqa: PLC0415

            return RecordStore(access.client(), uid, shape, run.rotation_id, longest_lease)

        return make


def open_session(deadline: Deadline, ca_bundle: str, specs: Iterable[Spec], common: Common | None = None) -> Session:
    """Return a session for these parts: a CA beside a credential is trusted for that credential's hosts alone.

    ca_bundle: the one that the PAM Configuration names, trusted for all of them; empty for none. common: what it shares
    with other sessions.
    """
    session = Session(deadline, ca_bundle, common)
    trust_beside_credentials(session, specs)
    return session


def trust_beside_credentials(session: Session, specs: Iterable[Spec]) -> None:
    """Have a session trust what these parts name beside their credentials."""
    for spec in specs:
        if spec.ca_bundle:
            for host in spec.hosts:
                session.trust(host, spec.ca_bundle)


@dataclass(frozen=True, repr=False)
class Script:
    """One attachable script.

    stem: the name of its module. title: what it does, in one line. issuer: who makes its keys. has_keys: whether
    there are keys that a system lists, or only a value. record_title, login_prompt, admin_title: what its record
    templates are called, and what they ask for as the login. suggested_by: labels that say even where they are empty
    that a PAM User record is this script's.
    deadline_seconds: what a run may take by default.
    """

    stem: str
    title: str
    issuer: IssuerKind
    record_title: str
    login_prompt: str
    admin_title: str
    suggested_by: Sequence[str]
    deadline_seconds: int = 120
    has_keys: bool = True

    # -- its records ------------------------------------------------------------------------------

    @property
    def identified_by(self) -> Sequence[str]:
        """The labels that identify this script's records: any of them, filled in."""
        return IDENTIFYING[self.stem]

    @property
    def inputs(self) -> Fields:
        """The fields of the PAM User record that a person fills in."""
        mirrors = chain(*(kind.fields(self.issuer.SHAPE) for kind in included(MIRRORS)))
        return (
            *self.issuer.FIELDS,
            # Some are of all mirrors.
            *{field.label: field for field in mirrors}.values(),
            *(field for kind in included(CONSUMERS) for field in kind.FIELDS),
            *(request.PLAN_FIELDS if self.has_keys else ()),
            *request.run_fields(self.deadline_seconds),
        )

    @property
    def outputs(self) -> Fields:
        """The fields of the PAM User record that the script writes."""
        label = self.issuer.SHAPE.expires_label
        expires = (Field(label, "when the key ends, ISO 8601 in UTC", TEXT, output=True),) if label else ()
        return (*self.issuer.OUTPUTS, *expires, ROTATED_AT, OPS_LOG)

    @property
    def fields(self) -> Fields:
        """All fields of the PAM User record, inputs first."""
        return (*self.inputs, *self.outputs)

    @property
    def written(self) -> str:
        """The label of a field that every rotation of this script writes."""
        return self.issuer.SHAPE.id_label or ROTATED_AT.label

    @property
    def admin_fields(self) -> Fields:
        """The fields of the record attached to the script: the issuer's login, else those of mirrors and consumers."""
        if self.issuer.ADMIN_FIELDS:
            return self.issuer.ADMIN_FIELDS
        return list({field.label: field for kind in _kinds() for field in kind.ADMIN_FIELDS}.values())

    @property
    def logins(self) -> Fields:
        """The fields of every record that a login stands in: the issuer's, the mirrors' and the consumers'."""
        return (*self.issuer.ADMIN_FIELDS, *chain(*(kind.ADMIN_FIELDS for kind in _kinds())))

    @property
    def configured(self) -> Fields:
        """The fields that are read from the PAM Configuration, for the same."""
        fields = chain(*(kind.CONFIGURATION_FIELDS for kind in _kinds()))
        return (request.CA_BUNDLE, *self.issuer.CONFIGURATION_FIELDS, *fields)

    def remarks(self, job: Job) -> Sequence[str]:
        """Return a line on each field of a job's records that nobody reads, and that is nearly one that is read."""
        known = [*STANDARD_LABELS, *_READ_ELSEWHERE, *labels_left_out(), *chain(*IDENTIFYING.values())]
        known += [field.label for field in (*self.fields, *self.logins, *self.configured)]
        owners = [(record, self.logins) for record in job.attached]
        owners += [(job.configuration, self.configured)] if job.configuration else []
        return [
            *near_misses(job.user, self.inputs, known),
            *(line for record, fields in owners for line in near_misses(record, fields, known)),
        ]

    def _check_other_script(self, record: Record) -> list[BadInput]:
        """Return what is wrong where a record is another script's by its fields, and not this one's."""
        if record.get(*self.identified_by):
            return []
        required = any(field.required for field in self.issuer.FIELDS if field.label in self.identified_by)
        marks = ((stem, label) for stem, labels in IDENTIFYING.items() if stem != self.stem for label in labels)
        for stem, label in marks:
            if record.get(label) and (required or label != _GENERIC):
                problem = f"{record.shown} is for {stem}, as its field '{label}' says, and this is {self.stem}"
                return [BadInput(problem, next_step=f"attach {stem} to it, or empty that field")]
        return []

    def read(self, job: Job) -> RotationSpec:
        """Read all that a job's records say; what a run would refuse is among the problems. Nobody is asked."""
        problems = self._check_other_script(job.user)
        problems += [_left_out(job, label) for label in labels_left_out() if job.user.get(label)]

        def attempt(read: Callable[[], T]) -> T | None:
            try:
                return read()
            except BadInput as error:
                if str(error) not in map(str, problems):
                    problems.append(error)
                return None

        for field in self.inputs:
            attempt(partial(field.read, job.user))
        if job.user.get(request.CA_BUNDLE.label):
            problems.append(_ca_is_not_read_here(job))
        ca_bundle = (attempt(partial(request.CA_BUNDLE.read, job.configuration)) if job.configuration else "") or ""
        issuer = attempt(partial(self.issuer.read, job))
        shape = issuer.shape if issuer else self.issuer.SHAPE
        consumers = [attempt(partial(kind.read, job, shape)) or () for kind in included(CONSUMERS)]
        # Where it is not known whose credential it is, a mirror's own problems show all the same.
        target = issuer.target if issuer else Target("unknown")
        mirrors = [attempt(partial(kind.read, job, shape, target)) or () for kind in included(MIRRORS)]
        return RotationSpec(issuer, list(chain(*mirrors)), list(chain(*consumers)), problems, ca_bundle)

    # -- its runs ---------------------------------------------------------------------------------

    def seconds(self, job: Job) -> int:
        """Return what the run may take: where consumers are waited for, and nothing else is set, so much longer."""
        waits = any(job.user.get(kind.LABEL) for kind in CONSUMERS)
        if job.user.get(request.DEADLINE_SECONDS.label):
            return request.DEADLINE_SECONDS.read(job.user)
        return self.deadline_seconds + (2 * request.HEALTH_SECONDS.read(job.user) if waits else 0)

    @property
    def longest_lease(self) -> timedelta:
        """How long a lease of one of its runs can be at most."""
        return timedelta(seconds=request.longest_run(self.deadline_seconds)) + LEASE_MARGIN

    def is_begun_by_keeper(self, _record: Record) -> bool:
        """Say whether only Keeper can begin a rotation of this record, since it is Keeper that makes the new value."""
        return False

    def untouched(self, _job: Job) -> str:
        """Say what state a run leaves that has touched nothing."""
        return NOTHING_CHANGED

    def prepare(
        self, job: Job, resources: Resources | None = None, change: Callable[[Rotation], Rotation] = lambda whole: whole
    ) -> Callable[[Run], None]:
        """Return what rotates as a job's records say; raise the first of their problems.

        resources: the run's own where none are given. change: makes another rotation of the one that they ask for.
        """
        spec = self.read(job)
        for problem in spec.problems:
            raise problem

        def work(run: Run) -> None:
            rotation = change(self._assemble(job, spec, run, resources or OwnResources()))
            # Not before the connections that this is compiled beside: making them takes longer.
            from pam_scripts.rotation.order import rotate  # noqa: PLC0415

            rotate(rotation)

        return work

    def _assemble(self, job: Job, spec: RotationSpec, run: Run, resources: Resources) -> Rotation:
        """Put the parts of a rotation together. spec: without a problem."""
        issuer = spec.issuer
        assert issuer  # noqa: S101 - where an issuer's part is not usable, that is one of the problems
        for note in issuer.notes:
            run.say(note)
        truth = resources.truth(run, job.user.uid, issuer.shape, self.longest_lease)
        session = open_session(run.deadline, spec.ca_bundle, spec.specs, resources.common)
        # Connections are made while there is something else to do: importing SDKs takes longer than a handshake.
        for host, connections in spec.hosts.items():
            session.connect(f"https://{host}/", connections)
        plan = request.read_plan(job.user, issuer.life, has_keys=self.has_keys)
        return Rotation(
            issuer=issuer.build(run, session),
            mirrors=[mirror.build(session) for mirror in spec.mirrors],
            truth=truth(),
            consumers=[consumer.build(session) for consumer in spec.consumers],
            limit=issuer.limit,
            plan=replace(plan, in_turn=any(mirror.previous for mirror in spec.mirrors)),
            run=run,
        )

    def main(self) -> int:
        """Run as the Keeper Gateway does, or with `--check`; return the exit status."""
        return main(self, _fetch)


def _fetch(run: Run, uid: str, attached: Sequence[str], configuration: str) -> Job:
    """Get a job's records for `--check`; the Gateway hands them over otherwise."""
    from pam_scripts.stores.keeper.records import fetch_job  # noqa: PLC0415

    return fetch_job(run, uid, attached, configuration)


def _kinds() -> list[Kind]:
    return [*included(MIRRORS), *included(CONSUMERS)]


def _ca_is_not_read_here(job: Job) -> BadInput:
    label = request.CA_BUNDLE.label
    return BadInput(
        f"{job.user.shown}: field '{label}' is not read from this record, since it decides whom a login is sent to",
        next_step="move it to the record with the credential that is for these servers, or to the PAM Configuration",
    )


def _left_out(job: Job, label: str) -> BadInput:
    return BadInput(
        f"{job.user.shown}: field '{label}' needs a part that this build, {pam_scripts.__build__}, was made without",
        next_step="attach a build that has it, or empty the field",
    )
