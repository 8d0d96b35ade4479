"""Step 1 of a rotation: look at everything, and find every reason to stop while that is free."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import TypeVar

from pam_scripts.core.errors import ApiError, BadInput, NotCertain, PamScriptError, Refused, Yielded
from pam_scripts.core.parallel import concurrently
from pam_scripts.core.times import utc_now
from pam_scripts.core.words import count
from pam_scripts.rotation import labels
from pam_scripts.rotation.finish import finish
from pam_scripts.rotation.lease import LEASE_MARGIN
from pam_scripts.rotation.roles import Decision, Key, Known, Mirror, Progress, Rotation, Snapshot

T = TypeVar("T")


@contextmanager
def reporting_nothing_changed(rotation: Rotation) -> Iterator[None]:
    """Add to each error raised within that nothing was changed; without a way back, that no store has the value yet."""
    try:
        yield
    except PamScriptError as error:
        if rotation.traits.reversible:
            error.state = error.state or "nothing changed"
            raise
        if isinstance(error, BadInput):
            error.state = error.state or _no_store_has_it(rotation)
            raise
        raise no_store_has_it(rotation, error) from error


def no_store_has_it(rotation: Rotation, error: PamScriptError) -> NotCertain:
    """Return the error for a run that ended before the first store, where the system has the new value already."""
    return NotCertain(
        error.cause,
        state=_no_store_has_it(rotation),
        next_step=error.next_step,
    )


def _no_store_has_it(rotation: Rotation) -> str:
    return f"no store has the {rotation.traits.noun} of {rotation.issuer.target} yet"


def look(rotation: Rotation, progress: Progress) -> None:
    """Examine everything: what each store holds, the issuer's keys, the consumers; and decide which keys are to go.

    Logins depend on nothing, and are made while the truth is read. All else is read after it: the lease is granted
    only if the truth was not changed since, so that no other rotation can have changed the rest meanwhile.
    """
    with concurrently() as submit:
        truth = submit(partial(rotation.retrying_longer, rotation.truth.examine))
        submit(partial(rotation.retrying, rotation.issuer.connect))
        for mirror in rotation.mirrors:
            submit(partial(_retry_or_warn, rotation, mirror.connect))
    with concurrently() as submit:
        others = [submit(partial(_retry_or_warn, rotation, mirror.examine)) for mirror in rotation.mirrors]
        for consumer in rotation.consumers:
            submit(partial(_retry_or_warn, rotation, consumer.examine))
        listed = submit(partial(rotation.retrying, rotation.issuer.list_keys))
    snapshots = [other.result() for other in others]
    progress.before = [truth.result(), *(snapshot or Snapshot({}) for snapshot in snapshots)]
    progress.unseen = [mirror for mirror, snapshot in zip(rotation.mirrors, snapshots, strict=True) if snapshot is None]
    progress.keys = listed.result()
    _refuse_another_target(rotation, progress)
    _refuse_what_is_not_ours(rotation, progress)
    progress.known = Known(truth.result().parts, _ids(progress.keys))
    for mirror in [each for each in rotation.mirrors if each not in progress.unseen]:
        if _retry_or_warn(rotation, partial(adopt, rotation, progress, mirror)) is None:
            progress.unseen.append(mirror)
    decided = rotation.retrying(partial(rotation.issuer.decide, progress.keys, progress.before))
    progress.decision = decided or _decide(rotation, progress)
    _report(rotation, progress)


def adopt(rotation: Rotation, progress: Progress, mirror: Mirror) -> bool:
    """Say what of a mirror is taken over, after it was examined; raise Refused where that is not ours to write."""
    for line in mirror.adopt(progress.known):
        rotation.run.say(line)
    return True


def _retry_or_warn(rotation: Rotation, call: Callable[[], T]) -> T | None:
    """Look at one mirror or consumer, trying again where it may help.

    Where there is no way back it is tried once, so that nothing else has to wait: a failure is then warned of, None
    is returned, and a mirror is looked at again before it is written.
    """
    if rotation.traits.reversible or rotation.run.dry_run:
        return rotation.retrying(call)
    try:
        return call()
    except (ApiError, Refused) as error:
        rotation.run.warn(str(error))
        return None


def look_for_missing_rights(rotation: Rotation) -> None:
    """Raise Refused naming every right that is missing, as far as the systems tell; the end of a dry run."""
    missing = [f"{rotation.traits.system}: {right}" for right in rotation.retrying(rotation.issuer.missing_rights)]
    for consumer in rotation.consumers:
        missing += [f"{consumer.name}: {right}" for right in rotation.retrying(consumer.missing_rights)]
    if missing:
        raise Refused("; ".join(missing))
    rotation.run.say("Dry run: nothing was changed; everything that can be checked beforehand is in order")


def take_lease(rotation: Rotation) -> None:
    """Take the lease of the truth; raise Yielded where another rotation has it."""
    run = rotation.run
    until = utc_now() + timedelta(seconds=run.deadline.seconds) + LEASE_MARGIN
    try:
        rotation.retrying_longer(lambda: rotation.truth.take_lease(run.rotation_id, until))
    except PamScriptError as error:
        # Unless it was declined it may have been taken, and would keep the next rotation waiting.
        if not isinstance(error, Yielded) and not (isinstance(error, ApiError) and error.declined):
            run.deadline.enter_reserve()
            finish(rotation, error)
        raise


def _refuse_another_target(rotation: Rotation, progress: Progress) -> None:
    """Refuse a target that the login's owners do not allow, and one that the key in the truth was not made for."""
    known_as = rotation.issuer.known_as
    if not known_as:
        return
    rotation.limit.check(f"{rotation.traits.system}: {rotation.issuer.target}", *known_as)
    held = progress.before[0].key_id
    made_for = rotation.truth.made_for(held) if held else ""
    if made_for and made_for.lower() not in {name.lower() for name in known_as}:
        raise BadInput(
            f"{rotation.truth.name}: its {rotation.traits.noun} {held} was made for {made_for}, and the record now "
            f"asks for {rotation.issuer.target}",
            next_step="put the former id back, or empty the credential's fields: the former key then stays alive",
        )
    if held and not made_for:
        rotation.run.say(f"The ops log does not say whose {rotation.traits.noun} {rotation.truth.name} holds")
    rotation.run.entry.target_id = known_as[0]


