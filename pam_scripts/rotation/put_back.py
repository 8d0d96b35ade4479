"""What becomes of a failure before the first deletion: everything is put back, and the new key deleted."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from functools import partial

from pam_scripts.core import retry
from pam_scripts.core.errors import NotCertain, OutOfTime, PamScriptError, Yielded, defect
from pam_scripts.core.retry import any_error
from pam_scripts.core.times import utc_now
from pam_scripts.rotation.create import list_made
from pam_scripts.rotation.delete import delete_until_gone, try_to_delete
from pam_scripts.rotation.finish import finish
from pam_scripts.rotation.look import describe_held, no_store_has_it
from pam_scripts.rotation.publish import put
from pam_scripts.rotation.reload import wait_for_health
from pam_scripts.rotation.roles import Key, Progress, Rotation, Snapshot, Store


def put_everything_back(rotation: Rotation, progress: Progress, failure: Exception) -> PamScriptError:
    """Put everything back, log that, give the lease back; return the error that says how far that went."""
    run = rotation.run
    run.deadline.enter_reserve()
    error = failure if isinstance(failure, PamScriptError) else PamScriptError(defect(failure))
    if rotation.traits.reversible:
        error = _put_back(rotation, progress, error)
    else:
        error = _explain_forward_only_failure(rotation, progress, error)
        _log_possible_copies(rotation, progress)
    if not isinstance(error, NotCertain):
        run.entry.new_key, run.entry.next_due = "", _former_expiry(progress)
    error = _naming_what_ended(rotation, error)
    finish(rotation, error)
    return error


def _naming_what_ended(rotation: Rotation, error: PamScriptError) -> PamScriptError:
    """Return an error that also says which keys have made room for the new one: whoever used them is cut off."""
    ended = rotation.issuer.ended
    if not ended:
        return error
    rotation.run.entry.deleted = [key.id for key in ended]
    shown = f"{rotation.traits.noun} {', '.join(key.shown for key in ended)}"
    return NotCertain(
        error.cause,
        state=f"{error.state}, but {shown} no longer works, since the new one was made in its place: "
        "whoever still used it is cut off",
        next_step=error.next_step,
    )


def _log_possible_copies(rotation: Rotation, progress: Progress) -> None:
    unseen = [store for store in progress.touched if store not in progress.published]
    rotation.run.entry.may_be_stored_in = [place for store in unseen for place in store.places]


def _former_expiry(progress: Progress) -> datetime | None:
    """Return when the key that the stores hold again ends, as far as its issuer has told."""
    held = {copy.key_id for copy in progress.before}
    return min((key.expires_at for key in progress.keys if key.id in held and key.expires_at), default=None)


def _explain_forward_only_failure(rotation: Rotation, progress: Progress, error: PamScriptError) -> PamScriptError:
    """Say who holds what, where the system already has the new value and there is no way back."""
    if not progress.touched:
        return no_store_has_it(rotation, error)
    missing = [store.name for store in rotation.stores if store not in progress.published]
    holding = ", ".join(store.name for store in progress.published)
    readers = [
        each.name
        for each in rotation.consumers
        if each.reloads and each.name not in rotation.run.entry.services_restarted
    ]
    return NotCertain(
        error.cause,
        state=f"the new {rotation.traits.noun} of {rotation.issuer.target} is in use already and cannot be taken back; "
        + (f"it is stored in {holding}; " if holding else "")
        + (f"the old one may still be in {', '.join(missing)}" if missing else "every store holds it")
        + (f"; not known to be reloaded: {', '.join(readers)}" if readers else ""),
        next_step=error.next_step or "rotate again: every store then gets the next one",
    )


def _put_back(rotation: Rotation, progress: Progress, error: PamScriptError) -> PamScriptError:
    """Bring every store back, then the consumers, then delete the new key; return the error that says how far.

    The key goes only once nobody can hold it: where a store cannot be put back or asked, or a consumer
    not be reloaded, it stays alive.
    """
    run, noun = rotation.run, rotation.traits.new_noun
    new_id = progress.key.id if progress.key else ""
    if progress.touched or new_id:
        run.say(f"Putting everything back, since this failed: {error.cause}")
    if rotation.traits.replaces and (unclear := _revive(rotation, progress, error)):
        return unclear
    listed = _alive(rotation, progress) if progress.touched else None
    if without_key := _without_live_key(rotation, progress, listed):
        return _keep_new_key(rotation, progress, error, without_key, new_id in (listed or ()))
    stuck = _put_stores_back(rotation, progress, _former_alive(rotation, progress, listed))
    ill: dict[str, str] = {}
    if not stuck:
        stuck, ill = _reload_again(rotation, progress)
    if stuck and progress.touched:
        return NotCertain(
            error.cause,
            state=f"{', '.join(stuck)} may hold the {noun} {new_id}, "
            + ("which no longer logs in" if rotation.traits.replaces else "which stays alive, as do all other keys")
            + "; every other store holds what it held before",
            next_step="run the rotation again once they can be reached: it starts from whatever it finds",
        )
    alive = _delete_new_key(rotation, progress)
    run.entry.may_be_alive = sorted(alive)
    if alive:
        return NotCertain(
            error.cause,
            state=f"all stores hold what they held before, but a {noun} {rotation.key_made} "
            f"may be alive ({', '.join(sorted(alive))})",
            next_step="run the rotation again: it sets that one everywhere"
            if rotation.traits.same_id
            else f"delete it in {rotation.traits.system}, or run the rotation again: it deletes what it finds",
        )
    untouched = "no store was changed" if rotation.issuer.ended else "nothing changed"
    error.state = "all put back as it was" if progress.touched else untouched
    if progress.creation_unclear:
        error.state += f", but a {noun} {rotation.key_made} may still appear in {rotation.traits.system}"
        next_time = "deletes it" if rotation.traits.labelled else "starts from whatever it finds"
        error.next_step = error.next_step or f"the next rotation {next_time}"
    if ill:
        restarted = [each for each in progress.reloaded if each.reloads and each.name in run.entry.services_restarted]
        again = ", and reloaded again" if restarted else ""
        error.state += f"{again}, but not healthy: {', '.join(ill)}"
    return error


def _revive(rotation: Rotation, progress: Progress, error: PamScriptError) -> NotCertain | None:
    """Bring back the key that the new one has ended, before any store is put back; None where that is done.

    Where it fails, every store gets the new key; returns the error that says so.
    """
    noun, made = rotation.traits.noun, progress.key
    if not (made or progress.creation_unclear):
        return None
    try:
        rotation.retrying(rotation.issuer.revive, any_error)
    except PamScriptError as reason:
        rotation.run.warn(f"the former {noun} could not be put back: {reason.cause}")
    else:
        rotation.run.say(f"Put back: the former {noun} of {rotation.issuer.target}")
        return None
    if not made:
        return NotCertain(
            error.cause,
            state=f"no store was changed, but {rotation.traits.system} may have a new {noun} for "
            f"{rotation.issuer.target}, which no store has",
            next_step="run the rotation again: it makes another one",
        )
    alive = _alive(rotation, progress)
    return _keep_new_key(rotation, progress, error, rotation.stores, alive is None or made.id in alive)


def _put_stores_back(rotation: Rotation, progress: Progress, listed: Collection[str] | None) -> list[str]:
    """Bring every store back to what it held, the truth last; return the names of those where that failed."""
    run, stuck = rotation.run, []
    run.entry.stored_in = []
    for store, before in reversed(list(zip(rotation.stores, progress.before, strict=True))):
        # The truth has more than the credential to put back: when it was rotated, for one.
        if store not in progress.touched or (store is not rotation.truth and _held_already(store, before, progress)):
            continue
        try:
            rotation.retrying(partial(store.put_back, before, progress.publication, listed), any_error)
            run.say(f"Put back: {store.name}, which held: {describe_held(rotation, progress, before)}")
        except PamScriptError as reason:
            stuck.append(store.name)
            run.entry.may_be_stored_in += store.places
            run.warn(f"{store.name} could not be put back: {reason.cause}")
    return stuck


def _held_already(store: Store, before: Snapshot, progress: Progress) -> bool:
    """Say whether a store held at the look what is published now: where a roll back that was interrupted goes on."""
    return before.holds(store.parts(progress.new[1].credential))


def _delete_new_key(rotation: Rotation, progress: Progress) -> set[str]:
    """Delete every key that this rotation made; return the ids (or the label) of those that may be alive.

    A key whose id is that of one before it is left alone: it may be the only one alive. So is one that was brought
    back, which this rotation did not make: nothing may be alive that was not before.
    """
    if rotation.traits.earlier or rotation.traits.replaces:
        return set()
    if rotation.traits.same_id:
        return _restore_former_key(rotation, progress)
    before = {key.id for key in progress.keys}
    try:
        made = _look_for_new_keys(rotation, progress)
        if progress.key and progress.key.id not in {key.id for key in made}:
            made.append(progress.key)
        ours = [key for key in made if key.id not in before]
        listed = {key.id for key in delete_until_gone(rotation, ours, try_to_delete(rotation, ours))}
        for key in [key for key in ours if key.id not in listed]:
            rotation.run.entry.withdrawn_key = key.id
            rotation.run.say(f"Deleted the new {rotation.traits.noun}: {key.id}")
        return {key.id for key in made} & listed
    except PamScriptError as reason:
        rotation.run.warn(f"the new key could not be looked for: {reason.cause}")
        return {progress.key.id if progress.key else rotation.label}


def _restore_former_key(rotation: Rotation, progress: Progress) -> set[str]:
    """Restore the former key, which ends the new one; return the new one's id where it may be alive all the same."""
    if not (progress.key or progress.creation_unclear):
        return set()
    try:
        rotation.retrying(rotation.issuer.revive, any_error)
    except PamScriptError as reason:
        rotation.run.warn(f"the former {rotation.traits.noun} could not be put back in its place: {reason.cause}")
        return {progress.key.id if progress.key else rotation.label}
    rotation.run.say(f"Put back: the former {rotation.traits.noun} of {rotation.issuer.target}")
    return set()


