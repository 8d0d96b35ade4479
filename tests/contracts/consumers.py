"""What every consumer must do. The test class of one more kind inherits a contract and says how it is looked at.

class TestMyReaders(ReloadedContract):
    script, kind = rotate_seeq_application_key.SCRIPT, Plant

    def prepare(self, plant): ...          # the record names one consumer
    def be_well(self, plant, well): ...    # how it is from now on
    def reloads(self, plant): ...          # how often it was made to read anew
    def forbid(self, plant): ...           # take the right to reload away, and leave that to look
    def is_reload(self, request): ...      # which request reloads
    def remove(self, plant): ...           # have it be gone
"""

from __future__ import annotations

import abc
import itertools
import time
from collections.abc import Callable

import pytest

from pam_scripts.core.errors import ApiError, PamScriptError
from pam_scripts.rotation.roles import Consumer
from sandbox.faults import Fault, Rule, effect_no_answer, status
from sandbox.log import Request
from sandbox.plant import AnyPlant
from tests.contracts.on_site import ANSWERS, OnSite, Site, assert_unseen
from tests.support.invariants import writes

_LONGEST_WAIT = 10.0


def wait_until_well(consumer: Consumer) -> list[str]:
    """Ask as a rotation does until it is well; return what was wrong on the way."""
    troubles, began = list[str](), time.monotonic()
    while trouble := consumer.trouble():
        troubles.append(trouble)
        assert time.monotonic() - began < _LONGEST_WAIT, troubles[-1]
        time.sleep(0.02)
    return troubles


class ConsumerContract(OnSite, abc.ABC):
    """The contract of whoever reads a credential, or says how somebody who does is."""

    @abc.abstractmethod
    def be_well(self, plant: AnyPlant, well: bool) -> None:
        """Have the consumer be well, or ill, from now on."""

    def test_it_has_a_name_and_a_look_changes_nothing(self, site: Site) -> None:
        """Messages name it; before a key is made it is only looked at, however ill it is."""
        self.be_well(site.plant, False)
        consumer = site.consumer()
        consumer.examine()

        assert consumer.name
        assert [] == writes(site.plant.wire.log)

    def test_it_is_in_trouble_until_it_is_well(self, site: Site) -> None:
        """What is wrong is said in words for as long as it is, and no longer."""
        consumer = site.consumer()
        consumer.examine()
        consumer.reload()
        self.be_well(site.plant, False)
        time.sleep(0.3)
        ill = [consumer.trouble() for _ in range(4)]
        self.be_well(site.plant, True)

        assert all(ill)
        wait_until_well(consumer)
        self.be_well(site.plant, False)
        assert consumer.trouble(), "well is what it is now, not what it was"

    def test_the_hosts_of_whom_it_asks_are_told_or_its_own(self, site: Site) -> None:
        """Whom it asks is known beforehand: from the record, or by its name."""
        (spec,) = site.asked().consumers
        consumer = site.consumer()
        consumer.examine()
        consumer.reload()
        wait_until_well(consumer)

        assert site.plant.wire.log
        assert [] == [one.host for one in site.plant.wire.log if one.host not in {*spec.hosts} | {_host(consumer.name)}]

    def test_nothing_that_it_says_has_a_value_in_it(self, site: Site) -> None:
        """Whatever comes back, however it ends: neither errors nor troubles nor addresses show a value."""
        consumer, seen = site.consumer(), list[object]()
        consumer.examine()
        calls: tuple[Callable[[], object], ...] = (
            consumer.examine,
            consumer.missing_rights,
            consumer.reload,
            consumer.trouble,
        )
        for answer, call in itertools.product(ANSWERS, calls):
            site.plant.wire.rules[:] = [Rule(ANSWERS[answer])]
            try:
                seen.append(call())
            except PamScriptError as error:
                seen += [error, error.args, error.__cause__]

        met = [one for one in seen if one and isinstance(one, (PamScriptError, str))]
        # To be only asked takes little: any page that answers 200 is a good one.
        assert len(met) >= len(ANSWERS) - 2, "the faults were met"
        urls = [one.url for one in site.plant.wire.log]
        assert_unseen(site.values(), consumer, consumer.name, *seen, *urls)


