"""IAM and STS of the AWS account that `aws` has: users and their access keys, as `moto` keeps them.

https://docs.aws.amazon.com/IAM/latest/APIReference/API_Operations.html
https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html

IAM has one endpoint for a whole partition, signed for one of its regions; STS has one for each region. What concerns
users and keys goes to moto's server application. In front of it stands what moto leaves out: who is asking, what they
may do, whether their key is active, when a key was last used, what a policy would allow, and other partitions.
"""

from __future__ import annotations

import functools
import re
import secrets
import uuid
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from sandbox.services import Refusal
from sandbox.services.aws import AUTHORIZATION, TURN, Aws, Identity, signature, untimely

if TYPE_CHECKING:
    from starlette.requests import Request
    from werkzeug.test import Client

    from sandbox.clock import Clock


@dataclass(frozen=True)
class Partition:
    """A part of AWS with users of its own, of whom the others know nothing: its one host of IAM, and those of STS.

    https://docs.aws.amazon.com/general/latest/gr/iam-service.html
    https://docs.aws.amazon.com/general/latest/gr/sts.html

    signed_for: the region in the signature of what is sent to IAM.
    """

    name: str
    iam_host: str
    signed_for: str
    regions: tuple[str, ...]
    domain: str = "amazonaws.com"

    @property
    def hosts(self) -> tuple[str, ...]:
        """All of its hosts."""
        return (self.iam_host, *(f"sts.{region}.{self.domain}" for region in self.regions))


HOST = "iam.amazonaws.com"
PARTITIONS = {
    one.name: one
    for one in (
        Partition("aws", HOST, "us-east-1", ("us-east-1", "eu-central-1")),
        Partition(
            "aws-cn",
            "iam.cn-north-1.amazonaws.com.cn",
            "cn-north-1",
            ("cn-north-1", "cn-northwest-1"),
            "amazonaws.com.cn",
        ),
        Partition("aws-us-gov", "iam.us-gov.amazonaws.com", "us-gov-west-1", ("us-gov-west-1", "us-gov-east-1")),
    )
}

OWN_ACTIONS = (
    "iam:GetUser",
    "iam:ListAccessKeys",
    "iam:GetAccessKeyLastUsed",
    "iam:CreateAccessKey",
    "iam:UpdateAccessKey",
    "iam:DeleteAccessKey",
    "iam:SimulatePrincipalPolicy",
)
"""What a rotation asks of IAM, the right to ask ahead what is allowed included."""

_NAMESPACES = {
    "iam": "https://iam.amazonaws.com/doc/2010-05-08/",
    "sts": "https://sts.amazonaws.com/doc/2011-06-15/",
}
_INVALID = Refusal(403, "InvalidClientTokenId", "The security token included in the request is invalid.")


@dataclass
class User:
    """A user of the account. allowed: pairs of an action and a user's name, or `*`. keys: each one's secret, by id.

    times: when each was made.
    """

    name: str
    id: str
    allowed: set[tuple[str, str]] = field(default_factory=set)
    keys: dict[str, str] = field(default_factory=dict, repr=False)
    times: dict[str, datetime] = field(default_factory=dict)


