"""THE order of a rotation. Whoever must trust this package reads `rotate`, and is done.

Until the first deletion a failure puts every store back and deletes the new key; from then on it
only goes forward. At every moment between, the credential in each store logs in: the old keys
live until all stores hold the new one, and the new one is never deleted while a store may hold it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from pam_scripts.core.errors import (
    ApiError,
    BadInput,
    NotCertain,
    OldKeysAlive,
    PamScriptError,
    Refused,
    Yielded,
    defect,
)
from pam_scripts.core.patience import WAITS, anything, busy, iso, patiently, transient, utc_now
from pam_scripts.core.roles import Consumer, Copy, Credential, Issuer, Key, Mirror, Plan, Publication, Run, Store, Truth
from pam_scripts.core.together import side_by_side

# A lease outlives its run by this much, for requests still under way and clocks that differ.
LEASE_MARGIN = timedelta(seconds=60)

# Seconds between one look at consumers that are not well yet and the next: a part of what they may take, this at most.
HEALTH_PAUSE = 2.0
_LOOKS = 60

# Seconds between a login with the new key and the next.
_FIRST_PAUSE = 0.3

_LABEL = re.compile(r"keeper:(?P<owner>[^:\s]+):(?P<rotation>\S+)")


def rotate(  # noqa: PLR0913, PLR0917 - one for each role
    issuer: Issuer, truth: Truth, mirrors: Sequence[Mirror], plan: Plan, run: Run, consumers: Sequence[Consumer] = ()
) -> None:
    """Replace the key everywhere, or nowhere. Returns only when everything is true and confirmed."""
    stores: list[Store] = [truth, *mirrors]
    run.entry.target, run.entry.noun = _target(issuer), issuer.noun

    # 1. Look: each store's credential, the issuer's keys, every reason to stop while that is free.
    #    The truth comes first: its lease is had only if nobody changed it since, so that what is
    #    seen after it is what no other rotation can have changed.
    with _changing_nothing(issuer):
        before, keys = _look(issuer, truth, mirrors, consumers, run)
        _refuse_what_is_not_ours(keys, issuer, plan)
        fate = _decide(keys, before, plan)
        _report(issuer, stores, before, fate, run)
        if run.dry_run:
            return _refuse_missing_rights(issuer, consumers, run)
        until = run.started + timedelta(seconds=run.deadline.seconds) + LEASE_MARGIN
        patiently(run.deadline, lambda: truth.claim(run.rotation_id, until))

    attempt = _Attempt(issuer, truth, mirrors, before, keys, label(plan.owner, run.rotation_id), plan, run)
    try:
        # 2. Create the key, labelled with this rotation.
        expires_at = run.started + plan.life if plan.life else None
        key, credential = _create(issuer, attempt.label, expires_at, run)
        attempt.key = key
        run.entry.key = key.id
        run.entry.next_due = f"before {iso(expires_at)}" if expires_at else "as scheduled; the key itself has no end"
        run.say(
            f"Generated new {issuer.noun} with ID: {key.id}" + (f" (expires {iso(expires_at)})" if expires_at else "")
        )

        # 3. Verify it by a real login. Meanwhile: is the record still ours to save into, and which versions in
        #    the mirrors will be outdated?
        outdated = _verify_and_look(attempt, credential)

        # 4. Publish to each store, the truth first.
        publication = Publication(credential, run.rotation_id, run.started, expires_at)
        _publish_everywhere(attempt, publication)

        # 5. Where there are consumers: see it in each store, have them read it, wait until all are well again.
        if consumers:
            _confirm(attempt, publication)
            _reload(attempt, consumers, plan.health_seconds)

        # 6. Look again before the point of no return: each store, read back, holds the new key, nobody came
        #    before us, the record is still ours.
        listed = _last_look(attempt, publication, key)
        issuer.act_as(credential)
    except Exception as failure:
        raise _give_up(attempt, failure) from failure

    # 7. Delete the other keys, and lock older versions away. From here on it only goes forward.
    run.deadline.enter_reserve()
    try:
        doomed = [item for item in listed if item.id in fate.doomed_ids]
        with side_by_side() as start:
            tried = start(partial(_try_to_delete, issuer, doomed))
            for mirror, versions in zip(mirrors, outdated, strict=True):
                start(partial(_retire, mirror, versions, fate.kept_rotations, run))

        # 8. Confirm: each store still holds ours, the list has ours and nothing else.
        with side_by_side() as start:
            gone = start(partial(_see_gone, issuer, doomed, tried.result(), run))
            for store in stores:
                start(partial(_publish, store, publication, run, retry=anything))
        extra = _extra_keys(issuer, key, fate, gone.result(), run)
    except Exception as failure:
        raise _end_in_doubt(attempt, failure, fate) from failure
    _note(run, issuer, fate, extra)
    error = _old_keys_alive(issuer, key, extra) if extra else None
    _finish(truth, run, error)
    if error:
        raise error
    run.say("Key rotation completed successfully!")
    return None


# -- labels: how a key says whose it is ---------------------------------------------------------


def label(owner: str, rotation_id: str) -> str:
    """Return the label of a key made by this rotation for this Keeper record."""
    return f"keeper:{owner}:{rotation_id}"


def owner_of(key: Key) -> str:
    """Return the UID of the Keeper record whose rotation made the key, empty for any other key."""
    match = _LABEL.fullmatch(key.label)
    return match["owner"] if match else ""


def rotation_of(key: Key) -> str:
    """Return the id of the rotation that made the key, empty for any other key."""
    match = _LABEL.fullmatch(key.label)
    return match["rotation"] if match else ""


def _target(issuer: Issuer) -> str:
    return f"{issuer.target} in {issuer.system}" if issuer.system else issuer.target


# -- 1. look ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Fate:
    """What is to become of the keys that were there before: kept ones live on, doomed ones go."""

    kept: Sequence[Key]
    doomed: Sequence[Key]

    @property
    def kept_ids(self) -> set[str]:
        return {key.id for key in self.kept}

    @property
    def doomed_ids(self) -> set[str]:
        return {key.id for key in self.doomed}

    @property
    def kept_rotations(self) -> list[str]:
        return [rotation for key in self.kept if (rotation := rotation_of(key))]


@contextmanager
def _changing_nothing(issuer: Issuer) -> Iterator[None]:
    try:
        yield
    except PamScriptError as error:
        if issuer.reversible or isinstance(error, BadInput):
            error.state = error.state or "nothing changed"
            raise
        raise _with_no_store(issuer, error) from error


def _with_no_store(issuer: Issuer, error: PamScriptError) -> NotCertain:
    return NotCertain(
        error.cause, state=f"no store has the {issuer.noun} of {issuer.target} yet", next_step=error.next_step
    )


def _look(
    issuer: Issuer, truth: Truth, mirrors: Sequence[Mirror], consumers: Iterable[Consumer], run: Run
) -> tuple[list[Copy], list[Key]]:
    """Examine everything; return what each store holds, the truth first, and the issuer's keys.

    Logging in depends on nothing, and goes beside the truth; what is seen of the others is seen after it.
    """
    with side_by_side() as start:
        first = start(partial(patiently, run.deadline, truth.examine))
        start(partial(patiently, run.deadline, issuer.connect))
        for mirror in mirrors:
            start(partial(patiently, run.deadline, mirror.connect))
    with side_by_side() as start:
        others = [start(partial(patiently, run.deadline, mirror.examine)) for mirror in mirrors]
        for consumer in consumers:
            start(partial(patiently, run.deadline, consumer.examine))
        listed = start(partial(patiently, run.deadline, issuer.list_keys))
    return [first.result(), *(other.result() for other in others)], listed.result()


def _refuse_what_is_not_ours(keys: Iterable[Key], issuer: Issuer, plan: Plan) -> None:
    for key in keys:
        if issuer.own_key_id and key.id == issuer.own_key_id:
            raise BadInput(
                f"{issuer.system}: the admin credential is {issuer.noun} {key.id} of {issuer.target} itself, "
                "which this rotation deletes",
                next_step="attach the credential of a user administrator instead",
            )
        if owner_of(key) not in ("", plan.owner) and not key.expired(utc_now()) and not plan.take_over:
            raise BadInput(
                f"{issuer.system}: {issuer.noun} {key.id} of {issuer.target} was made for the Keeper record "
                f"{owner_of(key)}; record {plan.owner} would delete it",
                next_step="let one record rotate this target; to move it here for good set 'take_over' to 'True'",
            )


def _decide(keys: Sequence[Key], before: Sequence[Copy], plan: Plan) -> _Fate:
    """Choose which previous keys live on: first what the stores hold, then the newest.

    Never one that an interrupted rotation of this record left behind: made by it, held by no store,
    and newer than what the stores hold, so that nobody was ever told of it.
    """
    held = {copy.key_id for copy in before} - {""}
    published = max((key.created_at for key in keys if key.id in held), default=None)

    def left_behind(key: Key) -> bool:
        never_told = key.id not in held and (published is None or key.created_at > published)
        return owner_of(key) == plan.owner and never_told

    candidates = [key for key in keys if not key.expired(utc_now()) and not left_behind(key)]
    candidates.sort(key=lambda key: (key.id in held, key.created_at), reverse=True)
    kept = candidates[: plan.keep]
    return _Fate(kept, [key for key in keys if key not in kept])


def _report(issuer: Issuer, stores: Sequence[Store], before: Sequence[Copy], fate: _Fate, run: Run) -> None:
    for store, copy in zip(stores, before, strict=True):
        held = (
            copy.key_id
            or copy.shown
            or ("a mixed pair" if copy.parts else f"no {'key' if issuer.proof else 'value'} yet")
        )
        run.say(f"{store.name} holds: {held}")
    if issuer.proof:
        run.say(f"Found {_count(len(fate.kept) + len(fate.doomed), issuer.noun)} of {issuer.target}")
    for key in fate.kept:
        run.say(f"  to keep: {key.shown}, created {iso(key.created_at)}")
    for key in fate.doomed:
        run.say(f"  to delete: {key.shown}, created {iso(key.created_at)}")


def _refuse_missing_rights(issuer: Issuer, consumers: Iterable[Consumer], run: Run) -> None:
    missing = [f"{issuer.system}: {right}" for right in patiently(run.deadline, issuer.missing_rights)]
    for consumer in consumers:
        missing += [f"{consumer.name}: {right}" for right in patiently(run.deadline, consumer.missing_rights)]
    if missing:
        raise Refused("; ".join(missing))
    run.say("Dry run: nothing was changed; a rotation would go through all that could be looked at")


# -- 2. to 4. create, verify, publish -----------------------------------------------------------


def _create(issuer: Issuer, its_label: str, expires_at: datetime | None, run: Run) -> tuple[Key, Credential]:
    """Create the key; again only where the system declined for now, and a look shows that it did nothing."""

    def create_or_look() -> tuple[Key, Credential]:
        try:
            return issuer.create_key(its_label, expires_at)
        except ApiError as error:
            if error.busy and _labelled(issuer, its_label)():
                error.busy = False
            raise

    return patiently(run.deadline, create_or_look, retry=busy)


def _verify_and_look(attempt: _Attempt, credential: Credential) -> list[Sequence[Any]]:
    """Verify the key, and return which versions each mirror will have to lock away."""
    issuer, run = attempt.issuer, attempt.run
    with side_by_side() as start:
        start(partial(_verify, issuer, credential, run))
        # Where there is no way back, all is written, whatever the record says.
        if issuer.reversible:
            start(partial(patiently, run.deadline, attempt.truth.check_claim))
        outdated = [start(partial(_outdated, mirror, run)) for mirror in attempt.mirrors]
    return [versions.result() for versions in outdated]


def _verify(issuer: Issuer, credential: Credential, run: Run) -> None:
    """Log in until it succeeds often enough in a row; give up once the system had time to settle."""
    settled = max(run.deadline.left() - issuer.settling, 0.0)
    in_a_row, pause = 0, _FIRST_PAUSE
    while True:
        try:
            issuer.log_in(credential)
            in_a_row, pause = in_a_row + 1, _FIRST_PAUSE
            if in_a_row >= issuer.logins_in_a_row:
                break
        except ApiError as error:
            spare = run.deadline.left() - settled
            if error.hopeless or spare <= 0 or (error.retry_after or 0.0) > spare:
                raise
            in_a_row, pause = 0, min(pause * 2, 5.0)
            pause = min(max(pause, error.retry_after or 0.0), spare)
        run.deadline.wait(pause)
    if issuer.proof:
        run.say(f"Verified: {issuer.proof}")


def _publish_everywhere(attempt: _Attempt, publication: Publication) -> None:
    """Publish to the truth, then write to all mirrors at once. What came of it is what `_confirm` sees."""
    attempt.publication = publication
    attempt.touched.append(attempt.truth)
    try:
        _publish(attempt.truth, publication, attempt.run, looking=False, retry=attempt.retry)
    except PamScriptError:
        # Where there is no way back all is written, whatever became of the rest.
        if attempt.issuer.reversible:
            raise
    attempt.touched += attempt.mirrors
    with side_by_side() as start:
        for mirror in attempt.mirrors:
            start(partial(_write, mirror, publication))


def _confirm(attempt: _Attempt, publication: Publication) -> None:
    """See every store hold the credential; a failure waits until all were tried, then the first one is raised."""
    run = attempt.run
    failures: list[PamScriptError] = []

    def publish(store: Store) -> PamScriptError | None:
        try:
            _publish(store, publication, run, retry=attempt.retry)
        except PamScriptError as failure:
            return failure
        return None

    with side_by_side() as start:
        ends = [start(partial(publish, store)) for store in attempt.stores]
    for store, end in zip(attempt.stores, ends, strict=True):
        if failure := end.result():
            if failures:
                run.warn(str(failure))
            failures.append(failure)
        elif store not in attempt.published:
            attempt.published.append(store)
            run.entry.stored_in += store.places
            for place in store.places:
                run.say(f"Stored in {place}")
    if failures:
        raise failures[0]


def _write(store: Store, publication: Publication) -> None:
    """Write once; what came of it is seen by reading."""
    with suppress(ApiError):
        store.write(publication)


def _publish(
    store: Store, publication: Publication, run: Run, *, retry: Callable[[ApiError], bool], looking: bool = True
) -> None:
    """Write until the store, read back, holds the credential. Looks after every try, so no try is blind.

    looking: look first, and after every write; else a clear answer to the first will do for now.
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

    patiently(run.deadline, write_and_read_back, retry=retry)


