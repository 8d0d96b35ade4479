"""What is particular to RabbitMQ's passwords: one user or two, what a failure puts back, connections, refusals."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from sandbox import faults
from sandbox.faults import Rule
from sandbox.log import Request
from sandbox.messaging import RabbitPlant
from sandbox.plant import VAULT, on_loopback
from tests.support.in_process import InProcess
from tests.support.invariants import (
    State,
    assert_as_before,
    assert_refuses,
    assert_silent,
    assert_true_state,
    in_keeper,
    in_vault,
    is_vault_write,
)

SCRIPT = InProcess("rotate_rabbitmq_password")


@pytest.fixture
def pair() -> Iterator[RabbitPlant]:
    """Return a plant with two users."""
    with on_loopback(RabbitPlant) as plant:
        yield plant


@pytest.fixture
def single() -> Iterator[RabbitPlant]:
    """Return a plant with one user."""
    with on_loopback(RabbitPlant, spare=False) as plant:
        yield plant


def _sets_a_password(request: Request) -> bool:
    return request.method == "PUT" and "/api/users/" in request.path


@pytest.mark.parametrize("spare", [True, False])
def test_it_rotates(spare: bool) -> None:
    """Each time all get a new password that logs in, the one before does not, and the tags stay."""
    with on_loopback(RabbitPlant, spare=spare) as plant:
        tags = plant.rabbitmq.user(plant.username)["tags"]
        values = [plant.old_password]
        for number in range(3):
            former = in_keeper(plant)
            result = SCRIPT.run(plant)

            assert (0, "") == (result.returncode, result.stderr)
            assert_silent(plant, result)
            name = assert_true_state(plant)
            assert name == ("erp-spare" if spare and number % 2 == 0 else "erp")
            assert not plant.logs_in(*former)
            values.append(in_keeper(plant)[1])
        assert 4 == len({*values})
        assert tags == plant.rabbitmq.user(plant.username)["tags"]


def test_one_users_former_password_is_put_back_exactly(single: RabbitPlant) -> None:
    """Where a store cannot be written, the hash of before is set again: the old password logs in, and stands in all."""
    before, held = State.of(single), single.rabbitmq.user("erp")
    single.wire.rules.append(Rule(faults.status(403), where=is_vault_write, times=4))

    result = SCRIPT.run(single)

    assert 1 == result.returncode
    assert "all put back as it was" in result.stderr
    assert "until every store has that, nobody can log in anew" in result.stdout
    assert_as_before(single, before)
    assert held == single.rabbitmq.user("erp")
    assert single.logs_in("erp", single.old_password)


@pytest.mark.usefixtures("short_waits")
def test_where_it_cannot_be_put_back_every_store_gets_the_new_one(single: RabbitPlant) -> None:
    """The old one no longer logs in then: the new one goes wherever it can, and the line says who may lack it."""
    single.wire.rules.append(Rule(faults.status(403), where=is_vault_write))
    single.wire.rules.append(Rule(faults.status(500), where=lambda one: _sets_a_password(one) and _was_set(single)))

    result = SCRIPT.run(single)

    assert 4 == result.returncode, result.stderr
    assert "the former password could not be put back" in result.stderr
    assert f"{VAULT} may not hold it" in result.stderr
    assert single.logs_in(*in_keeper(single))
    assert in_keeper(single)[1] != single.old_password


def _was_set(plant: RabbitPlant) -> bool:
    """Say whether a password was set before."""
    return any(_sets_a_password(one) and one.ended for one in plant.wire.log)


@pytest.mark.parametrize("spare", [True, False])
def test_a_lost_answer_is_told_by_the_hash(spare: bool) -> None:
    """Whether the password was set shows in its hash, which only our value has: what was done is undone."""
    with on_loopback(RabbitPlant, spare=spare) as plant:
        before = [plant.rabbitmq.user(name) for name in ("erp", plant.spare) if name]
        plant.wire.rules.append(Rule(faults.effect_no_answer(), where=_sets_a_password, nth=1))

        result = SCRIPT.run(plant)

        assert 1 == result.returncode, result.stderr
        assert before == [plant.rabbitmq.user(name) for name in ("erp", plant.spare) if name]


@pytest.mark.usefixtures("short_waits")
def test_what_somebody_else_sets_meanwhile_is_theirs(single: RabbitPlant) -> None:
    """Of two who set one user's password the later one's stands: this one leaves that alone, and says what is dead."""
    changed: list[Request] = []

    def meddle(request: Request) -> bool:
        if is_vault_write(request) and not changed:
            changed.append(request)
            single.rabbitmq.add_user("erp", "of somebody else, by hand", ["erp"])
        return False

    single.wire.rules.append(Rule(faults.status(500), where=meddle))

    result = SCRIPT.run(single)

    assert 4 == result.returncode, result.stderr
    assert "was deleted by someone else" in result.stderr
    assert "held before no longer works, nor does the new password erp" in result.stderr
    assert single.logs_in("erp", "of somebody else, by hand")


@pytest.mark.parametrize("spare", [True, False])
@pytest.mark.parametrize("asked", [True, False])
def test_connections_end_only_where_that_is_asked_for(spare: bool, asked: bool) -> None:
    """They survive a changed password, which the log says; 'close_connections' ends those of the former one."""
    with on_loopback(RabbitPlant, spare=spare) as plant:
        plant.rabbitmq.memory.open_connection("erp")
        plant.rabbitmq.memory.open_connection("another")
        plant.set_field("close_connections", str(asked))

        result = SCRIPT.run(plant)

        assert 0 == result.returncode, result.stderr
        said = "Ended the connections of user erp" if asked else "Open connections of user erp live on"
        assert said in result.stdout
        assert (0 if asked else 1) == len(plant.rabbitmq.connections("erp"))
        assert 1 == len(plant.rabbitmq.connections("another"))


def test_connections_that_were_to_end_and_did_not_are_named(single: RabbitPlant) -> None:
    """Then the former password's holder is still in: status 3, though every store has the new one."""
    single.set_field("close_connections", "True")
    single.wire.rules.append(Rule(faults.status(500), where=lambda one: "/connections/" in one.path))

    result = SCRIPT.run(single)

    assert 3 == result.returncode, result.stderr
    assert "the connections of user erp, which live on with the former password" in result.stderr
    assert_true_state(single)


