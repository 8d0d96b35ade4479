"""AWS Secrets Manager: a mirror of the credential in one secret, with the one before it as AWSPREVIOUS.

https://docs.aws.amazon.com/secretsmanager/latest/userguide/whats-in-a-secret.html

One secret is written at once, so a reader never sees a mixed pair. The secret itself is not made
here: its KMS key, policy and replicas are for whoever owns the account to choose.

boto3 is an optional extra on the Gateway's host (requirements-aws.txt), imported where it is used.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from pam_scripts.core import http
from pam_scripts.core.errors import ApiError, BadInput, Refused
from pam_scripts.core.fields import TEXT, Field, Fields, Record, Text
from pam_scripts.core.limits import NAMES, Limit
from pam_scripts.core.refusals import Refusal
from pam_scripts.core.secret import Secret
from pam_scripts.gateway.payload import Job
from pam_scripts.gateway.request import CA_BUNDLE
from pam_scripts.gateway.specs import MirrorQuery, MirrorSpec
from pam_scripts.rotation.roles import Credential, Known, Mirror, Publication, Snapshot, Sought
from pam_scripts.rotation.shape import Shape, Target
from pam_scripts.stores import ADOPT_SECRETS, Adoption, not_ours
from pam_scripts.stores.aws_secrets_manager.refusals import (
    DELETED,
    MANAGED,
    REPLICA,
    ROTATED,
    SYSTEM,
    TOO_LONG,
    refusal_of,
)

CURRENT, PREVIOUS = "AWSCURRENT", "AWSPREVIOUS"

LABEL = "aws_secret_id"

_REGION = r"[a-z]{2}(?:-[a-z]+)+-[0-9]"

SECRET_ID = Field(
    LABEL,
    "name or ARN of a secret in AWS Secrets Manager; empty: no mirror there",
    Text(r"[A-Za-z0-9_/+=.@:-]{1,2048}", "a secret's name (letters, digits and /_+=.@-) or its ARN"),
    prompt="name or ARN of the secret in AWS Secrets Manager that mirrors it; leave this for none",
)
REGION = Field(
    "aws_region",
    "the region of that secret; empty: as its ARN or the PAM AWS Configuration says",
    Text(_REGION, "a region such as eu-central-1"),
    prompt="the region of that secret; leave this for the one in its ARN or in the PAM AWS Configuration",
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
SESSION_TOKEN = Field(
    "aws_session_token",
    "the session token of a temporary access key, which ends within 36 hours; empty: the key is one that lasts",
    TEXT,
    prompt="session token, where the access key is a temporary one; leave this for none",
    type="secret",
)

ALLOW_AWS_SECRETS = Field(
    "allow_aws_secrets",
    "secrets that this credential may write, as `aws_secret_id` names them, with commas, * for any characters; "
    "empty: any",
    NAMES,
    prompt="secrets in AWS that this credential may write, with commas; leave this for any",
)

ADMIN_FIELDS: Fields = (ACCESS_KEY_ID, SECRET_ACCESS_KEY, SESSION_TOKEN, ALLOW_AWS_SECRETS, CA_BUNDLE)

MOST_BYTES = 65536
"""What a secret holds: https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html."""

# What a secret holds that never held a credential: there is no way to take the only version away again.
_EMPTY = "{}"
_AWS_HOST = r"secretsmanager[a-z0-9.-]*\.(?:amazonaws\.com(?:\.cn)?|api\.aws|amazonwebservices\.com\.cn)"
_BINARY = "(binary)"
# A version's id has 64 characters at most, of which a rotation's id takes 25.
_DIGITS = 38
_ROTATION = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}")
_BUSY = {"ThrottlingException", "Throttling"}


def fields(_shape: Shape) -> Fields:
    """Return the fields that ask for a mirror."""
    return (SECRET_ID, REGION, ADOPT_SECRETS)


def read(job: Job, shape: Shape, target: Target) -> Sequence[MirrorSpec]:
    """Return the mirror that a record's `aws_secret_id` asks for, none where it is empty.

    Credentials: an attached record with `aws_access_key_id` and `aws_secret_access_key`, then the PAM
    AWS configuration, then what the host has (environment, instance role). Raises BadInput for a secret or a
    region that AWS could not have.
    """
    secret_id = SECRET_ID.read(job.user)
    if not secret_id:
        return ()
    named = re.match(r"arn:[a-z-]+:secretsmanager:([^:]+):", secret_id)
    configured = job.configuration.get("region_names").split() if job.configuration else []
    region = REGION.read(job.user) or (named[1] if named else "") or "".join(configured[:1])
    try:
        REGION.parser.read(region or "none")
    except ValueError:
        raise REGION.bad(job.user, region) from None
    identity = _identity(job)
    owners = job.owners_of(identity.record.uid if identity.record else "")
    limit = Limit.of(ALLOW_AWS_SECRETS, owners)
    limit.check(f"{job.user.shown}: secret {secret_id} in AWS", secret_id)
    # https://docs.aws.amazon.com/general/latest/gr/asm.html
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    adoption = Adoption.of(job, shape)
    place = Place(secret_id, region, identity, shape.owner_tag, target.tag_value)
    return (
        MirrorSpec(
            f"AWS Secrets Manager in {region}",
            lambda session: SecretMirror(Client(region, identity, session), secret_id, adoption, target.tag_value),
            {f"secretsmanager.{region}.{suffix}": 1},
            ca_bundle=CA_BUNDLE.read(identity.record) if identity.record else "",
            query=MirrorQuery(
                "pam_scripts.stores.aws_secrets_manager.survey", place, [secret_id], LABEL, (region, identity)
            ),
            limits=(limit,),
        ),
    )


@dataclass(frozen=True)
class Identity:
    """An access key, and the record that it is in; without a key it is the host's own. token: of a temporary one."""

    key_id: str = ""
    secret: Secret = field(default_factory=lambda: Secret(""))
    token: Secret = field(default_factory=lambda: Secret(""))
    record: Record | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Place:
    """A secret, who asks for it, and whose it should be: the tag of scripts' own secrets, and the target's mark."""

    secret_id: str
    region: str
    identity: Identity
    owner_tag: str
    owner: str