# -- 5. the consumers ---------------------------------------------------------------------------


def _reload(attempt: _Attempt, consumers: Sequence[Consumer], seconds: float) -> None:
    """Have every consumer read the credential anew, all at once, then wait until all are well, `seconds` at most."""
    run = attempt.run
    for consumer in consumers:
        attempt.reloaded.append(consumer)
        try:
            patiently(run.deadline, consumer.reload)
        except ApiError as error:
            # One that was refused goes on as it was, and cannot hold the new key.
            if error.refused:
                attempt.reloaded.remove(consumer)
            raise
        if consumer.reloads:
            run.entry.reloaded.append(consumer.name)
            run.say(f"Reloading {consumer.name}")
    ill = _wait_for_health(consumers, seconds, run)
    run.entry.health = "no" if ill else "yes"
    if ill:
        raise Refused("; ".join(f"{name} does not come back: {trouble}" for name, trouble in ill.items()))


def _wait_for_health(consumers: Sequence[Consumer], seconds: float, run: Run) -> dict[str, str]:
    """Wait until all are well, or the time is up; return the names of those that are not, and what is wrong."""
    give_up, pause = run.deadline.left() - seconds, min(HEALTH_PAUSE, seconds / _LOOKS)
    ill, waiting = {}, list(consumers)
    while True:
        for consumer in tuple(waiting):
            try:
                trouble = consumer.trouble()
            except ApiError as error:
                if not error.transient:
                    raise
                trouble = error.cause
            ill[consumer.name] = trouble
            if not trouble:
                waiting.remove(consumer)
                del ill[consumer.name]
                run.say(f"Healthy: {consumer.name}")
        if not waiting or run.deadline.left() - pause <= max(give_up, 0.0):
            return ill
        run.deadline.wait(pause)


