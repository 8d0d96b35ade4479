"""Steps 4 and 6 of a rotation: write the credential to every store, read it back, and look once more."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial

from pam_scripts.core.errors import ApiError, PamScriptError, Refused, Yielded
from pam_scripts.core.parallel import concurrently
from pam_scripts.rotation.look import adopt
from pam_scripts.rotation.roles import Key, Progress, Publication, Rotation, Store


def publish(rotation: Rotation, progress: Progress) -> None:
    """Write to the truth, then to all mirrors at once; whether they hold it is confirmed later.

    Where there is no way back no store waits for another, and a write that fails is tried again when it is confirmed.
    """
    _, publication = progress.new
    forgiven: type[PamScriptError] = PamScriptError
    if rotation.traits.reversible:
        forgiven = ApiError
        progress.touched.append(rotation.truth)
        put(rotation.truth, publication, rotation.retrying, looking=False)
    stores = [store for store in rotation.stores if store not in progress.touched]
    progress.touched += stores

    def write_once(store: Store) -> None:
        with suppress(forgiven):
            store.write(publication)

    with concurrently() as submit:
        for store in stores:
            if store not in progress.unseen:
                submit(partial(write_once, store))


def put(
    store: Store, publication: Publication, again: Callable[[Callable[[], None]], None], *, looking: bool = True
) -> None:
    """Write until the store, read back, holds the credential. Looks after every try, so no try is blind.

    again: makes the tries, as `Rotation.retrying`. looking: read the store before and after every write; without it
    a clear answer to the first write is enough for now. Raises the ApiError of the last try.
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

    again(write_and_read_back)


def confirm(rotation: Rotation, progress: Progress) -> None:
    """Confirm that every store holds the credential; raise the first failure once all were tried.

    Where there is no way back a failure is only warned of, so that consumers of other stores get the new value;
    `check_before_deleting` raises it if it lasts until then.
    """
    deadline = rotation.run.deadline
    failures = _confirm_in_stores(rotation, progress, min(rotation.plan.health_seconds, deadline.left() / 2))
    if failures and rotation.traits.reversible:
        raise failures[0]
    for failure in failures[:1]:
        rotation.run.warn(str(failure))


def _confirm_in_stores(rotation: Rotation, progress: Progress, spare: float = 0.0) -> list[PamScriptError]:
    """Confirm for each store that it holds the credential; return all failures, and warn of all but the first.

    spare: where there is no way back, they are tried until only so many seconds are left.
    """
    run, stores = rotation.run, rotation.stores
    failures: list[PamScriptError] = []
    again = partial(rotation.retrying_longer, on=rotation.worth_another_try, spare=spare)

    def failure_of(store: Store) -> PamScriptError | None:
        try:
            for mirror in [unseen for unseen in progress.unseen if unseen is store]:
                again(mirror.examine)
                adopt(rotation, progress, mirror)
                progress.unseen.remove(mirror)
            put(store, progress.new[1], again)
        except PamScriptError as failure:
            return failure
        return None

    # A store that hangs for long holds up nobody else's turn.
    with concurrently(len(stores)) as submit:
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
    return failures


def check_before_deleting(rotation: Rotation, progress: Progress) -> None:
    """Read every store back, check the lease, list the keys; raise Yielded where another rotation goes first.

    Of two rotations the one whose key the issuer made first goes on. Both look after creating, so
    the later one always sees the earlier one's key, whatever their clocks say. A roll back, of which no other can see
    anything in the list, always steps back.
    """

    def confirm_and_check() -> None:
        for failure in (*_confirm_in_stores(rotation, progress), *progress.failures):
            raise failure
        rotation.retrying_longer(rotation.truth.check_lease)
        if progress.stored_late:
            raise Refused(
                f"{', '.join(store.name for store in progress.stored_late)} took the {rotation.traits.new_noun} only "
                "after consumers had been reloaded",
                next_step="reload the consumers that read it",
            )

    key, _ = progress.new
    with concurrently() as submit:
        submit(confirm_and_check)
        listed = submit(partial(_list_with, rotation, key))
    progress.listed = listed.result()
    earlier = {key.id, *(item.id for item in progress.keys)}
    since = [item for item in progress.listed if item.id not in earlier]
    # What a lost answer of this rotation, or of one that is over, left behind is nobody's: it shows late, and goes.
    over = (rotation.run.rotation_id, *rotation.truth.ended)
    left = [item for item in since if item.owner == rotation.plan.owner and item.rotation_id in over]
    if progress.creation_unclear and not left:
        rotation.run.warn(
            f"a second {rotation.traits.noun} {rotation.key_made} may still appear: a creation got no answer"
        )
    progress.decision = replace(progress.decision, to_delete=[*progress.decision.to_delete, *left])
    for rival in since:
        first = rotation.traits.earlier or (rival.created_at, rival.id) < (key.created_at, key.id)
        if rival.owner and rival not in left and first:
            raise Yielded(
                f"{rotation.traits.system}: another rotation of {rotation.issuer.target} (Keeper record {rival.owner}) "
                f"made {rotation.traits.noun} {rival.id} first",
                next_step="let it finish, and rotate again only if it failed",
            )


def _list_with(rotation: Rotation, key: Key) -> list[Key]:
    """Return the keys once the new one is among them; raise Yielded where it is not, time allowed."""
    traits = rotation.traits

    def list_once() -> list[Key]:
        listed = rotation.issuer.list_keys()
        if key.id not in {item.id for item in listed}:
            raise ApiError(
                traits.system, f"list {traits.noun}s", f"the {traits.new_noun} {key.id} is not listed", name=key.id
            )
        return listed

    try:
        return rotation.retrying(list_once)
    except ApiError as error:
        if error.name != key.id:
            raise
        raise Yielded(
            f"{traits.system}: the {traits.new_noun} {key.id} was deleted by someone else",
            next_step="find out who deletes the target's keys, then rotate again",
        ) from None