def _identity(job: Job) -> Identity:
    """Return the access key that a job comes with; without one it is the host's own identity."""
    found = [(each, ACCESS_KEY_ID.label, SECRET_ACCESS_KEY.label) for each in job.attached]
    if job.configuration:
        found += [(job.configuration, "access_key_id", secret) for secret in ("access_secret_key", "secret_access_key")]
    for record, key_id, secret in found:
        for each in (ACCESS_KEY_ID, SECRET_ACCESS_KEY, SESSION_TOKEN):
            each.read(record)
        if record.has(key_id, secret):
            token = record.get(SESSION_TOKEN.label)
            _check_token(record, key_id, is_temporary=record.get(key_id).startswith("ASIA"), has_token=bool(token))
            return Identity(record.get(key_id), Secret(record.get(secret)), Secret(token), record)
    return Identity()


def _check_token(record: Record, label: str, *, is_temporary: bool, has_token: bool) -> None:
    """Refuse a temporary key without its token, and a lasting one with a token: AWS would not know the key.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-prefixes
    """
    token = SESSION_TOKEN.label
    if is_temporary and not has_token:
        raise BadInput(
            f"{record.shown}: field '{token}' is empty, and '{label}' is a temporary access key",
            next_step="enter its session token there, or better a key that lasts: a temporary one ends within 36 hours",
        )
    if has_token and record.get(label).startswith("AKIA"):
        raise BadInput(
            f"{record.shown}: field '{token}' has a session token, and '{label}' is an access key that has none",
            next_step=f"empty '{token}', or enter the temporary access key that it belongs to",
        )


