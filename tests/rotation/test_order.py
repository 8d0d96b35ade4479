"""THE order of a rotation, with an issuer and stores in memory that fail on command."""

from __future__ import annotations

import functools
import itertools
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from pam_scripts.core import retry
from pam_scripts.core.deadline import Deadline
from pam_scripts.core.errors import (
    ApiError,
    BadInput,
    NotCertain,
    OldKeysAlive,
    OutOfTime,
    PamScriptError,
    Refused,
    Yielded,
)
from pam_scripts.core.limits import NO_LIMIT, Limit
from pam_scripts.core.secret import Secret
from pam_scripts.core.times import iso
from pam_scripts.rotation import reload
from pam_scripts.rotation.labels import label
from pam_scripts.rotation.ops_log import read_entries
from pam_scripts.rotation.order import rotate
from pam_scripts.rotation.roles import (
    Credential,
    Decision,
    Key,
    Plan,
    Publication,
    Rotation,
    Run,
    Snapshot,
    Sought,
    Traits,
)

OWNER = "OwnRecord"
NOW = datetime.now(timezone.utc)
LOOKS = {"connect office", "connect mirror", "examine truth", "examine mirror", "list"}
ENDLESS = 100_000  # more failures than there is time for
PLAN = Plan(owner=OWNER, life=timedelta(days=90))


def key(name: str, age: float = 1, its_label: str = "by hand", ends_in: float = 30) -> Key:
    """Return a key so many days old, which ends in so many days."""
    return Key(name, its_label, NOW - timedelta(days=age), NOW + timedelta(days=ends_in), f"item-{name}")


class System:
    """What issuer and stores have in common: a list of what was done, and calls that fail on command.

    failing: by the name of a call, the errors that its next calls raise; None lets one through.
    """

    def __init__(self, done: list[str]) -> None:
        self.done = done
        self.failing: dict[str, list[PamScriptError | None]] = {}

    def called(self, name: str, what: str = "") -> None:
        """Note the call down, or fail it."""
        waiting = self.failing.get(name)
        error = waiting.pop(0) if waiting else None
        if error:
            raise error
        self.done.append(what or name)


class Office(System):
    """An issuer in memory."""

    login_key_id = ""
    target = "application A"
    known_as: Sequence[str] = ("A-1", "a.name")
    ended: Sequence[Key] = ()
    traits = Traits(
        system="office",
        noun="access key",
        login_proof="the new key logs in",
        activation_delay=0.2,
        deletions_at_once=4,
    )

    def __init__(self, done: list[str], keys: Sequence[Key]) -> None:
        super().__init__(done)
        self.keys = list(keys)
        self.missing: list[str] = []
        self.deaf: set[str] = set()
        self.beside: list[str] = []
        self.longest_life: timedelta | None = None
        self.silent_on_ends = False
        self.while_listing: Callable[[], None] = lambda: None

    @property
    def other_ways_to_delete(self) -> Sequence[Callable[[Key], None]]:
        """The second way takes keys whose name begins with `hard`, too."""
        return [self.archive]

    def connect(self) -> None:
        """Log in."""
        self.called("connect", "connect office")

    def list_keys(self) -> list[Key]:
        """Return all keys."""
        self.called("list")
        self.while_listing()
        return list(self.keys)

    def missing_rights(self) -> list[str]:
        """Return what a test says is missing."""
        return self.missing

    def decide(self, _keys: Sequence[Key], _held: Sequence[Snapshot]) -> Decision | None:
        """Leave it to the plan."""
        return None

    def revive(self) -> None:
        """Nothing is ended by a new key here."""

    def others_alive(self) -> Sequence[str]:
        """Return what a test says is alive beside the keys."""
        return self.beside

    def create_key(self, label: str, expires_at: datetime | None) -> tuple[Key, Credential]:
        """Make the key `new`."""
        self.called("create")
        now = datetime.now(timezone.utc)
        if expires_at and self.longest_life:
            expires_at = min(expires_at, now + self.longest_life)
        made = Key("new", label, now, expires_at)
        self.keys.append(made)
        if self.silent_on_ends:
            made = replace(made, expires_at=None)
        return made, Credential("new", Secret("value of new"))

    def log_in(self, credential: Credential) -> None:
        """Let in who is on the list."""
        self.called("log in")
        assert credential.key_id in {item.id for item in self.keys}

    def act_as(self, credential: Credential) -> None:
        """Go on with the new key."""
        self.called("act as", f"act as {credential.key_id}")

    def delete_key(self, gone: Key) -> None:
        """Delete a key by its id."""
        self.called("delete", f"delete {gone.id}")
        if gone.id.startswith("hard"):
            raise ApiError("office", f"delete {gone.id}", "404 Not Found", code=404)
        self._remove(gone)

    def archive(self, gone: Key) -> None:
        """Delete a key by the name the office has for it."""
        self.called("archive", f"archive {gone.item_id}")
        self._remove(gone)

    def _remove(self, gone: Key) -> None:
        if gone.id not in self.deaf:
            self.keys = [item for item in self.keys if item.id != gone.id]


class Shelf(System):
    """A store in memory, which can also be the truth."""

    def __init__(self, done: list[str], name: str, held: str = "old") -> None:
        super().__init__(done)
        self.name = name
        self.held: dict[str, str] = {"id": held, "secret": f"value of {held}"} if held else {}
        self.lease = ""
        self.log = ""
        self.expires_at: datetime | None = None
        self.ended: list[str] = []
        self.retired: list[Sequence[str]] = []
        self.target_of: dict[str, str] = {"old": "A-1"}
        self.seals = False
        self.older_ids: set[str] = set()

    @property
    def places(self) -> Sequence[str]:
        """One place."""
        return [f"{self.name}: both"]

    def parts(self, credential: Credential) -> Mapping[str, str]:
        """Return id and value."""
        return {"id": credential.key_id, "secret": credential.secret.reveal()}

    def connect(self) -> None:
        """Log in."""
        self.called("connect", f"connect {self.name}")

    def examine(self) -> Snapshot:
        """Read."""
        self.called(f"examine {self.name}")
        return self._copy()

    def read(self) -> Snapshot:
        """Read."""
        self.called("read", f"read {self.name}")
        return self._copy()

    def write(self, publication: Publication) -> None:
        """Write."""
        self.called("write", f"write {self.name}")
        self.held, self.expires_at = dict(self.parts(publication.credential)), publication.expires_at

    def put_back(self, before: Snapshot, publication: Publication | None, _listed: object) -> None:
        """Bring back what was there."""
        self.called("put back", f"put back {self.name}")
        if publication:
            self.held = dict(before.parts)

    def adopt(self, _known: object) -> Sequence[str]:
        """Take nothing over."""
        return ()

    def outdated(self) -> Sequence[str]:
        """List."""
        self.called("outdated", f"look for old versions in {self.name}")
        return ["old version"]

    def retire(self, outdated: Sequence[str], kept: Sequence[Key]) -> None:
        """Note down which keys are to be kept."""
        assert list(outdated) in (["old version"], [])
        self.called("retire", f"retire {self.name}")
        self.retired.append([one.id for one in kept])

    def older(self, sought: Sought) -> Callable[[], Secret]:
        """Find the value of a key that a test says is there."""
        self.called("older", f"look for an older one in {self.name}")
        if sought.key_id not in self.older_ids:
            raise Refused(f"{self.name} has no version of it")
        return lambda: Secret(f"value of {sought.key_id}")

    @property
    def entries(self) -> Sequence[Mapping[str, Any]]:
        """Tell of nothing."""
        return ()

    def made_for(self, key_id: str) -> str:
        """Say which target a key was made for."""
        return self.target_of.get(key_id, "")

    def take_lease(self, rotation_id: str, _until: datetime) -> None:
        """Take the lease."""
        self.called("claim")
        self.lease = rotation_id

    def check_lease(self) -> None:
        """Look at the lease."""
        self.called("check claim")

    def confirmed_by_finish(self, _publication: Publication) -> bool:
        """Say what a test has it say."""
        return self.seals

    def finish(self, entry: str) -> None:
        """Write the ops log and end the lease."""
        self.called("finish")
        self.log, self.lease = entry, ""

    def _copy(self) -> Snapshot:
        return Snapshot(dict(self.held), self.held.get("id", ""))


