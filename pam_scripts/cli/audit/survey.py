"""All records that are shared to the Gateway's application, looked at together.

Keeper is asked once. Records that share a server, a tenant or a vault, and the login to it, are one
group: it is asked in pages for all of them, and groups are asked side by side. So the cost grows with
pages, not with records; and a system that does not answer costs a bounded time, once. No secret value
is read but those of the admin credentials, to log in.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, TypeVar, cast

from pam_scripts.assembly.script import trust_beside_credentials
from pam_scripts.cli.audit.deadlines import HostDeadlines, HostTimedSession
from pam_scripts.cli.audit.finding import Finding
from pam_scripts.cli.audit.rules import ATTACHED, NO_ADMIN, NOT_READABLE, SETTING, UNKNOWN_FIELD, rule_of
from pam_scripts.cli.audit.subject import Cadence, Subject
from pam_scripts.cli.shared import Shared
from pam_scripts.core.errors import BadInput, NoLogin, defect
from pam_scripts.core.http import Session
from pam_scripts.core.parallel import concurrently
from pam_scripts.gateway.specs import ConsumerSpec, IssuerSpec, MirrorSpec
from pam_scripts.rotation.seen import Trouble

if TYPE_CHECKING:
    from pam_scripts.assembly.kinds import ConsumerSurvey, IssuerSurvey, MirrorSurvey, Say

# Systems that are asked side by side: more than are likely to be out of reach at a time.
SYSTEMS_AT_ONCE = 32

S = TypeVar("S", IssuerSpec, MirrorSpec, ConsumerSpec)


def survey(  # noqa: PLR0913, PLR0917 - each is one thing that a look depends on
    shared: Shared,
    deadlines: HostDeadlines,
    cadence: Cadence,
    now: datetime,
    say: Say,
    only: Collection[str] | None = None,
) -> list[Subject]:
    """Look at every record that belongs to a script, and at what it is about. Changes nothing anywhere.

    only: the UIDs of those about which systems are asked; None: all. Each one is read.
    """
    subjects = []
    for uid, script in shared.ours():
        record = shared.records[uid]
        subject = Subject(
            uid,
            script,
            shared.flat(uid),
            now,
            cadence,
            is_editable=bool(record.is_editable),
            record_type=record.type or "",
            items=[*(record.dict.get("fields") or []), *(record.dict.get("custom") or [])],
        )
        subjects.append(subject)
    say(f"keeper: {len(shared.records)} records, {len(subjects)} to audit")
    for subject in subjects:
        _read(shared, subject)
    _ask_everybody([one for one in subjects if only is None or one.uid in only], deadlines, say)
    return subjects


def _read(shared: Shared, subject: Subject) -> None:
    """Read every field that a rotation would read; what it would refuse is a finding."""
    try:
        job = shared.job(subject.uid, settings_first=True)
    except BadInput as error:
        subject.findings.append(ATTACHED.found_by(error, subject=subject.record.shown))
        return
    for remark in subject.script.remarks(job):
        subject.findings.append(UNKNOWN_FIELD.found(remark.removeprefix(f"{subject.record.shown}: ")))
    subject.spec = subject.script.read(job)
    subject.links = dict(_links(subject))
    for problem in subject.spec.problems:
        rule = NO_ADMIN if isinstance(problem, NoLogin) else SETTING
        subject.findings.append(rule.found_by(problem, subject=subject.record.shown))


def _links(subject: Subject) -> Iterator[tuple[str, str]]:
    """Yield the names of the record's issuer and mirrors with the addresses at which a person sees its key there."""
    if subject.issuer and subject.issuer.survey:
        module = cast("IssuerSurvey", importlib.import_module(subject.issuer.survey))
        yield subject.issuer.server, module.link(subject.issuer)
    for spec in subject.places:
        if spec.query:
            yield spec.name, cast("MirrorSurvey", importlib.import_module(spec.query.survey)).link(spec.query)


def _ask_everybody(subjects: Sequence[Subject], deadlines: HostDeadlines, say: Say) -> None:
    """Ask every server, tenant and vault once for all the records that share it and the login to it."""
    issuers = [(one, one.issuer) for one in subjects if one.issuer and one.issuer.survey]
    mirrors = [(one, spec) for one in subjects for spec in (*one.places, *one.second_places)]
    consumers = [(one, spec) for one in subjects if one.spec for spec in one.spec.consumers if spec.query]
    groups: list[Callable[[Progress], None]] = [
        *(
            partial(_catching_errors, partial(_look_at_mirrors, places), places, deadlines)
            for places in _grouped(mirrors, lambda spec: spec.query and spec.query.batch_key)
        ),
        *(
            partial(_catching_errors, partial(_look_at_issuers, targets), targets, deadlines)
            for targets in _grouped(issuers, lambda spec: (spec.survey, spec.group))
        ),
        *(
            partial(_catching_errors, partial(_look_at_consumers, reading), reading, deadlines)
            for reading in _grouped(consumers, lambda spec: spec.query and (spec.query.survey, spec.query.group))
        ),
    ]
    shown = Progress(len(groups), say)
    # Within each system one request follows the other. Those that do not answer keep none of the others waiting.
    with concurrently(SYSTEMS_AT_ONCE) as submit:
        for group in groups:
            submit(partial(group, shown))


