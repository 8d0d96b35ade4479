"""Whatever comes in on standard input: refused in one line, and nothing is touched."""

from __future__ import annotations

import base64
import contextlib
import json
import random
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pam_scripts.core.errors import BadInput
from pam_scripts.gateway.payload import read_job
from sandbox.plant import Plant
from tests.faults.conftest import Tally
from tests.faults.subjects import MAIN
from tests.faults.trial import Bench, Outcome, Trial, Violation
from tests.support import invariants
from tests.support.amount import EXHAUSTIVE, THOROUGH

_EXAMPLES = 20_000 if EXHAUSTIVE else 400
_END_TO_END = 3_000 if EXHAUSTIVE else 40 if THOROUGH else 20
_PARTS = 4

# -- what a payload may be made of ----------------------------------------------------------------

_TEXT = st.one_of(
    st.text(max_size=40), st.sampled_from(["", " ", "True", "\x00", "\ud800", "\N{SNOWMAN}", "=", "W10="])
)
_SCALAR = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=True), _TEXT)
_JSON = st.recursive(
    _SCALAR,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(_TEXT, inner, max_size=4)),
    max_leaves=12,
)
_LABELS = ("uid", "title", "login", "password", "application_id", "key_vault_name", "deadline_seconds", "dry_run")
_RECORD = st.dictionaries(st.one_of(st.sampled_from(_LABELS), _TEXT), _JSON, max_size=8)
_NAMES = ("userRecordUid", "providerRecordUid", "resourceRecordUid", "records", "newPassword", "oldPassword", "user")


def _encoded(value: object) -> str:
    return base64.b64encode(json.dumps(value).encode()).decode()


_RECORDS = st.one_of(
    _JSON,
    st.lists(st.one_of(_RECORD, _JSON), max_size=4).map(_encoded),
    _JSON.map(_encoded),
    st.binary(max_size=60).map(lambda raw: base64.b64encode(raw).decode()),
)
_PAYLOAD = st.fixed_dictionaries({}, optional={name: _RECORDS if name == "records" else _JSON for name in _NAMES})
_STDIN = st.one_of(
    st.binary(max_size=400),
    st.binary(max_size=400).map(base64.b64encode),
    _JSON.map(lambda value: _encoded(value).encode()),
    _PAYLOAD.map(lambda value: _encoded(value).encode()),
    _PAYLOAD.map(lambda value: ("\ufeff" + _encoded(value) + "\r\n").encode()),
    _PAYLOAD.map(lambda value: _encoded(value).encode("utf-16")),
)


# -- in this process ------------------------------------------------------------------------------


@settings(max_examples=_EXAMPLES, database=None, suppress_health_check=list(HealthCheck))
@given(_STDIN)
def test_a_payload_is_either_read_or_refused(stdin: bytes) -> None:
    """Nothing but a job, or an error that names the field, comes of any bytes at all."""
    with contextlib.suppress(BadInput):
        job = read_job(stdin)
        assert job.user.uid, "a job has its record"


# -- end to end -----------------------------------------------------------------------------------


def _spoiled(draw: random.Random, payload: bytes) -> bytes:
    """Take the true payload and spoil one thing in it, in one of many ways; some are harmless."""
    whole: dict[str, Any] = json.loads(base64.b64decode(payload))
    records: list[Any] = json.loads(base64.b64decode(whole["records"]))
    odd: list[Any] = [
        None,
        "",
        0,
        -1,
        10**30,
        1.5,
        True,
        [],
        {},
        "A" * 100_000,
        "\ud800",
        "\x00",
        "nobody",
        [["x"]],
        {"a": {}},
    ]
    way = draw.randrange(9)
    if way == 0:
        whole[draw.choice(list(whole))] = draw.choice(odd)
    elif way == 1:
        del whole[draw.choice(["records", "userRecordUid", "providerRecordUid"])]
    elif way == 2:
        records[draw.randrange(len(records))] = draw.choice(odd)
        whole["records"] = _encoded(records)
    elif way == 3:
        record = draw.choice(records)
        record[draw.choice(list(record))] = draw.choice(odd)
        whole["records"] = _encoded(records)
    elif way == 4:
        del records[draw.randrange(len(records))]
        whole["records"] = _encoded(records)
    elif way == 5:
        records.append(dict(draw.choice(records), **{draw.choice(_LABELS): draw.choice(odd)}))
        whole["records"] = _encoded(records)
    elif way == 6:
        text = json.dumps(whole)
        twice = f'{{"{draw.choice(_NAMES)}": {json.dumps(draw.choice(odd))}, {text[1:]}'
        return base64.b64encode(twice.encode())
    elif way == 7:
        raw = bytearray(payload)
        for _ in range(draw.randint(1, 4)):
            raw[draw.randrange(len(raw))] = draw.randrange(256)
        return bytes(raw)
    else:
        return payload[: draw.randrange(len(payload))]
    return base64.b64encode(json.dumps(whole).encode())


def _send(bench: Bench, plant: Plant, stdin: bytes, name: str) -> Outcome:
    """Run once with this input in a plant that must not change; judge."""
    trial, outcome = Trial(MAIN, plant, bench.warm, bench.file(MAIN)), Outcome(name)
    result = trial.start(direct=True, stdin=stdin).wait()
    outcome.exits, outcome.seconds, outcome.output = [result.returncode], result.seconds, result.stderr
    lines = result.stderr.splitlines()
    if result.returncode not in (1, 2) or len(lines) != 1 or not lines[0].startswith("error: "):
        outcome.violations.append(Violation("Ends", f"exit {result.returncode} with {len(lines)} lines"))
    if "unexpected " in result.stderr or "Traceback" in result.stderr:
        outcome.violations.append(Violation("Ends", "a defect"))
    values = plant.secrets()
    if any(value in result.stdout + result.stderr for value in values):
        outcome.violations.append(Violation("Silent", "a value in the output"))
    return outcome


@pytest.mark.timeout(24 * 3600 if EXHAUSTIVE else 300)
@pytest.mark.parametrize("part", range(_PARTS))
def test_a_spoiled_payload_changes_nothing(
    bench: Bench, tally: Tally, seed: int, part: int, make_plant: Callable[..., Plant]
) -> None:
    """A payload with one thing wrong ends in one line and status 1 or 2, and no request changes anything."""
    draw = random.Random(seed + part)  # noqa: S311 - a draw that can be drawn again
    plant = make_plant()
    # Read-only for the Gateway: what a harmless change would let through is refused just before it begins.
    plant.keeper.set_editable(plant.user_uid, False)
    before = invariants.State.of(plant)
    payloads = [_spoiled(draw, plant.payload()) for _ in range(_END_TO_END // _PARTS)]
    tally(
        "payloads, end to end",
        [
            partial(_send, bench, plant, stdin, f"payload {number} of part {part}, FAULTS_SEED={seed}")
            for number, stdin in enumerate(payloads)
        ],
    )
    assert [] == invariants.writes(plant.wire.log)
    invariants.assert_as_before(plant, before)
