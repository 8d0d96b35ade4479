"""Steps 7 and 8 of a rotation: delete the other keys, lock older versions away, and confirm. It only goes forward."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from pam_scripts.core import retry
from pam_scripts.core.errors import ApiError, NotCertain, OldKeysAlive, PamScriptError, defect
from pam_scripts.core.parallel import concurrently
from pam_scripts.core.retry import any_error
from pam_scripts.core.words import count
from pam_scripts.rotation import labels
from pam_scripts.rotation.finish import finish
from pam_scripts.rotation.publish import put
from pam_scripts.rotation.roles import Key, Mirror, Progress, Rotation


def delete_and_confirm(rotation: Rotation, progress: Progress) -> OldKeysAlive | None:
    """Delete the keys that are to go, then see each store hold ours and the list have ours and nothing else.

    Returns the error for keys that are alive all the same. Raises NotCertain where the new key is not listed.
    """
    key, publication = progress.new
    # A key made now is never among them under the id of one before it.
    before = {item.id for item in progress.keys}
    to_delete = [
        item
        for item in progress.listed
        if item.id in progress.decision.ids_to_delete
        and item.id != key.id
        and not (item.label == rotation.label and item.id in before)
    ]
    # One that was brought back may be wanted again, and then be looked for among the versions that hold it.
    again = [key] if key.id in before and not (rotation.traits.replaces or rotation.traits.same_id) else []
    kept = [_labelled(rotation, progress, item) for item in (*progress.decision.kept, *again)]
    with concurrently() as submit:
        tried = submit(partial(try_to_delete, rotation, to_delete))
        for mirror, versions in zip(rotation.mirrors, progress.outdated, strict=True):
            submit(partial(_retire, rotation, mirror, versions, kept))
    progress.confirmed_at_finish = rotation.truth.confirmed_by_finish(publication)
    with concurrently() as submit:
        gone = submit(partial(delete_until_gone, rotation, to_delete, tried.result()))
        for store in rotation.mirrors if progress.confirmed_at_finish else rotation.stores:
            submit(partial(put, store, publication, partial(rotation.retrying, on=any_error)))
    extra = _extra_keys(rotation, progress, gone.result())
    _log_deletions(rotation, progress, extra)
    others = rotation.retrying(rotation.issuer.others_alive, any_error)
    shown = [*(item.shown for item in extra), *others]
    if not shown:
        return None
    return OldKeysAlive(
        f"{rotation.traits.system}: {count(len(shown), f'other {rotation.traits.noun}')} of {rotation.issuer.target} "
        f"still alive: {', '.join(shown)}",
        state=f"the {rotation.traits.new_noun} {key.id} is in place in every store",
        next_step=f"delete them in {rotation.traits.system}"
        + (": no rotation deletes those of others" if others else ", or run the rotation again"),
    )


def _labelled(rotation: Rotation, progress: Progress, key: Key) -> Key:
    """Return a key with the label of the rotation that made it, which the ops log tells of keys that have no label.

    Where the new key has the former one's id, the log and the mirrors have the former one under that id.
    """
    name = progress.new[0].id if rotation.traits.same_id else key.id
    logged = (str(entry["rotation_id"]) for entry in rotation.truth.entries if entry["new_key"] == name)
    if key.rotation_id:
        return key
    made_by = next(logged, "")
    return replace(key, label=labels.label(rotation.plan.owner, made_by)) if made_by else replace(key, id=name)


def report_unconfirmed_end(rotation: Rotation, progress: Progress, failure: Exception) -> PamScriptError:
    """Log a failure after the first deletion, give the lease back; return the error that says what to look at."""
    rotation.run.entry.may_be_alive = [item.id for item in progress.decision.to_delete]
    cause = failure.cause if isinstance(failure, PamScriptError) else defect(failure)
    to_delete = ", ".join(item.id for item in progress.decision.to_delete) or "none"
    proven = "logged in and " if rotation.traits.login_proof else ""
    # It is raised here only where the new key is gone.
    doubt = "may no longer log in" if isinstance(failure, NotCertain) else "the last steps were not confirmed"
    error = NotCertain(
        cause,
        state=f"the {rotation.traits.new_noun} {progress.new[0].id} {proven}was stored everywhere, but {doubt}; "
        f"keys that may still be alive in {rotation.traits.system}: {to_delete}",
        next_step="look at the keys of the target and at the stores, or run the rotation again",
    )
    finish(rotation, error)
    return error


def try_to_delete(
    rotation: Rotation, to_delete: Iterable[Key], way: Callable[[Key], None] | None = None
) -> dict[str, ApiError]:
    """Try one way, the best unless another is given, on each of these keys; return what went wrong, by the key's id.

    Several at a time, as many as the issuer bears; once it says that it is busy, the rest is not even sent.
    """
    declined: list[ApiError] = []

    def attempt(key: Key) -> ApiError | None:
        if declined:
            return declined[0]
        try:
            (way or rotation.issuer.delete_key)(key)
        except ApiError as error:
            if error.busy:
                declined.append(error)
            return error
        return None

    with concurrently(rotation.traits.deletions_at_once) as submit:
        ends = {key.id: submit(partial(attempt, key)) for key in to_delete}
    return {key_id: error for key_id, end in ends.items() if (error := end.result())}


def delete_until_gone(rotation: Rotation, to_delete: Iterable[Key], errors: Mapping[str, ApiError]) -> list[Key]:
    """Return the keys that are listed once these are gone, trying again and trying every way until they are.

    The list is the judge, not the answers. Where the system was only busy, or its list is late, the same way is
    tried again, after looking; otherwise the next way is. errors: what the best way met, by the key's id.
    """
    issuer, run, delay = rotation.issuer, rotation.run, rotation.traits.listing_delay
    pending, ways, tries = list(to_delete), [issuer.delete_key, *issuer.other_ways_to_delete], 0
    while True:
        listed = rotation.retrying(issuer.list_keys, any_error)
        ids = {key.id for key in listed}
        # Where lists are late, a refused deletion of a key that is not listed proves nothing.
        left = [key for key in pending if key.id in ids or (delay and key.id in errors)]
        if not left:
            return listed
        # What goes forward is not at its end: the waits begin anew.
        tries = 0 if len(left) < len(pending) else tries
        pending = left
        again = delay > 0 or any(error.transient for error in errors.values())
        waits = retry.WAITS[tries : tries + 1]
        wait = max([*waits, *(error.retry_after or 0.0 for error in errors.values())], default=0.0)
        if again and tries < len(retry.WAITS) and wait < run.deadline.left():
            run.deadline.wait(wait)
            tries += 1
        else:
            for error in list(errors.values())[:1]:
                run.warn(error.cause)
            ways, tries = ways[1:], 0
            if not ways:
                return listed
        errors = try_to_delete(rotation, pending, ways[0])


def find_outdated(rotation: Rotation, mirror: Mirror) -> Sequence[Any]:
    """Return the versions that are to be locked away; a failure is worth a warning, since they log nobody in."""
    try:
        # Where there is no way back, nobody waits for what a mirror may keep.
        return rotation.retrying(mirror.outdated) if rotation.traits.reversible else mirror.outdated()
    except ApiError as error:
        rotation.run.warn(f"older versions of a secret stay readable, though their keys no longer log in: {error}")
        return ()


def _retire(rotation: Rotation, mirror: Mirror, outdated: Sequence[Any], kept: Sequence[Key]) -> None:
    """Lock dead credentials away; as with `find_outdated`, a failure is worth a warning."""
    try:
        rotation.retrying(partial(mirror.retire, outdated, kept))
    except ApiError as error:
        rotation.run.warn(f"older versions of a secret stay readable, though their keys no longer log in: {error}")


def _extra_keys(rotation: Rotation, progress: Progress, listed: list[Key]) -> list[Key]:
    """Return every listed key that should not be there; raise where the new one is not.

    Those that withstood deletion are known; any other is given a moment, for a list that is late, or a
    rotation that is just stepping back. listed: the keys as they were just listed.
    """
    decision, deadline, key = progress.decision, rotation.run.deadline, progress.new[0]
    for pause in (*retry.WAITS, math.inf):
        last, gone = pause >= deadline.left(), key.id not in {item.id for item in listed}
        if gone and (last or not rotation.traits.listing_delay):
            raise NotCertain(f"{rotation.traits.system}: the {rotation.traits.new_noun} {key.id} is no longer listed")
        extra = [item for item in listed if item.id not in {key.id, *decision.kept_ids}]
        if last or (not gone and {item.id for item in extra} <= decision.ids_to_delete):
            break
        deadline.wait(pause)
        listed = rotation.retrying(rotation.issuer.list_keys, any_error)
    return extra


def _log_deletions(rotation: Rotation, progress: Progress, extra: Sequence[Key]) -> None:
    entry, alive = rotation.run.entry, {item.id for item in extra}
    deleted = [item for item in progress.decision.to_delete if item.id not in alive]
    for item in deleted:
        rotation.run.say(f"Deleted {rotation.traits.noun}: {item.shown}")
    entry.deleted = [item.id for item in deleted]
    listed = {item.id for item in progress.listed}
    entry.kept = [item.id for item in progress.decision.kept if item.id in listed]
    entry.still_alive = sorted(alive)
