"""OpenBao's mirror against the sandbox: revisions, tags, versions, and what is not ours."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping

import pytest

from pam_scripts.core.errors import ApiError
from pam_scripts.core.http import Session
from pam_scripts.gateway.payload import read_job
from pam_scripts.rotate_seeq_application_key import SCRIPT
from pam_scripts.rotation.labels import label
from pam_scripts.rotation.roles import Key, Mirror
from sandbox.log import Request
from sandbox.plant import Plant, on_loopback
from sandbox.publishing import PublishPlant
from sandbox.services.openbao import ENGINE, ROLE
from tests.conftest import ROOT
from tests.contracts.on_site import Site
from tests.support.in_process import InProcess
from tests.support.invariants import State, assert_as_before, assert_silent, in_keeper, writes

SECRET = "plant/reports"
STEM = "rotate_seeq_application_key"
PATH = f"/v1/{ENGINE}/data/{SECRET}"


def pair(plant: Plant) -> dict[str, str]:
    """Return the present key's words."""
    return {"access_key_id": plant.old_key_id, "access_key_password": plant.old_password}


@pytest.fixture
def plant(make_plant: Callable[..., Plant]) -> Plant:
    """Return a plant whose mirror is in OpenBao alone: the old key, beside a word of the team's."""
    plant = make_plant(mirrored=False)
    plant.add_openbao_mirror(SECRET, held={**pair(plant), "note": "of the team"})
    return plant


def mirror_of(plant: Plant, session: Session) -> Mirror:
    """Return the plant's mirror, as one run has it."""
    (spec,) = SCRIPT.read(read_job(plant.payload())).mirrors
    return spec.build(session)


def before_put(do: Callable[[], object], path: str = PATH) -> Callable[[Request], Awaitable[None]]:
    """Return a gate that does something right before the first version from now on is set."""
    done = False

    async def gate(request: Request) -> None:
        nonlocal done
        if (request.method, request.path, done) == ("POST", path, False):
            done = True
            do()

    return gate


def lose_the_new_key(plant: Plant, old: str) -> None:
    """Have somebody delete the key that a run has just made, beside the old one: the run steps back."""
    (new,) = (key.key_id for key in plant.issued() if key.live and key.key_id != old)
    plant.seeq.delete_key(new)


# -- revisions ------------------------------------------------------------------------------------


def test_both_halves_are_set_in_one_request_that_names_the_version_it_replaces(plant: Plant) -> None:
    """No reader sees a mixed pair, and the word of the team stays."""
    assert 0 == InProcess(STEM).run(plant).returncode

    (put,) = [one for one in plant.wire.log if (one.method, one.path) == ("POST", PATH)]
    assert b'"cas": 1' in put.body
    key_id, password = in_keeper(plant)
    assert {"access_key_id": key_id, "access_key_password": password, "note": "of the team"} == plant.openbao.value(
        SECRET
    )


def test_what_somebody_writes_at_the_same_moment_is_not_lost(plant: Plant) -> None:
    """The write is refused, what they wrote is read, and the new key stands beside it."""
    plant.wire.gate = before_put(lambda: plant.openbao.put(SECRET, {**pair(plant), "note": "changed meanwhile"}))

    assert 0 == InProcess(STEM).run(plant).returncode
    held = plant.openbao.value(SECRET) or {}
    assert (in_keeper(plant)[0], "changed meanwhile") == (held["access_key_id"], held["note"])
    statuses = [one.status for one in plant.wire.log if (one.method, one.path) == ("POST", PATH)]
    assert [400, 200] == statuses


def test_putting_back_writes_over_nobodys_version(plant: Plant, wired: Session) -> None:
    """Who writes while it is put back is refused nothing: theirs stays, and a further try leaves it alone."""
    theirs = {"access_key_id": "theirs", "access_key_password": "x"}
    site = Site(plant, SCRIPT)
    mirror, new = mirror_of(plant, wired), site.publication("new")
    before = mirror.examine()
    mirror.write(new)
    plant.wire.gate = before_put(lambda: plant.openbao.put(SECRET, theirs))

    with pytest.raises(ApiError, match="somebody else wrote the secret at the same moment") as caught:
        mirror.put_back(before, new, None)
    assert caught.value.busy
    mirror.put_back(before, new, None)
    assert theirs == plant.openbao.value(SECRET)
    assert [1, 3] == [one.number for one in plant.openbao.versions(SECRET) if one.data], "ours is destroyed"