# -- 6. the last look ---------------------------------------------------------------------------


def _last_look(attempt: _Attempt, publication: Publication, key: Key) -> list[Key]:
    """Return the keys as they are now; raise Yielded where another rotation goes first.

    Of two rotations the one whose key the issuer made first goes on. Both look after creating, so
    the later one always sees the earlier one's key, whatever their clocks say.
    """
    issuer, run = attempt.issuer, attempt.run

    def confirm() -> None:
        _confirm(attempt, publication)
        patiently(run.deadline, attempt.truth.check_claim)

    with side_by_side() as start:
        start(confirm)
        found = start(partial(_list_with, issuer, key, run))
    listed = found.result()
    earlier = {item.id for item in attempt.keys}
    for rival in listed:
        new = rival.id not in earlier and rival.id != key.id and owner_of(rival)
        if new and (rival.created_at, rival.id) < (key.created_at, key.id):
            raise Yielded(
                f"{issuer.system}: another rotation of {issuer.target} (Keeper record {owner_of(rival)}) "
                f"made {issuer.noun} {rival.id} first"
            )
    return listed


def _list_with(issuer: Issuer, key: Key, run: Run) -> list[Key]:
    """Return the keys once the new one is among them; raise Yielded where it is not, time allowed."""

    def list_once() -> list[Key]:
        listed = issuer.list_keys()
        if key.id not in {item.id for item in listed}:
            raise ApiError(
                issuer.system, f"list {issuer.noun}s", f"the new {issuer.noun} {key.id} is not listed", name=key.id
            )
        return listed

    try:
        return patiently(run.deadline, list_once)
    except ApiError as error:
        if error.name != key.id:
            raise
        raise Yielded(f"{issuer.system}: the new {issuer.noun} {key.id} was deleted by somebody else") from None


