"""The sandbox's Secrets Manager, tried with AWS's own client."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests
from botocore.config import Config
from botocore.exceptions import ClientError

from sandbox.clock import Clock
from sandbox.services.aws import CURRENT, PREVIOUS, Aws
from sandbox.wire import Wire

REGIONS = ("eu-central-1", "us-east-1")
FIRST, SECOND, THIRD = ("1" * 32, "2" * 32, "3" * 32)


@dataclass
class Account:
    """An account on the wire, and a user in it who may do everything."""

    wire: Wire
    aws: Aws
    clock: Clock
    key_id: str
    secret_key: str

    def client(self, key_id: str = "", secret_key: str = "", region: str = REGIONS[0]) -> Any:  # noqa: ANN401 - boto3 has no types
        """Make AWS's client, which sends each request once."""
        return boto3.client(
            "secretsmanager",
            region_name=region,
            aws_access_key_id=key_id or self.key_id,
            aws_secret_access_key=secret_key or self.secret_key,
            config=Config(retries={"total_max_attempts": 1}),
        )


@pytest.fixture
def make_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Account]]:
    """Return a maker of accounts on wires of their own; clients are sent to the newest."""
    wires: list[Wire] = []
    # What the developer has of their own would come first: AWS_CA_BUNDLE, AWS_PROFILE, AWS_ENDPOINT_URL.
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)

    def make() -> Account:
        clock = Clock()
        aws = Aws(clock, REGIONS)
        directory = tmp_path / str(len(wires))
        directory.mkdir()
        wire = Wire(directory)
        wire.serve(aws)
        wire.start()
        wires.append(wire)
        for name, value in wire.environment().items():
            monkeypatch.setenv(name, value)
        return Account(wire, aws, clock, *aws.add_identity("gateway"))

    yield make
    for wire in wires:
        wire.stop()


@pytest.fixture
def account(make_account: Callable[[], Account]) -> Account:
    """Return one account."""
    return make_account()


@pytest.fixture
def client(account: Account) -> Any:  # noqa: ANN401 - boto3 has no types
    """Return the client of the user who may do everything."""
    return account.client()


