"""AWS Secrets Manager: a mirror of the credential in one secret, with the one before it as AWSPREVIOUS.

https://docs.aws.amazon.com/secretsmanager/latest/userguide/whats-in-a-secret.html

One secret is written at once, so a reader never sees a mixed pair. The secret itself is not made
here: its KMS key, policy and replicas are for whoever owns the account to choose.

boto3 is an optional extra on the Gateway's host (requirements-aws.txt), imported where it is used.
"""

from __future__ import annotations

import io
import json
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pam_scripts.core import http
from pam_scripts.core.errors import ApiError, BadInput, Refused
from pam_scripts.core.fields import TEXT, Field, Fields, Text
from pam_scripts.core.secret import Secret
from pam_scripts.gateway.payload import Job
from pam_scripts.gateway.specs import MirrorSpec
from pam_scripts.rotation.roles import Copy, Credential, Mirror, Publication
from pam_scripts.rotation.shape import Shape, Target

SYSTEM = "aws secrets manager"
CURRENT, PREVIOUS = "AWSCURRENT", "AWSPREVIOUS"

LABEL = "aws_secret_id"

SECRET_ID = Field(
    LABEL,
    "name or ARN of a secret in AWS Secrets Manager; empty: no mirror there",
    Text(r"[\w/+=.@:-]{1,2048}", "a secret's name (letters, digits and /_+=.@-) or its ARN"),
    prompt="name or ARN of the secret in AWS Secrets Manager that mirrors it; leave this for none",
)
REGION = Field(
    "aws_region",
    "the region of that secret; empty: as its ARN or the PAM AWS configuration says",
    Text(r"[a-z]{2}(?:-[a-z]+)+-\d", "a region such as eu-central-1"),
    prompt="the region of that secret; leave this for the one in its ARN or in the PAM AWS configuration",
)
ACCESS_KEY_ID = Field(
    "aws_access_key_id",
    "access key id of the AWS identity that the script acts as",
    TEXT,
    prompt="access key id of the AWS identity",
)
SECRET_ACCESS_KEY = Field(
    "aws_secret_access_key",
    "that identity's secret access key",
    TEXT,
    prompt="secret access key of that identity",
    type="secret",
)

ADMIN_FIELDS: Fields = (ACCESS_KEY_ID, SECRET_ACCESS_KEY)

# What a secret holds that never held a credential: there is no way to take the only version away again.
_EMPTY = "{}"
_BUSY = {"ThrottlingException", "LimitExceededException"}
_NEXT_STEPS = {
    "AccessDeniedException": "grant secretsmanager:DescribeSecret, GetSecretValue, PutSecretValue and "
    "UpdateSecretVersionStage on the secret, and the use of its KMS key",
    "ResourceNotFoundException": "make the secret first, or check 'aws_secret_id' and 'aws_region'",
    "UnrecognizedClientException": "check the AWS access key: attached record, PAM configuration, or instance role",
    "InvalidSignatureException": "check the AWS secret access key, and the host's clock",
    "DecryptionFailure": "grant the use of the secret's KMS key",
}


def fields(_shape: Shape) -> Fields:
    """Return the fields that ask for a mirror."""
    return (SECRET_ID, REGION)


def read(job: Job, shape: Shape, _target: Target) -> Sequence[MirrorSpec]:
    """Return the mirror that a record's `aws_secret_id` asks for, none where it is empty.

    Credentials: an attached record with `aws_access_key_id` and `aws_secret_access_key`, then the PAM
    AWS configuration, then what the host has (environment, instance role). Raises BadInput for a secret or a
    region that AWS could not have.
    """
    secret_id = SECRET_ID.read(job.user)
    if not secret_id:
        return ()
    named = re.match(r"arn:[\w-]+:secretsmanager:([\w-]+):", secret_id)
    configured = job.configuration.get("region_names").split() if job.configuration else []
    region = REGION.read(job.user) or (named[1] if named else "") or "".join(configured[:1])
    try:
        REGION.takes.read(region or "none")
    except ValueError:
        raise REGION.bad(job.user, region) from None
    key_id, secret = _keys(job)
    # https://docs.aws.amazon.com/general/latest/gr/asm.html
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    hosts = {f"secretsmanager.{region}.{suffix}": 1}
    return (
        MirrorSpec(
            secret_id,
            lambda session: SecretMirror(Wire(region, key_id, secret, session), secret_id, shape),
            hosts,
        ),
    )