class Client:
    """Calls to Secrets Manager with boto3, sent through our session: its deadline, proxy and CAs hold here too."""

    def __init__(self, region: str, identity: Identity, session: http.Session) -> None:
        try:
            import boto3  # noqa: PLC0415 - an optional extra
            import botocore.session  # noqa: PLC0415
            from botocore.awsrequest import AWSResponse  # noqa: PLC0415
            from botocore.config import Config  # noqa: PLC0415
            from botocore.exceptions import (  # noqa: PLC0415
                BotoCoreError,
                ClientError,
                CredentialRetrievalError,
                NoCredentialsError,
                ProfileNotFound,
                SSOError,
            )
        except ImportError:
            raise BadInput(
                "field 'aws_secret_id' needs the package boto3, which is not installed",
                next_step="install requirements-aws.txt into the virtualenv that the script runs with",
            ) from None
        self._errors: tuple[type[Exception], ...] = (BotoCoreError,)
        self._refusals: tuple[type[Exception], ...] = (ClientError,)
        self._no_credential: tuple[type[Exception], ...] = (NoCredentialsError,)
        self._lost_credential: tuple[type[Exception], ...] = (CredentialRetrievalError, SSOError)
        self.region = region
        self._session = session
        self._answer = AWSResponse
        try:
            # Of the environment and of configuration files only the identity counts, for this client and for those
            # that fetch a role's keys: endpoints are AWS's own.
            core = botocore.session.Session()
            core.set_config_variable("ignore_configured_endpoint_urls", value=True)
            self._client = boto3.session.Session(botocore_session=core).client(
                "secretsmanager",
                region_name=region,
                aws_access_key_id=identity.key_id or None,
                aws_secret_access_key=identity.secret.reveal() or None,
                aws_session_token=identity.token.reveal() or None,
                # A write whose answer was lost is not repeated blindly; what is repeated here looks first.
                config=Config(
                    retries={"total_max_attempts": 1}, parameter_validation=False, ignore_configured_endpoint_urls=True
                ),
            )
        except ProfileNotFound:
            raise BadInput(
                "the environment variable AWS_PROFILE names a profile that is not there",
                next_step="correct it, or take it out of the environment of the Gateway's service",
            ) from None
        except BotoCoreError as error:
            raise BadInput(
                f"the AWS settings of this host cannot be used ({type(error).__name__})",
                next_step="look at the AWS_ variables of the Gateway's service, and at the files in its .aws folder",
            ) from None
        self._client.meta.events.register("before-send.secretsmanager", self._send)

    def ask(self, action: str, operation: str, **parameters: str | int | bool) -> dict[str, Any]:
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
        except self._lost_credential as error:
            raise Refused(
                f"{SYSTEM}: {action}: the host's AWS credential could not be obtained ({type(error).__name__})",
                next_step="log in anew on the host as the Gateway's user, or give the host a role, or attach a record "
                "with the two 'aws_' key fields",
            ) from None
        except self._errors as error:
            raise ApiError(SYSTEM, action, f"no usable answer ({type(error).__name__})") from None
        except OSError as error:
            raise http.no_answer(SYSTEM, action, error) from None
        except (TypeError, ValueError, AttributeError, LookupError) as error:
            # What botocore's own reading of a strange answer (a web page, half a body) ends in.
            raise ApiError(SYSTEM, action, f"the answer is not readable ({type(error).__name__})") from None
        # Every answer that is read here names the secret, or is the list of them; a web page does not.
        if not isinstance(answer, dict) or not (answer.get("ARN") or isinstance(answer.get("SecretList"), list)):
            raise ApiError(SYSTEM, action, "the answer is not readable")
        return answer

    def _send(self, request: Any, **_: object) -> Any:  # noqa: ANN401 - botocore's own
        address = urlsplit(request.url)
        if address.scheme != "https" or not re.fullmatch(_AWS_HOST, address.hostname or ""):
            raise BadInput(
                f"{SYSTEM}: boto3 would send the secret to {address.hostname}, which is not a host of AWS",
                next_step="look for what leads it there: AWS_ variables and files of the host",
            )
        headers = {name: text.decode() if isinstance(text, bytes) else text for name, text in request.headers.items()}
        answer = self._session.request(request.method, request.url, headers=headers, data=request.body)
        return self._answer(request.url, answer.status_code, answer.headers, _Body(answer.content))


class _Body(io.BytesIO):
    """An answer's body, as botocore reads it."""

    def stream(self, **_: object) -> Iterator[bytes]:
        """Give all of it."""
        yield self.read()


