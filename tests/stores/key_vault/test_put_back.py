"""Key Vault's mirror: what is put back into it, and what is locked away."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from pam_scripts.cli.scripts import SCRIPTS
from pam_scripts.core.errors import Refused
from pam_scripts.core.http import Session
from pam_scripts.core.secret import Secret
from pam_scripts.core.times import utc_now
from pam_scripts.issuers import values
from pam_scripts.issuers.seeq.application_keys import SHAPE
from pam_scripts.logins.azure import CLOUDS, AppSecret, Identity, log_in
from pam_scripts.rotation import reload
from pam_scripts.rotation.labels import label
from pam_scripts.rotation.roles import Credential, Key, Known, Publication, Snapshot
from pam_scripts.rotation.shape import OWNER_TAGS, Shape
from pam_scripts.stores import Adoption
from pam_scripts.stores.key_vault.mirror import VaultMirror
from sandbox.faults import Rule, status
from sandbox.plant import VAULT, Plant
from sandbox.services.key_vault import ALL
from tests.support.in_process import InProcess

SLOW = timedelta(seconds=30)
"""How far the host's clock is behind the vault's."""


@pytest.fixture(params=[False, True], ids=["the same second", "later"])
def wait(request: pytest.FixtureRequest, plant: Plant) -> None:
    """Have what was there before the rotation be as young as the rotation, or older."""
    if request.param:
        plant.clock.advance(seconds=5)


def store(
    plant: Plant, session: Session, *, combined: bool = False, adopt: bool = False, shape: Shape = SHAPE
) -> VaultMirror:
    """Return the plant's mirror, as one run has it."""
    app = AppSecret(plant.tenant_id, plant.azure_app.client_id, Secret(plant.azure_secret))
    names = {"key": plant.combined_name} if combined else {}
    names |= {"key-id": plant.id_name, "key-password": plant.password_name}
    login = log_in(Identity(app, CLOUDS["public"]), session)
    return VaultMirror(plant.vault_url, login, Adoption(shape, asked=adopt), names, plant.application_id, session)


def begin(mirror: VaultMirror, key_id: str) -> tuple[Snapshot, Publication]:
    """Look, list what will be outdated, and make a key, on a host whose clock is slow."""
    before = mirror.examine()
    mirror.outdated()
    return before, Publication(Credential(key_id, Secret(f"value of {key_id}")), f"R-{key_id}", utc_now() - SLOW, None)


def fail(plant: Plant, session: Session, key_id: str) -> None:
    """Publish a key, and put it back."""
    mirror = store(plant, session)
    before, publication = begin(mirror, key_id)
    mirror.write(publication)
    mirror.put_back(before, publication, {plant.old_key_id, key_id})


def held(plant: Plant) -> tuple[str | None, str | None]:
    """Return the pair that readers get."""
    return plant.key_vault.value(VAULT, plant.id_name), plant.key_vault.value(VAULT, plant.password_name)


def set_pair(plant: Plant, key_id: str, rotation: str = "") -> None:
    """Have another hand set a pair."""
    tags = {"rotation-id": rotation} if rotation else None
    plant.key_vault.set(VAULT, plant.id_name, key_id, tags=tags)
    plant.key_vault.set(VAULT, plant.password_name, f"value of {key_id}", tags=tags)


@pytest.mark.usefixtures("wait")
def test_a_second_failure_does_not_bring_back_the_first_ones_key(plant: Plant, wired: Session) -> None:
    """The first one's is deleted; a slow clock made it look like one that somebody has set since."""
    for number in range(3):
        fail(plant, wired, f"K{number}")
        assert (plant.old_key_id, plant.old_password) == held(plant)


def test_a_withdrawn_version_is_disabled(plant: Plant, wired: Session) -> None:
    """Nobody reads a dead key from it by its version; those of others stay."""
    fail(plant, wired, "K1")

    for name in (plant.id_name, plant.password_name):
        assert [True, False, True] == [one.enabled for one in plant.key_vault.versions(VAULT, name)]


def test_a_first_value_that_is_withdrawn_stays_so_after_the_second_failure(plant: Plant, wired: Session) -> None:
    """Where there was nothing to put back, readers get nothing."""
    fresh = {plant.id_name: "fresh-key-id", plant.password_name: "fresh-key-password"}
    plant.id_name, plant.password_name = fresh.values()

    for number in range(2):
        fail(plant, wired, f"K{number}")
        assert (None, None) == held(plant)
    assert [False, False] == [one.enabled for one in plant.key_vault.versions(VAULT, plant.id_name)]