@pytest.mark.parametrize(("listed", "expected"), [({"old", "theirs"}, "theirs"), ({"old"}, "old"), (None, "theirs")])
def test_what_another_hand_put_since_is_brought_back_unless_it_is_dead(
    plant: Plant, wired: Session, listed: set[str] | None, expected: str
) -> None:
    """What stood right before ours is what readers had last; a key that is not listed is put back nowhere."""
    words = {
        key_id: {"access_key_id": key_id, "access_key_password": f"value of {key_id}"} for key_id in ("old", "theirs")
    }
    plant.openbao.put(SECRET, words["old"])
    mirror, new = mirror_of(plant, wired), Site(plant, SCRIPT).publication("new")
    before = mirror.examine()
    plant.openbao.put(SECRET, words["theirs"])
    mirror.write(new)

    mirror.put_back(before, new, listed)
    assert words[expected] == plant.openbao.value(SECRET)


def test_words_that_others_add_to_our_version_stay_when_it_is_put_back(plant: Plant, wired: Session) -> None:
    """Only our two words go back; theirs are as they are now."""
    mirror, new = mirror_of(plant, wired), Site(plant, SCRIPT).publication("new")
    before = mirror.examine()
    mirror.write(new)
    plant.openbao.put(SECRET, {**(plant.openbao.value(SECRET) or {}), "note": "added since"})

    mirror.put_back(before, new, None)
    assert {**pair(plant), "note": "added since"} == plant.openbao.value(SECRET)


# -- tags and versions ---------------------------------------------------------------------------


def test_the_metadata_says_whose_it_is_and_which_version_which_rotation_has_set(plant: Plant) -> None:
    """For the audit, and for whoever looks; what others have noted there stays."""
    plant.openbao.tag(SECRET, {"team": "reports"})
    assert 0 == InProcess(STEM).run(plant).returncode
    assert 0 == InProcess(STEM).run(plant).returncode

    tags = plant.openbao.tags(SECRET)
    assert {"team", "seeq-application-id", "expiry", "rotated-at", "rotation-id", "rotation-versions"} == {*tags}
    assert ("reports", plant.application_id) == (tags["team"], tags["seeq-application-id"])
    assert re.fullmatch(rf"3={tags['rotation-id']} 2=\d{{8}}T\d{{6}}Z-\w{{8}} 1=-", tags["rotation-versions"])


def test_a_failure_leaves_value_and_tags_as_they_were(plant: Plant) -> None:
    """By a new version of what stood there; ours is destroyed, and the tags go by the new number."""
    assert 0 == InProcess(STEM).run(plant).returncode
    plant.set_field("deadline_seconds", "10")
    before, tags, held = State.of(plant), dict(plant.openbao.tags(SECRET)), plant.openbao.value(SECRET)
    old = in_keeper(plant)[0]
    plant.wire.gate = before_put(lambda: lose_the_new_key(plant, old))
    result = InProcess(STEM).run(plant)

    assert 1 == result.returncode, result.stderr
    assert_as_before(plant, before)
    assert held == plant.openbao.value(SECRET)
    rotation = tags.pop("rotation-id")
    after = dict(plant.openbao.tags(SECRET))
    assert f"4={rotation} 2={rotation} 1=-" == after.pop("rotation-versions")
    assert {**tags, "rotation-id": rotation} == {**after, "rotation-versions": tags["rotation-versions"]}
    assert [2, 4] == [one.number for one in plant.openbao.versions(SECRET) if one.data]


@pytest.mark.parametrize("keep", ["0", "1"])
def test_older_versions_are_destroyed_unless_their_key_is_kept(keep: str, plant: Plant) -> None:
    """Those of rotations, and the one that the first was set upon, each once its key goes; others' stay."""
    plant.openbao.put(SECRET, pair(plant))
    plant.set_field("keep_previous_keys", keep)
    for _ in range(3):
        assert 0 == InProcess(STEM).run(plant).returncode

    readable = [one.number for one in plant.openbao.versions(SECRET) if one.data]
    assert ([1, 5] if keep == "0" else [1, 4, 5]) == readable