def _keys(job: Job) -> tuple[str, Secret]:
    """Return the access key a job comes with; empty means the host's own identity."""
    found = [(each, ACCESS_KEY_ID.label, SECRET_ACCESS_KEY.label) for each in job.attached]
    if job.configuration:
        found += [(job.configuration, "access_key_id", secret) for secret in ("access_secret_key", "secret_access_key")]
    for record, key_id, secret in found:
        if record.has(key_id, secret):
            return record.get(key_id), Secret(record.get(secret))
    return "", Secret("")


class Wire:
    """Calls to Secrets Manager with boto3, sent through our session: its deadline, proxy and CAs hold here too."""

    def __init__(self, region: str, key_id: str, secret: Secret, session: http.Session) -> None:
        try:
            import boto3  # noqa: PLC0415 - an optional extra
            from botocore.awsrequest import AWSResponse  # noqa: PLC0415
            from botocore.config import Config  # noqa: PLC0415
            from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError  # noqa: PLC0415
        except ImportError:
            raise BadInput(
                "field 'aws_secret_id' needs the package boto3, which is not installed",
                next_step="install requirements-aws.txt into the virtualenv that the script runs with",
            ) from None
        self._errors: tuple[type[Exception], ...] = (BotoCoreError,)
        self._refusals: tuple[type[Exception], ...] = (ClientError,)
        self._no_credential: tuple[type[Exception], ...] = (NoCredentialsError,)
        self._session = session
        self._answer = AWSResponse
        self._client = boto3.client(
            "secretsmanager",
            region_name=region,
            aws_access_key_id=key_id or None,
            aws_secret_access_key=secret.reveal() or None,
            # A write whose answer was lost is not repeated blindly; what is repeated here looks first.
            config=Config(retries={"total_max_attempts": 1}, parameter_validation=False),
        )
        self._client.meta.events.register("before-send.secretsmanager", self._send)

    def ask(self, action: str, operation: str, **parameters: str) -> dict[str, Any]:
        """Make one call; raise ApiError for any answer but the one that was asked for."""
        try:
            answer = getattr(self._client, operation)(**parameters)
        except self._refusals as error:
            raise _refused(action, getattr(error, "response", {})) from None
        except self._no_credential:
            raise Refused(
                f"{SYSTEM}: {action}: no AWS credential was found",
                next_step="attach a record with the two 'aws_' key fields, or give the host a role",
            ) from None
        except self._errors as error:
            raise ApiError(SYSTEM, action, f"no usable answer ({type(error).__name__})") from None
        except OSError as error:
            raise http.no_answer(SYSTEM, action, error) from None
        except (TypeError, ValueError, AttributeError, LookupError) as error:
            # What botocore's own reading of a strange answer (a web page, half a body) ends in.
            raise ApiError(SYSTEM, action, f"the answer is not readable ({type(error).__name__})") from None
        # Every answer that is read here names the secret; a web page does not.
        if not isinstance(answer, dict) or not answer.get("ARN"):
            raise ApiError(SYSTEM, action, "the answer is not readable")
        return answer

    def _send(self, request: Any, **_: object) -> Any:  # noqa: ANN401 - botocore's own
        headers = {name: text.decode() if isinstance(text, bytes) else text for name, text in request.headers.items()}
        answer = self._session.request(request.method, request.url, headers=headers, data=request.body)
        return self._answer(request.url, answer.status_code, answer.headers, _Body(answer.content))


class _Body(io.BytesIO):
    """An answer's body, as botocore reads it."""

    def stream(self, **_: object) -> Iterator[bytes]:
        """Give all of it."""
        yield self.read()


