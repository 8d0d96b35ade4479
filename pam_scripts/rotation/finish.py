"""The last step of a rotation, whatever came of it: write the ops log, and give the lease back."""

from __future__ import annotations

from pam_scripts.core.errors import PamScriptError, Yielded
from pam_scripts.core.retry import any_error
from pam_scripts.rotation.roles import Rotation


def finish(rotation: Rotation, error: PamScriptError | None) -> None:
    """Write the ops log and give the lease back. Where that fails, a word will do: the lease ends by itself.

    error: what the rotation ends with, None where it ends well.
    """
    run, truth = rotation.run, rotation.truth
    run.entry.error, run.entry.exit_status = (str(error), error.status) if error else ("", 0)
    try:
        rotation.retrying(lambda: truth.finish(run.entry.text()), any_error)
    except Yielded:
        # The lease, and with it the log, is another rotation's.
        pass
    except PamScriptError as reason:
        left = f"{truth.name} still carries this rotation's lease, which ends by itself"
        if error and error.state:
            error.state += f"; {left}"
        else:
            run.warn(f"the ops log was not written: {reason.cause}; {left}")