# -- before the first deletion: put everything back ---------------------------------------------


class _Attempt:
    """What a rotation has done so far, for the one place that may have to undo it."""

    def __init__(  # noqa: PLR0913, PLR0917 - each is one thing that undoing needs
        self,
        issuer: Issuer,
        truth: Truth,
        mirrors: Sequence[Mirror],
        before: Sequence[Copy],
        keys: Sequence[Key],
        its_label: str,
        plan: Plan,
        run: Run,
    ) -> None:
        self.issuer = issuer
        self.truth = truth
        self.mirrors = mirrors
        self.stores: Sequence[Store] = [truth, *mirrors]
        self.before = before
        self.keys = keys
        self.label = its_label
        self.plan = plan
        self.run = run
        self.key: Key | None = None
        self.publication: Publication | None = None
        self.touched: list[Store] = []
        self.published: list[Store] = []
        self.reloaded: list[Consumer] = []
        # Where there is no way back, every error is worth another try.
        self.retry = transient if issuer.reversible else anything
        run.entry.target = _target(issuer)


def _give_up(attempt: _Attempt, failure: Exception) -> PamScriptError:
    """Put everything back, log that, give the lease back; return the error that says how far that went."""
    run = attempt.run
    run.deadline.enter_reserve()
    error = failure if isinstance(failure, PamScriptError) else PamScriptError(defect(failure))
    if attempt.issuer.reversible:
        error = _put_back(attempt, error)
        run.entry.stored_in = []
    else:
        error = _stand_still(attempt, error)
    if error.status == PamScriptError.status:
        run.entry.key = ""
    _finish(attempt.truth, run, error)
    return error


