"""The value before, under a second name in the same mirror: for services that accept two values while others restart.

It is for values made here. Of keys the issuer itself accepts two, for as long as `keep_previous_keys` has it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from pam_scripts.core.errors import BadInput
from pam_scripts.core.fields import Field, Fields
from pam_scripts.core.http import Session
from pam_scripts.core.parallel import concurrently
from pam_scripts.core.secret import Secret
from pam_scripts.gateway.payload import Job
from pam_scripts.gateway.specs import MirrorSpec
from pam_scripts.rotation.roles import Credential, Key, Known, Mirror, Publication, Snapshot, Sought
from pam_scripts.rotation.shape import Shape

T = TypeVar("T")
# The name of one mirror of a kind.
N = TypeVar("N")

_SUFFIX = "_previous"


def field_beside(field: Field[T]) -> Field[T]:
    """Return the field for the second name. field: the one for the first."""
    meaning = f"as `{field.label}`, for the value before: it stands there until the next rotation, for services that "
    return replace(
        field,
        label=field.label + _SUFFIX,
        meaning=f"{meaning}accept two values made here; empty: nowhere",
        prompt=f"another name, as in {field.label}, for the value before; leave this for none",
    )


def fields(shape: Shape, field: Field[Any]) -> Fields:
    """Return the field for the second name, where what is published is a value alone."""
    return () if shape.id_label else (field_beside(field),)


def filled_in(inputs: Fields, job: Job) -> list[str]:
    """Return the labels of those of a script's fields that ask a record's mirrors for a second name."""
    return [field.label for field in inputs if field.label.endswith(_SUFFIX) and job.user.get(field.label)]


def names(job: Job, shape: Shape, field: Field[Any], plain: Callable[[str], str] = str.lower) -> Sequence[str]:
    """Return the second names, one for each first one; none where the record asks for none.

    plain: returns a name in the one form in which two names are compared. Raises BadInput for a key, for another number
    of names than there are first ones, and for a name that is a first one, too.
    """
    beside, shown = field_beside(field), job.user.shown
    if not job.user.get(beside.label):
        return ()
    if shape.id_label:
        raise BadInput(
            f"{shown}: field '{beside.label}' is for a value alone, and this is a key",
            next_step="empty it; with 'keep_previous_keys' of 1 or more the key before stays alive",
        )
    first, second = (_several(each.read(job.user)) for each in (field, beside))
    if len(first) != len(second):
        raise BadInput(
            f"{shown}: field '{beside.label}' does not name one for each in '{field.label}', which has {len(first)}",
            next_step="enter as many, in the same order",
        )
    if twice := {plain(name) for name in first} & {plain(name) for name in second}:
        raise BadInput(
            f"{shown}: fields '{field.label}' and '{beside.label}' both name {min(twice)}",
            next_step="enter another name for the value before",
        )
    return second


def _several(read: str | Sequence[str]) -> Sequence[str]:
    return [one for one in ([read] if isinstance(read, str) else read) if one]


def shape_of(shape: Shape) -> Shape:
    """Return how the value before is laid out: as the text that stood under the first name."""
    return replace(shape, value_part=f"previous-{shape.value_part}", form=str, sample=shape.form(shape.sample))


def specs(
    make: Callable[[N, Shape], MirrorSpec], first: Sequence[N], second: Sequence[N], shape: Shape, field: Field[Any]
) -> Sequence[MirrorSpec]:
    """Return the mirrors of the first names, each with its second one where there are any.

    make: returns the mirror of a name, for a credential of a shape. field: the one for the first names.
    """
    made = [make(name, shape) for name in first]
    if not second:
        return made
    beside = [make(name, shape_of(shape)) for name in second]
    return [_with_previous(*both, field_beside(field).label) for both in zip(made, beside, strict=True)]


def _with_previous(current: MirrorSpec, previous: MirrorSpec, label: str) -> MirrorSpec:
    def build(session: Session) -> Mirror:
        return MirrorWithPrevious(current.build(session), previous.build(session))

    query = previous.query and replace(previous.query, naming=label)
    hosts = {host: each + previous.hosts.get(host, 0) for host, each in current.hosts.items()}
    return replace(current, build=build, hosts=hosts, previous=replace(previous, query=query))


class MirrorWithPrevious(Mirror):
    """A mirror of a value, and the same mirror under a second name, which gets the value that stood under the first.

    The second name is written before the first, and put back after it: whoever reads the first and then the second has
    the value that was in use until now. Where nothing stood under the first name both get the new value, so that
    whoever reads both finds neither missing. Writing the value that stands under the first name already leaves the
    second as it is.

    keeps: whether the value before is kept; False after a leak: both names then get the new value.
    """

    def __init__(self, current: Mirror, previous: Mirror, *, keeps: bool = True) -> None:
        self._current, self._previous = current, previous
        self._both = (current, previous)
        self._keeps = keeps
        # The texts under both names when they were examined, empty for none; and whether the second was written since.
        self._held = self._held_before = ""
        self._moved = False

    @property
    def name(self) -> str:
        """The mirror's own."""
        return self._current.name

    @property
    def places(self) -> Sequence[str]:
        """Where the new value stands: the second name is none of them."""
        return self._current.places

    def parts(self, credential: Credential) -> dict[str, str]:
        """Return the value's part, and that of the value before."""
        return {**self._current.parts(credential), **self._previous.parts(self._before(credential))}

    def _before(self, credential: Credential) -> Credential:
        """Return what stands under the second name once this stands under the first."""
        (new,) = self._current.parts(credential).values()
        held = self._held if self._held != new else self._held_before
        return Credential("", Secret(held if held and self._keeps else new))

    def keeping_nothing(self) -> MirrorWithPrevious:
        """Return the mirror that keeps no value before."""
        return MirrorWithPrevious(*self._both, keeps=False)

    def connect(self) -> None:
        """Log in for both."""
        with concurrently() as submit:
            for mirror in self._both:
                submit(mirror.connect)

    def examine(self) -> Snapshot:
        """Examine both; raise what either has against a write."""
        with concurrently() as submit:
            current, previous = (submit(mirror.examine) for mirror in self._both)
        self._held, self._held_before = (_text(each.result()) for each in (current, previous))
        keeps = self._held and self._keeps
        what = "the value before, until the next rotation" if keeps else "the new value, too"
        remarks = [f"{place} is to hold {what}" for place in self._previous.places]
        return _joined(current.result(), previous.result(), remarks)

    def adopt(self, known: Known) -> Sequence[str]:
        """Have both refuse what is not ours; the value under the first name is accepted under the second, too."""
        record = {label: self._held or value for label, value in known.record.items()}
        return [*self._current.adopt(known), *self._previous.adopt(replace(known, record=record))]

    def read(self) -> Snapshot:
        """Read both."""
        with concurrently() as submit:
            current, previous = (submit(mirror.read) for mirror in self._both)
        return _joined(current.result(), previous.result())

    def write(self, publication: Publication) -> None:
        """Write the value before, unless it stands there, then the new one."""
        before = self._with_before(publication)
        if not self._previous.read().holds(self._previous.parts(before.credential)):
            self._moved = True
            self._previous.write(before)
        self._current.write(publication)

    def put_back(
        self, before: Snapshot, publication: Publication | None, listed: Collection[str] | None = None
    ) -> None:
        """Put the first name back, then the second: what this run has not changed is left alone."""
        if publication is None:
            return
        current, previous = before.restore_point
        if not current.holds(self._current.parts(publication.credential)):
            self._current.put_back(current, publication, listed)
        if self._moved:
            self._previous.put_back(previous, self._with_before(publication), listed)

    def _with_before(self, publication: Publication) -> Publication:
        return replace(publication, credential=self._before(publication.credential))

    def outdated(self) -> Sequence[tuple[Mirror, Any]]:
        """List the older versions of both, each with whose it is."""
        return [(mirror, version) for mirror in self._both for version in mirror.outdated()]

    def retire(self, outdated: Sequence[tuple[Mirror, Any]], kept: Sequence[Key]) -> None:
        """Disable those of both."""
        for mirror in self._both:
            mirror.retire([version for whose, version in outdated if whose is mirror], kept)

    def older(self, sought: Sought) -> Callable[[], Secret]:
        """Look among the versions of the first name: those of the second carry the ids of later rotations."""
        return self._current.older(sought)


def _text(held: Snapshot) -> str:
    """Return what stands under one name, empty for nothing."""
    text = next(iter(held.parts.values()), "")
    return text if text.strip() else ""


def _joined(current: Snapshot, previous: Snapshot, remarks: Sequence[str] = ()) -> Snapshot:
    shown = current.shown or ("the value before alone" if previous.parts else "")
    remarks = [*current.remarks, *previous.remarks, *remarks]
    return Snapshot({**current.parts, **previous.parts}, "", shown, (current, previous), remarks)