def test_a_user_without_a_management_tag_is_proven_too(single: RabbitPlant) -> None:
    """The plug-in lets that one not in, but says so only of a right password."""
    single.rabbitmq.add_user("erp", single.old_password)

    result = SCRIPT.run(single)

    assert 0 == result.returncode, result.stderr
    assert "Verified: the new password logs in" in result.stdout


@pytest.mark.parametrize(
    ("set_up", "parts"),
    [
        (lambda plant: plant.set_field("rabbitmq_url", ""), ("'rabbitmq_url' is empty",)),
        (lambda plant: plant.set_field("rabbitmq_url", "https://evil.example.com"), ("evil.example.com", "only")),
        (lambda plant: plant.set_field("username_spare", "erp"), ("name the same user",)),
        (lambda plant: plant.set_field("keep_previous_keys", "2"), ("'keep_previous_keys' is 2", "enter 1")),
        (lambda plant: plant.set_field("allow_targets", "erp", plant.admin_uid), ("erp-spare", "'allow_targets'")),
        (lambda plant: plant.set_field("username", "rotation.admin"), ("the admin credential is",)),
        (lambda plant: plant.set_field("username_spare", "rotation.admin"), ("the admin credential is",)),
        (lambda plant: plant.rabbitmq.add_user("erp-spare", "", ["administrator"]), ("is an administrator",)),
    ],
    ids=[
        *("no server", "another server", "the same user", "two kept", "not allowed"),
        *("itself", "itself in turn", "administrator"),
    ],
)
def test_what_is_refused_beforehand(pair: RabbitPlant, set_up: Callable[[RabbitPlant], None], parts: list[str]) -> None:
    """With status 2, and nothing touched."""
    if "the admin credential is" in parts:
        pair.set_field("allow_targets", "rotation.admin, erp, erp-spare", pair.admin_uid)
        pair.set_field("key_vault_name", "")
        pair.set_field("rabbitmq_username", "")
        pair.set_field("rabbitmq_password", "")
    set_up(pair)

    assert_refuses(SCRIPT, pair, 2, *parts)


def test_one_user_can_keep_no_former_password(single: RabbitPlant) -> None:
    """The new one ends it."""
    single.set_field("keep_previous_keys", "1")

    assert_refuses(SCRIPT, single, 2, "a new password ends the one before it", "'username_spare'")


def test_the_former_of_two_may_live_until_the_next_rotation(pair: RabbitPlant) -> None:
    """With 'keep_previous_keys' = 1 slow consumers have that long."""
    pair.set_field("keep_previous_keys", "1")

    assert 0 == SCRIPT.run(pair).returncode
    assert pair.logs_in("erp", pair.old_password)
    assert "erp-spare" == assert_true_state(pair, kept=["erp"])


@pytest.mark.parametrize("refusals", [1, None])
@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_password_that_cannot_be_taken_away_is_tried_again_and_named(
    pair: RabbitPlant, status: int, refusals: int | None
) -> None:
    """One refusal may be of something on the way; where all are refused it is status 3, and the user is named."""
    taking_away = Rule(faults.status(status), method="PUT", path="/api/users/erp", times=refusals)
    pair.wire.rules.append(taking_away)

    result = SCRIPT.run(pair)

    assert 2 == len([one for one in pair.wire.log if one.method == "PUT" and one.path == taking_away.path])
    assert (3 if refusals is None else 0) == result.returncode, result.stderr
    assert ("still alive: erp; the new password erp-spare is in place" in result.stderr) == (refusals is None)
    assert "erp-spare" == assert_true_state(pair, kept=["erp"] if refusals is None else [])


