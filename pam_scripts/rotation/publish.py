"""Steps 4 and 6 of a rotation: write the credential to every store, read it back, and look once more."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial

from pam_scripts.core.errors import ApiError, PamScriptError, Yielded
from pam_scripts.core.parallel import concurrently
from pam_scripts.rotation.roles import Key, Progress, Publication, Rotation, Store


def publish(rotation: Rotation, progress: Progress) -> None:
    """Write to the truth, then to all mirrors at once. What came of it is what `confirm` sees."""
    _, publication = progress.new
    progress.touched.append(rotation.truth)
    try:
        put(rotation, rotation.truth, publication, looking=False, on=rotation.worth_another_try)
    except PamScriptError:
        # Where there is no way back all is written, whatever became of the rest.
        if rotation.facts.reversible:
            raise
    progress.touched += rotation.mirrors
    with concurrently() as submit:
        for mirror in rotation.mirrors:
            submit(partial(_write_once, mirror, publication))


def _write_once(store: Store, publication: Publication) -> None:
    with suppress(ApiError):
        store.write(publication)


def put(
    rotation: Rotation,
    store: Store,
    publication: Publication,
    *,
    on: Callable[[ApiError], bool],
    looking: bool = True,
) -> None:
    """Write until the store, read back, holds the credential. Looks after every try, so no try is blind.

    on: which errors are worth another try. looking: look first, and after every write; else a clear answer to
    the first will do for now.
    """
    wanted = store.parts(publication.credential)

    def write_and_read_back() -> None:
        if looking and store.read().holds(wanted):
            return
        failed = ApiError(store.name, "confirm the new credential", "it reads back as something else")
        try:
            store.write(publication)
            if not looking:
                return
        except ApiError as error:
            failed = error
        if not store.read().holds(wanted):
            raise failed

    rotation.retrying(write_and_read_back, on)


def confirm(rotation: Rotation, progress: Progress) -> None:
    """See every store hold the credential; a failure waits until all were tried, then the first one is raised."""
    run, stores = rotation.run, rotation.stores
    failures: list[PamScriptError] = []

    def failure_of(store: Store) -> PamScriptError | None:
        try:
            put(rotation, store, progress.new[1], on=rotation.worth_another_try)
        except PamScriptError as failure:
            return failure
        return None

    with concurrently() as submit:
        ends = [submit(partial(failure_of, store)) for store in stores]
    for store, end in zip(stores, ends, strict=True):
        if failure := end.result():
            if failures:
                run.warn(str(failure))
            failures.append(failure)
        elif store not in progress.published:
            progress.published.append(store)
            run.entry.stored_in += store.places
            for place in store.places:
                run.say(f"Stored in {place}")
    if failures:
        raise failures[0]


def last_look(rotation: Rotation, progress: Progress) -> None:
    """Read every store back, check the lease, list the keys; raise Yielded where another rotation goes first.

    Of two rotations the one whose key the issuer made first goes on. Both look after creating, so
    the later one always sees the earlier one's key, whatever their clocks say.
    """

    def confirm_and_check() -> None:
        confirm(rotation, progress)
        rotation.retrying(rotation.truth.check_claim)

    key, _ = progress.new
    with concurrently() as submit:
        submit(confirm_and_check)
        listed = submit(partial(_list_with, rotation, key))
    progress.listed = listed.result()
    earlier = {item.id for item in progress.keys}
    for rival in progress.listed:
        is_new = rival.id not in earlier and rival.id != key.id and rival.owner
        if is_new and (rival.created_at, rival.id) < (key.created_at, key.id):
            raise Yielded(
                f"{rotation.facts.system}: another rotation of {rotation.issuer.target} (Keeper record {rival.owner}) "
                f"made {rotation.facts.noun} {rival.id} first"
            )


def _list_with(rotation: Rotation, key: Key) -> list[Key]:
    """Return the keys once the new one is among them; raise Yielded where it is not, time allowed."""
    facts = rotation.facts

    def list_once() -> list[Key]:
        listed = rotation.issuer.list_keys()
        if key.id not in {item.id for item in listed}:
            raise ApiError(
                facts.system, f"list {facts.noun}s", f"the new {facts.noun} {key.id} is not listed", name=key.id
            )
        return listed

    try:
        return rotation.retrying(list_once)
    except ApiError as error:
        if error.name != key.id:
            raise
        raise Yielded(f"{facts.system}: the new {facts.noun} {key.id} was deleted by somebody else") from None
