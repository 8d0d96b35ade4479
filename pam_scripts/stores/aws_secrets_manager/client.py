"""Calls to AWS Secrets Manager with boto3, which is an optional extra on the Gateway's host (requirements-aws.txt)."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from pam_scripts.core import http
from pam_scripts.core.errors import ApiError, BadInput, Refused
from pam_scripts.stores.aws_secrets_manager import Identity
from pam_scripts.stores.aws_secrets_manager.refusals import SYSTEM, refusal_of

_AWS_HOST = r"secretsmanager[a-z0-9.-]*\.(?:amazonaws\.com(?:\.cn)?|api\.aws|amazonwebservices\.com\.cn)"
_BUSY = {"ThrottlingException", "Throttling"}


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
