"""Steps 2 and 3 of a rotation: make the key, and prove that it logs in."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from functools import partial

from pam_scripts.core.errors import ApiError, NotCertain, OutOfTime
from pam_scripts.core.parallel import concurrently
from pam_scripts.core.retry import busy
from pam_scripts.core.times import iso
from pam_scripts.rotation import labels
from pam_scripts.rotation.delete import find_outdated
from pam_scripts.rotation.roles import Credential, Key, Progress, Publication, Rotation

# Seconds between a login with the new key and the next.
_FIRST_PAUSE = 0.3


def create(rotation: Rotation, progress: Progress) -> None:
    """Create the key, labelled with this rotation; raise NotCertain where its id is that of a key before it.

    One that is brought back has its own label, and was before: it is only read.
    """
    run, noun = rotation.run, rotation.traits.noun
    expires_at = run.started + rotation.plan.life if rotation.plan.life else None

    def create_or_look() -> tuple[Key, Credential]:
        """Create; again only where the system declined for now, and a look shows that it did nothing."""
        before, progress.creation_unclear = progress.creation_unclear, True
        try:
            made = rotation.issuer.create_key(rotation.label, expires_at)
        except ApiError as error:
            progress.creation_unclear = before or not error.declined
            error.busy = error.busy and not (progress.creation_unclear and _may_be_there(rotation, progress))
            raise
        except OutOfTime:
            # Raised before anything is sent.
            progress.creation_unclear = before
            raise
        progress.creation_unclear = before
        return made

    if rotation.traits.earlier:
        key, credential = rotation.retrying(partial(rotation.issuer.create_key, rotation.label, expires_at))
    else:
        key, credential = rotation.retrying(create_or_look, on=busy)
    progress.key = key
    is_like_one_before = rotation.traits.replaces or rotation.traits.same_id or key == progress.decision.earlier
    if not is_like_one_before and key.id in {before.id for before in progress.keys}:
        raise NotCertain(
            f"{rotation.traits.system}: the new {noun} has the id {key.id} of one that was there before, so that "
            "the two cannot be told apart",
        )
    end = _end_of(rotation, key)
    progress.publication = Publication(credential, run.rotation_id, run.started, end)
    run.entry.new_key, run.entry.next_due = key.id, end
    did = "Brought back" if rotation.traits.earlier else "Generated"
    run.say(f"{did} {rotation.traits.new_noun} with ID: {key.id}" + (f" (expires {iso(end)})" if end else ""))


def _end_of(rotation: Rotation, key: Key) -> datetime | None:
    """Return when a new key ends, as its issuer says, whatever was asked for; warn where that is much sooner."""
    life, run = rotation.plan.life, rotation.run
    end = key.expires_at
    if life and not end:
        with suppress(ApiError):
            listed = rotation.retrying(rotation.issuer.list_keys)
            end = next((item.expires_at for item in listed if item.id == key.id), None)
    if life and end and run.started + life - end > life / 10:
        run.warn(
            f"{rotation.traits.system}: the new {rotation.traits.noun} {key.id} expires {iso(end)}, "
            f"not {iso(run.started + life)} as requested; rotate before then"
        )
    return end


def list_made(rotation: Rotation, progress: Progress) -> list[Key]:
    """Return the listed keys with this rotation's label; where an answer was lost, also with a label that was cut."""
    before = {key.id for key in progress.keys}

    def is_made_now(key: Key) -> bool:
        cut = progress.creation_unclear and key.id not in before and labels.is_truncated(key.label, rotation.label)
        return cut or key.label == rotation.label

    return [key for key in rotation.issuer.list_keys() if is_made_now(key)]


def _may_be_there(rotation: Rotation, progress: Progress) -> bool:
    """Say whether a creation may have taken effect, once lists have had time to show it."""
    rotation.run.deadline.wait(rotation.traits.listing_delay)
    try:
        return bool(list_made(rotation, progress))
    except ApiError:
        return True


def verify(rotation: Rotation, progress: Progress) -> None:
    """Log in with the new key; meanwhile check the lease, and list which versions in mirrors will be outdated."""
    with concurrently() as submit:
        submit(partial(_log_in, rotation, progress))
        # Where there is no way back, all is written, whatever the record says.
        if rotation.traits.reversible:
            submit(partial(rotation.retrying, rotation.truth.check_lease))
        outdated = [submit(partial(find_outdated, rotation, mirror)) for mirror in rotation.mirrors]
    progress.outdated = [versions.result() for versions in outdated]


def _log_in(rotation: Rotation, progress: Progress) -> None:
    """Log in until it succeeds often enough in a row; give up once `activation_delay` has passed."""
    traits, deadline = rotation.traits, rotation.run.deadline
    settled = max(deadline.left() - traits.activation_delay, 0.0)
    in_a_row, pause = 0, _FIRST_PAUSE
    while True:
        try:
            rotation.issuer.log_in(progress.new[1].credential)
            in_a_row, pause = in_a_row + 1, _FIRST_PAUSE
            if in_a_row >= traits.logins_in_a_row:
                break
        except ApiError as error:
            spare = deadline.left() - settled
            if error.permanent or spare <= 0 or (error.retry_after or 0.0) > spare:
                raise
            in_a_row, pause = 0, min(pause * 2, 5.0)
            pause = min(max(pause, error.retry_after or 0.0), spare)
        deadline.wait(pause)
    if traits.login_proof:
        rotation.run.entry.login_verified = True
        rotation.run.say(f"Verified: {traits.login_proof}")