class Service(System):
    """A consumer in memory: after a reload it is ill as often as a test says, then well."""

    reloads = True

    def __init__(self, done: list[str], name: str = "service") -> None:
        super().__init__(done)
        self.name = name
        self.ill: list[str] = []
        self.missing: list[str] = []

    def examine(self) -> None:
        """Look."""
        self.called("examine", f"examine {self.name}")

    def missing_rights(self) -> list[str]:
        """Return what a test says is missing."""
        return self.missing

    def reload(self) -> None:
        """Begin anew."""
        self.called("reload", "reload" if self.name == "service" else f"reload {self.name}")

    def trouble(self) -> str:
        """Be ill once more, or well."""
        self.called("look", f"look at {self.name}")
        return self.ill.pop(0) if self.ill else ""


class House:
    """An issuer, the truth, one mirror, and what a run said."""

    def __init__(self, keys: Sequence[Key] = (key("old"),), held: str = "old") -> None:
        self.done: list[str] = []
        self.office = Office(self.done, keys)
        self.truth = Shelf(self.done, "truth", held)
        self.mirror = Shelf(self.done, "mirror", held)
        self.service = Service(self.done)
        self.served = False
        self.others: list[Service] = []
        self.limit = NO_LIMIT
        self.said: list[str] = []
        self.warned: list[str] = []

    def rotate(self, seconds: float = 60, *, dry_run: bool = False, **plan: Any) -> None:  # noqa: ANN401 - fields of Plan
        """Rotate once."""
        rotate(self.rotation(seconds, dry_run=dry_run, **plan))

    def rotation(self, seconds: float = 60, *, dry_run: bool = False, **plan: Any) -> Rotation:  # noqa: ANN401 - as above
        """Return one rotation."""
        run = Run("R-1", NOW, Deadline(seconds), self.said.append, self.warned.append, dry_run=dry_run)
        self.entry = run.entry
        consumers = [*([self.service] if self.served else []), *self.others]
        return Rotation(self.office, self.truth, [self.mirror], replace(PLAN, **plan), run, consumers, self.limit)

    @property
    def alive(self) -> list[str]:
        """The ids of the keys there are, in order."""
        return sorted(item.id for item in self.office.keys)

    @property
    def holding(self) -> tuple[str, str]:
        """The ids that truth and mirror hold."""
        return self.truth.held.get("id", ""), self.mirror.held.get("id", "")