@pytest.mark.usefixtures("short_waits")
def test_a_new_password_that_cannot_be_looked_for_is_named_by_its_user(pair: RabbitPlant) -> None:
    """RabbitMQ shows no label by which a person could find it."""
    pair.wire.rules.append(Rule(faults.status(403), where=is_vault_write, times=4))
    pair.wire.rules.append(Rule(faults.status(500), where=lambda one: "/users/" in one.path and _was_set(pair)))

    result = SCRIPT.run(pair)

    assert 4 == result.returncode, result.stderr
    assert "may be alive (erp-spare)" in result.stderr
    assert pair.logs_in(*in_keeper(pair))


def test_who_comes_after_another_rotation_steps_back_and_says_so(pair: RabbitPlant) -> None:
    """Whose turn it is was read before the other one had ended: nothing is set, and the line says that somebody was."""
    payload = pair.payload()
    assert 0 == SCRIPT.run(pair).returncode
    before = State.of(pair)

    result = SCRIPT.run(pair, payload)

    assert 1 == result.returncode, result.stderr
    assert "user erp and user erp-spare: someone else changed its record after it was read; nothing" in result.stderr
    assert_as_before(pair, before)
    assert "erp-spare" == assert_true_state(pair)


def _watch_the_vault(plant: RabbitPlant) -> list[str]:
    """Return the requests, as they come, before which no password in the vault logs in, but between its two sets."""
    ended: list[str] = []

    async def gate(request: Request) -> None:
        if not is_vault_write(request) and not plant.logs_in(*in_vault(plant)):
            ended.append(str(request))

    plant.wire.gate = gate
    return ended


def _interrupt(plant: RabbitPlant, held: str = "") -> str:
    """Have the record hold the second user, as a rotation leaves it that is killed before it comes to the mirror.

    held: another password than that user's, for the record. Returns the user's.
    """
    value = "set by a run that was killed"
    plant.rabbitmq.add_user("erp-spare", value, ["management"])
    for label, text in (("rabbitmq_username", "erp-spare"), ("rabbitmq_password", held or value)):
        plant.set_field(label, text)
    return value


def _assert_puts_back(plant: RabbitPlant) -> None:
    """Have the look before the deletions be refused, and assert that all is as it was."""
    before = State.of(plant)
    plant.wire.rules.append(Rule(faults.status(403), method="GET", path="/api/users/erp", nth=2))
    result = SCRIPT.run(plant)

    assert 1 == result.returncode, result.stderr
    assert "all put back as it was" in result.stderr
    assert_as_before(plant, before)


def test_an_interrupted_rotation_is_brought_to_its_end(pair: RabbitPlant) -> None:
    """Keeper has the second user already, and the mirror the first one, whose password lives until it has the other."""
    value, ended = _interrupt(pair), _watch_the_vault(pair)
    result = SCRIPT.run(pair)

    assert 0 == result.returncode, result.stderr
    assert "that of erp-spare, which the record holds, is set everywhere, and no other is made" in result.stderr
    assert ("erp-spare", value, []) == (*in_keeper(pair), ended)
    assert "erp-spare" == assert_true_state(pair)

    assert (0, "") == ((again := SCRIPT.run(pair)).returncode, again.stderr)
    assert "erp" == assert_true_state(pair)


def test_a_dead_password_in_the_record_is_no_interrupted_rotation(pair: RabbitPlant) -> None:
    """Nobody can be served with what does not log in: a new one is made, for the user whom no mirror holds."""
    _interrupt(pair, held="typed by hand, and wrong")

    result = SCRIPT.run(pair)

    assert (0, "") == (result.returncode, result.stderr)
    assert "erp-spare" == assert_true_state(pair)


def test_an_interrupted_rotation_that_fails_again_puts_the_mirror_back(pair: RabbitPlant) -> None:
    """Both passwords live on, and it can be tried again."""
    _interrupt(pair)
    _assert_puts_back(pair)


@pytest.mark.parametrize("emptied", ["rabbitmq_username", "rabbitmq_password"])
def test_what_a_person_has_emptied_ends_no_password_that_a_mirror_holds(pair: RabbitPlant, emptied: str) -> None:
    """Whose turn it is, the mirror tells then."""
    assert 0 == SCRIPT.run(pair).returncode
    pair.set_field(emptied, "")
    ended = _watch_the_vault(pair)
    result = SCRIPT.run(pair)

    assert 0 == result.returncode, result.stderr
    assert [] == ended
    assert "erp" == assert_true_state(pair)


def test_what_a_mirror_holds_is_put_back_where_a_person_has_emptied_the_record(pair: RabbitPlant) -> None:
    """It is no dead one, though the record does not name it."""
    pair.set_field("rabbitmq_username", "")
    _assert_puts_back(pair)


def test_a_password_has_what_rules_ask_for(single: RabbitPlant) -> None:
    """So many characters, one of each kind; symbols only where they are asked for, and such as need no quotes."""
    single.set_field("password_length", "60")
    single.set_field("password_symbols", "True")

    assert 0 == SCRIPT.run(single).returncode
    value = in_keeper(single)[1]
    assert 60 == len(value)
    for holds in (str.islower, str.isupper, str.isdigit, "-._~".__contains__):
        assert any(map(holds, value))