def _stand_still(attempt: _Attempt, error: PamScriptError) -> PamScriptError:
    """Say who holds what, where the system already has the new value and there is no way back."""
    issuer = attempt.issuer
    if attempt.publication is None:
        return _with_no_store(issuer, error)
    missing = [store.name for store in attempt.stores if store not in attempt.published]
    holding = ", ".join(store.name for store in attempt.published)
    return NotCertain(
        error.cause,
        state=f"the new {issuer.noun} of {issuer.target} is in use already and cannot be taken back; "
        + (f"it stands in {holding}; " if holding else "")
        + (f"the old one may still stand in {', '.join(missing)}" if missing else "every store holds it"),
        next_step=error.next_step or "rotate again: every store then gets the next one",
    )


def _put_back(attempt: _Attempt, error: PamScriptError) -> PamScriptError:
    """Bring every store back, then the consumers, then delete the new key; return the error that says how far.

    The key goes only once nobody can hold it: where a store cannot be put back or asked, or a consumer
    not be reloaded, it stays alive.
    """
    issuer, run = attempt.issuer, attempt.run
    if attempt.publication and (dead := _died_since(attempt)):
        return NotCertain(
            error.cause,
            state=f"{', '.join(dead)}, which the stores held before, was deleted by somebody else meanwhile, so that "
            f"the new {issuer.noun} {attempt.publication.credential.key_id} stays alive, wherever it was stored",
            next_step="run the rotation again: it starts from whatever it finds",
        )
    stuck = []
    for store, before in reversed(list(zip(attempt.stores, attempt.before, strict=True))):
        if store in attempt.touched:
            try:
                patiently(run.deadline, _back(store, before, attempt.publication), retry=anything)
            except PamScriptError as reason:
                stuck.append(store.name)
                run.warn(f"{store.name} could not be put back: {reason.cause}")
    ill: dict[str, str] = {}
    if not stuck:
        stuck, ill = _reload_again(attempt)
    if stuck and attempt.publication:
        return NotCertain(
            error.cause,
            state=f"{', '.join(stuck)} may hold the new {issuer.noun} {attempt.publication.credential.key_id}, which "
            "stays alive, as do all other keys; every other store holds what it held before",
            next_step="run the rotation again once they can be reached: it starts from whatever it finds",
        )
    try:
        if attempt.key is None:
            run.deadline.wait(issuer.lag)
        made = patiently(run.deadline, _labelled(issuer, attempt.label), retry=anything)
        if attempt.key and attempt.key.id not in {key.id for key in made}:
            made.append(attempt.key)
        listed = _see_gone(issuer, made, _try_to_delete(issuer, made), run)
        alive = {key.id for key in made} & {key.id for key in listed}
    except PamScriptError as reason:
        run.warn(f"the new key could not be looked for: {reason.cause}")
        alive = {attempt.label}
    if alive:
        return NotCertain(
            error.cause,
            state=f"all stores hold what they held before, but a new {issuer.noun} labelled '{attempt.label}' "
            f"may be alive ({', '.join(sorted(alive))})",
            next_step=f"delete it in {issuer.system}, or run the rotation again: it deletes what it finds",
        )
    error.state = "nothing changed" if attempt.publication is None else "all put back as it was"
    if ill:
        error.state += f", and reloaded again, but not well: {', '.join(ill)}"
    return error