class SecretMirror(Mirror):
    """One secret.

    Its versions carry our mark in their ids, which are ours to give: they are made of the rotation's id and of whom
    the secret is for, so that they can be told from anybody else's. Tags would need another right.
    """

    def __init__(self, client: Client, secret_id: str, adoption: Adoption, owner: str) -> None:
        self._client = client
        self._id = secret_id
        self._adoption = adoption
        self._shape = adoption.shape
        self._mark = Mark(self._shape.owner_tag, owner)
        # What the look has seen: the versions' ids, that of what readers get first; and beside ours in a JSON object.
        self._versions: list[str] = []
        self._beside: Mapping[str, Any] = {}
        self._held = Snapshot({})

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
        return {self._id: self._value(credential.key_id, credential.secret.reveal())}

    def examine(self) -> Snapshot:
        """Read the secret; raise Refused where it cannot be written, or the next value would be too long for it."""
        described = self._ask("describe the secret", "describe_secret")
        if described.get("DeletedDate"):
            raise DELETED.as_error(f"{SYSTEM}: secret {self._id}")
        if why := why_not_written(described, self._id, self._client.region):
            raise why[1]
        found = self._fetch(VersionStage=CURRENT)
        *_, self._beside = self._shape.split(_text(found))
        # AWS tells of those versions that have a label: what readers get, what they got before.
        self._versions = [found.get("VersionId") or "", *(described.get("VersionIdsToStages") or {})]
        self._held = self._copy(found)
        self._refuse_what_does_not_fit()
        return self._held

    def adopt(self, known: Known) -> Sequence[str]:
        """Raise Refused for a secret of another target, or that nobody has marked and nothing tells to be ours."""
        what = f"{SYSTEM}: secret {self._id}"
        owned = [self._mark.is_on(version) for version in self._versions]
        if owned[0] is False or (False in owned and True not in owned):
            raise Refused(
                f"{what} was set by a rotation of another target, not of {self._mark.owner}",
                next_step="give one of the two records another secret",
            )
        if True in owned:
            return ()
        held = self._held
        reason = self._adoption.reason(held.parts.get(self._id, ""), held.key_id, self.parts, self._id, known)
        if not reason:
            raise not_ours(what)
        return [f"{self.name} is taken over, since {reason}"]

    def read(self) -> Snapshot:
        """Read the version that readers get."""
        return self._copy(self._fetch(VersionStage=CURRENT))

    def write(self, publication: Publication) -> None:
        """Put the value as a new version, which becomes AWSCURRENT; the same rotation puts the same version."""
        for part in self.parts(publication.credential).values():
            self._put(self._beside_others(part), self._mark.of(publication.rotation_id))

    def put_back(
        self, before: Snapshot, publication: Publication | None, listed: Collection[str] | None = None
    ) -> None:
        """Make the version current again that was before, where this publication is current now.

        What another writer has put since is brought back rather than what was there before it, unless its key is
        not listed any more.
        """
        if publication is None:
            return
        written, now = self.parts(publication.credential), self.read()
        if not now.holds(written):
            return
        if before.restore_point:
            since = self._copy(self._fetch(VersionStage=PREVIOUS))
            is_dead = listed is not None and since.key_id and since.key_id not in listed
            former = before if is_dead or not since.restore_point else since
            self._ask(
                "put the secret back",
                "update_secret_version_stage",
                VersionStage=CURRENT,
                MoveToVersionId=former.restore_point,
                RemoveFromVersionId=now.restore_point,
            )
        else:
            # The same value with the same token is the same version, too.
            self._put(_EMPTY, str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self._id} {publication.rotation_id} put back")))
        if self.read().holds(written):
            raise ApiError(SYSTEM, f"put back secret {self._id}", "it reads back unchanged")

    def older(self, sought: Sought) -> Callable[[], Secret]:
        """Find the value: in the version that a rotation has set, by the id that this has, or as AWSPREVIOUS.

        AWS keeps versions without a label for a day at least. What is current is looked at, too: a roll back that was
        interrupted may have been here.
        """
        stages = [self._fetch(VersionStage=stage) for stage in (PREVIOUS, CURRENT)]
        for found in (*(self._fetch(VersionId=self._mark.of(one)) for one in sought.rotations), *stages):
            text, key_id, _ = self._shape.split(_text(found))
            Secret(text)
            if self._shape.id_label and key_id == sought.key_id:
                value = Secret(str(json.loads(text)[self._shape.value_label]))
                return lambda: value
            if not self._shape.id_label and self._is_of(found, stages, sought):
                if own := self._shape.value_in(text):
                    return lambda: Secret(own)
                raise Refused(f"{self.name}: holds no text that the record's template makes of a value")
        raise Refused(f"{self.name}: has no version of it")

    def _is_of(self, found: Mapping[str, Any], stages: Sequence[Mapping[str, Any]], sought: Sought) -> bool:
        """Say whether a version is one of those rotations', or what was there just before the one that is named."""
        version = str(found.get("VersionId") or "")
        if sought.rotations:
            return version in {self._mark.of(one) for one in sought.rotations}
        previous, current = stages
        follows = current.get("VersionId") == self._mark.of(sought.before)
        return bool(version) and found is previous and follows and not rotation_in(version)

    # Nothing is outdated: AWS keeps the version before as AWSPREVIOUS, and drops older ones by itself.

    # -- within -----------------------------------------------------------------------------------

    def _value(self, key_id: str, value: str) -> str:
        """Return what the secret holds of a credential."""
        return self._shape.combine(key_id, value) if self._shape.id_label else self._shape.form(value)

    def _beside_others(self, value: str) -> str:
        """Return a new value together with what stands beside it in a JSON object."""
        return json.dumps({**self._beside, **json.loads(value)}) if self._beside else value

    def _refuse_what_does_not_fit(self) -> None:
        sample = self._shape.sample
        size = len(self._beside_others(self._value(sample, sample)).encode())
        if size > MOST_BYTES:
            raise Refused(
                f"{SYSTEM}: put the secret {self._id}: with the new value it would have {size} bytes, and a secret "
                f"takes {MOST_BYTES}",
                next_step=TOO_LONG.way_out,
            )

    def _fetch(self, **which: str) -> dict[str, Any]:
        """Return the version with a label, or an id; nothing where there is none."""
        try:
            return self._ask("read the secret", "get_secret_value", **which)
        except ApiError as error:
            # A secret without any version; that there is a secret, `examine` has seen.
            if error.name != "ResourceNotFoundException":
                raise
            return {}

    def _copy(self, found: Mapping[str, Any]) -> Snapshot:
        text = _text(found)
        if text in ("", _EMPTY):
            return Snapshot({}, restore_point=found.get("VersionId"))
        Secret(text)
        part, key_id, _ = self._shape.split(text)
        return Snapshot({self._id: part}, key_id, "" if key_id else "a value", found.get("VersionId"))

    def _put(self, text: str, token: str) -> None:
        # The same token with the same value is the same version: a put may be repeated.
        self._ask("put the secret", "put_secret_value", SecretString=text, ClientRequestToken=token)

    def _ask(self, action: str, operation: str, **parameters: str) -> dict[str, Any]:
        return self._client.ask(f"{action} {self._id}", operation, SecretId=self._id, **parameters)