def _refuse_what_is_not_ours(rotation: Rotation, progress: Progress) -> None:
    issuer, plan, noun = rotation.issuer, rotation.plan, rotation.traits.noun
    for key in progress.keys:
        if issuer.login_key_id and issuer.login_key_id in (key.id, key.item_id):
            raise BadInput(
                f"{rotation.traits.system}: the admin credential is {noun} {key.id} of {issuer.target} itself, "
                "which this rotation would delete",
                next_step="attach the credential of a user administrator instead",
            )
        if key.owner not in ("", plan.owner) and not key.expired(utc_now()) and not plan.take_over:
            raise BadInput(
                f"{rotation.traits.system}: {noun} {key.id} of {issuer.target} was made for the Keeper record "
                f"{key.owner}; record {plan.owner} would delete it",
                next_step="let one record rotate this target; to move it here for good set 'take_over' to 'True'",
            )


def _decide(rotation: Rotation, progress: Progress) -> Decision:
    """Choose which previous keys live on: first what the stores hold, then the newest.

    Never one that an interrupted rotation of this record left behind: made by it, held by no store,
    and newer than what the stores hold, so that nobody was ever told of it.
    """
    keys, plan = progress.keys, rotation.plan
    held = {snapshot.key_id for snapshot in progress.before} - {""}
    published = max((key.created_at for key in keys if key.id in held), default=None)

    def left_behind(key: Key) -> bool:
        never_told = key.id not in held and (published is None or key.created_at > published)
        return labels.serves(key.label, plan.owner) and never_told

    candidates = [key for key in keys if not key.expired(utc_now()) and not left_behind(key)]
    candidates.sort(key=lambda key: (key.id in held, key.created_at), reverse=True)
    kept = candidates[: plan.keep]
    return Decision(kept, [key for key in keys if key not in kept])


def _report(rotation: Rotation, progress: Progress) -> None:
    run, decision, has_keys = rotation.run, progress.decision, bool(rotation.traits.login_proof)
    if run.dry_run:
        run.entry.would_delete, run.entry.would_keep = (
            [key.id for key in decision.to_delete],
            [key.id for key in decision.kept],
        )
    for store, snapshot in zip(rotation.stores, progress.before, strict=True):
        run.say(f"{store.name} holds: {describe_held(rotation, progress, snapshot)}")
        for remark in snapshot.remarks:
            run.say(remark)
    if has_keys:
        run.say(f"Found {count(len(progress.keys), rotation.traits.noun)} of {rotation.issuer.target}")
    for key in decision.kept:
        run.say(f"  to keep: {key.dated}")
    for key in decision.to_delete:
        run.say(f"  to delete: {key.dated}")


def describe_held(rotation: Rotation, progress: Progress, snapshot: Snapshot) -> str:
    """Say what a store held when it was examined."""
    if snapshot.key_id:
        # What no issuer lists as an id may be the value, entered in the wrong field. Some issuers know the word by
        # which a store calls a key only after they have decided.
        decided = (*progress.decision.kept, *progress.decision.to_delete)
        ids = {*_ids(progress.keys), *_ids(decided)}
        return snapshot.key_id if snapshot.key_id in ids else "a key that is not listed"
    nothing = f"no {'key' if rotation.traits.login_proof else 'value'} yet"
    return snapshot.shown or ("a mixed pair" if snapshot.parts else nothing)


def _ids(keys: Iterable[Key]) -> set[str]:
    """Return all that keys are called, by clients and by their issuer."""
    return {name for key in keys for name in (key.id, key.item_id) if name}