def _reload_again(attempt: _Attempt) -> tuple[list[str], dict[str, str]]:
    """Have the consumers read what was put back; return who could not be reloaded, and who is not well."""
    run, stuck = attempt.run, []
    for consumer in attempt.reloaded:
        try:
            patiently(run.deadline, consumer.reload, retry=anything)
            if consumer.reloads:
                run.say(f"Reloading {consumer.name} with what was put back")
        except PamScriptError as reason:
            stuck.append(consumer.name)
            run.warn(f"{consumer.name} could not be reloaded: {reason.cause}")
    if stuck or not attempt.reloaded:
        return stuck, {}
    try:
        # Half of what is left: the new key is still to be deleted.
        return [], _wait_for_health(attempt.reloaded, min(attempt.plan.health_seconds, run.deadline.left() / 2), run)
    except PamScriptError as reason:
        run.warn(f"whether the consumers are well cannot be told: {reason.cause}")
        return [], {}


def _died_since(attempt: _Attempt) -> list[str]:
    """Return the keys that stores held when they were examined, and that are deleted by now: not to be put back."""
    try:
        listed = {key.id for key in patiently(attempt.run.deadline, attempt.issuer.list_keys)}
    except PamScriptError:
        return []
    held = {copy.key_id for copy in attempt.before}
    return [key.id for key in attempt.keys if key.id in held and key.id not in listed]