def test_putting_back_works_without_the_right_to_disable(plant: Plant, wired: Session) -> None:
    """What may not be listed cannot be withdrawn; where our write was refused there is nothing to withdraw."""
    mirror = store(plant, wired)
    before = mirror.examine()
    plant.key_vault.grant(VAULT, plant.azure_app.client_id, ALL - {"list", "set"})

    publication = Publication(Credential("K", Secret("value")), "R", utc_now(), None)
    mirror.put_back(before, publication, None)
    assert (plant.old_key_id, plant.old_password) == held(plant)


@pytest.mark.usefixtures("wait")
@pytest.mark.parametrize("listed", [True, False], ids=["listing", "no listing"])
def test_what_another_hand_set_since_is_brought_back(plant: Plant, wired: Session, listed: bool) -> None:
    """A rotation that went first, or a person, has the last word; known by its version, not by its time."""
    mirror = store(plant, wired)
    before = mirror.examine()
    if listed:
        mirror.outdated()
    else:
        plant.clock.advance(seconds=1)
    publication = Publication(Credential("K", Secret("value")), "R", utc_now() + SLOW, None)
    set_pair(plant, "theirs")
    mirror.write(publication)

    mirror.put_back(before, publication, {plant.old_key_id, "theirs", "K"})
    assert ("theirs", "value of theirs") == held(plant)


def test_what_another_hand_set_since_is_not_brought_back_dead(plant: Plant, wired: Session) -> None:
    """A key that the issuer does not list is put back nowhere; the pair is one, and goes as one."""
    mirror = store(plant, wired)
    before, publication = begin(mirror, "K")
    set_pair(plant, "theirs", "R-theirs")
    mirror.write(publication)

    mirror.put_back(before, publication, {plant.old_key_id, "K"})
    assert (plant.old_key_id, plant.old_password) == held(plant)


@pytest.mark.usefixtures("wait")
@pytest.mark.parametrize("behind", [SLOW, -SLOW], ids=["slow", "fast"])
def test_all_that_was_there_before_ours_is_locked_away(plant: Plant, wired: Session, behind: timedelta) -> None:
    """In whichever second it was set, and whatever the host's clock says."""
    mirror = store(plant, wired)
    _, publication = begin(mirror, "K")
    outdated = mirror.outdated()
    publication = replace(publication, rotated_at=utc_now() - behind)
    mirror.write(publication)
    set_pair(plant, "K")

    mirror.retire(outdated, ())
    assert [False, True, True] == [one.enabled for one in plant.key_vault.versions(VAULT, plant.id_name)]


def test_a_value_that_is_published_again_is_not_locked_away(plant: Plant, wired: Session) -> None:
    """The version that readers get may be one that was there before."""
    mirror = store(plant, wired)
    mirror.examine()
    outdated = mirror.outdated()

    mirror.retire(outdated, ())
    assert (plant.old_key_id, plant.old_password) == held(plant)


@pytest.mark.parametrize("rotation", ["", "R-earlier"], ids=["of no known rotation", "of a known rotation"])
@pytest.mark.parametrize(
    ("kept", "readable"),
    [
        pytest.param(["first"], [True, False, True], id="the first"),
        pytest.param(["second"], [False, True, True], id="the second"),
        pytest.param(["first", "second"], [True, True, True], id="both"),
        pytest.param(["new"], [False, False, True], id="the new one, which an earlier rotation had made"),
        pytest.param([], [False, False, True], id="none"),
    ],
)
def test_of_versions_that_nobody_has_marked_those_of_kept_keys_stay(
    plant: Plant, wired: Session, kept: Sequence[str], readable: Sequence[bool], rotation: str
) -> None:
    """What a version holds tells whether its key lives, in all three secrets, and all of it is tried again."""
    ids = {"first": plant.old_key_id, "second": "K2", "new": "K3"}
    for key_id, value in ((ids["first"], plant.old_password), (ids["second"], f"value of {ids['second']}")):
        both = {"access_key_id": key_id, "access_key_password": value}
        plant.key_vault.set(VAULT, plant.combined_name, json.dumps(both))
    set_pair(plant, ids["second"])
    mirror = store(plant, wired, combined=True)
    _, publication = begin(mirror, ids["new"])
    outdated = mirror.outdated()
    mirror.write(publication)
    keys = [Key(ids[name], label("record", rotation) if rotation else "", utc_now()) for name in kept]

    for _ in range(2):
        mirror.retire(outdated, keys)
        for name in (plant.combined_name, plant.id_name, plant.password_name):
            versions = plant.key_vault.versions(VAULT, name)
            # Which of several values are of one pair, nothing tells: with one of them all stay.
            all_stay = name == plant.password_name and {"first", "second"} & {*kept}
            assert ([True] * 3 if all_stay else readable) == [one.enabled for one in versions], name


# -- whose a secret is ----------------------------------------------------------------------------


