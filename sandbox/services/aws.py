"""AWS Secrets Manager: the secrets of one account, as `moto` keeps them, at the service's real host names.

https://docs.aws.amazon.com/secretsmanager/latest/apireference/Welcome.html

What is asked goes to moto's own server application. In front of it stands what moto leaves out: who
is asking (the signature is computed again by botocore), what they may do, and the rules of staging
labels, versions and deletions where moto is laxer than the service.

moto keeps its state for the whole process, by account and region. Every `Aws` has an account number
of its own, so sandboxes side by side do not meet there. moto is heavy to import, and is imported
when the first request or secret comes.
"""

from __future__ import annotations

import functools
import itertools
import json
import re
import secrets
import string
import threading
import uuid
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

if TYPE_CHECKING:
    from starlette.requests import Request
    from werkzeug.test import Client

    from sandbox.clock import Clock

CURRENT = "AWSCURRENT"
"""The staging label of the version that a reader gets who names none."""

PREVIOUS = "AWSPREVIOUS"
"""The staging label that goes, by itself, to the version which AWSCURRENT was taken from."""

MEDIA_TYPE = "application/x-amz-json-1.1"

_VALUE_BYTES = 65536
_VERSIONS = 100
# A version without a label stays for so long at least.
_VERSION_STAYS = timedelta(hours=24)
_SERVICE = "secretsmanager"
# How X-Amz-Date writes a time, and how far it may be from AWS' own.
_AMZ_DATE = "%Y%m%dT%H%M%SZ"
_TAKEN_FOR = timedelta(minutes=5)
AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 +Credential=(?P<key>[^/,\s]+)/(?P<scope>[^,\s]+), *"
    r"SignedHeaders=(?P<headers>[^,\s]+), *Signature=(?P<signature>[0-9a-f]{64})"
)
# Actions that a secret scheduled for deletion refuses.
_NOT_WHEN_DELETED = frozenset(
    (
        "GetSecretValue",
        "PutSecretValue",
        "UpdateSecret",
        "UpdateSecretVersionStage",
        "TagResource",
        "UntagResource",
        "RotateSecret",
    )
)
# Those of them that change the secret or its versions.
_CHANGES = _NOT_WHEN_DELETED - {"GetSecretValue"}
_accounts = itertools.count(100_000_000_001)
# moto is not made for several threads, and every sandbox has one: they take turns.
TURN = threading.RLock()


@dataclass(frozen=True)
class Version:
    """One version of a secret, as it was when asked for; one without any staging label is deprecated."""

    version_id: str
    value: str | None = field(repr=False)
    stages: tuple[str, ...]
    created_on: datetime


@dataclass
class Identity:
    """Whoever has one access key. allowed: pairs of an action and a secret's name (or `*`); None: all.

    token, ends_at: of a temporary key: what is sent with it, and when it ends. active: whether it is let in: no service
    tells an inactive key from one that is not there.
    """

    name: str
    access_key_id: str
    secret_access_key: str = field(repr=False)
    token: str = field(default="", repr=False)
    ends_at: datetime | None = None
    allowed: set[tuple[str, str]] | None = None
    denied: set[str] = field(default_factory=set)
    active: bool = True

    def may(self, action: str, name: str) -> bool:
        """Say whether this identity may do something to what has this name."""
        if action in self.denied:
            return False
        return self.allowed is None or not self.allowed.isdisjoint({(action, name), (action, "*")})


@dataclass(frozen=True)
class _Call:
    """One request that was let in. secret: moto's own object, None where there is none of that name."""

    region: str
    action: str
    asked: dict[str, Any]
    secret: Any


class _Refusal(Exception):
    """What Secrets Manager refuses: the error's code, its message, and how the body spells that."""

    def __init__(self, code: str, message: str, *, spelling: str = "Message") -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.spelling = spelling