def _back(store: Store, before: Copy, publication: Publication | None) -> Callable[[], None]:
    return lambda: store.put_back(before, publication)


def _labelled(issuer: Issuer, its_label: str) -> Callable[[], list[Key]]:
    return lambda: [key for key in issuer.list_keys() if key.label == its_label]


# -- 7. delete ----------------------------------------------------------------------------------


def _try_to_delete(
    issuer: Issuer, doomed: Iterable[Key], way: Callable[[Key], None] | None = None
) -> dict[str, ApiError]:
    """Try one way, the best unless another is given, on each of these keys; return what went wrong, by the key's id.

    Several at a time, as many as the issuer bears; once it says that it is busy, the rest is not even sent.
    """
    declined: list[ApiError] = []

    def attempt(key: Key) -> ApiError | None:
        if declined:
            return declined[0]
        try:
            (way or issuer.ways_to_delete[0])(key)
        except ApiError as error:
            if error.busy:
                declined.append(error)
            return error
        return None

    with side_by_side(issuer.deletions_at_once) as start:
        ends = {key.id: start(partial(attempt, key)) for key in doomed}
    return {key_id: error for key_id, end in ends.items() if (error := end.result())}


def _see_gone(issuer: Issuer, doomed: Iterable[Key], errors: Mapping[str, ApiError], run: Run) -> list[Key]:
    """Return the keys that are listed once these are gone, trying again and trying every way until they are.

    The list is the judge, not the answers. Where the system was only busy, or lags, the same way is
    tried again, after looking; otherwise the next way is. errors: what the best way met, by the key's id.
    """
    pending, ways, tries = list(doomed), list(issuer.ways_to_delete), 0
    while True:
        listed = patiently(run.deadline, issuer.list_keys, retry=anything)
        ids = {key.id for key in listed}
        # Where listings lag, a refused deletion of a key that is not listed proves nothing.
        left = [key for key in pending if key.id in ids or (issuer.lag and key.id in errors)]
        if not left:
            return listed
        # What goes forward is not at its end: the waits begin anew.
        tries = 0 if len(left) < len(pending) else tries
        pending = left
        again = issuer.lag > 0 or any(error.transient for error in errors.values())
        wait = max([*WAITS[tries : tries + 1], *(error.retry_after or 0.0 for error in errors.values())], default=0.0)
        if again and tries < len(WAITS) and wait < run.deadline.left():
            run.deadline.wait(wait)
            tries += 1
        else:
            for error in list(errors.values())[:1]:
                run.warn(error.cause)
            ways, tries = ways[1:], 0
            if not ways:
                return listed
        errors = _try_to_delete(issuer, pending, ways[0])