def trouble(code: int | None = 403, system: str = "system") -> ApiError:
    """Return an error such as a system answers."""
    return ApiError(system, "do it", "refused", code=code)


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the waits out, but not their number."""
    monkeypatch.setattr(retry, "WAITS", (0.001, 0.001, 0.001, 0.001))
    monkeypatch.setattr(reload, "HEALTH_PAUSE", 0.005)


# -- labels ---------------------------------------------------------------------------------------


def test_a_label_says_whose_key_it_is_and_of_which_rotation() -> None:
    """What is written into a label can be read out of it."""
    made = key("k", its_label=label("RecordUid_-9", "20261122T055000Z-0a1b2c3d"))

    assert ("RecordUid_-9", "20261122T055000Z-0a1b2c3d") == (made.owner, made.rotation_id)


@pytest.mark.parametrize(
    "text", ["", "made by hand", "keeper:", "keeper:x", "keeper::x", "my keeper:a:b", "keeper:a b:c"]
)
def test_any_other_label_is_nobodys(text: str) -> None:
    """A label that people chose is not taken for ours."""
    assert ("", "") == (key("k", its_label=text).owner, key("k", its_label=text).rotation_id)


# -- the order ------------------------------------------------------------------------------------


def test_the_order() -> None:
    """Look, claim, create, prove, publish, read back and look again, delete, confirm; each set goes side by side."""
    house = House()
    house.rotate()

    stages = [
        {"examine truth", "connect office", "connect mirror", "examine mirror", "list"},
        {"claim"},
        {"create"},
        {"log in", "check claim", "look for old versions in mirror"},
        {"write truth"},
        {"write mirror"},
        {"read truth", "read mirror", "check claim", "list"},
        {"act as new"},
        {"delete old", "retire mirror"},
        {"list", "read truth", "read mirror"},
        {"finish"},
    ]
    done = iter(house.done)
    assert stages == [set(itertools.islice(done, len(stage))) for stage in stages]
    assert [] == list(done)
    assert house.done.index("examine truth") < min(house.done.index("examine mirror"), house.done.index("list"))
    assert (["new"], ("new", "new"), "", []) == (house.alive, house.holding, house.truth.lease, house.warned)
    assert "Key rotation completed successfully!" == house.said[-1]


@pytest.mark.parametrize("lies", [1, 9], ids=["once", "always"])
def test_an_answer_is_believed_only_until_the_last_look(lies: int) -> None:
    """A truth that says it has the key, and has not: what it holds is seen before anything is deleted."""
    house = House()
    house.truth.write = _forgetting(house.truth, lies)  # type: ignore[method-assign, assignment]
    if lies == 1:
        house.rotate()
    else:
        with pytest.raises(ApiError, match=r"truth: confirm the new credential.*all put back as it was"):
            house.rotate()

    held = "new" if lies == 1 else "old"
    assert ([held], (held, held)) == (house.alive, house.holding)
    assert "put back mirror" in house.done or lies == 1


def test_mirrors_are_left_alone_where_the_truth_refuses() -> None:
    """They follow it: what it does not take reaches none of them."""
    house = House()
    house.truth.failing["write"] = [trouble()]

    with pytest.raises(ApiError, match="all put back as it was"):
        house.rotate()

    assert "write mirror" not in house.done


def _forgetting(shelf: Shelf, times: int) -> Callable[[Publication], None]:
    """Return a way to write that says so, and does nothing, as often as that."""
    write, done = shelf.write, itertools.count(1)

    def forget(publication: Publication) -> None:
        if next(done) > times:
            write(publication)

    return forget


def test_reads_that_do_not_depend_on_each_other_go_side_by_side() -> None:
    """The mirror, the consumer and the issuer are looked at while none of them has answered yet; deletions likewise."""
    house = House([key("old"), key("older", age=9)])
    house.served = True
    together = threading.Barrier(3, timeout=5)
    for system, name in ((house.mirror, "examine"), (house.service, "examine"), (house.office, "list_keys")):
        setattr(system, name, _meeting(together, getattr(system, name)))
    house.office.delete_key = _meeting(threading.Barrier(2, timeout=5), house.office.delete_key)  # type: ignore[method-assign]
    house.rotate(dry_run=True)
    house.office.list_keys = house.office.list_keys.__wrapped__  # type: ignore[method-assign,attr-defined]
    house.mirror.examine = house.mirror.examine.__wrapped__  # type: ignore[method-assign,attr-defined]
    house.service.examine = house.service.examine.__wrapped__  # type: ignore[method-assign,attr-defined]
    house.rotate()

    assert ["new"] == house.alive


def _meeting(barrier: threading.Barrier, call: Callable[..., Any]) -> Callable[..., Any]:
    """Return the same call, which begins once as many are at it as the barrier asks for."""

    @functools.wraps(call)
    def wait_and_call(*arguments: object) -> Any:  # noqa: ANN401 - passed on
        barrier.wait()
        return call(*arguments)

    return wait_and_call


def test_nobody_is_asked_more_once_one_deletion_was_declined() -> None:
    """Where the issuer says that it is busy, what has not been sent yet waits as long as it asks for."""
    house = House([key("old"), *(key(f"older-{number}", age=9) for number in range(200))])
    started = threading.Event()

    def declining(gone: Key) -> None:
        if not started.is_set():
            started.set()
            house.done.append(f"declined {gone.id}")
            raise ApiError("office", "delete", "429 Too Many Requests", code=429, retry_after=0.3)
        delete(gone)

    delete = house.office.delete_key
    house.office.delete_key = declining  # type: ignore[method-assign]  # the same office, busy once
    house.rotate()

    tried = [what for what in house.done if what.startswith(("declined", "delete", "list"))]
    until_the_list = next(n for n, what in enumerate(tried) if n > 2 and what == "list")
    assert until_the_list < 50
    assert ["new"] == house.alive


def test_a_dry_run_only_looks() -> None:
    """Nothing but the first looks is done, and the keys to delete are told."""
    house = House([key("old"), key("older", age=9)])
    house.rotate(dry_run=True)

    assert LOOKS == set(house.done)
    assert {"  to delete: old", "  to delete: older"} == {
        line.partition(" (")[0] for line in house.said if "to delete" in line
    }


def test_a_dry_run_tells_missing_rights() -> None:
    """What the issuer says is missing ends a dry run as a refusal."""
    house = House()
    house.office.missing = ["you may not make keys: ask for the right"]

    with pytest.raises(Refused, match="office: you may not make keys: ask for the right; nothing changed"):
        house.rotate(dry_run=True)


def test_a_key_without_an_end_is_told_as_such() -> None:
    """Where the issuer gives keys no end, neither the output nor the ops log names one."""
    house = House()
    house.rotate(life=None)

    assert "Generated new access key with ID: new" in house.said
    assert "Next due: none" in house.truth.log.splitlines()


@pytest.mark.parametrize("silent", [False, True], ids=["answered", "listed"])
def test_what_is_published_of_a_keys_end_is_what_its_issuer_says(silent: bool) -> None:
    """A server that caps lives gets no other end anywhere, and the person a warning."""
    house = House()
    house.office.longest_life, house.office.silent_on_ends = timedelta(days=7), silent
    house.rotate()

    (new,) = house.office.keys
    assert new.expires_at
    assert [new.expires_at] * 2 == [house.truth.expires_at, house.mirror.expires_at]
    assert f"Next due: {iso(new.expires_at)}" in house.truth.log.splitlines()
    assert f"Generated new access key with ID: new (expires {iso(new.expires_at)})" in house.said
    assert [
        f"office: the new access key new expires {iso(new.expires_at)}, not {iso(NOW + timedelta(days=90))} as"
    ] == [line.partition(" requested")[0] for line in house.warned]


def test_an_end_that_is_nearly_the_one_asked_for_is_no_warning() -> None:
    """Servers round."""
    house = House()
    house.office.longest_life = timedelta(days=89)
    house.rotate()

    assert [] == house.warned


@pytest.mark.parametrize("held", ["old", ""])
@pytest.mark.parametrize("failing", ["create", "log in"])
def test_what_is_due_after_a_failure_is_the_key_in_use(held: str, failing: str) -> None:
    """Not the one that was deleted; none where no store held any."""
    told = iso(NOW + timedelta(days=30)) if held else "none"
    house = House(held=held)
    house.office.failing[failing] = [trouble()] * 99

    with pytest.raises(ApiError):
        house.rotate()
    assert f"Next due: {told}" in house.truth.log.splitlines()


def test_the_ops_log_entry_is_complete() -> None:
    """Day, rotation, target, places, what was deleted, kept and left, and what is due."""
    house = House([key("old"), key("older", age=9), key("oldest", age=19)])
    house.rotate(keep=1)

    (entry,) = read_entries(house.truth.log)
    assert ("R-1", "rotated", 0) == (entry["rotation_id"], entry["result"], entry["exit_status"])
    assert ("application A in office", "new") == (entry["target"], entry["new_key"])
    assert ["truth: both", "mirror: both"] == entry["stored_in"]
    assert (["older", "oldest"], ["old"], []) == (entry["deleted"], entry["kept"], entry["still_alive"])
    assert (True, None) == (entry["login_verified"], entry["health_verified"])
    assert "value of" not in house.truth.log


@pytest.mark.parametrize("failing", ["create", "check claim"])
def test_a_failure_is_logged_too_and_gives_the_lease_back(failing: str) -> None:
    """The entry of a rotation that was put back says so, and why."""
    house = House()
    system = house.office if failing == "create" else house.truth
    system.failing[failing] = [trouble()] * 9

    with pytest.raises(ApiError):
        house.rotate()
    (entry,) = read_entries(house.truth.log)
    assert ("failed", 1) == (entry["result"], entry["exit_status"])
    assert entry["error"].startswith("system: do it: refused; ")
    assert ([], "") == (entry["stored_in"], house.truth.lease)
    assert ("", "" if failing == "create" else "new") == (entry["new_key"], entry["withdrawn_key"])


# -- consumers ------------------------------------------------------------------------------------


def served(*ill: str) -> House:
    """Return a house with a consumer that is ill so often after a reload, and then well."""
    house = House()
    house.served, house.service.ill = True, list(ill)
    return house


def test_consumers_are_reloaded_between_the_last_store_and_the_first_deletion() -> None:
    """They read what is confirmed, and are well before a key goes that they may have used."""
    house = served("starting", "starting")
    house.rotate()

    order = ["examine service", "write mirror", "read mirror", "reload", "look at service", "act as new", "delete old"]
    places = [house.done.index(what) for what in order]
    assert sorted(places) == places
    assert 3 == house.done.count("look at service")
    assert (True, ["service"]) == (house.entry.health_verified, house.entry.services_restarted)


def test_a_consumer_that_stays_ill_has_everything_put_back_and_is_reloaded_again() -> None:
    """The stores first, then the consumer, then the new key goes: exit 1, and it says who is ill."""
    house = served(*["crashes"] * 99)

    with pytest.raises(
        Refused, match=r"service did not become healthy: crashes; all put back as it was, .*not healthy: service"
    ):
        house.rotate(health_seconds=0.02)
    assert (["old"], ("old", "old"), "") == (house.alive, house.holding, house.truth.lease)
    tail = [what for what in house.done if what.startswith(("put back", "reload", "delete"))]
    assert ["reload", "put back mirror", "put back truth", "reload", "delete new"] == tail


def test_a_page_that_is_only_asked_is_not_said_to_be_reloaded() -> None:
    """Nothing was reloaded, so nothing was again."""
    house = served(*["down"] * 99)
    house.service.reloads = False

    with pytest.raises(Refused, match="all put back as it was, but not healthy: service"):
        house.rotate(health_seconds=0.02)


def test_putting_back_is_told_as_it_happens() -> None:
    """Why, what each store held, who is reloaded, who is waited for and how long, and which key was deleted."""
    house = served(*["crashes"] * 999)

    with pytest.raises(Refused):
        house.rotate(health_seconds=0.6)

    began = next(
        n for n, line in enumerate(house.said) if line.startswith("Putting everything back, since this failed")
    )
    assert "service did not become healthy: crashes" in house.said[began]
    assert [
        "Put back: mirror, which held: old",
        "Put back: truth, which held: old",
        "Reloading service with what was put back",
        "Waiting up to 1 s for: service",
        "Deleted the new access key: new",
    ] == house.said[began + 1 :]
    assert ("", "new") == (house.entry.new_key, house.entry.withdrawn_key)
    assert False is house.entry.health_verified


def test_what_could_not_be_put_back_is_not_told_to_be() -> None:
    """The store that is stuck is warned of, the others are told, and the key lives, so that no deletion is."""
    house = House()
    house.mirror.failing["read"] = [trouble(403)] * 99
    house.mirror.failing["put back"] = [trouble(403)] * 99

    with pytest.raises(NotCertain):
        house.rotate()

    assert "Put back: truth, which held: old" in house.said
    assert [] == [line for line in house.said if line.startswith(("Put back: mirror", "Deleted"))]
    assert [line for line in house.warned if line.startswith("mirror could not be put back")]
    assert (["mirror: both"], [], "new") == (
        house.entry.may_be_stored_in,
        house.entry.stored_in,
        house.entry.new_key,
    )


def test_a_failure_before_the_key_is_told_without_any_putting_back() -> None:
    """There was nothing to put back, and nothing to delete."""
    house = House()
    house.office.failing["create"] = [trouble(403)]

    with pytest.raises(ApiError, match="nothing changed"):
        house.rotate()

    assert [] == [line for line in house.said if line.startswith(("Putting", "Put back", "Deleted", "Waiting"))]


def test_again_is_said_only_of_what_was_reloaded_before() -> None:
    """A reload whose answer was lost, and was declined then, may have been none: the next is not another one."""
    house = served(*["crashes"] * 99)
    house.service.failing["reload"] = [trouble(None), trouble(403)]

    with pytest.raises(ApiError, match="all put back as it was, but not healthy: service") as caught:
        house.rotate(health_seconds=0.02)

    assert "again" not in caught.value.state


def test_a_consumer_that_cannot_be_reloaded_again_may_hold_the_new_key_which_lives() -> None:
    """Nobody is cut off: the consumer is named, and both keys log in: exit 4."""
    house = served(*["crashes"] * 99)
    house.service.failing["reload"] = [None, *[trouble(500)] * 99]

    with pytest.raises(NotCertain, match="service may hold the new access key new, which stays alive"):
        house.rotate(health_seconds=0.02)
    assert (["new", "old"], ("old", "old")) == (house.alive, house.holding)


def test_a_reload_whose_answer_was_lost_counts_though_its_repetition_was_declined() -> None:
    """It may have read the new key: reloaded again before that is deleted; where it cannot be, the key lives."""
    lost_then_declined = [trouble(None), trouble(403)]
    house = served()
    house.service.failing["reload"] = [*lost_then_declined]
    with pytest.raises(ApiError, match="refused; all put back as it was"):
        house.rotate()
    assert ["reload", "delete new"] == [what for what in house.done if what.startswith(("reload", "delete"))]

    stuck = served()
    stuck.service.failing["reload"] = [*lost_then_declined, *[trouble(403)] * 99]
    with pytest.raises(NotCertain, match="service may hold the new access key new, which stays alive"):
        stuck.rotate()
    assert ["new", "old"] == stuck.alive


@pytest.mark.parametrize("code", [403, 409, 429])
def test_a_consumer_that_declines_every_time_goes_on_as_it_was(code: int) -> None:
    """Also one that declines for now, again and again: it holds nothing new, all is put back, the new key goes."""
    house = served()
    house.service.failing["reload"] = [trouble(code)] * 99

    with pytest.raises(ApiError, match="all put back as it was"):
        house.rotate()
    assert (["old"], ("old", "old")) == (house.alive, house.holding)


def test_each_consumer_that_was_reloaded_is_reloaded_again_for_itself() -> None:
    """One that cannot be keeps no other from it; the one that declined at first is left alone."""
    house = served()
    house.others = [Service(house.done, "second"), Service(house.done, "third")]
    house.others[1].failing["reload"] = [trouble(409)]
    house.service.failing["reload"] = [None, *[trouble(500)] * 99]

    with pytest.raises(NotCertain, match="service may hold the new access key new"):
        house.rotate()
    tail = [what for what in house.done if what.startswith("reload")]
    assert ["reload", "reload second", "reload second"] == tail


def test_a_consumer_that_was_not_reached_yet_is_left_alone() -> None:
    """What fails before the consumers' turn does not restart them."""
    house = served()
    house.mirror.failing["write"] = [trouble()] * 2

    with pytest.raises(ApiError):
        house.rotate()
    assert "reload" not in house.done