def known(plant: Plant, key_ids: set[str] | None = None, **record: str) -> Known:
    """Return what was seen beside the mirror."""
    return Known(record, {plant.old_key_id} if key_ids is None else key_ids)


def owner(plant: Plant) -> dict[str, str]:
    """Return our own mark."""
    return {"seeq-application-id": plant.application_id}


def look(mirror: VaultMirror, what: Known) -> list[str]:
    """Look, and take over what may be; return what is said of it."""
    mirror.examine()
    return list(mirror.adopt(what))


def stranger(plant: Plant, **properties: Any) -> None:  # noqa: ANN401 - as the vault takes them
    """Have somebody else's value in the password's secret, and nothing else there."""
    plant.password_name = "fresh-password"
    plant.id_name = "fresh-id"
    plant.key_vault.set(VAULT, plant.password_name, "somebody else's", **properties)


def test_each_scripts_mark_is_known_to_all_of_them() -> None:
    """A script that marks secrets in another way would not be told from a person."""
    assert {script.issuer.SHAPE.owner_tag for script in SCRIPTS} == {*OWNER_TAGS}


@pytest.mark.parametrize("tag", OWNER_TAGS)
def test_another_owners_mark_is_refused_whichever_script_made_it(tag: str, plant: Plant, wired: Session) -> None:
    """The other owner's readers would get our key; no switch allows that."""
    stranger(plant, tags={tag: "another"})

    with pytest.raises(Refused, match=f"secret {plant.password_name} in {VAULT} is tagged as belonging to another"):
        look(store(plant, wired, adopt=True), known(plant))


@pytest.mark.parametrize("enabled", [True, False])
def test_another_owners_older_mark_is_refused_too(enabled: bool, plant: Plant, wired: Session) -> None:
    """A repair by hand, or a version that is switched off, does not make it anybody's."""
    stranger(plant, tags={"keeper-record": "another"})
    plant.key_vault.set(VAULT, plant.password_name, "repaired", enabled=enabled)

    with pytest.raises(Refused, match="is tagged as belonging to another"):
        look(store(plant, wired), known(plant))


@pytest.mark.parametrize("enabled", [True, False])
def test_a_secret_that_went_over_to_another_owner_is_refused(enabled: bool, plant: Plant, wired: Session) -> None:
    """Our mark on an older version no longer counts, whether or not the newest one is switched on."""
    stranger(plant, tags={SHAPE.owner_tag: plant.application_id})
    plant.key_vault.set(VAULT, plant.password_name, "theirs", tags={"keeper-record": "another"}, enabled=enabled)

    with pytest.raises(Refused, match="is tagged as belonging to another"):
        look(store(plant, wired, adopt=True), known(plant))


@pytest.mark.parametrize("enabled", [True, False])
def test_a_secret_that_nobody_marked_is_refused_with_the_way_out(enabled: bool, plant: Plant, wired: Session) -> None:
    """Somebody else's, or one that was switched off on purpose; the record can say that it is to be overwritten."""
    stranger(plant, enabled=enabled)

    with pytest.raises(
        Refused, match=r"holds a value that no rotation of this record has stored; .*set 'adopt_secrets' to 'True'"
    ):
        look(store(plant, wired), known(plant))
    said = look(store(plant, wired, adopt=True), known(plant))
    assert [f"secret {plant.password_name} is taken over, since 'adopt_secrets' is 'True'"] == [
        line.partition(": ")[2] for line in said
    ]


@pytest.mark.parametrize("enabled", [True, False])
def test_a_secret_of_ours_is_ours_by_any_of_its_versions(enabled: bool, plant: Plant, wired: Session) -> None:
    """A person's repair carries no mark, and a version of ours that was disabled is set anew."""
    stranger(plant, tags=owner(plant))
    plant.key_vault.set(VAULT, plant.password_name, "repaired by hand", enabled=enabled)
    mirror = store(plant, wired)

    assert [] == look(mirror, known(plant, set()))
    mirror.write(Publication(Credential("K", Secret("value")), "R", utc_now(), None))
    assert ("K", "value") == held(plant)


def test_a_pair_of_the_target_is_taken_over_and_that_is_said(plant: Plant, wired: Session) -> None:
    """What a person has entered before the first rotation: the issuer lists the key, or Keeper holds the same."""
    record = {"access_key_id": plant.old_key_id, "access_key_password": plant.old_password}

    listed = look(store(plant, wired), known(plant))
    same = look(store(plant, wired), known(plant, set(), **record))
    assert ["it holds a key of the target"] * 2 == [line.partition("since ")[2] for line in listed]
    assert ["it holds what was published before"] * 2 == [line.partition("since ")[2] for line in same]
    with pytest.raises(Refused, match="holds a value that no rotation"):
        look(store(plant, wired), known(plant, set()))