def _look_for_new_keys(rotation: Rotation, progress: Progress) -> list[Key]:
    """List what this rotation made; again and again, time allowed, where a creation may show in the list later."""
    run, known = rotation.run, progress.key.id if progress.key else ""
    for wait in (rotation.traits.listing_delay, *retry.WAITS, None):
        made = rotation.retrying(partial(list_made, rotation, progress), any_error)
        if any(key.id != known for key in made):
            progress.creation_unclear = False
        if not progress.creation_unclear or wait is None or wait >= run.deadline.left() / 2:
            break
        run.say(f"Waiting {wait:g} s for {rotation.traits.system} to list what may have been made")
        run.deadline.wait(wait)
    return made


def _reload_again(rotation: Rotation, progress: Progress) -> tuple[list[str], dict[str, str]]:
    """Have the consumers read what was put back; return who could not be reloaded, and who is not well."""
    run, stuck = rotation.run, []
    for consumer in progress.reloaded:
        try:
            rotation.retrying(consumer.reload, any_error)
            if consumer.reloads:
                run.say(f"Reloading {consumer.name} with what was put back")
        except PamScriptError as reason:
            stuck.append(consumer.name)
            run.warn(f"{consumer.name} could not be reloaded: {reason.cause}")
    if stuck or not progress.reloaded:
        return stuck, {}
    try:
        # Half of what is left: the new key is still to be deleted.
        seconds = min(rotation.plan.health_seconds, run.deadline.left() / 2)
        ill = wait_for_health(rotation, progress.reloaded, seconds)
    except PamScriptError as reason:
        run.entry.health_verified = None
        run.warn(f"the health of the consumers could not be checked: {reason.cause}")
        return [], {}
    run.entry.health_verified = not ill
    return [], ill