class SecretMirror(Mirror):
    """One secret."""

    def __init__(self, wire: Wire, secret_id: str, shape: Shape) -> None:
        self._wire = wire
        self._id = secret_id
        self._shape = shape

    @property
    def name(self) -> str:
        """The secret as messages name it."""
        return f"AWS Secrets Manager {self._id}"

    @property
    def places(self) -> Sequence[str]:
        """The one secret."""
        return [self.name]

    def parts(self, credential: Credential) -> Mapping[str, str]:
        """Return the secret's value once it holds this credential."""
        shape, value = self._shape, credential.secret.reveal()
        if shape.id_label:
            return {self._id: json.dumps({shape.id_label: credential.key_id, shape.value_label: value})}
        return {self._id: shape.form(value)}

    def examine(self) -> Copy:
        """Read the secret; raise Refused where it is to be deleted, or AWS itself rotates it."""
        described = self._ask("describe the secret", "describe_secret")
        if described.get("DeletedDate"):
            raise Refused(f"{SYSTEM}: secret {self._id} is scheduled for deletion", next_step="restore it first")
        if described.get("RotationEnabled"):
            raise Refused(
                f"{SYSTEM}: AWS itself rotates secret {self._id}",
                next_step="turn its rotation off, or take it out of 'aws_secret_id'",
            )
        return self.read()

    def read(self) -> Copy:
        """Read the version that readers get."""
        try:
            found = self._ask("read the secret", "get_secret_value", VersionStage=CURRENT)
        except ApiError as error:
            # A secret without any version; that there is a secret, `examine` has seen.
            if error.name != "ResourceNotFoundException":
                raise
            return Copy({})
        text = found.get("SecretString") or ""
        if text in ("", _EMPTY):
            return Copy({}, restore_point=found.get("VersionId"))
        Secret(text)
        key_id = self._key_id(text)
        return Copy({self._id: text}, key_id, "" if key_id else "a value", found.get("VersionId"))

    def write(self, publication: Publication) -> None:
        """Put the value as a new version, which becomes AWSCURRENT; the same rotation puts the same version."""
        for text in self.parts(publication.credential).values():
            self._put(text, publication.rotation_id)

    def put_back(self, before: Copy, publication: Publication | None) -> None:
        """Make the version current again that was right before this publication, where that is current now.

        It is the one that was examined, unless another writer came between.
        """
        if publication is None:
            return
        written, now = self.parts(publication.credential), self.read()
        if not now.holds(written):
            return
        if former := self._replaced() or before.restore_point:
            self._ask(
                "put the secret back",
                "update_secret_version_stage",
                VersionStage=CURRENT,
                MoveToVersionId=former,
                RemoveFromVersionId=now.restore_point,
            )
        else:
            self._put(_EMPTY, f"{publication.rotation_id} put back")
        if self.read().holds(written):
            raise ApiError(SYSTEM, f"put back secret {self._id}", "it reads back unchanged")

    # Nothing is outdated: AWS keeps the version before as AWSPREVIOUS, and drops older ones by itself.

    # -- within -----------------------------------------------------------------------------------

    def _replaced(self) -> str:
        """Return the id of the version that the current one has replaced, empty where it is the first."""
        versions = self._ask("describe the secret", "describe_secret").get("VersionIdsToStages") or {}
        return next((version for version, stages in versions.items() if PREVIOUS in stages), "")

    def _put(self, text: str, about: str) -> None:
        # The same token with the same value is the same version: a put may be repeated.
        token = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self._id} {about}"))
        self._ask("put the secret", "put_secret_value", SecretString=text, ClientRequestToken=token)

    def _key_id(self, text: str) -> str:
        try:
            held = json.loads(text) if self._shape.id_label else {}
        except ValueError:
            held = {}
        return str(held.get(self._shape.id_label) or "") if isinstance(held, dict) else ""

    def _ask(self, action: str, operation: str, **parameters: str) -> dict[str, Any]:
        return self._wire.ask(f"{action} {self._id}", operation, SecretId=self._id, **parameters)


def _refused(action: str, response: Mapping[str, Any]) -> ApiError:
    name = str(response.get("Error", {}).get("Code") or "")
    about = response.get("ResponseMetadata", {})
    code = about.get("HTTPStatusCode")
    name = name if re.fullmatch(r"[A-Za-z]{1,60}", name) else ""
    return ApiError(
        SYSTEM,
        action,
        http.phrase(code) + (f" ({name})" if name else "") if code else "the answer is not readable",
        code=code,
        name=name,
        retry_after=http.retry_after(about.get("HTTPHeaders") or {}),
        next_step=_NEXT_STEPS.get(name, ""),
        busy=name in _BUSY,
    )