@pytest.mark.parametrize("rotation", ["", "R-earlier"], ids=["of no known rotation", "of a known rotation"])
@pytest.mark.parametrize(
    ("kept", "readable"),
    [
        pytest.param("old", [1, 2], id="the old one"),
        pytest.param("new", [2], id="the new one, which an earlier rotation had made"),
        pytest.param("", [2], id="none"),
    ],
)
def test_what_was_taken_over_stays_where_it_holds_a_kept_key(
    plant: Plant, wired: Session, kept: str, readable: list[int], rotation: str
) -> None:
    """What a version holds tells whether its key lives, whichever rotation has made that."""
    mirror, publication = mirror_of(plant, wired), Site(plant, SCRIPT).publication("new")
    mirror.examine()
    outdated = mirror.outdated()
    mirror.write(publication)
    key_id = {"old": plant.old_key_id, "new": publication.credential.key_id}.get(kept)
    keys = [Key(key_id, label("record", rotation) if rotation else "", publication.rotated_at)] if key_id else []

    mirror.retire(outdated, keys)
    assert readable == [one.number for one in plant.openbao.versions(SECRET) if one.data]


def test_a_first_rotation_that_fails_leaves_a_secret_that_gives_nothing(make_plant: Callable[..., Plant]) -> None:
    """Our version is destroyed, our tags are gone, and the next rotation fills it."""
    plant = make_plant(mirrored=False, first_time=True)
    plant.add_openbao_mirror(SECRET)
    plant.set_field("deadline_seconds", "10")
    plant.wire.gate = before_put(lambda: lose_the_new_key(plant, plant.old_key_id))
    assert 1 == InProcess(STEM).run(plant).returncode
    assert (None, {}) == (plant.openbao.value(SECRET), dict(plant.openbao.tags(SECRET)))

    assert 0 == InProcess(STEM).run(plant).returncode
    assert in_keeper(plant)[0] == (plant.openbao.value(SECRET) or {})["access_key_id"]


def test_several_secrets_are_written_or_put_back_together(plant: Plant) -> None:
    """Where one of them is refused, none keeps the new key."""
    plant.openbao.put("stage/reports", pair(plant))
    plant.set_field("vault_path", f"{ENGINE}/{SECRET}, {ENGINE}/stage/reports")
    plant.openbao.allow_to_mirror(SECRET, "stage/reports")
    before, other = State.of(plant), f"{ENGINE}/data/stage/reports"
    plant.wire.gate = before_put(
        lambda: plant.openbao.allow_to_mirror(SECRET, "stage/reports", but={other: ["read"]}), path=f"/v1/{other}"
    )
    result = InProcess(STEM).run(plant)

    assert 1 == result.returncode, result.stderr
    assert_as_before(plant, before)
    for name in (SECRET, "stage/reports"):
        assert plant.old_key_id == (plant.openbao.value(name) or {})["access_key_id"]
        assert "rotation-id" not in plant.openbao.tags(name)


# -- what is not ours -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tags", "deleted"),
    [({"seeq-application-id": "another"}, True), ({"keeper-record": "AnotherRecordsUid12345"}, False)],
)
def test_a_secret_of_another_target_is_refused(plant: Plant, tags: Mapping[str, str], deleted: bool) -> None:
    """Its readers would get our key, also where its newest version was deleted; no switch allows that."""
    plant.openbao.tag(SECRET, tags)
    plant.set_field("adopt_secrets", "True")
    if deleted:
        plant.openbao.root("DELETE", f"{ENGINE}/data/{SECRET}")
    result = InProcess(STEM).run(plant)

    assert 1 == result.returncode
    assert f"secret {ENGINE}/{SECRET} is tagged as that of {' '.join(*tags.items())}, not of" in result.stderr
    assert [] == [one for one in writes(plant.wire.log) if "vault.plant.example" in one]