def test_a_dry_run_tells_what_consumers_lack() -> None:
    """The right to restart is looked for before anything is touched."""
    house = served()
    house.service.missing = ["grant restart"]

    with pytest.raises(Refused, match="service: grant restart"):
        house.rotate(dry_run=True)
    assert "reload" not in house.done


# -- where there is no way back -------------------------------------------------------------------


def one_way() -> House:
    """Return a house whose issuer has put the new value to use before anybody was told."""
    house = House([])
    house.office.traits = Traits(system="office", noun="access key", activation_delay=0.2, reversible=False)
    return house


def test_where_there_is_no_way_back_every_store_is_tried_and_nothing_is_put_back() -> None:
    """One store that fails keeps the new value from none of the others, and is named: exit 4."""
    house = one_way()
    house.truth.failing["write"] = [trouble()] * ENDLESS

    with pytest.raises(NotCertain, match="it is stored in mirror; the old one may still be in truth"):
        house.rotate(seconds=1)
    assert ("old", "new") == house.holding
    assert [] == [what for what in house.done if what.startswith(("put back", "delete"))]
    assert "Result: uncertain\n" in house.truth.log


def test_where_two_stores_fail_both_are_told() -> None:
    """The error line has the first one's reason; the other's is a warning."""
    house = one_way()
    house.truth.failing["write"] = [trouble(system="truth")] * ENDLESS
    house.mirror.failing["write"] = [trouble(system="mirror")] * ENDLESS

    with pytest.raises(NotCertain, match=r"truth: do it: refused.*the old one may still be in truth, mirror"):
        house.rotate(seconds=1)
    assert ["mirror: do it: refused"] == house.warned


def test_where_there_is_no_way_back_a_store_is_asked_again_whatever_it_says() -> None:
    """Even a refusal is tried again: giving up leaves the old value, which is dead, where it is."""
    house = one_way()
    house.mirror.failing["write"] = [trouble(403)] * 3

    house.rotate()
    assert ("new", "new") == house.holding


def test_where_there_is_no_way_back_a_failed_look_is_not_called_harmless() -> None:
    """The system has moved on already, so "nothing changed" would be false: exit 4."""
    house = one_way()
    house.truth.failing["examine truth"] = [trouble()]

    with pytest.raises(NotCertain, match="no store has the access key of application A yet"):
        house.rotate()


@pytest.mark.parametrize(
    ("where", "call", "code"),
    [
        ("truth", "examine truth", 429),
        ("truth", "claim", 503),
        ("truth", "write", 429),
        ("truth", "check claim", 503),
        ("mirror", "examine mirror", 503),
        ("mirror", "examine mirror", 403),
        ("mirror", "write", 503),
        ("mirror", "read", 403),
    ],
)
def test_where_there_is_no_way_back_a_store_is_asked_until_the_time_is_spent(where: str, call: str, code: int) -> None:
    """Four waits are not all that there is time for: what was busy for long has the new value in the end."""
    house = one_way()
    getattr(house, where).failing[call] = [trouble(code)] * 40

    house.rotate()
    assert ("new", "new") == house.holding


def test_where_there_is_no_way_back_a_mirror_that_cannot_be_looked_at_keeps_nobody_else_from_it() -> None:
    """It is named, and not written unseen."""
    house = one_way()
    house.mirror.failing["examine mirror"] = [Refused("mirror: the name is taken")] * ENDLESS

    with pytest.raises(NotCertain, match=r"the name is taken.*it is stored in truth; .* may still be in mirror"):
        house.rotate(seconds=1)
    assert ("new", "old") == house.holding


def test_where_there_is_no_way_back_consumers_are_reloaded_though_a_store_fails() -> None:
    """Those of the other stores need the new value, and who reads the failed one loses nothing."""
    house = one_way()
    house.served = True
    house.mirror.failing["write"] = [trouble()] * ENDLESS

    with pytest.raises(NotCertain, match="it is stored in truth; the old one may still be in mirror"):
        house.rotate(seconds=1, health_seconds=0.3)
    assert ["reload"] == [what for what in house.done if what == "reload"]
    assert ["service"] == house.entry.services_restarted