class Progress:
    """How far the survey has come: how many systems have answered, of how many, and which is waited for."""

    def __init__(self, systems: int, say: Say) -> None:
        self._systems = systems
        self._say = say
        self._lock = threading.Lock()
        self._done = 0
        self._waiting: dict[str, None] = {}

    @contextmanager
    def of(self, system: str) -> Iterator[Say]:
        """Yield what tells of one system, which is waited for as long as the `with` statement lasts."""
        with self._lock:
            self._waiting[system] = None
        self._tell("")
        try:
            yield self._tell
        finally:
            with self._lock:
                self._done += 1
                self._waiting.pop(system, None)
            self._tell("")

    def _tell(self, line: str) -> None:
        with self._lock:
            waiting = list(self._waiting)
            more = f" and {len(waiting) - 1} more" if len(waiting) > 1 else ""
            line = line or (f"waiting for {waiting[0]}{more}" if waiting else "all have answered")
            self._say(f"{self._done} of {self._systems} systems done; {line}")


def _look_at_mirrors(group: Sequence[tuple[Subject, MirrorSpec]], session: Session, say: Say) -> None:
    queries = list({spec.query.group: spec.query for _, spec in group if spec.query}.values())
    seen = cast("MirrorSurvey", importlib.import_module(queries[0].survey)).survey(queries, session, say)
    by_group = {query.group: one for query, one in zip(queries, seen, strict=True)}
    for subject, spec in group:
        if spec.query:
            place, one = (spec.query.survey, spec.query.group), by_group[spec.query.group]
            # Both names of one vault are asked for at once.
            if one.trouble and place not in subject.seen_mirrors:
                subject.findings.append(_finding(one.trouble))
            subject.seen_mirrors[place] = one
            if one.page:
                subject.links = {**subject.links, spec.name: one.page}


def _look_at_issuers(group: Sequence[tuple[Subject, IssuerSpec]], session: Session, say: Say) -> None:
    specs = [spec for _, spec in group]
    results = cast("IssuerSurvey", importlib.import_module(specs[0].survey)).survey(specs, session, say)
    for (subject, _), result in zip(group, results, strict=True):
        subject.seen = result.target
        subject.trouble = [_finding(trouble) for trouble in result.target.trouble] if result.target else ()
        subject.findings += [_finding(trouble) for trouble in result.troubles]


def _look_at_consumers(group: Sequence[tuple[Subject, ConsumerSpec]], session: Session, say: Say) -> None:
    queries = [spec.query for _, spec in group if spec.query]
    seen = cast("ConsumerSurvey", importlib.import_module(queries[0].survey)).survey(queries, session, say)
    for subject, spec in group:
        if seen.trouble:
            subject.findings.append(_finding(seen.trouble))
        elif spec.query:
            subject.consumers[spec.query.name] = seen.consumers.get(spec.query.name.lower())


def _finding(trouble: Trouble) -> Finding:
    return rule_of(trouble).found(trouble.what, trouble.way_out)


def _grouped(asked: Iterable[tuple[Subject, S]], by: Callable[[S], Hashable]) -> list[list[tuple[Subject, S]]]:
    """Put those together that are looked at together: by what they have in common, and the CAs that are trusted."""
    groups: dict[Hashable, list[tuple[Subject, S]]] = {}
    for subject, spec in asked:
        groups.setdefault((by(spec), spec.ca_bundle, _ca_bundle(subject)), []).append((subject, spec))
    return list(groups.values())


def _ca_bundle(subject: Subject) -> str:
    return subject.spec.ca_bundle if subject.spec else ""


def _catching_errors(
    look: Callable[[Session, Say], None], asked: Sequence[tuple[Subject, S]], deadlines: HostDeadlines, shown: Progress
) -> None:
    """Ask one system; an error of any kind becomes a finding of its own records, and stops no other system's look."""
    try:
        spec = asked[0][1]
        # The host that is asked comes first; those that it takes to log in come after it.
        with shown.of(next(iter(spec.hosts), "a system")) as say:
            session = HostTimedSession(deadlines, _ca_bundle(asked[0][0]))
            trust_beside_credentials(session, [spec])
            look(session, say)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is said by its type and place
        for subject, _ in asked:
            subject.findings.append(NOT_READABLE.found(defect(error)))
