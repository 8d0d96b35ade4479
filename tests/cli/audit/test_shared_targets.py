"""What an audit says of two records that rotate one target, and what their rotations then do to each other."""

from __future__ import annotations

import pytest

from pam_scripts.cli.audit.deadlines import HostDeadlines
from pam_scripts.cli.audit.rules import SAME_TARGET, find_shared_targets
from pam_scripts.cli.audit.subject import Cadence
from pam_scripts.cli.audit.survey import survey
from pam_scripts.cli.shared import Shared
from pam_scripts.core.deadline import Deadline
from pam_scripts.core.times import utc_now
from sandbox.plant import AnyPlant, on_loopback
from tests.cli.conftest import attach
from tests.support.in_process import InProcess
from tests.support.invariants import in_keeper
from tests.support.plants import KEY_PLANTS

_ENDED = ("each ends", "each regenerates")


def _found(plant: AnyPlant, *uids: str) -> set[str]:
    """Return what an audit finds in the records, from what they say; it asks nobody else."""
    for uid in uids:
        attach(plant, uid, plant.attached)
    with pytest.MonkeyPatch.context() as patched:
        for name, value in plant.environment().items():
            patched.setenv(name, value)
        shared = Shared.fetch(Deadline(60))
        subjects = survey(shared, HostDeadlines(Deadline(0), 1), Cadence(), utc_now(), lambda _line: None)
    find_shared_targets(subjects)
    findings = [finding for subject in subjects for finding in subject.findings if finding.rule is SAME_TARGET]
    assert len(uids) == len(findings), "it is said of each of them"
    return {finding.what.partition("): ")[2] for finding in findings}


@pytest.mark.parametrize("stem", KEY_PLANTS)
def test_what_is_said_of_two_records_of_one_target_is_what_they_do(stem: str) -> None:
    """Where keys tell whose they are, the second refuses or deletes its own; else it ends what the first has stored."""
    with on_loopback(KEY_PLANTS[stem], mirrored=False) as plant:
        first, data = plant.user_uid, plant.keeper.record(plant.user_uid)
        second = plant.keeper.add_record("pamUser", "The same", fields=data["fields"], custom=data["custom"])
        assert 0 == InProcess(stem).run(plant).returncode
        held = in_keeper(plant)
        plant.user_uid = second
        result = InProcess(stem).run(plant)
        ended = not plant.logs_in(*held)
        (words,) = _found(plant, first, second)

    done = {(False, False): ("each refuses",), (True, False): ("neither deletes",), (True, True): _ENDED}
    said = done.get((result.success, ended), ())
    assert words.startswith(said), f"{words}: {result.returncode}, {result.stderr}"