def test_where_there_is_no_way_back_each_consumer_is_reloaded_for_itself() -> None:
    """One that declines, and one that cannot even be looked at, keep no other from the new value, and are named."""
    house = one_way()
    house.served = True
    house.others = [Service(house.done, "second"), Service(house.done, "third")]
    house.service.failing["reload"] = [trouble(403, "the service's system")] * 99
    house.others[0].failing["examine"] = [trouble(500)]
    house.others[0].failing["reload"] = [trouble(409)] * 99

    with pytest.raises(NotCertain, match="every store holds it; not known to be reloaded: service, second") as caught:
        house.rotate(health_seconds=1)
    assert caught.value.cause.startswith("the service's system")
    assert ["third"] == house.entry.services_restarted
    assert False is house.entry.health_verified


def test_where_there_is_no_way_back_nobody_is_reloaded_with_the_old_value() -> None:
    """While no store has the new one there is nothing to read anew."""
    house = one_way()
    house.served = True
    for store in (house.truth, house.mirror):
        store.failing["write"] = [trouble()] * ENDLESS

    with pytest.raises(NotCertain, match="may still be in truth, mirror"):
        house.rotate(seconds=1, health_seconds=0.3)
    assert "reload" not in house.done


def test_where_there_is_no_way_back_a_wrong_setting_is_not_called_harmless() -> None:
    """Exit 2 as ever, but the system has moved on."""
    house = one_way()
    house.mirror.failing["examine mirror"] = [BadInput("mirror: no such name", next_step="correct it")]

    with pytest.raises(BadInput, match="no such name; no store has the access key of application A yet; correct it"):
        house.rotate()


def test_where_there_is_no_way_back_a_store_that_was_late_for_a_reload_is_told() -> None:
    """Who reads it may hold the old value still."""
    house = one_way()
    house.served = True
    house.mirror.failing["write"] = [trouble()] * ENDLESS
    reload_it = house.service.reload

    def reload_and_let_in() -> None:
        reload_it()
        house.mirror.failing.clear()

    house.service.reload = reload_and_let_in  # type: ignore[method-assign]  # the mirror comes round just then
    with pytest.raises(NotCertain, match=r"mirror took the new access key only after .*; every store holds it"):
        house.rotate(seconds=1, health_seconds=0.3)


def test_a_lease_that_may_have_been_taken_is_given_back() -> None:
    """Where the answers to taking it were lost, it would keep the next rotation waiting."""
    house = House()
    take_lease = house.truth.take_lease

    def lossy(rotation_id: str, until: datetime) -> None:
        take_lease(rotation_id, until)
        raise trouble(None)

    house.truth.take_lease = lossy  # type: ignore[method-assign, assignment]  # the same record, with a bad connection
    with pytest.raises(ApiError, match="nothing changed"):
        house.rotate()
    assert "" == house.truth.lease


def test_where_there_is_no_way_back_the_record_is_no_reason_to_leave_a_store_out() -> None:
    """A record that cannot be looked at keeps the value from no mirror: it is written, and the end looks again."""
    house = one_way()
    house.truth.failing["check claim"] = [trouble(404)] * 99

    with pytest.raises(NotCertain):
        house.rotate()
    assert "new" == house.holding[1]


def test_where_there_is_no_way_back_a_run_that_is_stopped_early_is_not_called_harmless() -> None:
    """Told to stop between the lease and the first store, it says that no store has the value: exit 4."""
    house = one_way()
    house.mirror.failing["outdated"] = [OutOfTime("stopped by SIGTERM")]

    with pytest.raises(NotCertain, match="stopped by SIGTERM; no store has the access key of application A yet"):
        house.rotate()
    assert ("old", "old") == house.holding


# -- which keys go --------------------------------------------------------------------------------

OURS = label(OWNER, "R-0")


@pytest.mark.parametrize(
    ("keys", "held", "keep", "left"),
    [
        pytest.param([key("old")], "old", 0, ["new"], id="none-kept"),
        pytest.param([key("old"), key("b", 5), key("c", 9)], "old", 1, ["new", "old"], id="newest-kept"),
        pytest.param([key("old"), key("b", 5), key("c", 9)], "old", 2, ["b", "new", "old"], id="two-kept"),
        pytest.param([key("old"), key("b", 5)], "old", 9, ["b", "new", "old"], id="more-than-there-are"),
        pytest.param([key("a", 1), key("old", 5)], "old", 1, ["new", "old"], id="held-before-newest"),
        pytest.param([key("old", 5, ends_in=-1), key("b", 9)], "old", 1, ["b", "new"], id="expired-never"),
        pytest.param([key("a", 1, OURS), key("old", 5, OURS)], "old", 2, ["new", "old"], id="left-behind-never"),
        pytest.param([key("a", 1, OURS)], "", 1, ["new"], id="left-behind-by-the-first-rotation"),
        pytest.param([key("old", 1, OURS), key("b", 5, OURS)], "old", 2, ["b", "new", "old"], id="our-earlier-ones"),
        pytest.param([], "", 1, ["new"], id="no-key-yet"),
    ],
)
def test_which_keys_stay(keys: list[Key], held: str, keep: int, left: list[str]) -> None:
    """First what the stores hold, then the newest; never an expired one, never one that nobody was told of."""
    house = House(keys, held)
    house.rotate(keep=keep)

    assert left == house.alive


def test_versions_of_kept_keys_are_spared() -> None:
    """The mirrors are told of which keys older versions still open something."""
    house = House([key("old", its_label=OURS)])
    house.rotate(keep=1)

    assert [["old"]] == house.mirror.retired


def test_a_live_key_of_another_record_is_refused() -> None:
    """Both records are named before anything is done, unless the key has expired or is to be taken over."""
    foreign = label("OtherRecord", "R-0")
    house = House([key("old"), key("theirs", its_label=foreign)])

    with pytest.raises(BadInput, match=r"theirs .*OtherRecord; record OwnRecord .*nothing changed.*'take_over'"):
        house.rotate()
    assert LOOKS == set(house.done)

    house.rotate(take_over=True)
    assert ["new"] == house.alive

    expired = House([key("old"), key("theirs", its_label=foreign, ends_in=-1)])
    expired.rotate()
    assert ["new"] == expired.alive


def test_the_key_that_the_script_uses_is_not_deleted() -> None:
    """A rotation that would saw off its own branch does not begin."""
    house = House()
    house.office.login_key_id = "old"

    with pytest.raises(BadInput, match="the admin credential is access key old"):
        house.rotate()
    assert ["old"] == house.alive


# -- proving the new key --------------------------------------------------------------------------


def test_a_key_that_needs_a_moment_is_waited_for() -> None:
    """A first login that is refused is tried again while the system settles."""
    house = House()
    house.office.traits = replace(house.office.traits, activation_delay=5.0)
    house.office.failing["log in"] = [trouble(401)]
    house.rotate()

    assert ("new", "new") == house.holding


def test_a_key_that_flaps_must_succeed_in_a_row() -> None:
    """One refusal between successes starts the count again."""
    house = House()
    house.office.traits = replace(house.office.traits, activation_delay=5.0)
    house.office.traits = replace(house.office.traits, logins_in_a_row=2)
    house.office.failing["log in"] = [None, trouble(401)]
    house.rotate()

    assert 3 == house.done.count("log in")
    assert house.done.index("write truth") > max(n for n, what in enumerate(house.done) if what == "log in")


def test_a_key_that_never_logs_in_is_deleted_and_no_store_is_touched() -> None:
    """The old state stands, and the line says so."""
    house = House()
    house.office.failing["log in"] = [trouble(401)] * 9

    with pytest.raises(ApiError, match="nothing changed"):
        house.rotate()
    assert (["old"], ("old", "old"), "") == (house.alive, house.holding, house.truth.lease)
    assert [] == [what for what in house.done if what.startswith("write")]


