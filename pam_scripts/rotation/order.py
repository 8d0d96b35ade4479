"""THE order of a rotation. Whoever must trust this package reads `rotate`, and is done.

Until the first deletion a failure puts every store back and deletes the new key; from then on it
only goes forward. At every moment between, the credential in each store logs in: the old keys
live until all stores hold the new one, and the new one is never deleted while a store may hold it.
"""

from __future__ import annotations

from pam_scripts.rotation.create import create, verify
from pam_scripts.rotation.delete import delete_and_confirm, report_unconfirmed_end
from pam_scripts.rotation.finish import finish
from pam_scripts.rotation.look import look, look_for_missing_rights, reporting_nothing_changed, take_lease
from pam_scripts.rotation.publish import check_before_deleting, confirm, publish
from pam_scripts.rotation.put_back import put_everything_back
from pam_scripts.rotation.reload import reload
from pam_scripts.rotation.roles import Progress, Rotation


def rotate(rotation: Rotation) -> None:
    """Replace the key everywhere, or nowhere. Returns only when everything is true and confirmed."""
    run, issuer, progress = rotation.run, rotation.issuer, Progress()
    run.entry.target = rotation.shown_target

    # 1. Look: each store's credential, the issuer's keys, every reason to stop while that is free.
    #    The lease keeps others out: it is had only if nobody has changed the record since it was looked at.
    with reporting_nothing_changed(rotation):
        look(rotation, progress)
        if run.dry_run:
            look_for_missing_rights(rotation)
            return
        take_lease(rotation)
    run.entry.target = rotation.shown_target

    try:
        # 2. Create the key, labelled with this rotation, with its end.
        create(rotation, progress)

        # 3. Verify it by a real login, patient where the system is slow to accept it.
        verify(rotation, progress)

        # 4. Publish to each store: the truth first, then all mirrors.
        publish(rotation, progress)

        # 5. Where there are consumers: see it in each store, have them read it, wait until all are well again.
        if rotation.consumers:
            confirm(rotation, progress)
            reload(rotation, progress)

        # 6. Look again before the point of no return: each store, read back, holds the new key, nobody came
        #    before us, the record is still ours.
        check_before_deleting(rotation, progress)
        issuer.act_as(progress.new[1].credential)
    except Exception as failure:
        # Every store as it was, consumers reloaded with that, the new key deleted.
        raise put_everything_back(rotation, progress, failure) from failure

    # 7. Delete the other keys, and lock older versions away. From here on it only goes forward.
    # 8. Confirm: each store still holds ours, the list has ours and nothing else.
    run.deadline.enter_reserve()
    try:
        error = delete_and_confirm(rotation, progress)
    except Exception as failure:
        raise report_unconfirmed_end(rotation, progress, failure) from failure

    # 9. Write the ops log, and give the lease back, in a save that is refused if anybody changed the truth since.
    finish(rotation, error, progress)
    if error:
        raise error
    run.say("Key rotation completed successfully!")
