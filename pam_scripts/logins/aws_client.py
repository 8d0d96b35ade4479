"""Calls to AWS with boto3, which is an optional extra on the Gateway's host (requirements-aws.txt)."""

from __future__ import annotations

import functools
import io
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from pam_scripts.core import http
from pam_scripts.core.errors import ApiError, BadInput, Refused
from pam_scripts.core.refusals import Refusal
from pam_scripts.logins.aws import Identity

_AWS_DOMAINS = r"(?:amazonaws\.com(?:\.cn)?|api\.aws|amazonwebservices\.com\.cn)"
_BUSY = {"ThrottlingException", "Throttling"}


@dataclass(frozen=True, repr=False)
class Service:
    """One service of AWS, as messages and boto3 name it.

    system: as messages begin. name: boto3's. asked_by: what asks for it, as messages say it. refusal_of: what an
    answer means, by its code and message. is_answer: whether what came is an answer of the service, and not a web page.
    """

    system: str
    name: str
    asked_by: str
    refusal_of: Callable[[str, str], Refusal | None]
    is_answer: Callable[[Mapping[str, Any]], bool]


class Client:
    """Calls to a service with boto3, sent through our session: its deadline, proxy and CAs hold here too.

    host: the one it is to be asked at, where that is not the service's in the region.
    """

    def __init__(
        self, service: Service, region: str, identity: Identity, session: http.Session, host: str = ""
    ) -> None:
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
            from botocore.loaders import Loader  # noqa: PLC0415
            from botocore.parsers import ResponseParserError  # noqa: PLC0415
        except ImportError:
            raise BadInput(
                f"{service.asked_by} needs the package boto3, which is not installed",
                next_step="install requirements-aws.txt into the virtualenv that the script runs with",
            ) from None
        self._errors: tuple[type[Exception], ...] = (BotoCoreError,)
        self._refusals: tuple[type[Exception], ...] = (ClientError,)
        self._no_credential: tuple[type[Exception], ...] = (NoCredentialsError,)
        # A file of the host that should have a token is none of the network's errors.
        no_file = (FileNotFoundError, PermissionError, IsADirectoryError)
        self._lost_credential: tuple[type[Exception], ...] = (CredentialRetrievalError, SSOError, *no_file)
        self._unreadable: tuple[type[Exception], ...] = (ResponseParserError,)
        self._status: int | None = None
        self.region = region
        self._service = service
        self._session = session
        self._answer = AWSResponse
        try:
            # Of the environment and of configuration files only the identity counts, for this client and for those
            # that fetch a role's keys: endpoints are AWS's own.
            core = botocore.session.Session()
            core.register_component("data_loader", _own_descriptions(Loader))
            core.set_config_variable("ignore_configured_endpoint_urls", value=True)
            self._client = boto3.session.Session(botocore_session=core).client(
                service.name,
                region_name=region,
                endpoint_url=f"https://{host}" if host else None,
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
        except (BotoCoreError, OSError, ValueError, TypeError, LookupError) as error:
            # What an odd variable ends in, or a program that should tell the credential and tells something else.
            names = ", ".join(sorted(name for name in os.environ if name.startswith("AWS_"))) or "none is set"
            raise BadInput(
                f"the AWS settings of this host cannot be used ({type(error).__name__}; variables: {names})",
                next_step="look at the AWS_ variables of the Gateway's service, and at the files in its .aws folder",
            ) from None
        self._client.meta.events.register(f"before-send.{service.name}", self._send)

    def ask(self, action: str, operation: str, **parameters: Any) -> dict[str, Any]:  # noqa: ANN401 - boto3's own
        """Make one call; raise ApiError for any answer but the one that was asked for."""
        system, self._status = self._service.system, None
        try:
            answer = getattr(self._client, operation)(**parameters)
        except self._refusals as error:
            raise self._refused(action, getattr(error, "response", {})) from None
        except self._no_credential:
            raise Refused(
                f"{system}: {action}: no AWS credential was found",
                next_step="attach a record with the two 'aws_' key fields, or give the host a role",
            ) from None
        except self._lost_credential as error:
            raise Refused(
                f"{system}: {action}: the host's AWS credential could not be obtained ({type(error).__name__})",
                next_step="log in anew on the host as the Gateway's user, or give the host a role, or attach a record "
                "with the two 'aws_' key fields",
            ) from None
        except self._unreadable as error:
            # A page of something on the way, whose status counts all the same.
            told = http.phrase(self._status) if self._status else f"the answer is not readable ({type(error).__name__})"
            raise ApiError(system, action, told, code=self._status) from None
        except self._errors as error:
            raise ApiError(system, action, f"no usable answer ({type(error).__name__})") from None
        except OSError as error:
            raise http.no_answer(system, action, error) from None
        except (TypeError, ValueError, AttributeError, LookupError) as error:
            # What botocore's own reading of a strange answer (a web page, half a body) ends in.
            raise ApiError(system, action, f"the answer is not readable ({type(error).__name__})") from None
        if not isinstance(answer, dict) or not self._service.is_answer(answer):
            raise ApiError(system, action, "the answer is not readable")
        return answer

    def _send(self, request: Any, **_: object) -> Any:  # noqa: ANN401 - botocore's own
        address = urlsplit(request.url)
        known = rf"{self._service.name}[a-z0-9.-]*\.{_AWS_DOMAINS}"
        if address.scheme != "https" or not re.fullmatch(known, address.hostname or ""):
            raise BadInput(
                f"{self._service.system}: boto3 would send the secret to {address.hostname}, which is not a host of "
                "AWS",
                next_step="look for what leads it there: AWS_ variables and files of the host",
            )
        headers = {name: text.decode() if isinstance(text, bytes) else text for name, text in request.headers.items()}
        answer = self._session.request(request.method, request.url, headers=headers, data=request.body)
        self._status = answer.status_code if answer.status_code >= HTTPStatus.BAD_REQUEST else None
        return self._answer(request.url, answer.status_code, answer.headers, _Body(answer.content))

    def _refused(self, action: str, response: Mapping[str, Any]) -> ApiError:
        name = str(response.get("Error", {}).get("Code") or "")
        about = response.get("ResponseMetadata", {})
        code = about.get("HTTPStatusCode")
        message = str(response.get("Error", {}).get("Message") or "")
        known = self._service.refusal_of(name, message)
        detail = "; ".join(part for part in (http.code_in(name), known.said if known else "") if part)
        return ApiError(
            self._service.system,
            action,
            http.phrase(code) + (f" ({detail})" if detail else "") if code else "the answer is not readable",
            code=code,
            name=http.code_in(name),
            retry_after=http.retry_after(about.get("HTTPHeaders") or {}),
            next_step=known.way_out if known else "",
            busy=name in _BUSY,
        )


class _Body(io.BytesIO):
    """An answer's body, as botocore reads it."""

    def stream(self, **_: object) -> Iterator[bytes]:
        """Give all of it."""
        yield self.read()


@functools.cache
def _own_descriptions(loader: Any) -> Any:  # noqa: ANN401 - botocore's own
    """Return what reads botocore's own descriptions of services, of which IAM's is large: one for all clients.

    Never those in a host's `.aws/models` or where AWS_DATA_PATH leads: they say at which address a service is.
    """
    return loader(extra_search_paths=[loader.BUILTIN_DATA_PATH], include_default_search_paths=False)