# -- all or nothing -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "call"),
    [("truth", "write"), ("mirror", "write"), ("truth", "check claim"), ("office", "create"), ("office", "act as")],
)
def test_a_failure_before_the_first_deletion_puts_everything_back(where: str, call: str) -> None:
    """Every store holds what it held, the old key lives, the new one does not, the lease is gone."""
    house = House()
    system: System = getattr(house, where)
    system.failing[call] = [trouble()] * 9

    with pytest.raises(ApiError, match=r"nothing changed|all put back as it was") as caught:
        house.rotate()
    assert 1 == caught.value.status
    assert (["old"], ("old", "old"), "") == (house.alive, house.holding, house.truth.lease)


def test_stores_are_put_back_before_the_new_key_is_deleted() -> None:
    """The last store first, the truth last, and only then the key, since a store may hold it until then."""
    house = House()
    house.truth.failing["check claim"] = [None, trouble()]

    with pytest.raises(ApiError, match="all put back"):
        house.rotate()
    tail = [what for what in house.done if what.startswith(("put back", "delete"))]
    assert ["put back mirror", "put back truth", "delete new"] == tail


def test_a_write_whose_answer_is_lost_is_judged_by_reading() -> None:
    """An error after the effect is no failure: the store, read back, holds the credential."""
    house = House()
    write = house.mirror.write

    def lossy(publication: Publication) -> None:
        write(publication)
        raise trouble(None)

    house.mirror.write = lossy  # type: ignore[method-assign]  # the same store, with a bad connection
    house.rotate()

    assert (["new"], ("new", "new")) == (house.alive, house.holding)
    assert 1 == house.done.count("write mirror")


def test_a_store_that_reads_back_something_else_is_a_failure() -> None:
    """A write that says it worked and did not is found out, tried again, and put back."""
    house = House()
    house.mirror.write = lambda publication: house.done.append(f"forget {publication.rotation_id}")  # type: ignore[method-assign]  # it forgets

    with pytest.raises(ApiError, match="mirror: confirm the new credential: it reads back as something else"):
        house.rotate()
    assert (["old"], ("old", "old")) == (house.alive, house.holding)


def test_where_a_store_cannot_be_put_back_the_new_key_stays_alive() -> None:
    """Both keys live, the store is named: exit 4."""
    house = House()
    house.truth.failing["check claim"] = [None, trouble()]
    house.mirror.failing["put back"] = [trouble(500)] * 99

    with pytest.raises(NotCertain, match=r"mirror may hold the new access key new, which stays alive") as caught:
        house.rotate()
    assert 4 == caught.value.status
    assert ["new", "old"] == house.alive
    assert ("old", "new") == house.holding


@pytest.mark.parametrize(
    ("keys", "refusals", "holding"),
    [
        ([], 2, ("new", "new")),
        ([key("old", ends_in=-1)], 2, ("new", "new")),
        ([], 99, ("new", "old")),
    ],
    ids=["deleted", "expired", "one store refuses for good"],
)
def test_a_dead_key_is_put_back_nowhere(keys: list[Key], refusals: int, holding: tuple[str, str]) -> None:
    """Where the stores held a dead key at the look, the new one stays, the other stores are tried again: exit 4."""
    house = House(keys)
    house.mirror.failing["write"] = [trouble(403)] * refusals

    with pytest.raises(NotCertain, match=r"truth held before no longer works") as caught:
        house.rotate(10)
    assert 4 == caught.value.status
    assert holding == house.holding
    assert "new" in house.alive
    assert ("mirror may not hold it" in caught.value.state) == ("old" in holding)
    assert house.entry.stored_in == [
        f"{name}: both" for name, held in zip(("truth", "mirror"), holding, strict=True) if held == "new"
    ]


def test_a_store_that_held_a_dead_key_and_was_not_reached_keeps_nobody_from_putting_back() -> None:
    """What was dead and was never written is as it was."""
    house = House()
    house.mirror.held = {"id": "gone", "secret": "value of gone"}
    house.mirror.failing["write"] = [trouble(403)] * 99

    with pytest.raises(ApiError, match="all put back as it was"):
        house.rotate()
    assert (["old"], ("old", "gone")) == (house.alive, house.holding)


def test_the_new_key_stays_where_a_store_loses_its_own_meanwhile() -> None:
    """A mirror that was not reached held a key that was alive at the look, and that somebody deletes."""
    house = House([key("old"), key("second")])
    house.mirror.held = {"id": "second", "secret": "value of second"}

    def refuse(publication: Publication) -> None:  # noqa: ARG001 - it has the shape of `write`
        house.office.keys = [one for one in house.office.keys if one.id != "second"]
        raise trouble(403)

    house.mirror.write = refuse  # type: ignore[method-assign]  # somebody deletes a key meanwhile

    with pytest.raises(NotCertain, match="mirror held before no longer works"):
        house.rotate(10)
    assert "new" in house.alive


def test_a_key_that_may_be_alive_though_it_is_not_listed_is_put_back() -> None:
    """Where an issuer lists only some of a target's keys, one that is not listed is no dead one."""
    house = House([])
    house.office.traits = replace(house.office.traits, lists_all=False)
    house.mirror.failing["write"] = [trouble(403)] * 99

    with pytest.raises(ApiError, match="all put back as it was"):
        house.rotate()
    assert ([], ("old", "old")) == (house.alive, house.holding)


def test_a_run_that_is_told_to_stop_puts_no_dead_key_back_either() -> None:
    """Each store is tried once more; the reserve of time is for that."""
    house = House([])
    house.truth.failing["check claim"] = [None, OutOfTime("stopped")]

    with pytest.raises(NotCertain, match="stopped; what truth, mirror held before no longer works"):
        house.rotate()
    assert (["new"], ("new", "new")) == (house.alive, house.holding)


def test_where_the_new_key_cannot_be_deleted_its_label_is_told() -> None:
    """Stores are as before, and a person learns what to delete: exit 4."""
    house = House()
    house.truth.failing["check claim"] = [None, trouble()]
    house.office.deaf = {"new"}

    with pytest.raises(NotCertain, match=re.escape(label(OWNER, "R-1"))):
        house.rotate()
    assert ("old", "old") == house.holding


def test_a_creation_whose_answer_is_lost_is_looked_for_and_undone() -> None:
    """A key that was made though nobody was told is found by its label and deleted; it is not made twice."""
    house = House()
    create = house.office.create_key

    def lossy(label: str, expires_at: datetime | None) -> tuple[Key, Credential]:
        create(label, expires_at)
        raise trouble(None)

    house.office.create_key = lossy  # type: ignore[method-assign]  # the same office, with a bad connection

    with pytest.raises(ApiError, match="nothing changed"):
        house.rotate()
    assert 1 == house.done.count("create")
    assert (["old"], ("old", "old")) == (house.alive, house.holding)


def lossy_creation(
    house: House, *answers: PamScriptError | None, late: int = 0, cut: int | None = None, made: Sequence[bool] = (True,)
) -> None:
    """Have creation take effect, or not, and answer so.

    answers: what each try raises; None is a real answer. made: whether each has made a key nevertheless. late: how
    many lists do not show such a key yet. cut: how many characters of its label are kept.
    """
    create, list_keys, hidden, tries = house.office.create_key, house.office.list_keys, [0], itertools.count()

    def lossy(its_label: str, expires_at: datetime | None) -> tuple[Key, Credential]:
        number = next(tries)
        error = answers[number]
        if error is None:
            return create(its_label, expires_at)
        if number < len(made) and made[number]:
            house.done.append("create unseen")
            unseen = Key(f"unseen-{number}", its_label[:cut], datetime.now(timezone.utc), expires_at)
            house.office.keys.append(unseen)
            hidden[0] = late
        raise error

    def lagging() -> list[Key]:
        listed = list_keys()
        if hidden[0] <= 0:
            return listed
        hidden[0] -= 1
        return [item for item in listed if not item.id.startswith("unseen")]

    house.office.create_key = lossy  # type: ignore[method-assign, assignment]  # with a bad connection
    house.office.list_keys = lagging  # type: ignore[method-assign]  # and a slow list