def test_an_empty_secret_is_taken_over(plant: Plant, wired: Session) -> None:
    """It was made for the purpose."""
    stranger(plant)
    plant.key_vault.set(VAULT, plant.password_name, "")

    assert ["it is empty"] == [line.partition("since ")[2] for line in look(store(plant, wired), known(plant))]


def test_the_password_before_in_its_template_is_taken_over(plant: Plant, wired: Session) -> None:
    """A connection string that a person has entered holds what Keeper has just replaced."""
    shape = replace(values.SHAPE, form=lambda value: f"Server=x;Password={value}")
    plant.key_vault.set(VAULT, "erp", "Server=x;Password=old")
    app = AppSecret(plant.tenant_id, plant.azure_app.client_id, Secret(plant.azure_secret))

    def look_with(former: str) -> list[str]:
        login = log_in(Identity(app, CLOUDS["public"]), wired)
        adoption = Adoption(shape, Secret(former))
        return look(VaultMirror(plant.vault_url, login, adoption, {"value": "erp"}, "Uid", wired), known(plant, set()))

    assert ["it holds what was published before"] == [line.partition("since ")[2] for line in look_with("old")]
    for other in ("", "older"):
        with pytest.raises(Refused, match="holds a value that no rotation"):
            look_with(other)


def test_what_others_keep_beside_it_stays(plant: Plant, wired: Session) -> None:
    """Tags, the type, and words of a JSON object that are not ours; the date of the key before goes."""
    both = {"host": "seeq", "access_key_id": plant.old_key_id, "access_key_password": plant.old_password}
    tags = {**owner(plant), "team": "plant", "expiry": "2026-01-01T00:00:00Z"}
    plant.key_vault.set(VAULT, plant.combined_name, json.dumps(both), tags=tags, content_type="text/x-team")
    mirror = store(plant, wired, combined=True)
    before = mirror.examine()
    publication = Publication(Credential("K", Secret("value")), "R", utc_now(), None)

    mirror.write(publication)
    assert mirror.read().holds(mirror.parts(publication.credential))
    newest = plant.key_vault.versions(VAULT, plant.combined_name)[-1]
    assert {"host": "seeq", "access_key_id": "K", "access_key_password": "value"} == json.loads(newest.value)
    assert ("text/x-team", "plant", None) == (
        newest.content_type,
        (newest.tags or {}).get("team"),
        (newest.tags or {}).get("expiry"),
    )
    assert (None, "R") == (newest.expires_on, (newest.tags or {}).get("rotation-id"))
    mirror.put_back(before, publication, {plant.old_key_id})
    assert json.dumps(both) == plant.key_vault.value(VAULT, plant.combined_name)


def test_a_secret_of_ours_costs_no_request_more(plant: Plant, wired: Session) -> None:
    """Versions are listed only where the newest one says nothing."""
    for name in (plant.id_name, plant.password_name):
        plant.key_vault.set(VAULT, name, "value", tags=owner(plant))
    mirror = store(plant, wired)

    assert [] == look(mirror, known(plant, set()))
    assert not [request for request in plant.wire.log if request.path.endswith("/versions")]


@pytest.mark.parametrize("by_hand", ["the combined secret", "half the pair"])
def test_what_a_person_broke_in_one_of_the_secrets_is_not_put_back_to_its_readers(
    plant: Plant, monkeypatch: pytest.MonkeyPatch, by_hand: str
) -> None:
    """An app that read before that has a live key yet; restarted with what no longer works it would have none."""
    monkeypatch.setattr(reload, "HEALTH_PAUSE", 0.005)
    words = json.dumps({"access_key_id": plant.old_key_id, "access_key_password": plant.old_password})
    plant.key_vault.set(VAULT, plant.combined_name, words, tags=owner(plant))
    plant.set_field("key_vault_combined", "True")
    plant.set_field("adopt_secrets", "True")
    secret = plant.combined_name if by_hand == "the combined secret" else plant.id_name
    app = plant.add_app("reports", secret, restart_seconds=0.01)
    typed = words.replace(plant.old_key_id, "typed-by-hand") if secret == plant.combined_name else "typed-by-hand"
    plant.key_vault.set(VAULT, secret, typed)
    plant.wire.rules.append(Rule(status(403), method="GET", path="/api/applications/*", nth=2))
    result = InProcess("rotate_seeq_application_key").run(plant)

    assert 4 == result.returncode, result.stderr
    assert f"what Azure Key Vault {VAULT} held before no longer works, so that the new access key" in result.stderr
    (new,) = {key.key_id for key in plant.issued() if key.live} - {plant.old_key_id}
    assert new in (app.holds["credential"] or "")
    assert new == plant.keeper.value(plant.user_uid, "access_key_id")
