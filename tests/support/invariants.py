"""What must hold after every run of a script that rotates a key, checked in the systems themselves.

Nothing here asks the script: the issuer is asked for its keys and whether they log in, the vault for
what it holds, and the request log for what went over the wire.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from sandbox.gateway import RotationResult
from sandbox.log import Request
from sandbox.plant import VAULT, AnyPlant, Issued, Plant
from tests.support.warm import Warm

LEASE, LOG = "rotation_lease", "last_rotation"
OUTPUTS = Plant.outputs
HIDDEN_TYPES = {"secret", "password"}


# -- one run --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Script:
    """An attachable file, and the interpreter that the Gateway runs it with.

    warm: a fork server under that interpreter; where there is none, every run starts cold, as in life.
    """

    file: Path
    python: str
    warm: Warm | None = None

    def run(
        self,
        plant: AnyPlant,
        stdin: bytes | None = None,
        *,
        arguments: Sequence[str] = (),
        environment: Mapping[str, str | None] | None = None,
        line_end: bytes = b"\n",
    ) -> RotationResult:
        """Run it once as the Gateway of the plant does.

        stdin: the payload of the plant's record where none is given. environment: what differs from
        the plant's own; None takes a variable away.
        """
        wanted = {**plant.environment(), **(environment or {})}
        given = {name: value for name, value in wanted.items() if value is not None}
        payload = plant.payload() if stdin is None else stdin
        if self.warm:
            return self.warm.start(self.file, payload + line_end, environment=given, arguments=arguments).wait()
        return plant.gateway.run(
            self.file, payload, environment=given, python=self.python, arguments=arguments, line_end=line_end
        )


def assert_rotates(script: Runs, plant: AnyPlant, **options: Any) -> RotationResult:  # noqa: ANN401 - for Script.run
    """Rotate; check that the Gateway takes it for a success, without a warning and with nothing secret shown."""
    result = script.run(plant, **options)
    assert (0, "") == (result.returncode, result.stderr)
    assert_silent(plant, result)
    return result


class Runs(Protocol):
    """Whatever a script can be run as: the attached file, or in the tests' own process."""

    def run(
        self, plant: AnyPlant, stdin: bytes | None = None, *, environment: Mapping[str, str | None] | None = None
    ) -> RotationResult:
        """Run it once, as `Script.run`."""


def assert_refuses(
    script: Runs,
    plant: AnyPlant,
    status: int,
    *parts: str,
    written: bool = False,
    **options: Any,  # noqa: ANN401 - for Script.run
) -> RotationResult:
    """Rotate; check for this exit status, one error line with all the parts, and that all is as before.

    written: the refusal comes after the first write, which must then be put back.
    """
    before = State.of(plant)
    result = script.run(plant, **options)
    assert status == result.returncode, result.stderr
    lines = result.stderr.splitlines()
    assert 1 == len(lines), result.stderr
    assert lines[0].startswith("error: ")
    assert [] == [part for part in parts if part not in lines[0]], lines[0]
    assert any(state in lines[0] for state in ("nothing changed", "all put back as it was")), lines[0]
    assert_as_before(plant, before)
    assert_silent(plant, result)
    assert written == bool(writes(plant.wire.log)), writes(plant.wire.log)
    return result


def assert_looks(script: Script, plant: AnyPlant, how: str) -> RotationResult:
    """Look at everything, by `dry-run` in the record or by `check`; check that nothing is written or shown."""
    arguments = []
    if how == "check":
        attached = (word for uid in plant.attached for word in ("--credential", uid))
        arguments = ["--check", "--record", plant.user_uid, *attached]
    else:
        plant.set_field("dry_run", "True")
    before = State.of(plant)
    result = script.run(plant, b"" if arguments else None, arguments=arguments)
    assert [] == writes(plant.wire.log)
    assert_as_before(plant, before)
    assert_silent(plant, result)
    return result


# -- what the systems hold ------------------------------------------------------------------------


def live_key_ids(plant: AnyPlant) -> set[str]:
    """Return the ids of the target's keys that could log in."""
    return {key.key_id for key in plant.issued() if key.live}


def listed_keys(plant: AnyPlant) -> list[Issued]:
    """Return the target's keys that are neither deleted nor archived, expired ones included."""
    return [key for key in plant.issued() if key.listed]