@pytest.mark.parametrize("cut", [None, 18, len("keeper:") + 8])
def test_a_key_that_no_answer_told_of_is_found_late_and_by_what_is_left_of_its_label(cut: int | None) -> None:
    """A list that lags is asked again, and a label that the server cut short is known all the same."""
    others = [key("old"), key("theirs", its_label="keeper:")]
    house = House(others)
    lossy_creation(house, trouble(None), late=3, cut=cut)

    with pytest.raises(ApiError, match=r"nothing changed$"):
        house.rotate()
    assert ["old", "theirs"] == house.alive


@pytest.mark.parametrize("answers", [(None,), (503, 403), (503, 503, None)])
def test_a_key_that_may_still_appear_is_named_by_its_label(answers: tuple[int | None, ...]) -> None:
    """Where no list shows it the person learns what to look for; an answer that says no speaks for its own try only."""
    house = House()
    lossy_creation(house, *(trouble(code) for code in answers), late=99)

    with pytest.raises(ApiError) as caught:
        house.rotate()
    assert f"nothing changed, but a new access key labelled '{label(OWNER, 'R-1')}'" in str(caught.value)
    assert f"'{label(OWNER, 'R-1')}' may still appear in office" in house.truth.log


def test_a_creation_that_was_declined_every_time_leaves_nothing_to_look_for() -> None:
    """No label is named where there can be no key."""
    house = House()
    house.office.failing["create"] = [trouble(429)] * 9

    with pytest.raises(ApiError, match=r"nothing changed$"):
        house.rotate()


def test_a_key_that_a_lost_try_left_behind_is_no_rival_and_goes_with_the_old_ones() -> None:
    """A busy office made one unseen, and the next try made another: ours is the one that was answered."""
    house = House()
    lossy_creation(house, trouble(503), None, late=1)
    house.rotate()

    assert (["new"], ("new", "new")) == (house.alive, house.holding)


def test_a_key_that_an_earlier_rotation_left_behind_is_no_rival() -> None:
    """It shows late, and its rotation is over, as the record's log says: nobody yields to it, and it goes."""
    house = House()
    house.truth.ended = ["R-0"]
    left = key("left", its_label=label(OWNER, "R-0"))
    house.office.while_listing = lambda: house.office.keys.append(left) if house.alive == ["new", "old"] else None
    house.rotate()

    assert (["new"], ("new", "new")) == (house.alive, house.holding)


def test_a_left_over_whose_label_was_cut_is_never_kept() -> None:
    """Nobody was ever told of it, whatever the server has left of its label."""
    house = House([key("a", 0.5, label(OWNER, "R-0")[:-5]), key("old", 5)])
    house.rotate(keep=2)

    assert ["new", "old"] == house.alive


def test_a_defect_is_put_back_too_and_tells_no_values() -> None:
    """An exception that nobody foresaw is named by type and place only."""
    house = House()

    def broken(publication: Publication) -> None:
        raise RuntimeError(publication.credential.secret.reveal())

    house.mirror.write = broken  # type: ignore[method-assign]  # a defect

    with pytest.raises(PamScriptError, match="unexpected RuntimeError in broken, line") as caught:
        house.rotate()
    assert "value of new" not in str(caught.value)
    assert (["old"], ("old", "old")) == (house.alive, house.holding)


def test_past_the_deadline_everything_is_put_back() -> None:
    """A run that is out of time before the first deletion ends as orderly as any other."""
    house = House()
    house.truth.failing["check claim"] = [None, OutOfTime("the run's time is used up")]

    with pytest.raises(OutOfTime, match="all put back as it was"):
        house.rotate()
    assert (["old"], ("old", "old")) == (house.alive, house.holding)


# -- two at once ----------------------------------------------------------------------------------


def add_rival(house: House, age_seconds: float) -> None:
    """Have another rotation's key appear on the list right after ours."""
    created_at = datetime.now(timezone.utc) - timedelta(seconds=age_seconds)
    rival = replace(key("rival", its_label=label(OWNER, "R-2")), created_at=created_at)

    def appear() -> None:
        made = {item.id for item in house.office.keys}
        if "new" in made and "rival" not in made:
            house.office.keys.append(rival)

    house.office.while_listing = appear


def test_the_rotation_whose_key_came_later_yields() -> None:
    """It says who came first, and leaves everything as it was but the other's key."""
    house = House()
    add_rival(house, age_seconds=30)

    with pytest.raises(Yielded, match=r"another rotation of application A .*OwnRecord.* made access key rival first"):
        house.rotate()
    assert (["old", "rival"], ("old", "old")) == (house.alive, house.holding)


def test_the_rotation_whose_key_came_first_goes_on_and_tells_of_the_other() -> None:
    """The later key is the other rotation's to delete; until then it is reported: exit 3."""
    house = House()
    add_rival(house, age_seconds=-30)

    with pytest.raises(OldKeysAlive, match="rival"):
        house.rotate()
    assert (["new", "rival"], ("new", "new")) == (house.alive, house.holding)


def test_a_new_key_that_somebody_deleted_means_to_yield() -> None:
    """Without its key a rotation steps back."""
    house = House()

    def clean() -> None:
        house.office.keys = [item for item in house.office.keys if item.id != "new"]

    house.office.while_listing = clean

    with pytest.raises(Yielded, match="was deleted by someone else"):
        house.rotate()
    assert (["old"], ("old", "old")) == (house.alive, house.holding)


def test_without_the_lease_nothing_is_done() -> None:
    """Where another rotation is at work, this one has changed nothing."""
    house = House()
    house.truth.failing["claim"] = [Yielded("another rotation is at work")]

    with pytest.raises(Yielded, match="nothing changed"):
        house.rotate()
    assert "create" not in house.done


# -- deleting -------------------------------------------------------------------------------------


def test_every_deletion_is_tried_and_the_list_is_the_judge() -> None:
    """One that fails does not keep the others alive; an error after the effect counts as done."""
    house = House([key("old"), key("a", 3), key("b", 5)])
    delete = house.office.delete_key

    def lossy(gone: Key) -> None:
        delete(gone)
        raise trouble(None)

    house.office.delete_key = lossy  # type: ignore[method-assign]  # the same office, with a bad connection
    house.rotate()

    assert ["new"] == house.alive
    assert {"delete a", "delete b", "delete old"} == {what for what in house.done if what.startswith("delete")}


def test_a_key_that_the_first_way_does_not_take_is_deleted_by_the_next() -> None:
    """Another name for the key, or another call, is tried before giving up."""
    house = House([key("old"), key("hard-one", 3)])
    house.rotate()

    assert ["new"] == house.alive
    assert "archive item-hard-one" in house.done
    assert "archive item-old" not in house.done


def test_a_busy_system_is_asked_again_in_the_same_way() -> None:
    """A deletion that is declined for now is repeated after a wait, the key being still listed."""
    house = House()
    house.office.failing["delete"] = [trouble(503), trouble(429)]
    house.rotate()

    assert ["new"] == house.alive
    assert [] == [what for what in house.done if what.startswith("archive")]


def test_keys_that_cannot_be_deleted_are_named() -> None:
    """Everything else is true, and a person learns what is left: exit 3."""
    house = House([key("old"), key("stubborn", 3)])
    house.office.deaf = {"stubborn"}

    with pytest.raises(OldKeysAlive, match=r"1 other access key of application A still alive: stubborn") as caught:
        house.rotate()
    assert 3 == caught.value.status
    assert (["new", "stubborn"], ("new", "new")) == (house.alive, house.holding)
    assert "Still alive: stubborn" in house.truth.log


def test_what_else_logs_in_and_is_nobodys_to_delete_is_named() -> None:
    """Where the issuer counts it: the rotation is done, exit 3, and running it again is no way out."""
    house = House()
    house.office.beside = ["secret 7, of another hand"]

    with pytest.raises(OldKeysAlive, match="still alive: secret 7, of another hand") as caught:
        house.rotate()
    assert "no rotation deletes those of others" in caught.value.next_step
    assert (["new"], ("new", "new")) == (house.alive, house.holding)