@pytest.mark.parametrize(
    "data", [{"password": "somebody else's"}, {"access_key_id": "dead", "access_key_password": "x"}]
)
def test_a_secret_that_nobody_marked_is_refused_with_the_way_out(plant: Plant, data: Mapping[str, str]) -> None:
    """The record can say that it is to be written all the same; others' words stay then, too."""
    plant.openbao.put(SECRET, data)
    refused = InProcess(STEM).run(plant)
    assert (1, data) == (refused.returncode, plant.openbao.value(SECRET))
    assert "holds a value that no rotation of this record has stored" in refused.stderr

    plant.set_field("adopt_secrets", "True")
    assert 0 == InProcess(STEM).run(plant).returncode
    assert {**data, **plant.openbao.value(SECRET)} == plant.openbao.value(SECRET)  # type: ignore[dict-item]


def test_a_published_value_is_one_word_of_the_secret() -> None:
    """`publish_secret` writes the text that mirrors hold as `value`, and the words beside it stay."""
    with on_loopback(PublishPlant, mirrored=False, value_format="alnum:32") as plant:
        plant.add_openbao_mirror("erp/database", held={"value": plant.written(plant.old_password), "host": "sql"})
        result = InProcess("publish_secret").run(plant)

        assert 0 == result.returncode, result.stderr
        held = plant.openbao.value("erp/database") or {}
        assert {"value": plant.written(plant.keeper.value(plant.user_uid, "value") or ""), "host": "sql"} == held
        assert plant.user_uid == plant.openbao.tags("erp/database")["keeper-record"]
        assert_silent(plant, result)


# -- rights ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "capabilities", "line"),
    [
        ("data", ["read"], 'path "secret/data/plant/reports" { capabilities = ["read", "update"] }'),
        ("data", [], 'path "secret/data/plant/reports" { capabilities = ["read", "update"] }'),
        ("metadata", ["read"], 'path "secret/metadata/plant/reports" { capabilities = ["read", "patch"] }'),
        ("destroy", [], 'path "secret/destroy/plant/reports" { capabilities = ["update"] }'),
    ],
)
def test_a_missing_right_is_told_before_a_key_is_made(
    kind: str, capabilities: list[str], line: str, plant: Plant
) -> None:
    """With the policy's line that is missing, and nothing was touched; a dry run tells it as well."""
    paths = {f"{ENGINE}/data/{SECRET}": ["read", "update"], f"{ENGINE}/metadata/{SECRET}": ["read", "patch"]}
    paths |= {f"{ENGINE}/destroy/{SECRET}": ["update"]}
    plant.openbao.allow(ROLE, {**paths, f"{ENGINE}/{kind}/{SECRET}": capabilities})
    plant.set_field("dry_run", "True")
    result = InProcess(STEM).run(plant)

    assert 1 == result.returncode
    assert f"no policy of the login allows it: {line}; nothing changed; add that line" in result.stderr
    assert [] == writes(plant.wire.log)


def test_the_policy_that_the_page_shows_is_enough_and_no_line_too_much(make_plant: Callable[..., Plant]) -> None:
    """For a secret that is not there yet, too; and without any one of its capabilities a run says what is missing."""
    page = (ROOT / "docs" / "mirrors.md").read_text(encoding="utf-8")
    lines = re.findall(r'^path "(\S+)" +\{ capabilities = \[(.+)\] \}$', page, re.MULTILINE)
    policy = {path: re.findall(r'"(\w+)"', capabilities) for path, capabilities in lines}
    plant = make_plant(mirrored=False)
    plant.add_openbao_mirror("plant/seeq-reports")
    for path, capabilities in policy.items():
        for capability in capabilities:
            plant.openbao.allow(ROLE, {**policy, path: [one for one in capabilities if one != capability]})
            result = InProcess(STEM).run(plant)
            assert f'path "{path}" {{ capabilities = [' in result.stderr, f"without {capability}"

    plant.openbao.allow(ROLE, policy)
    assert 6 == sum(map(len, policy.values()))
    assert 0 == InProcess(STEM).run(plant).returncode


def test_whoever_may_not_ask_for_rights_is_told_by_what_is_refused(plant: Plant) -> None:
    """Without the default policy: the run goes through, and a refusal names its line."""
    plant.openbao.allow("default", {})
    assert 0 == InProcess(STEM).run(plant).returncode
    plant.openbao.allow(ROLE, {f"{ENGINE}/metadata/{SECRET}": ["read"]})

    result = InProcess(STEM).run(plant)
    assert 1 == result.returncode
    assert f'path "{ENGINE}/data/{SECRET}" {{ capabilities = ["read"] }}' in result.stderr
