"""The audit's look at mirrors in OpenBao: metadata alone, never a value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from pam_scripts.cli.audit.deadlines import HostDeadlines
from pam_scripts.cli.audit.rules import judge
from pam_scripts.cli.audit.subject import Cadence, Subject
from pam_scripts.cli.audit.survey import survey as audit
from pam_scripts.cli.shared import Shared
from pam_scripts.core.deadline import Deadline
from pam_scripts.core.http import Session
from pam_scripts.core.times import utc_now
from pam_scripts.gateway.payload import read_job
from pam_scripts.gateway.specs import MirrorQuery
from pam_scripts.rotate_seeq_application_key import SCRIPT
from pam_scripts.rotation.seen import SeenMirror
from pam_scripts.stores.openbao.survey import survey
from sandbox.plant import Plant
from sandbox.services.openbao import ENGINE, HOST, ROLE
from tests.cli.conftest import attach
from tests.support.in_process import InProcess

SECRET = "Plant/Reports"
PAGE = f"https://{HOST}/ui/vault/secrets/{ENGINE}/show/{SECRET}"


@pytest.fixture
def plant(make_plant: Callable[..., Plant]) -> Plant:
    """Return a plant whose mirror is in OpenBao alone, and whose login may look at metadata."""
    plant = make_plant(mirrored=False)
    plant.add_openbao_mirror(SECRET)
    return plant


def queries(plant: Plant) -> list[MirrorQuery]:
    """Return how an audit looks at the record's mirrors."""
    return [spec.query for spec in SCRIPT.read(read_job(plant.payload())).mirrors if spec.query]


def look(plant: Plant, session: Session) -> SeenMirror:
    """Look at the one mirror with the right to read metadata alone."""
    plant.openbao.allow(ROLE, {f"{ENGINE}/metadata/{SECRET}": ["read"]})
    return survey(queries(plant), session, lambda _line: None)[0]


def test_what_a_rotation_has_set_is_told_without_its_value(plant: Plant, wired: Session) -> None:
    """Whose it is, by which rotation, and when its key ends."""
    assert 0 == InProcess("rotate_seeq_application_key").run(plant).returncode
    before = len(plant.wire.log)

    seen = look(plant, wired).secrets[f"{ENGINE}/{SECRET}".lower()]
    tags = plant.openbao.tags(SECRET)
    assert (tags, tags["rotation-id"], True) == (seen.tags, seen.rotation_id, seen.enabled)
    asked = [one.path for one in plant.wire.log[before:]]
    assert [] == [path for path in asked if "/data/" in path]


def test_a_version_that_somebody_else_has_set_is_no_rotations(plant: Plant, wired: Session) -> None:
    """The metadata belongs to all versions: of a repair by hand it says whose it is, and nothing else."""
    assert 0 == InProcess("rotate_seeq_application_key").run(plant).returncode
    plant.openbao.put(SECRET, {"access_key_id": "repaired", "access_key_password": "by hand"})

    seen = look(plant, wired).secrets[f"{ENGINE}/{SECRET}".lower()]
    assert ("", []) == (seen.rotation_id, seen.ends)
    assert plant.application_id == seen.tags["seeq-application-id"]


def test_an_audit_finds_nothing_after_a_rotation_and_the_mirror_that_is_missing(plant: Plant) -> None:
    """With the record and its mirror as they are; and where the secret was deleted, or is another rotation's."""
    assert 0 == InProcess("rotate_seeq_application_key").run(plant).returncode
    attach(plant, plant.user_uid, plant.attached)
    told = [audited(plant)]
    plant.openbao.put(SECRET, {"access_key_id": "repaired", "access_key_password": "by hand"})
    told.append(audited(plant))
    plant.openbao.root("DELETE", f"{ENGINE}/data/{SECRET}")
    told.append(audited(plant))

    mirrors = [{code for code in codes if code.startswith("vault")} for codes in told]
    assert [set(), {"vault-differs"}, {"vault-deleted"}] == mirrors