def _alive(rotation: Rotation, progress: Progress) -> set[str] | None:
    """Return the ids of the keys that are listed and not at their end now; None where the issuer cannot be asked."""
    try:
        return _not_ended(rotation.retrying(rotation.issuer.list_keys), progress)
    except PamScriptError:
        return None


def _former_alive(rotation: Rotation, progress: Progress, alive: Collection[str] | None) -> Collection[str] | None:
    """Return the ids under which a store may hold a key of before that is alive.

    A former key that lives on under another id counts under its own, too, even where somebody has ended the new one.
    """
    former = {key.id for key in (*progress.decision.to_delete, *progress.decision.kept)}
    if alive is None or not rotation.traits.same_id or former.isdisjoint(alive):
        return alive
    return {*alive, progress.new[0].id}


def _not_ended(keys: Iterable[Key], progress: Progress) -> set[str]:
    """Return the ids of those that had not ended when the new key was made: both times are the issuer's.

    Where none was made now, this host's clock must do.
    """
    moment = utc_now() if progress.decision.earlier else progress.new[0].created_at
    return {key.id for key in keys if not key.expired(moment)}


def _without_live_key(rotation: Rotation, progress: Progress, alive: Collection[str] | None) -> list[Store]:
    """Return the stores to which nothing can be put back: what they held has died since the look, or before it.

    Where it was dead at the look, a store that the new key has not reached is left as it was.
    """
    former_alive = _former_alive(rotation, progress, alive)
    if alive is None or former_alive is None:
        return []
    seen, seen_alive = {key.id for key in progress.keys}, _not_ended(progress.keys, progress)
    found = []
    for store, before in zip(rotation.stores, progress.before, strict=True):
        gone = before.held - {*former_alive}
        died_since = not gone.isdisjoint(seen_alive)
        was_dead = bool(gone) and (rotation.traits.lists_all or not gone.isdisjoint(seen))
        reached = progress.new[0].id in alive and store in progress.touched
        if died_since or (was_dead and reached and _may_hold(store, progress)):
            found.append(store)
    return found


