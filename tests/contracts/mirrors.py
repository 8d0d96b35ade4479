"""What every mirror must do. The test class of one more kind inherits `MirrorContract` and says how it is looked at.

class TestMyStore(MirrorContract):
    script, kind = rotate_seeq_application_key.SCRIPT, Plant

    def prepare(self, plant): ...     # the record asks for the mirror, and it holds the plant's old key
    def held(self, plant): ...        # what readers get, from the service itself
    def versions(self, plant): ...    # how often it was written
    def write(self, plant, place, value): ...   # as somebody else does
    def forbid(self, plant): ...      # take the right to write away
    def is_write(self, request): ...  # which request writes
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator, Mapping

import pytest

from pam_scripts.core.errors import ApiError, Refused
from pam_scripts.rotation.labels import label
from pam_scripts.rotation.roles import Key, Sought
from sandbox.faults import Rule, effect_no_answer, no_effect_no_answer
from sandbox.log import Request
from sandbox.plant import AnyPlant
from tests.contracts.on_site import OnSite, Site, assert_unseen
from tests.support.invariants import writes


class MirrorContract(OnSite, abc.ABC):
    """The contract: whatever keeps copies of a credential keeps all of this."""

    # -- what the author of a mirror says ---------------------------------------------------------

    @abc.abstractmethod
    def held(self, plant: AnyPlant) -> Mapping[str, str]:
        """Return what readers get from each place, the places that hold nothing left out."""

    @abc.abstractmethod
    def versions(self, plant: AnyPlant) -> int:
        """Return how many versions of the credential were ever written, all places together."""

    @abc.abstractmethod
    def write(self, plant: AnyPlant, place: str, value: str) -> None:
        """Write to a place as somebody else does."""

    @abc.abstractmethod
    def forbid(self, plant: AnyPlant) -> None:
        """Take the right to write away from whoever the script acts as."""

    @abc.abstractmethod
    def is_write(self, request: Request) -> bool:
        """Say whether a request writes a value."""

    # -- where it is tried ------------------------------------------------------------------------

    @pytest.fixture
    def empty(self) -> Iterator[Site]:
        """Return a site whose mirror never held anything."""
        with self.on_site(first_time=True) as site:
            yield site

    # -- what it must do --------------------------------------------------------------------------

    def test_parts_are_what_stands_in_its_places(self, site: Site) -> None:
        """Each part is one place; together they hold the value, and another credential has other parts."""
        mirror, first, second = site.mirror(), site.publication("first"), site.publication("second")
        parts = mirror.parts(first.credential)

        assert set(self.held(site.plant)) == set(parts)
        assert any(first.credential.secret.reveal() in text for text in parts.values())
        assert {} == {place: text for place, text in parts.items() if text == mirror.parts(second.credential)[place]}
        mirror.examine()
        assert self.held(site.plant) == mirror.parts(site.old), "the sandbox holds the old one as a rotation wrote it"

    def test_its_places_are_told_by_name(self, site: Site) -> None:
        """What messages and the ops log say names the store, each place once."""
        mirror = site.mirror()

        assert mirror.name
        assert [True] * len(mirror.places) == [mirror.name in place for place in mirror.places]
        assert 1 <= len(mirror.places) == len({*mirror.places})

    def test_logging_in_looks_at_nothing(self, site: Site) -> None:
        """A login may be made ahead, and again; it reads no value and changes nothing."""
        (spec,) = site.asked().mirrors
        mirror = site.mirror()
        mirror.connect()
        mirror.connect()

        answered = [str(one) for one in site.plant.wire.log if one.method == "GET" and one.status == 200]
        assert [] == [*answered, *writes(site.plant.wire.log)]
        assert {one.host for one in site.plant.wire.log} <= set(spec.hosts)

    def test_a_look_returns_what_it_holds_and_changes_nothing(self, site: Site) -> None:
        """Examined and read alike: the parts, and the key's id where the credential has one."""
        mirror = site.mirror()
        for copy in (mirror.examine(), mirror.read()):
            assert self.held(site.plant) == copy.parts
            assert copy.holds(mirror.parts(site.old))
            assert site.plant.old_key_id == copy.key_id
            assert copy.key_id or copy.shown, "messages have a word for it"
        assert [] == writes(site.plant.wire.log)

    def test_the_first_value_ever_is_written(self, empty: Site) -> None:
        """Where nothing is, a look says so, and a write fills it."""
        mirror, new = empty.mirror(), empty.publication("first")

        assert ({}, "") == ((before := mirror.examine()).parts, before.key_id)
        mirror.write(new)

        assert self.held(empty.plant) == mirror.parts(new.credential)

    def test_what_is_written_reads_back(self, site: Site) -> None:
        """This run and the next one read the new credential, and the service gives it to readers."""
        mirror, new = site.mirror(), site.publication("new")
        mirror.examine()
        mirror.write(new)

        parts = mirror.parts(new.credential)
        assert self.held(site.plant) == parts
        for reader in (mirror, site.mirror()):
            copy = reader.read()
            assert copy.holds(parts)
            assert (new.credential.key_id if site.shape.id_label else "") == copy.key_id

    def test_a_write_that_comes_again_is_none(self, site: Site) -> None:
        """No further version is made, and the same stands there."""
        mirror, new = site.mirror(), site.publication("new")
        mirror.examine()
        mirror.write(new)
        once = self.versions(site.plant)
        mirror.write(new)

        assert once == self.versions(site.plant)
        assert self.held(site.plant) == mirror.parts(new.credential)

    @pytest.mark.parametrize("effect", [True, False], ids=["effect", "no effect"])
    def test_a_write_whose_answer_is_lost_is_told_by_reading(self, site: Site, effect: bool) -> None:
        """The error leaves open what was done, a read tells, and writing again sets what is missing and no more."""
        mirror, new = site.mirror(), site.publication("new")
        mirror.examine()
        before, parts = self.versions(site.plant), mirror.parts(new.credential)
        lost = effect_no_answer() if effect else no_effect_no_answer()
        site.plant.wire.rules.append(Rule(lost, where=self.is_write, nth=1))

        with pytest.raises(ApiError) as caught:
            mirror.write(new)

        assert caught.value.transient
        assert not caught.value.refused
        assert effect == mirror.read().holds(parts)
        mirror.write(new)
        assert mirror.read().holds(parts)
        assert before + len(parts) == self.versions(site.plant)

    def test_a_write_that_is_refused_says_so_and_what_to_grant(self, site: Site) -> None:
        """The error is a clear no, with a next step; readers go on with what they had."""
        mirror, held = site.mirror(), self.held(site.plant)
        mirror.examine()
        self.forbid(site.plant)

        with pytest.raises(ApiError) as caught:
            mirror.write(site.publication("new"))

        assert caught.value.refused
        assert caught.value.next_step
        assert held == self.held(site.plant)

    # -- putting back -----------------------------------------------------------------------------

    def test_what_stood_there_is_put_back(self, site: Site) -> None:
        """Readers get the old credential again, a second time changes nothing, and the next run finds it whole."""
        mirror, new, held = site.mirror(), site.publication("new"), self.held(site.plant)
        before = mirror.examine()
        mirror.write(new)
        mirror.put_back(before, new, None)
        once = self.versions(site.plant)
        mirror.put_back(before, new, None)

        assert held == self.held(site.plant)
        assert once == self.versions(site.plant)
        assert site.mirror().examine().holds(before.parts)

    def test_nothing_is_put_back_where_nothing_stood(self, empty: Site) -> None:
        """Readers get nothing again, and the next rotation finds an empty mirror that it can write to."""
        mirror, new, next_one = empty.mirror(), empty.publication("new"), empty.publication("next")
        before = mirror.examine()
        mirror.write(new)
        mirror.put_back(before, new, None)

        assert {} == self.held(empty.plant)
        later = empty.mirror()
        assert {} == later.examine().parts
        later.write(next_one)
        assert self.held(empty.plant) == later.parts(next_one.credential)

    def test_without_a_write_nothing_is_put_back(self, site: Site) -> None:
        """Where no key was made, and where the write never came to be, all is left alone."""
        mirror = site.mirror()
        before, held = mirror.examine(), self.held(site.plant)
        mirror.put_back(before, None, None)
        mirror.put_back(before, site.publication("never written"), None)

        assert held == self.held(site.plant)
        assert [] == writes(site.plant.wire.log)

    @pytest.mark.parametrize("effect", [True, False], ids=["effect", "no effect"])
    def test_a_write_whose_answer_was_lost_is_put_back(self, site: Site, effect: bool) -> None:
        """However much of it was done, readers get the old credential again."""
        mirror, new, held = site.mirror(), site.publication("new"), self.held(site.plant)
        before = mirror.examine()
        lost = effect_no_answer() if effect else no_effect_no_answer()
        site.plant.wire.rules.append(Rule(lost, where=self.is_write, nth=1))
        with pytest.raises(ApiError):
            mirror.write(new)

        mirror.put_back(before, new, None)

        assert held == self.held(site.plant)

    def test_what_others_write_after_us_is_left_alone(self, site: Site) -> None:
        """A value that somebody has set since is neither put back over nor locked away."""
        mirror, new = site.mirror(), site.publication("new")
        before, outdated = mirror.examine(), mirror.outdated()
        mirror.write(new)
        for place in self.held(site.plant):
            self.write(site.plant, place, "set by hand")
        theirs = self.held(site.plant)
        mirror.put_back(before, new, None)
        mirror.retire(outdated, ())

        assert {"set by hand"} == {*theirs.values()}
        assert theirs == self.held(site.plant)

    def test_what_others_wrote_before_us_comes_back(self, site: Site) -> None:
        """What stood there right before our write was theirs: that is put back, not what the first look saw."""
        mirror, new = site.mirror(), site.publication("new")
        before, _ = mirror.examine(), mirror.outdated()
        for place in self.held(site.plant):
            self.write(site.plant, place, "set by hand")
        theirs = self.held(site.plant)
        mirror.write(new)
        assert self.held(site.plant) == mirror.parts(new.credential)
        mirror.put_back(before, new, None)

        assert theirs == self.held(site.plant)

    def test_locking_older_versions_away_leaves_ours(self, site: Site) -> None:
        """After the old keys are gone readers get the new credential as before, whenever versions were listed."""
        mirror, new = site.mirror(), site.publication("new")
        mirror.examine()
        outdated = mirror.outdated()
        mirror.write(new)
        mirror.retire([*outdated, *mirror.outdated()], ())

        assert self.held(site.plant) == mirror.parts(new.credential)

    def test_a_roll_back_finds_the_credential_before(self, site: Site) -> None:
        """The value of a rotation that was kept is there to be read, and nobody else's is taken for it."""
        first, second = site.publication("first"), site.publication("second")
        for publication in (first, second):
            mirror = site.mirror()
            mirror.examine()
            outdated = mirror.outdated()
            mirror.write(publication)
            kept = Key(first.credential.key_id, label("record", first.rotation_id), first.rotated_at)
            mirror.retire(outdated, (kept,))
        later, has_ids = site.mirror(), bool(site.shape.id_label)
        later.examine()

        found = later.older(Sought(first.credential.key_id if has_ids else "", {first.rotation_id}))()
        assert first.credential.secret.reveal() == found.reveal()
        with pytest.raises(Refused, match=r"has no version of it|its version is disabled"):
            later.older(Sought("id-of-nobody" if has_ids else "", {"rotation-nobody"}))
        assert self.held(site.plant) == later.parts(second.credential)

    # -- silence ----------------------------------------------------------------------------------

    def test_nothing_that_it_says_has_a_value_in_it(self, site: Site) -> None:
        """Whatever comes back, however it ends: neither errors nor what it returns show a value, nor do addresses."""
        mirror, new = site.mirror(), site.publication("new")
        before = mirror.examine()
        calls: tuple[Callable[[], object], ...] = (
            mirror.examine,
            mirror.read,
            mirror.outdated,
            lambda: mirror.write(new),
            lambda: mirror.put_back(before, new, None),
        )
        seen = site.provoke(calls, where=lambda one: "token" not in one.path)

        urls = [one.url for one in site.plant.wire.log]
        assert_unseen(site.values(new), mirror, mirror.name, mirror.places, new, before, *seen, *urls)