# -- after the first deletion ---------------------------------------------------------------------


def test_a_store_that_lost_the_credential_gets_it_again() -> None:
    """What somebody overwrote while keys were deleted is put right before the end."""
    house = House()
    retire = house.mirror.retire

    def overwritten(outdated: Sequence[str], kept: Sequence[Key]) -> None:
        retire(outdated, kept)
        house.mirror.held = {"id": "old", "secret": "value of old"}

    house.mirror.retire = overwritten  # type: ignore[method-assign]  # somebody else writes meanwhile
    house.rotate()

    assert ("new", "new") == house.holding


def test_what_fails_after_the_first_deletion_is_tried_again() -> None:
    """From there on it only goes forward, over refusals too."""
    house = House()
    house.mirror.failing["read"] = [None, trouble(403), trouble(500)]
    house.truth.failing["finish"] = [trouble(403), trouble(500)]
    house.rotate()

    assert (["new"], ("new", "new"), "") == (house.alive, house.holding, house.truth.lease)


def test_an_end_that_cannot_be_confirmed_is_told() -> None:
    """Where the issuer does not answer any more, the line says what stands and where to look: exit 4."""
    house = House()
    house.office.failing["list"] = [None, None, *[trouble(500)] * 99]

    with pytest.raises(NotCertain, match=r"access key new logged in and was stored everywhere.* still be alive.*: old"):
        house.rotate()
    assert ("new", "new") == house.holding


@pytest.mark.parametrize("delay", [0.0, 0.001])
def test_a_new_key_that_is_gone_at_the_end_is_not_said_to_log_in(delay: float) -> None:
    """Somebody deleted it after the last look: exit 4, also where lists may be late for a while."""
    house = House()
    house.office.traits = replace(house.office.traits, listing_delay=delay)

    def clean() -> None:
        if "delete old" in house.done:
            house.office.keys = []

    house.office.while_listing = clean
    with pytest.raises(NotCertain, match=r"new is no longer listed; .* stored everywhere, but may no longer log in"):
        house.rotate()


@pytest.mark.parametrize("call", ["outdated", "retire"])
def test_versions_that_cannot_be_locked_away_are_a_warning(call: str) -> None:
    """They hold dead credentials, so the rotation is done."""
    house = House()
    house.mirror.failing[call] = [trouble(403)] * 99
    house.rotate()

    assert ["new"] == house.alive
    assert any("older versions of a secret stay readable" in line for line in house.warned)


def test_an_ops_log_that_cannot_be_written_is_a_warning() -> None:
    """The credential is in place; the lease ends by itself."""
    house = House()
    house.truth.failing["finish"] = [trouble(403)] * 99
    house.rotate()

    assert (["new"], ("new", "new")) == (house.alive, house.holding)
    assert any("the ops log was not written" in line for line in house.warned)


def test_a_lease_that_another_rotation_has_by_the_end_is_a_warning_and_the_truth_is_read() -> None:
    """What the last save was to confirm is seen all the same, and that there is no log is said."""
    house = House()
    house.truth.seals = True
    house.truth.failing["finish"] = [Yielded("rotation 0badc0de has the lease")]
    house.rotate()

    assert "read truth" == house.done[-1]
    assert ["the ops log was not written: rotation 0badc0de has the lease"] == house.warned


def test_a_truth_that_its_last_save_confirms_is_not_read_once_more() -> None:
    """The save is refused where anybody saved since the last look; mirrors, which know no such thing, are read."""
    house = House()
    house.truth.seals = True
    house.rotate()

    after = house.done[house.done.index("delete old") :]
    assert (0, 1) == (after.count("read truth"), after.count("read mirror"))
    assert (["new"], ("new", "new")) == (house.alive, house.holding)


def test_where_that_save_does_not_go_through_the_truth_is_read() -> None:
    """A truth that was seen to hold the new key at the end makes an exit 0, without its log."""
    house = House()
    house.truth.seals = True
    house.truth.failing["finish"] = [trouble(403)] * 99
    house.rotate()

    assert "read truth" == house.done[-1]
    assert any("the ops log was not written" in line for line in house.warned)


def test_a_truth_that_was_changed_since_and_takes_no_save_is_for_a_person_to_look_at() -> None:
    """Nobody has seen the new key there after the other was deleted: exit 4."""
    house = House()
    house.truth.seals = True
    house.truth.failing["finish"] = [trouble(403)] * 99
    delete = house.office.delete_key

    def delete_and_edit(gone: Key) -> None:
        delete(gone)
        house.truth.held = {"id": "another", "secret": "another"}

    house.office.delete_key = delete_and_edit  # type: ignore[method-assign]  # a person, at that moment
    with pytest.raises(NotCertain, match="truth could not be confirmed to hold the new access key new at the end"):
        house.rotate()
    assert ["new"] == house.alive


# -- ids that come again --------------------------------------------------------------------------


def test_a_new_key_with_the_id_of_one_before_it_is_refused_and_nothing_is_deleted() -> None:
    """Which of the two is alive nobody can tell: a deletion by id would take the only live one away."""
    house = House([key("new"), key("old")])

    with pytest.raises(NotCertain, match="has the id new of one that was there before") as caught:
        house.rotate()

    assert ("old", "old") == house.holding
    assert "a new access key labelled 'keeper:OwnRecord:R-1' may be alive" in str(caught.value)
    assert [] == [what for what in house.done if what.startswith(("delete", "archive", "write"))]


def test_a_key_made_now_is_never_among_those_to_delete() -> None:
    """Also where the issuer lists it under the id of a key that is to go."""
    house = House([key("old"), key("other", age=9)])

    def list_the_new_one_as_the_other() -> None:
        house.office.keys = [
            replace(item, label=label(OWNER, "R-1")) if item.id == "other" and "write truth" in house.done else item
            for item in house.office.keys
        ]

    house.office.while_listing = list_the_new_one_as_the_other
    with pytest.raises(OldKeysAlive):
        house.rotate()

    assert "delete old" in house.done
    assert "delete other" not in house.done


# -- whose keys may be replaced -------------------------------------------------------------------


@pytest.mark.parametrize("allowed", [("A-1",), ("A.NAME",), ("b", "a-*"), ("*",)])
def test_a_target_that_the_logins_owner_allows_is_rotated(allowed: tuple[str, ...]) -> None:
    """By its id or its name, without regard to case, `*` standing for anything."""
    house = House()
    house.limit = Limit("allow_targets", (("record 'Admin' (U)", allowed),))

    house.rotate()

    assert ["new"] == house.alive


@pytest.mark.parametrize("allowed", [("A",), ("A-12", "b*"), ("a?1",), ("A-1", "nothing else")])
def test_each_list_of_allowed_targets_must_have_it(allowed: tuple[str, ...]) -> None:
    """The record with the login and the PAM Configuration decide both; nothing is made before."""
    house = House()
    house.limit = Limit("allow_targets", (("record 'Admin' (U)", allowed), ("record 'Plant' (C)", ("B-1",))))

    with pytest.raises(BadInput, match=r"application A is not among those that record .* allows in 'allow_targets'"):
        house.rotate()

    assert "claim" not in house.done


def test_a_record_whose_key_was_made_for_another_target_is_refused() -> None:
    """Its own log says so: somebody has changed the id, and the former target's key would be forgotten."""
    house = House()
    house.truth.target_of = {"old": "B-2"}

    with pytest.raises(
        BadInput, match="its access key old was made for B-2, and the record now asks for application A"
    ):
        house.rotate()

    assert "claim" not in house.done


def test_a_record_whose_log_says_nothing_of_its_key_is_rotated_and_told() -> None:
    """A record made for another script, or by hand, has no such entry."""
    house = House()
    house.truth.target_of = {}

    house.rotate()

    assert "The ops log does not say whose access key truth holds" in house.said
    assert ["new"] == house.alive