def _may_hold(store: Store, progress: Progress) -> bool:
    """Say whether a store holds anything of the new credential, or cannot be asked."""
    _, publication = progress.new
    try:
        return store.read().holds_any(store.parts(publication.credential))
    except PamScriptError:
        return True


def _keep_new_key(
    rotation: Rotation, progress: Progress, error: PamScriptError, without_key: Sequence[Store], alive: bool
) -> NotCertain:
    """Let the new key stay where it was stored, and store it where it was not; return the error that says who has it.

    Not where another rotation goes first, whose key they all get. alive: whether the new key is listed.
    """
    run, noun = rotation.run, rotation.traits.new_noun
    key, publication = progress.new
    # One that was told to stop tries each store once more, any other until there is just the end to be written.
    spare = None if isinstance(error, OutOfTime) else run.deadline.seconds / 10
    again = partial(retry.retrying, run.deadline, on=retry.transient, spare=spare)
    missing = list(rotation.stores)
    run.entry.stored_in = []
    for store in rotation.stores if alive and not isinstance(error, Yielded) else ():
        try:
            put(store, publication, again)
        except PamScriptError as reason:
            run.warn(f"{store.name} did not take the {noun}: {reason.cause}")
        else:
            missing.remove(store)
            run.entry.stored_in += store.places
    run.entry.may_be_stored_in = [place for store in missing for place in store.places]
    return NotCertain(
        error.cause,
        state=f"what {', '.join(store.name for store in without_key)} held before no longer works, "
        + (f"so that the {noun} {key.id} was left alive; " if alive else f"nor does the {noun} {key.id}; ")
        + (f"{', '.join(store.name for store in missing)} may not hold it" if missing else "every store holds it"),
        next_step="run the rotation again: it starts from whatever it finds",
    )