def custom_fields(plant: AnyPlant, label: str) -> list[dict[str, Any]]:
    """Return every custom field of the PAM User record that has exactly this label."""
    return [item for item in plant.keeper.record(plant.user_uid)["custom"] if item.get("label") == label]


def in_keeper(plant: AnyPlant) -> tuple[str, str]:
    """Return the key's id and value in the PAM User record; empty for none and for a template's placeholder."""
    key_id, password = (plant.keeper.value(plant.user_uid, label) or "" for label in list(plant.outputs)[:2])
    return ("", "") if key_id.startswith("<") else (key_id, password)


def in_vault(plant: AnyPlant) -> tuple[str, str]:
    """Return the key's id and value that a reader of Key Vault's two secrets gets; empty for none."""
    key_id, password = (plant.key_vault.value(VAULT, name) or "" for name in (plant.id_name, plant.password_name))
    return key_id, password


def in_combined_secret(plant: AnyPlant) -> tuple[str, str]:
    """Return the key's id and value that a reader of the combined secret gets; empty for none."""
    value = plant.key_vault.value(VAULT, plant.combined_name)
    both = json.loads(value) if value else {}
    key_id, password = (both.get(label, "") for label in list(plant.outputs)[:2])
    return key_id, password


# -- true -----------------------------------------------------------------------------------------


def assert_true_state(
    plant: AnyPlant,
    *,
    kept: Iterable[str] = (),
    combined: bool = False,
    older_disabled: bool = True,
    logged: bool = True,
) -> str:
    """Check that one new key stands everywhere and logs in; return its id.

    kept: ids of older keys that were to stay alive. combined: the combined secret was asked for too.
    older_disabled: only the latest versions in Key Vault can be read; not looked at where a key is kept. logged: the
    ops log was written and the lease given back, or else it was said that they were not.
    """
    kept = set(kept)
    key_id, password = in_keeper(plant)
    assert {key_id, *kept} == live_key_ids(plant), "one live key, beside those to keep"
    assert {key_id, *kept} == {key.key_id for key in listed_keys(plant)}, "no other key is listed, not even a dead one"
    assert plant.logs_in(key_id, password), "what Keeper holds logs in"
    for label, kind in plant.outputs.items():
        if logged or label != LOG:
            assert [kind] == [item["type"] for item in custom_fields(plant, label)], f"one field {label} of its type"
    assert not logged or [] == custom_fields(plant, LEASE), "no lease is left"
    if plant.mirrored:
        assert (key_id, password) == in_vault(plant), "Key Vault's pair is what Keeper holds"
        if combined:
            assert (key_id, password) == in_combined_secret(plant), "so is the combined secret"
        if older_disabled and not kept:
            assert_older_versions_disabled(plant)
    return key_id


def assert_older_versions_disabled(plant: AnyPlant) -> None:
    """Check that of each mirrored secret only the latest version can be read, and older ones with the same value.

    A rotation that was interrupted once it had published, and is brought to its end, has published its key twice.
    """
    for name in plant.key_vault.names(VAULT):
        if name in (plant.id_name, plant.password_name, plant.combined_name):
            *older, latest = plant.key_vault.versions(VAULT, name)
            assert latest.enabled, f"the latest version of {name} can be read"
            others = [one.version for one in older if one.enabled and one.value != latest.value]
            assert [] == others, f"older versions of {name} cannot"


# -- alive ----------------------------------------------------------------------------------------


def credentials_alive(plant: AnyPlant) -> list[str]:
    """Return the places whose credential does not log in, empty if all is well; empty places are well."""
    places = {"Keeper": in_keeper(plant)}
    if plant.mirrored:
        places |= {"Key Vault's pair": in_vault(plant), "Key Vault's combined secret": in_combined_secret(plant)}
    return [name for name, pair in places.items() if pair != ("", "") and not plant.logs_in(*pair)]


def assert_credentials_alive(plant: AnyPlant) -> None:
    """Check that what stands in Keeper logs in, and what stands in Key Vault as a pair."""
    assert [] == credentials_alive(plant)


# -- all or nothing -------------------------------------------------------------------------------