@dataclass(frozen=True)
class Mark:
    """What tells the versions that one target's rotations have set: ids made of the rotation's, and of whom it is for.

    owner_tag, owner: as the tag of a secret elsewhere has it.
    """

    owner_tag: str
    owner: str

    def of(self, rotation_id: str) -> str:
        """Return the id of the version that a rotation of this target sets."""
        whom = f"{self.owner_tag}={self.owner} {rotation_id}"
        return f"{rotation_id}-{hashlib.sha256(whom.encode()).hexdigest()[:_DIGITS]}"

    def is_on(self, version: str) -> bool | None:
        """Say whether a rotation of this target has set a version, or one of another's; None where it was neither."""
        if version == self.of(rotation_in(version)):
            return True
        return False if rotation_in(version) else None


def rotation_in(version: str) -> str:
    """Return the id of the rotation that has set a version, empty where none has."""
    rotation_id, _, digest = version.rpartition("-")
    return rotation_id if _ROTATION.fullmatch(rotation_id) and len(digest) == _DIGITS else ""


def why_not_written(described: Mapping[str, Any], secret_id: str, region: str) -> tuple[Refusal, Refused] | None:
    """Return why a secret is not ours to write, and the error for it; None where it is.

    It may be a replica, one that AWS rotates, or another service's.
    """
    what, primary = f"{SYSTEM}: secret {secret_id}", str(described.get("PrimaryRegion") or region)
    if primary != region:
        known = primary if re.fullmatch(_REGION, primary) else "another region"
        return REPLICA, REPLICA.as_error(f"{what} in {region}", f" {known}")
    if described.get("OwningService"):
        return MANAGED, MANAGED.as_error(what)
    if described.get("RotationEnabled"):
        return ROTATED, ROTATED.as_error(what)
    return None


def _text(found: Mapping[str, Any]) -> str:
    # What is not text is nothing of ours, but something.
    return found.get("SecretString") or (_BINARY if found.get("SecretBinary") else "")


def _refused(action: str, response: Mapping[str, Any]) -> ApiError:
    name = str(response.get("Error", {}).get("Code") or "")
    about = response.get("ResponseMetadata", {})
    code = about.get("HTTPStatusCode")
    message = str(response.get("Error", {}).get("Message") or "")
    known = refusal_of(name, message)
    detail = "; ".join(part for part in (http.code_in(name), known.said if known else "") if part)
    return ApiError(
        SYSTEM,
        action,
        http.phrase(code) + (f" ({detail})" if detail else "") if code else "the answer is not readable",
        code=code,
        name=http.code_in(name),
        retry_after=http.retry_after(about.get("HTTPHeaders") or {}),
        next_step=known.way_out if known else "",
        busy=name in _BUSY,
    )
