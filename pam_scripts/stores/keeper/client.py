"""Keeper's Secrets Manager on the wire: the official SDK, over the run's own session.

https://docs.keeper.io/en/keeperpam/secrets-manager/developer-sdk-library/python-sdk
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, TypeVar

import requests
from keeper_secrets_manager_core import SecretsManager
from keeper_secrets_manager_core.crypto import CryptoUtils
from keeper_secrets_manager_core.dto.payload import KSMHttpResponse
from keeper_secrets_manager_core.storage import InMemoryKeyValueStorage
from keeper_secrets_manager_core.utils import bytes_to_base64

from pam_scripts.core import http
from pam_scripts.core.errors import ApiError, BadInput, PamScriptError
from pam_scripts.core.http import Session
from pam_scripts.stores.keeper import SYSTEM

T = TypeVar("T")


class Client(SecretsManager):  # type: ignore[misc]  # the SDK is published without types
    """The official SDK, over the run's own session: bounded in time, one connection, errors in our words."""

    def __init__(self, config: Mapping[str, str], session: Session) -> None:
        try:
            CryptoUtils.der_base64_private_key_to_private_key(config["privateKey"])
        except Exception:  # noqa: BLE001 - whatever the SDK's reading of a damaged key ends in
            raise BadInput("the Secrets Manager configuration is damaged: its 'privateKey' is not a key") from None
        try:
            # The SDK reads it, though here certificates are checked whatever it says.
            super().__init__(config=InMemoryKeyValueStorage(dict(config)))
        except ValueError:
            raise BadInput(
                "the environment variable KSM_SKIP_VERIFY is neither true nor false",
                next_step="take it out of the environment of the Gateway's service: it has no effect here",
            ) from None
        self._session = session

    def post_function(  # the SDK's is static, and called through self
        self,
        url: str,
        transmission_key: Any,  # noqa: ANN401 - the SDK's own types
        encrypted_payload_and_signature: Any,  # noqa: ANN401
        _verify: object = True,
        _proxy: object = None,
    ) -> Any:  # noqa: ANN401
        """Post one encrypted request; raise ApiError for every answer the SDK would wait or stumble over."""
        action = url.rpartition("/")[2].replace("_", " ")
        headers = {
            "Content-Type": "application/octet-stream",
            "PublicKeyId": str(transmission_key.publicKeyId),
            "TransmissionKey": bytes_to_base64(transmission_key.encryptedKey),
            "Authorization": f"Signature {bytes_to_base64(encrypted_payload_and_signature.signature)}",
        }
        body = encrypted_payload_and_signature.encrypted_payload
        try:
            response = self._session.post(url, headers=headers, data=body)
        except requests.RequestException as error:
            raise http.no_answer(SYSTEM, action, error) from None
        if response.status_code != HTTPStatus.OK:
            _refuse_unless_key(response, action)
        elif action == "get secret" and not response.content:
            raise ApiError(SYSTEM, action, "the answer is empty")
        return KSMHttpResponse(response.status_code, response.content, response)

    def fetch(self, uids: Sequence[str]) -> dict[str, Any]:
        """Return the records with these UIDs (all that are shared for none), those that can be read, by UID."""
        answer = _readable("get secret", lambda: self.get_secrets(list(uids) or None, full_response=True))
        if answer.bad_records or answer.bad_folders:
            raise ApiError(SYSTEM, "get secret", "a record in the answer cannot be decrypted")
        return {record.uid: record for record in answer.records}

    def update(self, record: Any) -> None:  # noqa: ANN401
        """Save a record whose `dict` was changed; refused where its revision is no longer the newest."""
        record.raw_json = json.dumps(record.dict)
        _readable("update secret", lambda: self.save(record))


def _readable(action: str, ask: Callable[[], T]) -> T:
    try:
        return ask()
    except PamScriptError:
        raise
    except Exception as error:  # noqa: BLE001 - the SDK lets whatever a strange answer causes through
        raise ApiError(SYSTEM, action, f"the answer is not readable ({type(error).__name__})") from None


def _refuse_unless_key(response: requests.Response, action: str) -> None:
    """Raise for an error answer, unless the server asks for another key: the SDK answers that itself."""
    try:
        answer = response.json()
        name = str(answer.get("result_code") or answer.get("error") or "")
        wait = answer.get("retry_after")
    except (requests.JSONDecodeError, AttributeError):
        name, wait = "", None
    if name == "key":
        return
    code = HTTPStatus.TOO_MANY_REQUESTS if name == "throttled" else response.status_code
    pause = float(wait) if isinstance(wait, int | float) else http.retry_after(response.headers)
    cause = http.phrase(code) + (f" ({name})" if re.fullmatch(r"\w{1,60}", name) else "")
    next_step = ""
    if name in ("access_denied", "invalid_signature", "invalid_client"):
        next_step = "check that the Gateway's Secrets Manager application and its device are not locked or removed"
    raise ApiError(SYSTEM, action, cause, code=code, retry_after=pause, next_step=next_step)