@pytest.fixture
def in_time(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have AWS's client go by the account's clock, whatever a test has moved it to."""
    monkeypatch.setattr("botocore.auth.get_current_datetime", account.clock.now)


def refusal(call: Callable[..., Any], **asked: Any) -> tuple[str, str, int]:  # noqa: ANN401 - handed on to boto3
    """Return code, message and HTTP status of the error that a call raises."""
    with pytest.raises(ClientError) as refused:
        call(**asked)
    response = refused.value.response
    return response["Error"]["Code"], response["Error"]["Message"], response["ResponseMetadata"]["HTTPStatusCode"]


def write(client: Any, *versions: str, name: str = "plant/key") -> None:  # noqa: ANN401 - boto3 has no types
    """Write versions whose values are `value of` their ids."""
    for version in versions:
        client.put_secret_value(SecretId=name, SecretString=f"value of {version}", ClientRequestToken=version)


def stages(client: Any, name: str = "plant/key") -> dict[str, list[str]]:  # noqa: ANN401 - boto3 has no types
    """Return the labels of each version, as the service describes them."""
    described = client.describe_secret(SecretId=name)
    return {version: sorted(labels) for version, labels in described.get("VersionIdsToStages", {}).items()}


@pytest.mark.usefixtures("in_time")
def test_a_secret_is_made_described_read_and_listed(account: Account, client: Any) -> None:  # noqa: ANN401
    """What create_secret was given comes back by name and by ARN, dated by the sandbox's clock."""
    account.clock.advance(days=400)
    made = client.create_secret(
        Name="plant/key", SecretString="one", ClientRequestToken=FIRST, Tags=[{"Key": "rotation-id", "Value": "r1"}]
    )

    described = client.describe_secret(SecretId="plant/key")
    read = client.get_secret_value(SecretId=made["ARN"])

    assert f"arn:aws:secretsmanager:eu-central-1:{account.aws.account_id}:secret:plant/key-" == made["ARN"][:-6]
    assert {FIRST: [CURRENT]} == described["VersionIdsToStages"]
    assert [{"Key": "rotation-id", "Value": "r1"}] == described["Tags"]
    assert ("plant/key", "one", FIRST, [CURRENT]) == (
        read["Name"],
        read["SecretString"],
        read["VersionId"],
        read["VersionStages"],
    )
    assert abs((account.clock.now() - read["CreatedDate"]).total_seconds()) < 60
    assert ["plant/key"] == [one["Name"] for one in client.list_secrets()["SecretList"]]


def test_a_secret_may_be_without_a_value(account: Account, client: Any) -> None:  # noqa: ANN401
    """A secret that was made empty has no version, reading it is refused, and its first version is current."""
    account.aws.add_secret("plant/key")

    assert {} == stages(client)
    assert (
        "ResourceNotFoundException",
        "Secrets Manager can't find the specified secret value for staging label: AWSCURRENT",
        400,
    ) == refusal(client.get_secret_value, SecretId="plant/key")
    client.put_secret_value(
        SecretId="plant/key", SecretString="first", ClientRequestToken=FIRST, VersionStages=["mine"]
    )
    assert {FIRST: [CURRENT, "mine"]} == stages(client)


def test_writing_moves_the_labels_along(account: Account, client: Any) -> None:  # noqa: ANN401
    """A new value is current, the one before it previous, and the one before that is deprecated but readable."""
    account.aws.add_secret("plant/key")

    write(client, FIRST, SECOND, THIRD)

    assert {SECOND: [PREVIOUS], THIRD: [CURRENT]} == stages(client)
    assert f"value of {THIRD}" == client.get_secret_value(SecretId="plant/key")["SecretString"]
    assert f"value of {SECOND}" == client.get_secret_value(SecretId="plant/key", VersionStage=PREVIOUS)["SecretString"]
    assert f"value of {FIRST}" == client.get_secret_value(SecretId="plant/key", VersionId=FIRST)["SecretString"]
    listed = client.list_secret_version_ids(SecretId="plant/key")["Versions"]
    assert {SECOND, THIRD} == {one["VersionId"] for one in listed}
    everything = client.list_secret_version_ids(SecretId="plant/key", IncludeDeprecated=True)["Versions"]
    assert {FIRST, SECOND, THIRD} == {one["VersionId"] for one in everything}


def test_updating_a_secret_writes_a_version_too(account: Account, client: Any) -> None:  # noqa: ANN401
    """update_secret with a value moves the labels; without one it changes the description alone."""
    account.aws.add_secret("plant/key")
    write(client, FIRST)

    client.update_secret(SecretId="plant/key", SecretString="second", ClientRequestToken=SECOND)
    client.update_secret(SecretId="plant/key", Description="of the plant")

    assert {FIRST: [PREVIOUS], SECOND: [CURRENT]} == stages(client)
    assert "of the plant" == client.describe_secret(SecretId="plant/key")["Description"]


def test_a_token_writes_once(account: Account, client: Any) -> None:  # noqa: ANN401
    """The same token with the same value does nothing, even when the label has moved on; another value is refused."""
    arn = account.aws.add_secret("plant/key")
    write(client, FIRST, SECOND)

    again = client.put_secret_value(SecretId="plant/key", SecretString=f"value of {FIRST}", ClientRequestToken=FIRST)

    assert (FIRST, [PREVIOUS]) == (again["VersionId"], again["VersionStages"])
    assert {FIRST: [PREVIOUS], SECOND: [CURRENT]} == stages(client)
    for call in (client.put_secret_value, client.update_secret):
        code, message, status = refusal(call, SecretId="plant/key", SecretString="other", ClientRequestToken=FIRST)
        assert ("ResourceExistsException", 400) == (code, status)
        assert FIRST in message
        assert arn in message
    assert 2 == len(account.aws.versions("plant/key"))


def test_a_pending_version_keeps_its_value_too(account: Account, client: Any) -> None:  # noqa: ANN401
    """A version under another label than the current one can be read by it, and cannot be overwritten."""
    account.aws.add_secret("plant/key")
    write(client, FIRST)
    pending = {"SecretId": "plant/key", "ClientRequestToken": SECOND, "VersionStages": ["AWSPENDING"]}

    client.put_secret_value(**pending, SecretString="next")

    assert {FIRST: [CURRENT], SECOND: ["AWSPENDING"]} == stages(client)
    assert f"value of {FIRST}" == client.get_secret_value(SecretId="plant/key")["SecretString"]
    assert "next" == client.get_secret_value(SecretId="plant/key", VersionStage="AWSPENDING")["SecretString"]
    assert "ResourceExistsException" == refusal(client.put_secret_value, **pending, SecretString="other")[0]


def test_moving_the_current_label_puts_a_value_back(account: Account, client: Any) -> None:  # noqa: ANN401
    """AWSCURRENT moved to an older version is what readers get, and AWSPREVIOUS follows by itself."""
    account.aws.add_secret("plant/key")
    write(client, FIRST, SECOND)

    client.update_secret_version_stage(
        SecretId="plant/key", VersionStage=CURRENT, MoveToVersionId=FIRST, RemoveFromVersionId=SECOND
    )

    assert {FIRST: [CURRENT], SECOND: [PREVIOUS]} == stages(client)
    assert f"value of {FIRST}" == client.get_secret_value(SecretId="plant/key")["SecretString"]
    write(client, THIRD)
    assert {FIRST: [PREVIOUS], THIRD: [CURRENT]} == stages(client)


def test_a_label_of_ones_own_stays_through_it_all(account: Account, client: Any) -> None:  # noqa: ANN401
    """A custom label moves only when it is told to, and taking the last label away deprecates a version."""
    account.aws.add_secret("plant/key")
    write(client, FIRST)

    client.update_secret_version_stage(SecretId="plant/key", VersionStage="mine", MoveToVersionId=FIRST)
    write(client, SECOND, THIRD)
    assert {FIRST: ["mine"], SECOND: [PREVIOUS], THIRD: [CURRENT]} == stages(client)
    client.update_secret_version_stage(SecretId="plant/key", VersionStage="mine", RemoveFromVersionId=FIRST)

    assert {SECOND: [PREVIOUS], THIRD: [CURRENT]} == stages(client)


@pytest.mark.parametrize(
    ("move", "code", "part"),
    [
        ({"RemoveFromVersionId": SECOND}, "InvalidParameterException", "can't be completely removed"),
        ({"MoveToVersionId": FIRST}, "InvalidParameterException", f"currently attached to version {SECOND}"),
        (
            {"MoveToVersionId": FIRST, "RemoveFromVersionId": FIRST},
            "InvalidParameterException",
            f"not attached to version {FIRST}",
        ),
        ({"MoveToVersionId": THIRD, "RemoveFromVersionId": SECOND}, "ResourceNotFoundException", THIRD),
    ],
    ids=["removed alone", "not said from where", "from where it is not", "to where nothing is"],
)
def test_the_current_label_moves_only_as_it_may(
    account: Account,
    client: Any,  # noqa: ANN401
    move: dict[str, str],
    code: str,
    part: str,
) -> None:
    """AWSCURRENT is always on one version, and whoever moves it must know which; a refused move changes nothing."""
    account.aws.add_secret("plant/key")
    write(client, FIRST, SECOND)

    found, message, status = refusal(
        client.update_secret_version_stage, SecretId="plant/key", VersionStage=CURRENT, **move
    )

    assert (code, 400) == (found, status)
    assert part in message
    assert {FIRST: [PREVIOUS], SECOND: [CURRENT]} == stages(client)


def test_what_is_not_there_is_not_found(account: Account, client: Any) -> None:  # noqa: ANN401
    """A missing secret, version and label are all ResourceNotFoundException, with status 400."""
    missing = ("ResourceNotFoundException", "Secrets Manager can't find the specified secret.", 400)
    account.aws.add_secret("plant/key", "value")

    for call in (client.get_secret_value, client.describe_secret, client.list_secret_version_ids):
        assert missing == refusal(call, SecretId="other")
    assert missing == refusal(client.put_secret_value, SecretId="other", SecretString="x")
    for asked in ({"VersionId": FIRST}, {"VersionStage": "AWSPENDING"}):
        assert "ResourceNotFoundException" == refusal(client.get_secret_value, SecretId="plant/key", **asked)[0]
    assert missing == refusal(account.client(region=REGIONS[1]).get_secret_value, SecretId="plant/key")


def test_a_secret_scheduled_for_deletion_is_out_of_use(account: Account, client: Any) -> None:  # noqa: ANN401
    """It can be described and restored; reading, writing, relabelling and making it anew are refused."""
    account.aws.add_secret("plant/key")
    write(client, FIRST, SECOND)

    client.delete_secret(SecretId="plant/key")

    move = {"VersionStage": CURRENT, "MoveToVersionId": FIRST, "RemoveFromVersionId": SECOND}
    refused = [
        refusal(client.get_secret_value, SecretId="plant/key"),
        refusal(client.put_secret_value, SecretId="plant/key", SecretString="x"),
        refusal(client.update_secret_version_stage, SecretId="plant/key", **move),
        refusal(client.create_secret, Name="plant/key", SecretString="x"),
    ]
    assert [("InvalidRequestException", 400)] * 4 == [(code, status) for code, _, status in refused]
    assert "DeletedDate" in client.describe_secret(SecretId="plant/key")
    client.restore_secret(SecretId="plant/key")
    assert f"value of {SECOND}" == client.get_secret_value(SecretId="plant/key")["SecretString"]


def test_a_name_is_taken_once(account: Account, client: Any) -> None:  # noqa: ANN401
    """create_secret for a name in use is refused, unless it is the same request again."""
    account.aws.add_secret("plant/key")
    client.create_secret(Name="other", SecretString="x", ClientRequestToken=FIRST)

    assert "ResourceExistsException" == refusal(client.create_secret, Name="plant/key", SecretString="x")[0]
    again = client.create_secret(Name="other", SecretString="x", ClientRequestToken=FIRST)
    assert FIRST == again["VersionId"]


def test_a_value_has_64_kib_at_most(account: Account, client: Any) -> None:  # noqa: ANN401
    """One byte more is a ValidationException."""
    account.aws.add_secret("plant/key")

    client.put_secret_value(SecretId="plant/key", SecretString="x" * 65536)

    assert "ValidationException" == refusal(client.put_secret_value, SecretId="plant/key", SecretString="x" * 65537)[0]


def test_an_unknown_access_key_is_not_recognised(account: Account) -> None:
    """Neither a key that never was nor one that was removed gets any further."""
    gone, secret_key = account.aws.add_identity("gone")
    account.aws.remove_identity(gone)

    for key_id in (gone, "AKIAMADEUPMADEUPMADE"):
        assert (
            "UnrecognizedClientException",
            "The security token included in the request is invalid.",
            400,
        ) == refusal(account.client(key_id, secret_key).list_secrets)


def test_a_wrong_secret_key_does_not_sign(account: Account, client: Any) -> None:  # noqa: ANN401
    """The signature is checked: with another secret key it is refused, whatever is asked."""
    _, other = account.aws.add_identity("other")

    code, _, status = refusal(account.client(account.key_id, other).list_secrets)

    assert ("InvalidSignatureException", 400) == (code, status)
    assert [] == client.list_secrets()["SecretList"]


def test_an_unsigned_or_altered_request_is_refused(account: Account, client: Any) -> None:  # noqa: ANN401
    """Without a signature, or with another body than the signed one, nothing is told."""
    account.aws.add_secret("plant/key", "value")
    client.get_secret_value(SecretId="plant/key")
    signed = account.wire.log[-1]
    url = f"https://{signed.host}/"

    unsigned = requests.post(url, headers={"x-amz-target": "secretsmanager.ListSecrets"}, data=b"{}", timeout=10)
    headers = {name: value for name, value in signed.headers.items() if name != "content-length"}
    altered = requests.post(url, headers=headers, data=signed.body.replace(b"plant", b"other"), timeout=10)

    assert (400, "MissingAuthenticationTokenException") == (unsigned.status_code, unsigned.json()["__type"])
    assert (400, "InvalidSignatureException") == (altered.status_code, altered.json()["__type"])


def test_a_denied_action_is_told_as_aws_tells_it(account: Account, client: Any) -> None:  # noqa: ANN401
    """AccessDeniedException names who, what and on which resource; other actions stay allowed."""
    arn = account.aws.add_secret("plant/key", "value")
    account.aws.deny(account.key_id, "secretsmanager:PutSecretValue")

    code, message, status = refusal(client.put_secret_value, SecretId="plant/key", SecretString="x")

    assert ("AccessDeniedException", 400) == (code, status)
    assert message.startswith(
        f"User: arn:aws:iam::{account.aws.account_id}:user/gateway is not authorized to perform:"
        f" secretsmanager:PutSecretValue on resource: {arn} "
    )
    assert "value" == client.get_secret_value(SecretId="plant/key")["SecretString"]


def test_an_identity_may_be_held_to_one_action_on_one_secret(account: Account) -> None:
    """The least right to read one secret reads that one and nothing else, and does not tell what else there is."""
    reader = account.aws.add_identity("reader")
    account.aws.add_secret("plant/key", "value")
    account.aws.add_secret("plant/other", "other")
    account.aws.allow_only(reader[0], "secretsmanager:GetSecretValue", name="plant/key")
    client = account.client(*reader)

    assert "value" == client.get_secret_value(SecretId="plant/key")["SecretString"]
    for call, name in (
        (client.get_secret_value, "plant/other"),
        (client.get_secret_value, "no such secret"),
        (client.describe_secret, "plant/key"),
    ):
        assert "AccessDeniedException" == refusal(call, SecretId=name)[0]


def test_throttling_passes(account: Account, client: Any) -> None:  # noqa: ANN401
    """So many requests as set are answered with ThrottlingException, the next is served."""
    account.aws.throttle(1)

    assert ("ThrottlingException", "Rate exceeded", 400) == refusal(client.list_secrets)
    assert [] == client.list_secrets()["SecretList"]


def test_a_temporary_key_needs_its_token_until_it_ends(account: Account) -> None:
    """Without it, or with another's, nobody knows the key; past its end AWS says so."""
    key_id, secret_key, token = account.aws.add_session("role", timedelta(hours=1))
    theirs = account.aws.add_session("another")[2]

    def list_with(given: str) -> Any:  # noqa: ANN401 - boto3 has no types
        client = boto3.client(
            "secretsmanager",
            region_name=REGIONS[0],
            aws_access_key_id=key_id,
            aws_secret_access_key=secret_key,
            aws_session_token=given or None,
            config=Config(retries={"total_max_attempts": 1}),
        )
        return client.list_secrets

    assert [] == list_with(token)()["SecretList"]
    assert ["UnrecognizedClientException"] * 2 == [refusal(list_with(given))[0] for given in ("", theirs)]
    account.clock.advance(hours=2)
    assert (
        "ExpiredTokenException",
        "The security token included in the request is expired",
        400,
    ) == refusal(list_with(token))


def test_a_replica_is_read_alone_and_names_its_primary(account: Account, client: Any) -> None:  # noqa: ANN401
    """Whoever writes it is sent to the primary's region."""
    account.aws.add_secret("plant/key", "x")
    account.aws.replicate("plant/key", REGIONS[1])
    there = account.client(region=REGIONS[1])

    assert REGIONS[0] == there.describe_secret(SecretId="plant/key")["PrimaryRegion"]
    assert "PrimaryRegion" not in client.describe_secret(SecretId="plant/key")
    assert "x" == there.get_secret_value(SecretId="plant/key")["SecretString"]
    code, message, _ = refusal(there.put_secret_value, SecretId="plant/key", SecretString="y")
    assert ("InvalidParameterException", True) == (code, "replica" in message)


def test_a_disabled_kms_key_lets_nobody_read_or_write(account: Account, client: Any) -> None:  # noqa: ANN401
    """What is no value can be asked for still."""
    account.aws.add_secret("plant/key", "x")
    account.aws.disable_kms_key("plant/key")

    assert "plant/key" == client.describe_secret(SecretId="plant/key")["Name"]
    assert "DecryptionFailure" == refusal(client.get_secret_value, SecretId="plant/key")[0]
    assert "EncryptionFailure" == refusal(client.put_secret_value, SecretId="plant/key", SecretString="y")[0]


@pytest.mark.usefixtures("in_time")
def test_a_secret_has_a_hundred_versions_of_one_day(account: Account, client: Any) -> None:  # noqa: ANN401
    """Those without a label go once they are a day old, and not before."""
    account.aws.add_secret("plant/key", "0")
    for number in range(1, 100):
        account.aws.put("plant/key", str(number))

    assert "LimitExceededException" == refusal(client.put_secret_value, SecretId="plant/key", SecretString="x")[0]
    account.clock.advance(hours=25)
    client.put_secret_value(SecretId="plant/key", SecretString="x")
    assert ("x", "99") == (account.aws.value("plant/key"), account.aws.value("plant/key", PREVIOUS))


@pytest.mark.parametrize(("minutes", "words"), [(6, "Signature expired: "), (-6, "Signature not yet current: ")])
def test_what_was_signed_more_than_five_minutes_off_is_refused(
    account: Account,
    client: Any,  # noqa: ANN401 - boto3 has no types
    minutes: int,
    words: str,
) -> None:
    """By the account's clock; four minutes either way are taken."""
    account.clock.advance(minutes=minutes / 1.5)
    assert [] == client.list_secrets()["SecretList"]
    account.clock.advance(minutes=minutes / 3)

    code, message, _ = refusal(client.list_secrets)
    assert ("InvalidSignatureException", words) == (code, message[: len(words)])


def test_what_a_service_manages_is_its_own(account: Account, client: Any) -> None:  # noqa: ANN401
    """Its name is told, and nobody else writes it."""
    account.aws.add_secret("plant/key", "x")
    account.aws.give_to_service("plant/key", "rds")

    assert "rds" == client.describe_secret(SecretId="plant/key")["OwningService"]
    assert "InvalidRequestException" == refusal(client.put_secret_value, SecretId="plant/key", SecretString="y")[0]


def test_the_test_side_sees_what_clients_wrote(account: Account, client: Any) -> None:  # noqa: ANN401
    """value() and versions() follow the labels, put() writes as a client, secrets() forgets nothing."""
    account.aws.add_secret("plant/key")
    write(client, FIRST)
    second = account.aws.put("plant/key", "by hand")

    assert ("by hand", f"value of {FIRST}", None) == tuple(
        account.aws.value("plant/key", stage) for stage in (CURRENT, PREVIOUS, "AWSPENDING")
    )
    assert [(FIRST, (PREVIOUS,)), (second, (CURRENT,))] == [
        (one.version_id, one.stages) for one in account.aws.versions("plant/key")
    ]
    assert {f"value of {FIRST}", "by hand", account.secret_key} == account.aws.secrets()
    assert "by hand" not in repr(account.aws.versions("plant/key"))
    with pytest.raises(KeyError):
        account.aws.value("other")


def test_accounts_side_by_side_do_not_meet(make_account: Callable[[], Account]) -> None:
    """Sandboxes in threads of one process, with secrets of the same name, each keep their own values."""

    def fill(number: int) -> list[str | None]:
        aws = Aws(Clock())
        aws.add_secret("plant/key")
        for each in range(10):
            aws.put("plant/key", f"{number}.{each}")
        return [one.value for one in aws.versions("plant/key")]

    with ThreadPoolExecutor(4) as pool:
        filled = list(pool.map(fill, range(8)))
    first, second = make_account(), make_account()
    first.aws.add_secret("plant/key", "first")

    assert [[f"{number}.{each}" for each in range(10)] for number in range(8)] == filled
    assert [] == second.client().list_secrets()["SecretList"]


def test_an_account_is_forgotten_with_its_sandbox() -> None:
    """The state that moto keeps for a process does not grow with the sandboxes that came and went."""
    from moto.secretsmanager.models import secretsmanager_backends  # noqa: PLC0415 - heavy; here alone

    aws = Aws(Clock())
    aws.add_secret("plant/key", "value")
    account_id = aws.account_id
    assert account_id in secretsmanager_backends.keys()  # noqa: SIM118 - its `in` looks elsewhere

    del aws
    gc.collect()

    assert account_id not in secretsmanager_backends.keys()  # noqa: SIM118 - the same


def test_sandboxes_without_aws_do_not_pay_for_it() -> None:
    """A plant is made without importing moto, boto3 or botocore."""
    code = """
import json, sys, tempfile, pathlib
from sandbox.plant import Plant
with tempfile.TemporaryDirectory() as directory:
    Plant(pathlib.Path(directory)).secrets()
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)

    loaded = set(json.loads(done.stdout))
    assert "starlette" in loaded
    assert set() == loaded & {"moto", "boto3", "botocore", "flask", "werkzeug"}