class ReloadedContract(ConsumerContract):
    """The contract of whoever can be made to read the credential anew."""

    @abc.abstractmethod
    def reloads(self, plant: AnyPlant) -> int:
        """Return how often it was made to read anew."""

    @abc.abstractmethod
    def forbid(self, plant: AnyPlant) -> None:
        """Take the right to reload it away; what it takes to look, at it and at rights, stays."""

    @abc.abstractmethod
    def is_reload(self, request: Request) -> bool:
        """Say whether a request reloads it."""

    @abc.abstractmethod
    def remove(self, plant: AnyPlant) -> None:
        """Have the record name one that is not there."""

    def test_a_reload_may_be_repeated(self, site: Site) -> None:
        """Each one is carried out, by this run and by the next, and it is well after the last."""
        self.be_well(site.plant, True)
        consumer = site.consumer()
        assert consumer.reloads
        consumer.examine()
        for number in (1, 2):
            consumer.reload()
            assert number == self.reloads(site.plant)
        later = site.consumer()
        later.reload()

        assert 3 == self.reloads(site.plant)
        wait_until_well(later)

    def test_one_that_only_begins_is_not_taken_for_well(self, site: Site) -> None:
        """Right after a reload what still serves is the old: one good look is not enough."""
        self.be_well(site.plant, True)
        consumer = site.consumer()
        consumer.examine()
        consumer.reload()

        assert wait_until_well(consumer)
        consumer.reload()
        assert consumer.trouble(), "a further reload begins anew"

    def test_a_reload_that_is_refused_is_told_as_such(self, site: Site) -> None:
        """A clear no with what to grant: it goes on as it was, and cannot hold the new key."""
        consumer = site.consumer()
        consumer.examine()
        self.forbid(site.plant)
        with pytest.raises(ApiError) as caught:
            consumer.reload()

        assert caught.value.refused
        assert caught.value.next_step
        assert 0 == self.reloads(site.plant)

    @pytest.mark.parametrize("lost", [effect_no_answer(), status(500, effect=True)], ids=["no answer", "500"])
    def test_a_reload_whose_answer_is_lost_is_not_told_as_refused(self, site: Site, lost: Fault) -> None:
        """It may have read the new key: the error leaves that open."""
        consumer = site.consumer()
        consumer.examine()
        site.plant.wire.rules.append(Rule(lost, where=self.is_reload))
        with pytest.raises(ApiError) as caught:
            consumer.reload()

        assert not caught.value.refused
        assert caught.value.transient
        assert 1 == self.reloads(site.plant)

    def test_missing_rights_are_told_by_looking(self, site: Site) -> None:
        """None where it can be reloaded; what to grant where it cannot; and nothing is reloaded for that."""
        self.allow_to_look_at_rights(site.plant)
        consumer = site.consumer()
        consumer.examine()
        assert [] == consumer.missing_rights()
        self.forbid(site.plant)

        assert [True] == ["grant" in right for right in consumer.missing_rights()]
        assert 0 == self.reloads(site.plant)

    def allow_to_look_at_rights(self, plant: AnyPlant) -> None:
        """Have the script's login be allowed to see what it may do, where that takes a right of its own."""

    def test_one_that_is_not_there_is_told_by_looking(self, site: Site) -> None:
        """A typing error in the record costs nothing: it is found before a key is made."""
        self.remove(site.plant)
        with pytest.raises(PamScriptError) as caught:
            site.consumer().examine()

        assert caught.value.next_step
        assert [] == writes(site.plant.wire.log)


def _host(name: str) -> str:
    return name.partition("://")[2].partition("/")[0]