@dataclass(frozen=True)
class State:
    """What a rotation may change, at one moment: record (without its log), what readers of the vault get, live keys.

    live: ids and values, since an id that is a name comes again.
    """

    record: Mapping[str, Any]
    secrets: Mapping[str, str | None]
    live: frozenset[tuple[str, str]] = field(repr=False)

    @classmethod
    def of(cls, plant: AnyPlant) -> State:
        """Take it down."""
        names = (plant.id_name, plant.password_name, plant.combined_name)
        record = plant.keeper.record(plant.user_uid)
        # Failures are logged as well.
        custom = [item for item in record["custom"] if item.get("label") != LOG]
        return cls(
            {**record, "custom": custom},
            {name: plant.key_vault.value(VAULT, name) for name in names},
            frozenset((key.key_id, key.value) for key in plant.issued() if key.live),
        )


def assert_as_before(plant: AnyPlant, before: State) -> None:
    """Check that record, vault and keys are what they were, whether or not anything was written between."""
    after = State.of(plant)
    assert before.record == after.record
    assert before.secrets == after.secrets
    assert before.live == after.live


# What AWS is asked for by POST, and changes nothing.
_READING = tuple(f"secretsmanager.{verb}" for verb in ("Describe", "Get", "List"))
# The same of IAM and STS, which name the action in the body.
_READING_ACTIONS = (b"Action=Get", b"Action=List", b"Action=Simulate")
# What others are asked for so: logins, and what only looks.
_READING_PATHS = (
    "/auth/login",
    "/get_secret",
    "/oauth2/v2.0/token",
    "/openid-connect/token",
    "/approle/login",
    "/sys/capabilities-self",
    "/listKeys",
)


def is_vault_write(request: Request) -> bool:
    """Look for a request that sets a secret in Key Vault."""
    return request.method == "PUT" and request.path.startswith("/secrets/")


def writes(log: Iterable[Request]) -> list[str]:
    """Return the requests that could change anything, logins and the fetching of tokens left out."""
    return [
        str(request)
        for request in log
        if request.method not in ("GET", "HEAD")
        and not request.path.endswith(_READING_PATHS)
        and not request.headers.get("x-amz-target", "").startswith(_READING)
        and not request.body.startswith(_READING_ACTIONS)
    ]


# -- silent ---------------------------------------------------------------------------------------


def assert_silent(plant: AnyPlant, result: RotationResult) -> None:
    """Check that no secret value ever issued or given shows anywhere that a log or a reader may see."""
    shown = {
        "stdout": result.stdout,
        "stderr": result.stderr,
        "arguments": result.command,
        "URLs": "\n".join(request.url for request in plant.wire.log),
        "tags": json.dumps(_tags(plant)),
        "open fields": "\n".join(_open_fields(plant)),
        **{f"file {path}": content.decode("latin-1") for path, content in result.files_left.items()},
    }
    values = plant.secrets()
    # The messages name the place alone: a failed test's output is no place for secrets either.
    assert [] == [place for place, text in shown.items() if any(value in text for value in values)]


def _tags(plant: AnyPlant) -> list[Any]:
    names = plant.key_vault.names(VAULT)
    return [[name, one.tags, one.content_type] for name in names for one in plant.key_vault.versions(VAULT, name)]


def _open_fields(plant: AnyPlant) -> list[str]:
    """Return the unmasked text of every record, and of each version of the record that a rotation wrote."""
    history = plant.keeper.history(plant.user_uid)
    first = next((i for i, data in enumerate(history) if LEASE in json.dumps(data)), len(history))
    # What a person had entered into an unmasked field before is shown by the vault's history, not by us.
    entered = {text for data in history[:first] for text in _open_texts(data)}
    written = [text for data in history[first:] for text in _open_texts(data) if text not in entered]
    uids = (plant.configuration_uid, *plant.attached, plant.user_uid)
    return [*written, *(text for uid in uids for text in _open_texts(plant.keeper.record(uid)))]


def _open_texts(data: Mapping[str, Any]) -> list[str]:
    fields = [item for item in [*data["fields"], *data["custom"]] if item["type"] not in HIDDEN_TYPES]
    return [str(data["title"]), str(data["notes"]), *(json.dumps(item["value"]) for item in fields)]