def audited(plant: Plant) -> set[str]:
    """Return the codes of what an audit finds in the plant's record."""
    return {finding.rule.code for finding in judge(_audited(plant))}


def _audited(plant: Plant) -> Subject:
    with pytest.MonkeyPatch.context() as patched:
        for name, value in plant.environment().items():
            patched.setenv(name, value)
        (subject,) = audit(
            Shared.fetch(Deadline(60)), HostDeadlines(Deadline(60), 60), Cadence(), utc_now(), lambda _line: None
        )
        return subject


def test_what_is_not_there_is_missing_or_deleted(plant: Plant, wired: Session) -> None:
    """A secret without a version, one whose version is destroyed; and one that can be undeleted."""
    nothing = SeenMirror(page=PAGE)
    assert nothing == look(plant, wired)
    plant.openbao.put(SECRET, {"a": "b"})
    plant.openbao.root("POST", f"{ENGINE}/delete/{SECRET}", {"versions": [1]})
    assert replace(nothing, deleted=frozenset({f"{ENGINE}/{SECRET}".lower()})) == look(plant, wired)
    plant.openbao.root("POST", f"{ENGINE}/destroy/{SECRET}", {"versions": [1]})
    assert nothing == look(plant, wired)


def test_a_secret_is_linked_to_where_the_server_shows_it(plant: Plant) -> None:
    """In an audit; an engine is one part of the address, whatever its path has in it, and a namespace is said."""
    attach(plant, plant.user_uid, plant.attached)
    assert PAGE in _links(plant)

    plant.openbao.add_namespace("team")
    plant.openbao.add_engine("kv/plant", namespace="team")
    plant.openbao.allow_to_mirror("a.b/reports", engine="kv/plant", namespace="team")
    role_id, secret_id = plant.openbao.add_approle(namespace="team")
    for label, value in (("role_id", role_id), ("secret_id", secret_id), ("namespace", "team/")):
        plant.set_field(f"vault_{label}", value, plant.openbao_uid)
    plant.set_field("vault_path", "kv/plant/a.b/reports")
    assert f"https://{HOST}/ui/vault/secrets/kv%2Fplant/show/a.b/reports?namespace=team" in _links(plant)


def _links(plant: Plant) -> list[str]:
    return list(_audited(plant).links.values())


def test_what_cannot_be_looked_at_is_told_with_the_policys_line(plant: Plant, wired: Session) -> None:
    """In the words of a run."""
    plant.openbao.put(SECRET, {"a": "b"})
    plant.openbao.allow(ROLE, {f"{ENGINE}/data/{SECRET}": ["read"]})
    (seen,) = survey(queries(plant), wired, lambda _line: None)

    assert seen.trouble
    assert "vault-unreadable" == seen.trouble.code
    assert f'path "{ENGINE}/metadata/{SECRET}" {{ capabilities = ["read"] }}' in seen.trouble.what


@pytest.mark.parametrize("may_list", [True, False])
def test_of_many_in_a_folder_only_those_that_are_there_are_asked_for(
    may_list: bool, plant: Plant, wired: Session
) -> None:
    """Twenty names of which two are there: one list and two looks; without the right to list, twenty."""
    names = [f"team/{number}" for number in range(20)]
    plant.set_field("vault_path", ",".join(f"{ENGINE}/{name}" for name in names))
    plant.openbao.allow(ROLE, {f"{ENGINE}/metadata/team/*": ["read", "list"] if may_list else ["read"]})
    for name in names[3:5]:
        plant.openbao.put(name, {"a": "b"})
    before = len(plant.wire.log)
    seen = survey(queries(plant), wired, lambda _line: None)

    assert [3, 4] == [number for number, one in enumerate(seen) if one.secrets]
    asked = Counter("list" if one.query else "look" for one in plant.wire.log[before:] if "/metadata/" in one.path)
    assert asked == ({"list": 1, "look": 2} if may_list else {"list": 1, "look": 20})
    assert {HOST} == {one.host for one in plant.wire.log[before:]}