class Aws:
    """Secrets Manager in some regions of one account.

    The methods may be called from any thread. They take a secret's name or ARN, in the first region
    where none is named, and raise KeyError for a secret or an access key that was not added.

    Not served: STS itself, KMS itself, the age of a signature.
    """

    def __init__(self, clock: Clock, regions: Sequence[str] = ("eu-central-1", "eu-west-1")) -> None:
        self.clock = clock
        self.regions = tuple(regions)
        self.account_id = str(next(_accounts))
        self.hosts: tuple[str, ...] = tuple(f"{_SERVICE}.{region}.amazonaws.com" for region in regions)
        self.identities: dict[str, Identity] = {}
        self._secrets: set[str] = set()
        self._refusals: list[_Refusal] = []
        # The ARNs of secrets whose KMS key is disabled.
        self._locked: set[str] = set()
        self.app = Starlette(routes=[Route("/", self._endpoint, methods=["POST"])])
        self._held: Mapping[str, Callable[[_Call], dict[str, Any]]] = {
            "CreateSecret": self._create,
            "DescribeSecret": self._describe,
            "GetSecretValue": self._get,
            "ListSecretVersionIds": self._list_versions,
            "PutSecretValue": self._put,
            "UpdateSecret": self._update,
            "UpdateSecretVersionStage": self._move_stage,
        }

    # -- what a test sets up and looks at -------------------------------------------------------

    def add_identity(self, name: str) -> tuple[str, str]:
        """Make an IAM user who may do everything; return the id and the secret of their access key."""
        identity = self.add(Identity(name, _new_key_id("AKIA"), secrets.token_urlsafe(30)))
        return identity.access_key_id, identity.secret_access_key

    def add_session(self, name: str, lasts: timedelta = timedelta(hours=1)) -> tuple[str, str, str]:
        """Let somebody assume a role that may do everything; return a temporary key's id, its secret and its token."""
        ends_at = self.clock.now() + lasts
        identity = self.add(
            Identity(name, _new_key_id("ASIA"), secrets.token_urlsafe(30), secrets.token_urlsafe(60), ends_at=ends_at)
        )
        return identity.access_key_id, identity.secret_access_key, identity.token

    def add(self, identity: Identity) -> Identity:
        """Let an access key in from now on."""
        with TURN:
            self.identities[identity.access_key_id] = identity
            self._secrets |= {identity.secret_access_key, *filter(None, [identity.token])}
        return identity

    def allow_only(self, access_key_id: str, *actions: str, name: str = "*") -> None:
        """Let an access key do these actions (`secretsmanager:GetSecretValue`) on the secret of this name alone."""
        with TURN:
            self.identities[access_key_id].allowed = {(action, name) for action in actions}

    def deny(self, access_key_id: str, action: str) -> None:
        """Deny an access key one action (`secretsmanager:PutSecretValue`), whatever else it may do."""
        with TURN:
            self.identities[access_key_id].denied.add(action)

    def remove_identity(self, access_key_id: str) -> None:
        """Delete an access key: it is unknown from now on."""
        with TURN:
            del self.identities[access_key_id]

    def identity(self, access_key_id: str) -> Identity | None:
        """Return whose an access key is, None where it is unknown: for other services of the account."""
        with TURN:
            found = self.identities.get(access_key_id)
            return found if found and found.active else None

    def throttle(self, times: int) -> None:
        """Answer the next so many requests with ThrottlingException."""
        self.refuse("ThrottlingException", "Rate exceeded", times, spelling="message")

    def refuse(self, code: str, message: str, times: int = 1, *, spelling: str = "Message") -> None:
        """Refuse the next so many requests, whatever they ask: for what does not come about here by itself."""
        with TURN:
            self._refusals = [_Refusal(code, message, spelling=spelling)] * times

    def add_secret(self, name: str, value: str | None = None, region: str = "") -> str:
        """Make a secret, without any version where no value is given, and return its ARN."""
        asked = {"Name": name, "ClientRequestToken": str(uuid.uuid4())}
        if value is not None:
            asked["SecretString"] = value
        with TURN:
            call = _Call(region or self.regions[0], "CreateSecret", asked, None)
            return str(self._create(call)["ARN"])

    def put(self, secret_id: str, value: str, region: str = "", version_id: str = "") -> str:
        """Write a new version, as a client would who names no label; return the version's id."""
        with TURN:
            secret = self._existing(region or self.regions[0], secret_id)
            asked = {"SecretId": secret_id, "SecretString": value}
            if version_id:
                asked["ClientRequestToken"] = version_id
            return str(self._put(_Call(region or self.regions[0], "PutSecretValue", asked, secret))["VersionId"])

    def replicate(self, secret_id: str, region: str) -> str:
        """Have a secret of the first region in another one too, where it can be read alone; return its ARN there."""
        with TURN:
            self._existing(self.regions[0], secret_id)
            asked = {"SecretId": secret_id, "AddReplicaRegions": [{"Region": region}]}
            self._ask_moto(self.regions[0], "ReplicateSecretToRegions", asked)
            return str(self._existing(region, secret_id).arn)

    def give_to_service(self, secret_id: str, service: str) -> None:
        """Have a service of AWS manage a secret from now on: nobody else writes it."""
        with TURN:
            secret = self._existing(self.regions[0], secret_id)
            secret.tags = [*(secret.tags or []), {"Key": "aws:secretsmanager:owningService", "Value": service}]

    def rotate_by_itself(self, secret_id: str) -> None:
        """Have AWS rotate a secret from now on."""
        with TURN:
            secret = self._existing(self.regions[0], secret_id)
            secret.rotation_requested = secret.rotation_enabled = True

    def disable_kms_key(self, secret_id: str) -> None:
        """Disable the key that a secret's values are encrypted with."""
        with TURN:
            self._locked.add(self._existing(self.regions[0], secret_id).arn)

    def schedule_deletion(self, secret_id: str, region: str = "") -> None:
        """Delete a secret as a client would: it stays for 30 days, and cannot be used meanwhile."""
        with TURN:
            self._existing(region or self.regions[0], secret_id)
            self._ask_moto(region or self.regions[0], "DeleteSecret", {"SecretId": secret_id})

    def value(self, secret_id: str, stage: str = CURRENT, region: str = "") -> str | None:
        """Give the string that a staging label stands at; None where it stands nowhere."""
        found = [one.value for one in self.versions(secret_id, region) if stage in one.stages]
        return found[0] if found else None

    def versions(self, secret_id: str, region: str = "") -> list[Version]:
        """List a secret's versions in the order they were written, the deprecated ones included."""
        with TURN:
            secret = self._existing(region or self.regions[0], secret_id)
            return [
                Version(
                    version_id,
                    one.get("secret_string"),
                    tuple(one["version_stages"]),
                    datetime.fromtimestamp(one["createdate"], timezone.utc),
                )
                for version_id, one in secret.versions.items()
            ]

    def secrets(self) -> set[str]:
        """Return the secret of every access key, and every value that was ever stored."""
        with TURN:
            return set(self._secrets)

    # -- who is asking --------------------------------------------------------------------------

    async def _endpoint(self, request: Request) -> Response:
        body = await request.body()
        headers = {"x-amzn-requestid": str(uuid.uuid4())}
        with TURN:
            try:
                answer = self._serve(request, body)
                return Response(json.dumps(answer), headers=headers, media_type=MEDIA_TYPE)
            except _Refusal as refusal:
                content = {"__type": refusal.code, refusal.spelling: refusal.message}
                return Response(json.dumps(content), 400, headers, media_type=MEDIA_TYPE)

    def _serve(self, request: Request, body: bytes) -> dict[str, Any]:
        region = (request.url.hostname or "").split(".")[1]
        identity = self._authenticate(request, body, region)
        if self._refusals:
            raise self._refusals.pop()
        service, _, action = request.headers.get("x-amz-target", "").partition(".")
        if service != _SERVICE or not action:
            raise _Refusal("UnknownOperationException", "The request names no operation.", spelling="message")
        asked = _json_object(body)
        call = _Call(region, action, asked, self._find(region, str(asked.get("SecretId") or asked.get("Name") or "")))
        self._authorize(identity, call)
        self._check(call)
        return self._held.get(action, self._hand_on)(call)

    def _authenticate(self, request: Request, body: bytes, region: str) -> Identity:
        """Say whose signature a request carries.

        https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
        """
        given = AUTHORIZATION.fullmatch(request.headers.get("authorization", ""))
        if not given:
            raise _Refusal("MissingAuthenticationTokenException", "Missing Authentication Token", spelling="message")
        identity = self.identity(given["key"])
        if identity is None or request.headers.get("x-amz-security-token", "") != identity.token:
            raise _Refusal(
                "UnrecognizedClientException",
                "The security token included in the request is invalid.",
                spelling="message",
            )
        if identity.ends_at and identity.ends_at <= self.clock.now():
            raise _Refusal(
                "ExpiredTokenException", "The security token included in the request is expired", spelling="message"
            )
        if late := untimely(request, self.clock.now()):
            raise _Refusal("InvalidSignatureException", late, spelling="message")
        day = request.headers.get("x-amz-date", "")[:8]
        is_for_here = given["scope"] == f"{day}/{region}/{_SERVICE}/aws4_request"
        expected = signature(request, body, given["headers"].split(";"), identity, region)
        if not is_for_here or not secrets.compare_digest(expected, given["signature"]):
            raise _Refusal(
                "InvalidSignatureException",
                "The request signature we calculated does not match the signature you provided. Check your AWS"
                " Secret Access Key and signing method. Consult the service documentation for details.",
                spelling="message",
            )
        return identity

    def _authorize(self, identity: Identity, call: _Call) -> None:
        """Refuse what the identity may not do, in the service's words; this comes before any look at the secret."""
        action = f"{_SERVICE}:{call.action}"
        named = str(call.asked.get("SecretId") or call.asked.get("Name") or "")
        if identity.may(action, call.secret.name if call.secret else named):
            return
        resource = call.secret.arn if call.secret else named
        where = f" on resource: {resource}" if resource else ""
        how = (
            "with an explicit deny in an identity-based policy"
            if action in identity.denied
            else f"because no identity-based policy allows the {action} action"
        )
        raise _Refusal(
            "AccessDeniedException",
            f"User: arn:aws:iam::{self.account_id}:user/{identity.name} is not authorized to perform: {action}"
            f"{where} {how}",
        )

    def _check(self, call: _Call) -> None:
        """Refuse what moto would let pass: a missing or deleted secret, a value that is too long."""
        if call.action in _NOT_WHEN_DELETED | {"DescribeSecret", "ListSecretVersionIds"} and call.secret is None:
            raise _Refusal("ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
        if call.action in _NOT_WHEN_DELETED and call.secret.is_deleted():
            raise _Refusal(
                "InvalidRequestException",
                "You can't perform this operation on the secret because it was marked for deletion.",
            )
        if call.action in _CHANGES and hasattr(call.secret, "source"):
            raise _Refusal(
                "InvalidParameterException",
                "Operation not permitted on a replica secret. Call must be made in primary secret's region.",
            )
        if call.action in _CHANGES and getattr(call.secret, "owning_service", None):
            raise _Refusal(
                "InvalidRequestException",
                "You can't perform this operation on the secret because it is managed by another service.",
            )
        if call.secret is not None and call.secret.arn in self._locked:
            self._refuse_locked(call)
        if len(str(call.asked.get("SecretString") or "").encode()) > _VALUE_BYTES:
            raise _Refusal(
                "ValidationException",
                "1 validation error detected: Value at 'secretString' failed to satisfy constraint:"
                f" Member must have length less than or equal to {_VALUE_BYTES}",
                spelling="message",
            )

    def _refuse_locked(self, call: _Call) -> None:
        """Refuse to read or write a value whose key is disabled.

        https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_PutSecretValue.html#API_PutSecretValue_Errors
        """
        if call.action == "GetSecretValue":
            raise _Refusal(
                "DecryptionFailure",
                "Secrets Manager can't decrypt the protected secret text using the provided KMS key.",
            )
        if _value_of(call.asked):
            raise _Refusal(
                "EncryptionFailure",
                "Secrets Manager can't encrypt the protected secret text using the provided KMS key. Check that the"
                " KMS key is available, enabled, and not in an invalid state.",
            )

    # -- the operations that moto is held to ----------------------------------------------------

    def _create(self, call: _Call) -> dict[str, Any]:
        """https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_CreateSecret.html."""
        if call.secret and call.secret.is_deleted():
            raise _Refusal(
                "InvalidRequestException",
                "You can't create this secret because a secret with this name is already scheduled for deletion.",
            )
        answer = self._hand_on(call)
        if call.secret is None:
            secret = self._existing(call.region, call.asked["Name"])
            secret.created_date = secret.last_changed_date = self._now()
            for version in secret.versions.values():
                version["createdate"] = self._now()
        return answer

    def _describe(self, call: _Call) -> dict[str, Any]:
        """https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_DescribeSecret.html."""
        answer = self._hand_on(call)
        stages = answer.pop("VersionIdsToStages", {})
        labelled = {version: labels for version, labels in stages.items() if labels}
        return {**answer, **({"VersionIdsToStages": labelled} if labelled else {})}

    def _get(self, call: _Call) -> dict[str, Any]:
        """https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html."""
        version, stage = call.asked.get("VersionId"), call.asked.get("VersionStage")
        if version and version not in call.secret.versions:
            raise _no_value(f"VersionId: {version}")
        if not version:
            # moto answers with the version that was written last, wherever the label has gone since.
            call.asked["VersionStage"] = stage or CURRENT
            if call.asked["VersionStage"] not in _labels(call.secret):
                raise _no_value(f"staging label: {call.asked['VersionStage']}")
        return self._hand_on(call)

    def _list_versions(self, call: _Call) -> dict[str, Any]:
        """https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_ListSecretVersionIds.html."""
        versions = [
            {"VersionId": version_id, "VersionStages": one["version_stages"], "CreatedDate": one["createdate"]}
            for version_id, one in call.secret.versions.items()
            if one["version_stages"] or call.asked.get("IncludeDeprecated")
        ]
        return {"ARN": call.secret.arn, "Name": call.secret.name, "Versions": versions}

    def _put(self, call: _Call) -> dict[str, Any]:
        """https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_PutSecretValue.html."""
        stages = call.asked.get("VersionStages") or [CURRENT]
        version_id = self._write(call, stages)
        return {
            "ARN": call.secret.arn,
            "Name": call.secret.name,
            "VersionId": version_id,
            "VersionStages": call.secret.versions[version_id]["version_stages"],
        }

    def _update(self, call: _Call) -> dict[str, Any]:
        """https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_UpdateSecret.html."""
        if not _value_of(call.asked):
            return self._hand_on(call)
        return {"ARN": call.secret.arn, "Name": call.secret.name, "VersionId": self._write(call, [CURRENT])}

    def _write(self, call: _Call, stages: Sequence[str]) -> str:
        """Add a version and move labels to it; do nothing where it is there already with the same value."""
        secret = call.secret
        version_id = str(call.asked.setdefault("ClientRequestToken", str(uuid.uuid4())))
        if version_id in secret.versions:
            held = secret.versions[version_id]
            if _value_of(call.asked) == {
                "SecretString": held.get("secret_string"),
                "SecretBinary": held.get("secret_binary"),
            }:
                return version_id
            raise _Refusal(
                "ResourceExistsException",
                f"You can't use ClientRequestToken {version_id} because that value is already in use for a version"
                f" of secret {secret.arn}.",
            )
        labels = _labels(secret)
        self._make_room(secret)
        self._hand_on(call)
        secret.versions[version_id]["createdate"] = secret.last_changed_date = self._now()
        # The first version is the current one, whatever was asked for.
        for stage in stages if labels else {*stages, CURRENT}:
            labels = _moved(labels, stage, version_id)
        _relabel(secret, labels)
        return version_id

    def _make_room(self, secret: Any) -> None:  # noqa: ANN401 - moto's own
        """Drop versions that nobody names, the oldest first; refuse where none is old enough.

        https://docs.aws.amazon.com/secretsmanager/latest/userguide/whats-in-a-secret.html#term_version
        """
        oldest_that_stays = self._now() - _VERSION_STAYS.total_seconds()
        for version_id, one in list(secret.versions.items()):
            if len(secret.versions) < _VERSIONS:
                return
            if not one["version_stages"] and one["createdate"] < oldest_that_stays:
                del secret.versions[version_id]
        if len(secret.versions) >= _VERSIONS:
            raise _Refusal(
                "LimitExceededException",
                "The request failed because it would exceed one of the Secrets Manager quotas.",
            )

    def _move_stage(self, call: _Call) -> dict[str, Any]:
        """https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_UpdateSecretVersionStage.html."""
        secret, stage = call.secret, str(call.asked.get("VersionStage"))
        source, target = call.asked.get("RemoveFromVersionId"), call.asked.get("MoveToVersionId")
        labels = _labels(secret)
        for version in filter(None, (source, target)):
            if version not in secret.versions:
                raise _no_value(f"VersionId: {version}")
        holder = labels.get(stage)
        if source and source != holder:
            raise _Refusal(
                "InvalidParameterException", f"The staging label {stage} is not attached to version {source}."
            )
        if stage == CURRENT and not target:
            raise _Refusal(
                "InvalidParameterException",
                f"You can only move staging label {CURRENT} to a different secret version."
                " It can't be completely removed.",
            )
        if holder and not source and holder != target:
            raise _Refusal(
                "InvalidParameterException",
                f"The parameter RemoveFromVersionId can't be empty. Staging label {stage} is currently attached to"
                f" version {holder}, so you must explicitly reference that version in RemoveFromVersionId.",
            )
        _relabel(secret, _moved(labels, stage, target))
        secret.last_changed_date = self._now()
        return {"ARN": secret.arn, "Name": secret.name}

    # -- moto -----------------------------------------------------------------------------------

    def _hand_on(self, call: _Call) -> dict[str, Any]:
        value = call.asked.get("SecretString")
        answer = self._ask_moto(call.region, call.action, call.asked)
        if value:
            self._secrets.add(str(value))
        return answer

    def _ask_moto(self, region: str, action: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Have moto's server application answer; raise what it refuses, with the service's one HTTP status."""
        answer = _moto().post(
            "/",
            base_url=f"https://{_SERVICE}.{region}.amazonaws.com",
            headers={"x-amz-target": f"{_SERVICE}.{action}", "x-moto-account-id": self.account_id},
            content_type=MEDIA_TYPE,
            data=json.dumps(asked),
        )
        content = json.loads(answer.get_data() or b"{}")
        if answer.status_code >= 500 or not isinstance(content, dict):
            raise _Refusal("InternalServiceError", "An error occurred on the server side.")
        if answer.status_code >= 400:
            raise _Refusal(content.get("__type", "ValidationException"), content.get("message", ""))
        return content

    @property
    def users(self) -> Any:  # noqa: ANN401 - moto's own
        """The state that moto keeps of this account's IAM."""
        return self._iam_backends["aws"]

    @functools.cached_property
    def _backends(self) -> Any:  # noqa: ANN401 - moto's own
        """The state that moto keeps for this account, by region; it goes when this object goes."""
        _moto()
        from moto.secretsmanager.models import secretsmanager_backends  # noqa: PLC0415 - heavy; see above

        return self._kept(secretsmanager_backends)

    @functools.cached_property
    def _iam_backends(self) -> Any:  # noqa: ANN401 - moto's own
        """The same, of IAM."""
        _moto()
        from moto.iam.models import iam_backends  # noqa: PLC0415 - heavy; see above

        return self._kept(iam_backends)

    def _kept(self, backends: Any) -> Any:  # noqa: ANN401 - moto's own
        weakref.finalize(self, backends.pop, self.account_id, None).atexit = False
        return backends[self.account_id]

    def _find(self, region: str, secret_id: str) -> Any:  # noqa: ANN401 - moto's own
        return self._backends[region].secrets.get(secret_id) if secret_id else None

    def _existing(self, region: str, secret_id: str) -> Any:  # noqa: ANN401 - moto's own
        secret = self._find(region, secret_id)
        if secret is None:
            raise KeyError(secret_id)
        return secret

    def _now(self) -> float:
        return round(self.clock.now().timestamp(), 3)


@functools.cache
def _moto() -> Client:
    """Return a client of moto's server application for Secrets Manager; there is one for the process."""
    from moto.moto_server.werkzeug_app import create_backend_app  # noqa: PLC0415 - heavy; see the module's docstring
    from werkzeug.test import Client  # noqa: PLC0415 - comes with moto

    return Client(create_backend_app("secretsmanager"))


def untimely(request: Request, now: datetime) -> str:
    """Say in AWS' words what is wrong with the time that a request was signed at; empty for nothing.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html
    """
    told = request.headers.get("x-amz-date", "")
    try:
        signed = datetime.strptime(told, _AMZ_DATE).replace(tzinfo=timezone.utc)
    except ValueError:
        return ""
    here = now.strftime(_AMZ_DATE)
    if signed < (earliest := now - _TAKEN_FOR):
        return f"Signature expired: {told} is now earlier than {earliest:{_AMZ_DATE}} ({here} - 5 min.)"
    if signed > (latest := now + _TAKEN_FOR):
        return f"Signature not yet current: {told} is still later than {latest:{_AMZ_DATE}} ({here} + 5 min.)"
    return ""


def signature(  # noqa: PLR0913, PLR0917 - each is one part of what is signed
    request: Request, body: bytes, signed: Sequence[str], identity: Identity, region: str, service: str = _SERVICE
) -> str:
    """Compute the signature that a request should carry, from the headers it says are signed."""
    from botocore.auth import SigV4Auth  # noqa: PLC0415 - comes with moto
    from botocore.awsrequest import AWSRequest  # noqa: PLC0415 - the same
    from botocore.credentials import Credentials  # noqa: PLC0415 - the same

    headers = {name: request.headers.get(name, "") for name in signed}
    same = AWSRequest(method=request.method, url=str(request.url), data=body, headers=headers)
    same.context["timestamp"] = request.headers.get("x-amz-date", "")
    auth = SigV4Auth(Credentials(identity.access_key_id, identity.secret_access_key), service, region)
    return str(auth.signature(auth.string_to_sign(same, auth.canonical_request(same)), same))


def _new_key_id(kind: str) -> str:
    return kind + "".join(secrets.choice(string.ascii_uppercase + "234567") for _ in range(16))


def _labels(secret: Any) -> dict[str, str]:  # noqa: ANN401 - moto's own
    """Return which version each staging label is attached to."""
    return {stage: version for version, one in secret.versions.items() for stage in one["version_stages"]}


def _moved(labels: Mapping[str, str], stage: str, target: str | None) -> dict[str, str]:
    """Return the labels once one is moved, or taken away; AWSPREVIOUS follows AWSCURRENT."""
    moved = {**labels, stage: target} if target else {name: at for name, at in labels.items() if name != stage}
    former = labels.get(stage)
    if stage == CURRENT and former and former != target:
        moved[PREVIOUS] = former
    return moved


def _relabel(secret: Any, labels: Mapping[str, str]) -> None:  # noqa: ANN401 - moto's own
    for version_id, one in secret.versions.items():
        one["version_stages"] = [stage for stage, at in labels.items() if at == version_id]
    secret.set_default_version_id(labels.get(CURRENT))


def _value_of(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return the value that a request carries, both kinds of it; empty where it carries none."""
    value = {name: asked.get(name) for name in ("SecretString", "SecretBinary")}
    return value if any(value.values()) else {}


def _no_value(what: str) -> _Refusal:
    return _Refusal("ResourceNotFoundException", f"Secrets Manager can't find the specified secret value for {what}")


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        asked = json.loads(body or b"{}")
    except ValueError:
        asked = None
    if not isinstance(asked, dict):
        raise _Refusal("SerializationException", "The body is not a JSON object.", spelling="message")
    return asked
