"""Amazon S3: the buckets of one account, as `moto` keeps them, at the service's real host names.

https://docs.aws.amazon.com/AmazonS3/latest/API/Welcome.html

What is asked goes to moto's own server application. In front of it stands who is asking, and what they may do: the
identities are those of `Aws`, the signature is computed again by botocore.
"""

from __future__ import annotations

import functools
import re
import secrets
import weakref
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.routing import Route

from sandbox.services import Refusal

if TYPE_CHECKING:
    from starlette.requests import Request
    from werkzeug.test import Client

    from sandbox.services.aws import Aws

_METHODS = {"GET": "s3:GetObject", "HEAD": "s3:GetObject", "PUT": "s3:PutObject", "DELETE": "s3:DeleteObject"}
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 +Credential=(?P<key>[^/,\s]+)/(?P<scope>[^,\s]+), *"
    r"SignedHeaders=(?P<headers>[^,\s]+), *Signature=(?P<signature>[0-9a-f]{64})"
)


class S3:
    """The buckets of an account, each at BUCKET.s3.REGION.amazonaws.com; an object is read, written and deleted.

    Not served: requests that name the bucket in the path, signatures in the query, sessions that assume a role.
    """

    def __init__(self, aws: Aws) -> None:
        self.aws = aws
        self.hosts: tuple[str, ...] = tuple(f"*.s3.{region}.amazonaws.com" for region in aws.regions)
        self.app = Starlette(routes=[Route("/{key:path}", self._endpoint, methods=list(_METHODS))])

    def add_bucket(self, name: str) -> None:
        """Make a bucket in the first region; names are one for all accounts, as AWS has them."""
        from moto.s3.models import s3_backends  # noqa: PLC0415 - heavy, as in `aws`

        backend = s3_backends[self.aws.account_id]["aws"]
        backend.create_bucket(name, self.aws.regions[0])
        weakref.finalize(self, backend.delete_bucket, name).atexit = False

    def secrets(self) -> set[str]:
        """Return none: the keys are those of `Aws`."""
        return set()

    async def _endpoint(self, request: Request) -> Response:
        body = await request.body()
        try:
            self._let_in(request, body)
        except Refusal as refusal:
            content = f"<Error><Code>{refusal.code}</Code><Message>{escape(refusal.message)}</Message></Error>"
            return Response(content, refusal.status, media_type="application/xml")
        return await run_in_threadpool(self._ask_moto, request, body)

    def _let_in(self, request: Request, body: bytes) -> None:
        """Refuse whom S3 does not know, and what they may not do.

        https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
        """
        bucket, _, region = (request.url.hostname or "").removesuffix(".amazonaws.com").rsplit(".", 2)
        given = _AUTHORIZATION.fullmatch(request.headers.get("authorization", ""))
        if not given:
            raise Refusal(403, "AccessDenied", "Access Denied")
        key_id = given["key"]
        identity = self.aws.identity(key_id)
        if identity is None:
            message = "The AWS Access Key Id you provided does not exist in our records."
            raise Refusal(403, "InvalidAccessKeyId", message)
        day = request.headers.get("x-amz-date", "")[:8]
        expected = _signature(request, body, given["headers"].split(";"), (key_id, identity.secret_access_key), region)
        is_for_here = given["scope"] == f"{day}/{region}/s3/aws4_request"
        if not is_for_here or not secrets.compare_digest(expected, given["signature"]):
            message = (
                "The request signature we calculated does not match the signature you provided. Check your key and"
                " signing method."
            )
            raise Refusal(403, "SignatureDoesNotMatch", message)
        if not identity.may(_METHODS[request.method], bucket):
            raise Refusal(403, "AccessDenied", "Access Denied")

    def _ask_moto(self, request: Request, body: bytes) -> Response:
        own = ("content-length", "transfer-encoding")
        headers = [(name, value) for name, value in request.headers.items() if name not in own]
        answer = _moto().open(
            request.url.path,
            method=request.method,
            base_url=f"https://{request.url.hostname}",
            query_string=request.url.query,
            headers=[*headers, ("x-moto-account-id", self.aws.account_id)],
            data=body,
        )
        kept = {name: value for name, value in answer.headers.items() if name.lower() != "content-length"}
        return Response(answer.get_data(), answer.status_code, kept)


@functools.cache
def _moto() -> Client:
    """Return a client of moto's server application for S3; there is one for the process."""
    from moto.moto_server.werkzeug_app import create_backend_app  # noqa: PLC0415 - heavy, as in `aws`
    from werkzeug.test import Client  # noqa: PLC0415 - comes with moto

    return Client(create_backend_app("s3"))


def _signature(request: Request, body: bytes, signed: list[str], key: tuple[str, str], region: str) -> str:
    """Compute the signature that a request should carry, from the headers it says are signed."""
    from botocore.auth import S3SigV4Auth  # noqa: PLC0415 - comes with moto
    from botocore.awsrequest import AWSRequest  # noqa: PLC0415 - the same
    from botocore.credentials import Credentials  # noqa: PLC0415 - the same

    headers = {name: request.headers.get(name, "") for name in signed}
    # The path as it was sent: an object's name is signed with the quoting that the client chose.
    url = f"https://{request.url.hostname}{request.scope['raw_path'].decode()}?{request.url.query}"
    same = AWSRequest(method=request.method, url=url, data=body, headers=headers)
    same.context["timestamp"] = request.headers.get("x-amz-date", "")
    auth = S3SigV4Auth(Credentials(*key), "s3", region)
    return str(auth.signature(auth.string_to_sign(same, auth.canonical_request(same)), same))
