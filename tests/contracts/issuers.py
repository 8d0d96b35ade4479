"""What every issuer must do. The test class of one more kind inherits a contract and says how it is looked at.

    class TestMyKeys(IssuerOnTheWire):
        script, kind = rotate_my_key.SCRIPT, MyPlant

        def is_creation(self, request): ...      # which request makes a key
        def take_rights_away(self, plant): ...   # so that the script may make none

Its plant says the rest: which keys there are, and whether they log in.
"""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Callable
from datetime import timedelta

import pytest

from pam_scripts.core.errors import ApiError, PamScriptError
from pam_scripts.core.times import utc_now
from pam_scripts.rotation.labels import label
from pam_scripts.rotation.roles import Credential, Issuer, Key
from sandbox.faults import Rule, effect_no_answer, no_effect_no_answer
from sandbox.log import Request
from sandbox.plant import AnyPlant
from tests.contracts.on_site import ANSWERS, OnSite, Site, assert_unseen, with_value
from tests.support.invariants import writes

_MINUTE = timedelta(minutes=1)


class IssuerContract(OnSite, abc.ABC):
    """The contract of whatever makes keys, or values."""

    def ready(self, site: Site) -> Issuer:
        """Return an issuer that has looked: nothing is made before that."""
        issuer = site.issuer()
        issuer.connect()
        issuer.list_keys()
        return issuer

    def own_label(self, site: Site) -> str:
        """Return the label of a key that a rotation of the site's record makes."""
        return label(site.plant.user_uid, "20260101T000000Z-0badc0de")

    def make(self, site: Site, issuer: Issuer, suffix: str = "") -> tuple[Key, Credential]:
        """Make a key as a rotation does: with its label, and the life that the record asks for."""
        spec = site.asked().issuer
        assert spec
        return issuer.create_key(f"{self.own_label(site)}{suffix}", utc_now() + spec.life if spec.life else None)

    def test_it_is_known_beforehand(self, site: Site) -> None:
        """Messages have a word for its keys and for the target, before anybody was asked."""
        issuer = site.issuer()
        traits = issuer.traits

        assert traits.noun
        assert issuer.target
        assert 1 <= traits.logins_in_a_row
        assert 1 <= traits.deletions_at_once
        assert 0 <= traits.activation_delay < 600
        assert 0 <= traits.listing_delay < 60
        assert [] == site.plant.wire.log

    def test_a_new_key_is_listed_with_its_label(self, site: Site) -> None:
        """The list has it as it was returned, so that it is known by its label whatever becomes of the run."""
        issuer = self.ready(site)
        before = issuer.list_keys()
        key, credential = self.make(site, issuer)

        assert self.own_label(site) == key.label
        assert (key.id, site.plant.user_uid) == (credential.key_id, key.owner)
        assert credential.secret
        assert abs(key.created_at - utc_now()) < _MINUTE
        assert {key} == {*issuer.list_keys()} - {*before}

    def test_no_key_has_the_id_of_one_before_it(self, site: Site) -> None:
        """Each rotation's key is told apart from all before it, the deleted ones too, and each has another value."""
        ids, values = [site.plant.old_key_id], [site.plant.old_password]
        for number in range(3):
            issuer = self.ready(site)
            key, credential = self.make(site, issuer, str(number))
            if number != 1:
                issuer.delete_key(key)
            ids.append(key.id)
            values.append(credential.secret.reveal())

        assert (4, 4) == (len({*ids}), len({*values}))

    def test_a_deleted_key_is_no_longer_listed(self, site: Site) -> None:
        """The list is the judge of a deletion; the other keys stay."""
        issuer = self.ready(site)
        before = {*issuer.list_keys()}
        key, _ = self.make(site, issuer)
        issuer.delete_key(key)

        assert before == {*issuer.list_keys()}

    def test_nothing_that_is_returned_shows_the_value(self, site: Site) -> None:
        """A key and its credential can be printed, and the issuer and what it tells too."""
        issuer = self.ready(site)
        key, credential = self.make(site, issuer)

        values = {*site.plant.secrets(), credential.secret.reveal()}
        assert_unseen(values, issuer, issuer.target, key, credential, *site.said)