class Iam:
    """The users of one account, and what says who is asking.

    unaccepted: how many uses of each new key are refused, as AWS does for some seconds until every host knows it.
    partition: the one that the account is in.
    """

    def __init__(self, clock: Clock, aws: Aws, partition: str = "aws") -> None:
        self.clock = clock
        self.aws = aws
        self.partition = PARTITIONS[partition]
        self.hosts: tuple[str, ...] = tuple(host for one in PARTITIONS.values() for host in one.hosts)
        self.unaccepted = 0
        self._users: dict[str, User] = {}
        self._left: dict[str, int] = {}
        self._refusals: list[Refusal] = []
        self.app = Starlette(routes=[Route("/", self._endpoint, methods=["POST"])])

    # -- what a test sets up and looks at -------------------------------------------------------

    def add_user(self, name: str, *actions: str) -> User:
        """Make a user; actions: what they may do to themselves."""
        with TURN:
            made = self.aws.users.create_user("us-east-1", name)
            self._users[name] = User(name, made.id, {(action, name) for action in actions})
        return self._users[name]

    def add_key(self, name: str, created_days_ago: float = 0) -> tuple[str, str]:
        """Make an access key of a user; return its id and its secret."""
        with TURN:
            made = self.aws.users.create_access_key(name)
            self._learn(made, created_days_ago)
            return made.access_key_id, made.secret_access_key

    def user(self, name: str) -> User:
        """Return a user, with every key they ever had."""
        return self._users[name]

    def status(self, key_id: str) -> str:
        """Return `Active` or `Inactive`; empty for a key that is not there."""
        with TURN:
            made = self._key(key_id)
            return made.status if made else ""

    def switch(self, key_id: str, *, active: bool) -> None:
        """Make a key active, or inactive."""
        with TURN:
            self._key(key_id).status = "Active" if active else "Inactive"
            self.aws.identities[key_id].active = active

    def use(self, key_id: str, service: str = "s3", days_ago: float = 0) -> None:
        """Have a key used, as somebody does who holds it."""
        from moto.iam.models import AccessKeyLastUsed  # noqa: PLC0415 - heavy; as in aws.py

        with TURN:
            moment = self.clock.now().timestamp() - days_ago * 86400
            told = datetime.fromtimestamp(int(moment), self.clock.now().tzinfo)
            self._key(key_id).last_used = AccessKeyLastUsed(told, service, "eu-central-1")

    def logs_in(self, key_id: str, value: str) -> bool:
        """Say whether an access key would be let in now."""
        with TURN:
            made = self._key(key_id)
            return bool(made) and made.status == "Active" and made.secret_access_key == value

    def delete_key(self, key_id: str) -> None:
        """Delete a key, by another hand."""
        with TURN:
            made = self._key(key_id)
            self.aws.users.delete_access_key(key_id, made.user_name)
            self.aws.identities.pop(key_id, None)

    def refuse(self, code: str, message: str = "", times: int = 1, status: int = 400) -> None:
        """Refuse the next so many requests to IAM, whatever they ask: for what does not come about here by itself."""
        with TURN:
            self._refusals = [Refusal(status, code, message)] * times

    def secrets(self) -> set[str]:
        """Return nothing: the account knows all of them."""
        return set()

    def _key(self, key_id: str) -> Any:  # noqa: ANN401 - moto's own
        found = (key for user in self._users for key in self.aws.users.list_access_keys(user))
        return next((key for key in found if key.access_key_id == key_id), None)

    def _learn(self, made: Any, created_days_ago: float = 0) -> None:  # noqa: ANN401 - moto's own
        """Let a key in that moto has made; its times are whole seconds."""
        user = self._users[made.user_name]
        moment = int(self.clock.now().timestamp() - created_days_ago * 86400)
        made.create_date = datetime.fromtimestamp(moment, self.clock.now().tzinfo)
        user.keys[made.access_key_id] = made.secret_access_key
        user.times[made.access_key_id] = made.create_date
        identity = Identity(user.name, made.access_key_id, made.secret_access_key)
        identity.allowed = user.allowed
        self.aws.add(identity)
        self._left[made.access_key_id] = self.unaccepted

    # -- who is asking --------------------------------------------------------------------------

    async def _endpoint(self, request: Request) -> Response:
        body = await request.body()
        service = (request.url.hostname or "").partition(".")[0]
        with TURN:
            try:
                return Response(self._serve(request, body, service), media_type="text/xml")
            except Refusal as refusal:
                content = (
                    f'<ErrorResponse xmlns="{_NAMESPACES[service]}"><Error><Type>Sender</Type>'
                    f"<Code>{refusal.code}</Code><Message>{escape(refusal.message)}</Message></Error>"
                    f"<RequestId>{uuid.uuid4()}</RequestId></ErrorResponse>"
                )
                return Response(content, refusal.status, media_type="text/xml")

    def _serve(self, request: Request, body: bytes, service: str) -> str:
        host = request.url.hostname or ""
        if host not in self.partition.hosts:
            raise _INVALID
        region = self.partition.signed_for if service == "iam" else host.split(".")[1]
        identity = self._authenticate(request, body, service, region)
        asked = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        action = asked.get("Action", "")
        if service == "sts":
            if action != "GetCallerIdentity":
                raise Refusal(400, "InvalidAction", f"Could not find operation {action} for version 2011-06-15")
            return self._who(identity)
        if self._refusals:
            raise self._refusals.pop()
        # A user is meant where none is named, and the key's own where a key alone is.
        named = asked.get("UserName", "")
        if action == "GetAccessKeyLastUsed":
            made = self._key(asked.get("AccessKeyId", ""))
            named = made.user_name if made else ""
        named = named or identity.name
        self._authorize(identity, f"iam:{action}", named)
        if action == "SimulatePrincipalPolicy":
            return self._simulate(asked)
        return self._hand_on(body, action, asked)

    def _authenticate(self, request: Request, body: bytes, service: str, region: str) -> Identity:
        given = AUTHORIZATION.fullmatch(request.headers.get("authorization", ""))
        if not given:
            raise Refusal(403, "MissingAuthenticationToken", "Request is missing Authentication Token")
        identity = self.aws.identity(given["key"])
        if identity is None or request.headers.get("x-amz-security-token", "") != identity.token:
            raise _INVALID
        made = self._key(identity.access_key_id)
        if self._left.get(identity.access_key_id, 0) > 0:
            self._left[identity.access_key_id] -= 1
            raise _INVALID
        if identity.ends_at and identity.ends_at <= self.clock.now():
            raise Refusal(403, "ExpiredToken", "The security token included in the request is expired")
        if late := untimely(request, self.clock.now()):
            raise Refusal(403, "SignatureDoesNotMatch", late)
        day = request.headers.get("x-amz-date", "")[:8]
        expected = signature(request, body, given["headers"].split(";"), identity, region, service)
        is_for_here = given["scope"] == f"{day}/{region}/{service}/aws4_request"
        if not is_for_here or not secrets.compare_digest(expected, given["signature"]):
            raise Refusal(
                403,
                "SignatureDoesNotMatch",
                "The request signature we calculated does not match the signature you provided. Check your AWS Secret"
                " Access Key and signing method. Consult the service documentation for details.",
            )
        if made:
            self.use(identity.access_key_id, service)
        return identity

    def _authorize(self, identity: Identity, action: str, named: str) -> None:
        if identity.may(action, named):
            return
        how = (
            "with an explicit deny in an identity-based policy"
            if action in identity.denied
            else f"because no identity-based policy allows the {action} action"
        )
        raise Refusal(
            403,
            "AccessDenied",
            f"User: {self._arn(identity)} is not authorized to perform: {action} on resource: user {named} {how}",
        )

    def _arn(self, identity: Identity) -> str:
        account = self.aws.account_id
        if identity.token:
            return f"arn:{self.partition.name}:sts::{account}:assumed-role/{identity.name}/session"
        return f"arn:{self.partition.name}:iam::{account}:user/{identity.name}"

    # -- the operations that moto does not have, or not so --------------------------------------

    def _who(self, identity: Identity) -> str:
        """https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html."""
        user = self._users.get(identity.name)
        user_id = user.id if user else "AIDAADMINISTRATOR234"
        return (
            f'<GetCallerIdentityResponse xmlns="{_NAMESPACES["sts"]}"><GetCallerIdentityResult>'
            f"<Arn>{self._arn(identity)}</Arn><UserId>{user_id}</UserId><Account>{self.aws.account_id}</Account>"
            f"</GetCallerIdentityResult><ResponseMetadata><RequestId>{uuid.uuid4()}</RequestId></ResponseMetadata>"
            "</GetCallerIdentityResponse>"
        )

    def _simulate(self, asked: dict[str, str]) -> str:
        """https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html."""
        arn, resource = asked.get("PolicySourceArn", ""), asked.get("ResourceArns.member.1", "")
        name = re.split(r"[:/]", arn)[-1]
        identity = next((one for one in self.aws.identities.values() if one.name == name), None)
        if identity is None:
            raise Refusal(404, "NoSuchEntity", f"Principal {arn} does not exist.")
        wanted = [text for label, text in sorted(asked.items()) if label.startswith("ActionNames.member.")]
        results = "".join(
            f"<member><EvalActionName>{action}</EvalActionName><EvalResourceName>{resource}</EvalResourceName>"
            f"<EvalDecision>{'allowed' if identity.may(action, resource.split('/')[-1]) else 'implicitDeny'}"
            "</EvalDecision></member>"
            for action in wanted
        )
        return (
            f'<SimulatePrincipalPolicyResponse xmlns="{_NAMESPACES["iam"]}"><SimulatePrincipalPolicyResult>'
            f"<IsTruncated>false</IsTruncated><EvaluationResults>{results}</EvaluationResults>"
            f"</SimulatePrincipalPolicyResult><ResponseMetadata><RequestId>{uuid.uuid4()}</RequestId>"
            "</ResponseMetadata></SimulatePrincipalPolicyResponse>"
        )

    def _hand_on(self, body: bytes, action: str, asked: dict[str, str]) -> str:
        """Have moto's server application answer; raise what it refuses."""
        answer = _moto().post(
            "/",
            base_url=f"https://{HOST}",
            headers={"x-moto-account-id": self.aws.account_id},
            content_type="application/x-www-form-urlencoded",
            data=body,
        )
        text = answer.get_data(as_text=True).replace("arn:aws:", f"arn:{self.partition.name}:")
        if answer.status_code >= 500:
            raise Refusal(500, "ServiceFailure", "The request processing has failed.")
        if answer.status_code >= 400:
            code, message = (re.search(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL) for tag in ("Code", "Message"))
            raise Refusal(answer.status_code, code[1] if code else "ValidationError", message[1] if message else "")
        if action == "CreateAccessKey":
            made = self.aws.users.list_access_keys(asked["UserName"])[-1]
            self._learn(made)
            told = made.create_date.strftime("%Y-%m-%dT%H:%M:%SZ")
            text = re.sub(r"<CreateDate>[^<]*</CreateDate>", f"<CreateDate>{told}</CreateDate>", text)
        if action == "UpdateAccessKey":
            self.aws.identities[asked["AccessKeyId"]].active = asked["Status"] == "Active"
        if action == "DeleteAccessKey":
            self.aws.identities.pop(asked["AccessKeyId"], None)
        return text


@functools.cache
def _moto() -> Client:
    """Return a client of moto's server application for IAM; there is one for the process."""
    from moto.moto_server.werkzeug_app import create_backend_app  # noqa: PLC0415 - heavy; as in aws.py
    from werkzeug.test import Client  # noqa: PLC0415 - comes with moto

    return Client(create_backend_app("iam"))
