"""The last step of a rotation, whatever came of it: write the ops log, and give the lease back."""

from __future__ import annotations

from pam_scripts.core.errors import NotCertain, PamScriptError, Yielded
from pam_scripts.core.retry import any_error
from pam_scripts.rotation.roles import Progress, Rotation


def finish(rotation: Rotation, error: PamScriptError | None, progress: Progress | None = None) -> None:
    """Write the ops log and give the lease back. A failure is only reported: the lease ends by itself.

    error: what the rotation ends with, None where it ends well. progress: given where this also has to see that the
    truth still holds the new key; raises NotCertain where it cannot.
    """
    run, truth = rotation.run, rotation.truth
    run.entry.error, run.entry.exit_status = (str(error), error.status) if error else ("", 0)
    try:
        rotation.retrying(lambda: truth.finish(run.entry.text()), any_error)
    except Yielded as reason:
        # The lease, and with it the log, is another rotation's; a failure has its own line.
        if not error:
            run.warn(f"the ops log was not written: {reason.cause}")
    except PamScriptError as reason:
        left = f"{truth.name} still has this rotation's lease, which expires by itself"
        if error and error.state:
            error.state += f"; {left}"
        else:
            run.warn(f"the ops log was not written: {reason.cause}; {left}")
    else:
        return
    if progress and progress.confirmed_at_finish:
        _confirm_in_truth(rotation, progress)


def _confirm_in_truth(rotation: Rotation, progress: Progress) -> None:
    """Read the truth back once more, where the save that was to confirm what it holds failed."""
    key, publication = progress.new
    truth, traits = rotation.truth, rotation.traits
    try:
        holds = rotation.retrying(truth.read, any_error).holds(truth.parts(publication.credential))
    except PamScriptError:
        holds = False
    if not holds:
        raise NotCertain(
            f"{truth.name} could not be confirmed to hold the {traits.new_noun} {key.id} at the end",
            state=f"it did when the other {traits.noun}s were deleted",
            next_step="look at the record, or run the rotation again",
        )