class IssuerOnTheWire(IssuerContract):
    """The contract of an issuer that is a system: its keys log in, and its answers may be lost."""

    # -- what the author of an issuer says --------------------------------------------------------

    @abc.abstractmethod
    def is_creation(self, request: Request) -> bool:
        """Say whether a request makes a key."""

    @abc.abstractmethod
    def take_rights_away(self, plant: AnyPlant) -> None:
        """Have the plant's login be one that may look, but make no keys."""

    # -- what it must do --------------------------------------------------------------------------

    def test_logging_in_looks_at_nothing(self, site: Site) -> None:
        """A login may be made ahead, and again; of the target nothing is asked, and only the told hosts are."""
        spec = site.asked().issuer
        assert spec
        issuer = site.issuer()
        issuer.connect()
        issuer.connect()

        assert [] == [str(one) for one in site.plant.wire.log if one.method != "POST"]
        assert [] == writes(site.plant.wire.log)
        assert 1 <= len({one.host for one in site.plant.wire.log}) <= len(spec.hosts)
        assert {one.host for one in site.plant.wire.log} <= set(spec.hosts)

    def test_all_keys_are_listed_expired_ones_too(self, site: Site) -> None:
        """By id, label, age and end, as the system itself has them."""
        site.plant.add_key("left over", created_days_ago=100, expires_in_days=-10)
        listed = site.issuer().list_keys()

        issued = [key for key in site.plant.issued() if key.listed]
        assert len(issued) > 1
        assert {key.key_id for key in issued} == {key.id for key in listed}
        by_id = {key.id: key for key in listed}
        for key in issued:
            seen = by_id[key.key_id]
            assert key.label == seen.label
            assert abs(key.created_at - seen.created_at) < _MINUTE
            assert key.expires_at is None or (seen.expires_at and abs(key.expires_at - seen.expires_at) < _MINUTE)
        assert [] == writes(site.plant.wire.log)

    def test_the_end_that_is_asked_for_is_what_is_told(self, site: Site) -> None:
        """Where keys have an end, a new one has that which was asked for; where they have none, none is told."""
        end = utc_now() + timedelta(days=45)
        key, _ = self.ready(site).create_key(self.own_label(site), end)

        issued = next(one for one in site.plant.issued() if one.key_id == key.id)
        assert issued.expires_at == key.expires_at
        has_an_end = bool(site.shape.expires_label)
        assert has_an_end == (key.expires_at is not None)
        assert not key.expires_at or abs(key.expires_at - end) < _MINUTE

    def test_a_new_key_logs_in_and_a_wrong_value_does_not(self, site: Site) -> None:
        """For real: the system lets the value in that it gave, and refuses any other clearly."""
        issuer = self.ready(site)
        key, credential = self.make(site, issuer)
        value = credential.secret.reveal()

        issuer.log_in(credential)
        assert site.plant.logs_in(key.id, value)
        # Where a login names no key, any that is alive lets in.
        others = [site.plant.old_password] if site.shape.logs_in_by_id else []
        for wrong in (f"{value}x", value[::-1], *others):
            with pytest.raises(ApiError) as caught:
                issuer.log_in(with_value(credential, wrong))
            assert caught.value.refused
            assert key.id in str(caught.value)

    def test_a_deleted_key_logs_in_no_more(self, site: Site) -> None:
        """Deleted is dead, for the system as for the issuer; the key before it lives."""
        issuer = self.ready(site)
        key, credential = self.make(site, issuer)
        issuer.delete_key(key)

        assert not site.plant.logs_in(key.id, credential.secret.reveal())
        assert site.plant.logs_in(site.plant.old_key_id, site.plant.old_password)
        with pytest.raises(ApiError):
            issuer.log_in(credential)

    def test_a_deletion_that_comes_again_does_no_harm(self, site: Site) -> None:
        """It may be answered with a no; what is there stays."""
        issuer = self.ready(site)
        key, _ = self.make(site, issuer)
        issuer.delete_key(key)
        with contextlib.suppress(ApiError):
            issuer.delete_key(key)

        assert [site.plant.old_key_id] == [one.id for one in issuer.list_keys()]

    def test_every_further_way_to_delete_takes_that_key_alone(self, site: Site) -> None:
        """Where the first way does not work, another may: it deletes its key or says no, and never another one."""
        issuer = self.ready(site)
        for way in issuer.other_ways_to_delete:
            key, _ = self.make(site, issuer)
            with contextlib.suppress(ApiError):
                way(key)

            assert {site.plant.old_key_id, key.id} >= {one.id for one in issuer.list_keys()} >= {site.plant.old_key_id}
            issuer.delete_key(key)

    @pytest.mark.parametrize("effect", [True, False], ids=["effect", "no effect"])
    def test_a_creation_whose_answer_is_lost_is_found_by_its_label(self, site: Site, effect: bool) -> None:
        """The error leaves open whether there is a key; the list tells, and what it lists can be deleted."""
        issuer = self.ready(site)
        lost = effect_no_answer() if effect else no_effect_no_answer()
        site.plant.wire.rules.append(Rule(lost, where=self.is_creation, nth=1))

        with pytest.raises(ApiError) as caught:
            self.make(site, issuer)

        assert caught.value.transient
        made = [key for key in issuer.list_keys() if key.label == self.own_label(site)]
        assert [site.plant.user_uid] * effect == [key.owner for key in made]
        for key in made:
            issuer.delete_key(key)
        assert [site.plant.old_key_id] == [key.id for key in issuer.list_keys()]

    def test_a_creation_is_one_request(self, site: Site) -> None:
        """However it ends: whether there is a key now is for the order to find out, before it tries again."""
        issuer = self.ready(site)
        site.plant.wire.rules.append(Rule(ANSWERS["500 after effect"], where=self.is_creation))
        with pytest.raises(ApiError):
            self.make(site, issuer)

        assert [True] == [self.is_creation(one) for one in site.plant.wire.log if self.is_creation(one)]

    def test_a_login_that_may_make_keys_lacks_nothing(self, site: Site) -> None:
        """A look that is asked for missing rights finds none."""
        assert [] == self.ready(site).missing_rights()

    def test_a_right_that_is_missing_is_told(self, site: Site) -> None:
        """By looking, or at the latest by the refusal of a creation, which is a clear no with what to grant."""
        self.take_rights_away(site.plant)
        issuer = site.issuer()
        with contextlib.suppress(PamScriptError):
            issuer.list_keys()
        told = issuer.missing_rights()
        with pytest.raises(ApiError) as caught:
            self.make(site, issuer)

        assert all(told)
        assert told
        assert caught.value.refused
        assert caught.value.next_step
        assert [] == [key for key in site.plant.issued() if key.label == self.own_label(site)]

    def test_it_goes_on_once_its_own_key_is_to_go(self, site: Site) -> None:
        """Told to act as the new key, it can still delete the old one and list what is left."""
        issuer = self.ready(site)
        key, credential = self.make(site, issuer)
        issuer.log_in(credential)
        issuer.act_as(credential)
        for old in issuer.list_keys():
            if old.id != key.id:
                issuer.delete_key(old)

        assert [key.id] == [one.id for one in issuer.list_keys()]
        assert site.plant.logs_in(key.id, credential.secret.reveal())

    def test_nothing_that_it_says_has_a_value_in_it(self, site: Site) -> None:
        """Whatever comes back, however it ends: neither errors nor addresses show a value."""
        issuer = self.ready(site)
        key, credential = self.make(site, issuer)
        calls: tuple[Callable[[], object], ...] = (
            site.issuer().connect,
            issuer.list_keys,
            issuer.missing_rights,
            lambda: self.make(site, issuer, "2"),
            lambda: issuer.log_in(credential),
            lambda: issuer.delete_key(key),
        )
        seen = site.provoke(calls)

        urls = [one.url for one in site.plant.wire.log]
        assert_unseen({*site.plant.secrets(), credential.secret.reveal()}, issuer, *seen, *site.said, *urls)
