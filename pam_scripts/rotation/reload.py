"""Step 5 of a rotation: have the consumers read the credential anew, and wait until they are well."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from pam_scripts.core.errors import ApiError, Refused
from pam_scripts.core.parallel import concurrently
from pam_scripts.rotation.roles import Consumer, Progress, Rotation

# Seconds between two looks at consumers that are not well yet, at most, and how many looks there are at least.
HEALTH_PAUSE = 2.0
_LOOKS_AT_LEAST = 60


def reload(rotation: Rotation, progress: Progress) -> None:
    """Reload every consumer, then wait until all are well; raise Refused naming those that are not.

    Where the plan has them in turn, that is done for one after the other. Where there is no way back each is reloaded
    for itself, if any store has what it could read; the last look raises what failed.
    """
    if rotation.traits.reversible:
        together = [[each] for each in rotation.consumers] if rotation.plan.in_turn else [rotation.consumers]
        for consumers in together:
            for consumer in consumers:
                if error := _reload(rotation, progress, consumer):
                    raise error
            _wait_until_healthy(rotation, consumers)
        return
    copies = [store for store in rotation.stores if store.places]
    progress.stored_late = [store for store in copies if store not in progress.published]
    if len(progress.stored_late) == len(copies):
        return
    with concurrently(len(rotation.consumers)) as submit:
        ends = [submit(partial(_reload, rotation, progress, consumer)) for consumer in rotation.consumers]
    progress.failures += [error for end in ends if (error := end.result())]
    try:
        _wait_until_healthy(rotation, progress.reloaded)
    except (ApiError, Refused) as ill:
        progress.failures.append(ill)
    if progress.failures:
        rotation.run.entry.health_verified = False
    for failure in progress.failures[1:]:
        rotation.run.warn(str(failure))


def _reload(rotation: Rotation, progress: Progress, consumer: Consumer) -> ApiError | None:
    """Reload one consumer; return what it failed with."""
    run = rotation.run
    progress.reloaded.append(consumer)
    try:
        rotation.retrying(consumer.reload)
    except ApiError as error:
        # One that declined, at every try, goes on as it was, and cannot hold the new key.
        if error.declined:
            progress.reloaded.remove(consumer)
        return error
    if consumer.reloads:
        run.entry.services_restarted.append(consumer.name)
        run.say(f"Reloading {consumer.name}")
    return None


def _wait_until_healthy(rotation: Rotation, consumers: Sequence[Consumer]) -> None:
    ill = wait_for_health(rotation, consumers, rotation.plan.health_seconds)
    rotation.run.entry.health_verified = not ill
    if ill:
        raise Refused("; ".join(f"{name} did not become healthy: {trouble}" for name, trouble in ill.items()))


def wait_for_health(rotation: Rotation, consumers: Sequence[Consumer], seconds: float) -> dict[str, str]:
    """Wait until all are well, or the time is up; return the names of those that are not, and what is wrong."""
    deadline = rotation.run.deadline
    give_up, pause = deadline.left() - seconds, min(HEALTH_PAUSE, seconds / _LOOKS_AT_LEAST)
    ill, waiting = {}, list(consumers)
    if waiting:
        rotation.run.say(f"Waiting up to {seconds:.0f} s for: {', '.join(consumer.name for consumer in waiting)}")
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
                rotation.run.say(f"Healthy: {consumer.name}")
        if not waiting or deadline.left() - pause <= max(give_up, 0.0):
            return ill
        deadline.wait(pause)