def _outdated(mirror: Mirror, run: Run) -> Sequence[Any]:
    """Return what `_retire` is to lock away; a failure is worth a warning, since it logs nobody in."""
    try:
        return patiently(run.deadline, mirror.outdated)
    except ApiError as error:
        run.warn(f"older versions stay readable, though they log nobody in: {error}")
        return ()


def _retire(mirror: Mirror, outdated: Sequence[Any], kept: Sequence[str], run: Run) -> None:
    """Lock dead credentials away; as with `_outdated`, a failure is worth a warning."""
    try:
        patiently(run.deadline, lambda: mirror.retire(outdated, kept))
    except ApiError as error:
        run.warn(f"older versions stay readable, though they log nobody in: {error}")


# -- 8. confirm ---------------------------------------------------------------------------------


def _extra_keys(issuer: Issuer, key: Key, fate: _Fate, listed: list[Key], run: Run) -> list[Key]:
    """Return every listed key that should not be there; raise where the new one is not.

    Those that withstood deletion are known; any other is given a moment, for a listing that lags, or a
    rotation that is just stepping back. listed: the keys as they were just listed.
    """
    for pause in (*WAITS, None):
        if key.id not in {item.id for item in listed} and not issuer.lag:
            raise NotCertain(f"{issuer.system}: the new {issuer.noun} {key.id} is no longer listed")
        extra = [item for item in listed if item.id not in {key.id, *fate.kept_ids}]
        if {item.id for item in extra} <= fate.doomed_ids or pause is None or pause >= run.deadline.left():
            break
        run.deadline.wait(pause)
        listed = patiently(run.deadline, issuer.list_keys, retry=anything)
    return extra


def _finish(truth: Truth, run: Run, error: PamScriptError | None) -> None:
    """Write the ops log and give the lease back. Where that fails, a word will do: the lease ends by itself."""
    run.entry.error, run.entry.status = (str(error), error.status) if error else ("", 0)
    try:
        patiently(run.deadline, lambda: truth.finish(run.entry.text()), retry=anything)
    except Yielded:
        # The lease, and with it the log, is another rotation's.
        pass
    except PamScriptError as reason:
        left = f"{truth.name} still carries this rotation's lease, which ends by itself"
        if error and error.state:
            error.state += f"; {left}"
        else:
            run.warn(f"the ops log was not written: {reason.cause}; {left}")


def _note(run: Run, issuer: Issuer, fate: _Fate, extra: Sequence[Key]) -> None:
    alive = {item.id for item in extra}
    deleted = [item for item in fate.doomed if item.id not in alive]
    for item in deleted:
        run.say(f"Deleted {issuer.noun}: {item.shown}")
    run.entry.deleted = [item.id for item in deleted]
    run.entry.kept = [item.id for item in fate.kept]
    run.entry.alive = sorted(alive)
    run.entry.health = run.entry.health or issuer.proof


def _old_keys_alive(issuer: Issuer, key: Key, extra: Sequence[Key]) -> OldKeysAlive:
    return OldKeysAlive(
        f"{issuer.system}: {_count(len(extra), f'other {issuer.noun}')} of {issuer.target} still alive: "
        f"{', '.join(item.shown for item in extra)}",
        state=f"the new {issuer.noun} {key.id} is in place in every store",
        next_step=f"delete them in {issuer.system}, or run the rotation again",
    )


def _end_in_doubt(attempt: _Attempt, failure: Exception, fate: _Fate) -> PamScriptError:
    issuer, run = attempt.issuer, attempt.run
    cause = failure.cause if isinstance(failure, PamScriptError) else defect(failure)
    doomed = ", ".join(item.id for item in fate.doomed) or "none"
    error = NotCertain(
        cause,
        state=f"the new {issuer.noun} {attempt.key.id if attempt.key else ''} logs in and was stored everywhere, but "
        f"the end was not confirmed; keys that may still be alive in {issuer.system}: {doomed}",
        next_step="look at the keys of the target and at the stores, or run the rotation again",
    )
    _finish(attempt.truth, run, error)
    return error


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
