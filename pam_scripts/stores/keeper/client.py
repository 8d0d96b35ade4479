"""A client of Keeper's Secrets Manager: the official SDK, over the run's own session.

https://docs.keeper.io/en/keeperpam/secrets-manager/developer-sdk-library/python-sdk
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from http import HTTPStatus
from typing import Any, NamedTuple, TypeAlias, TypeVar

import requests
from keeper_secrets_manager_core import SecretsManager
from keeper_secrets_manager_core.configkeys import ConfigKeys
from keeper_secrets_manager_core.crypto import CryptoUtils
from keeper_secrets_manager_core.dto.dtos import Record
from keeper_secrets_manager_core.dto.payload import KSMHttpResponse
from keeper_secrets_manager_core.keeper_globals import keeper_public_keys
from keeper_secrets_manager_core.storage import InMemoryKeyValueStorage
from keeper_secrets_manager_core.utils import base64_to_bytes, bytes_to_base64

from pam_scripts.core import http, retry
from pam_scripts.core.errors import ApiError, BadInput, PamScriptError
from pam_scripts.core.http import Session
from pam_scripts.stores.keeper import CANNOT_BE_DECRYPTED, SYSTEM
from pam_scripts.stores.keeper.refusals import CHANGING_KEY, THROTTLED, THROTTLED_CODE, UNKNOWN_KEY, WAYS_OUT

T = TypeVar("T")


# What a call is made within, by its name: `get secret`. It may wait before it, and sees when it has ended.
Paced: TypeAlias = Callable[[str], AbstractContextManager[object]]

# Until when no call may be made with a device's configuration, by its client id: what each of this process's runs
# goes by, since every call would begin Keeper's count of the device's calls anew.
_QUIET_UNTIL: dict[str, float] = {}


def quiet_for(device: str) -> float:
    """Return the seconds for which no call may be made with a device's configuration. device: its client id."""
    return max(0.0, _QUIET_UNTIL.get(device, 0.0) - time.monotonic())


class Fetched(NamedTuple):
    """What came of fetching.

    records: the SDK's own, by UID. left_out: UIDs of records that cannot be decrypted. damaged: all that cannot be,
    as messages name it.
    """

    records: Mapping[str, Any]
    left_out: Collection[str]
    damaged: Sequence[str]

    @property
    def remarks(self) -> list[str]:
        """What is to be said of it."""
        return [f"{SYSTEM}: {each} {CANNOT_BE_DECRYPTED}, and is left out" for each in self.damaged]


class Client(SecretsManager):  # type: ignore[misc]  # the SDK is published without types
    """The official SDK, over the run's own session: bounded in time, one connection, errors in our words."""

    def __init__(self, config: Mapping[str, str], session: Session, paced: Paced = contextlib.nullcontext) -> None:
        """Make it. paced: what every call is made within."""
        try:
            CryptoUtils.der_base64_private_key_to_private_key(config["privateKey"])
        except Exception:  # noqa: BLE001 - whatever the SDK's reading of a damaged key ends in
            raise BadInput(
                "the Secrets Manager configuration is damaged: its 'privateKey' is not a key",
                next_step="take the Gateway's own configuration anew, as it was written",
            ) from None
        try:
            # The SDK reads it, though here certificates are checked whatever it says.
            super().__init__(config=InMemoryKeyValueStorage(dict(config)))
        except ValueError:
            raise BadInput(
                "the environment variable KSM_SKIP_VERIFY is neither true nor false",
                next_step="take it out of the environment of the Gateway's service: it has no effect here",
            ) from None
        self._session = session
        self._paced = paced
        self._device = config["clientId"]
        self._key_was_changed = False

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
        if left := quiet_for(self._device):
            raise _throttled(action, left)
        headers = {
            "Content-Type": "application/octet-stream",
            "PublicKeyId": str(transmission_key.publicKeyId),
            "TransmissionKey": bytes_to_base64(transmission_key.encryptedKey),
            "Authorization": f"Signature {bytes_to_base64(encrypted_payload_and_signature.signature)}",
        }
        body = encrypted_payload_and_signature.encrypted_payload
        try:
            with self._paced(action):
                response = self._session.post(url, headers=headers, data=body)
        except requests.RequestException as error:
            raise http.no_answer(SYSTEM, action, error) from None
        if response.status_code != HTTPStatus.OK:
            self._refuse_unless_key(response, action)
        elif action == "get secret" and not response.content:
            raise ApiError(SYSTEM, action, "the answer is empty")
        return KSMHttpResponse(response.status_code, response.content, response)

    def fetch(self, uids: Sequence[str]) -> Fetched:
        """Return the records with these UIDs, all that are shared for none.

        What cannot be decrypted is left out, and says nothing of the rest. A record that is shared in several ways
        comes once for each, and is editable if any of them says so.
        """
        answer = self._readable("get secret", lambda: self.get_secrets(list(uids) or None, full_response=True))
        copies, left_out, damaged = list(answer.records), list[str](), list[str]()
        app_key = base64_to_bytes(self.config.get(ConfigKeys.KEY_APP_KEY))
        unread = [(one["r"], app_key, "") for one in answer.bad_records]
        for folder in (one["f"] for one in answer.bad_folders):
            key, uid = _folder_key(folder, app_key), _uid(folder, "folderUid")
            if key:
                # One damaged record keeps the SDK from reading any other of its folder.
                unread += [(item, key, uid) for item in _items(folder)]
                continue
            inside = [_uid(item, "recordUid") for item in _items(folder)]
            left_out += inside
            damaged.append(f"shared folder {uid}, with the records {', '.join(inside) or 'none'}")
        for item, key, folder_uid in unread:
            uid = _uid(item, "recordUid")
            record = _record(item, key, folder_uid)
            if record is None:
                left_out.append(uid)
                damaged.append(f"record {uid}")
            else:
                copies.append(record)
                damaged += [f"a file of record {uid}"] if item.get("files") and not record.files else []
        records: dict[str, Any] = {}
        for copy in copies:
            same = records.setdefault(copy.uid, copy)
            same.is_editable = same.is_editable or copy.is_editable
        return Fetched(records, {*left_out} - records.keys(), damaged)

    def update(self, record: Any) -> None:  # noqa: ANN401
        """Save a record whose `dict` was changed; refused where its revision is no longer the newest."""
        record.raw_json = json.dumps(record.dict)
        self._readable("update secret", lambda: self.save(record))

    # -- within -----------------------------------------------------------------------------------

    def _readable(self, action: str, ask: Callable[[], T]) -> T:
        self._key_was_changed = False
        try:
            return ask()
        except PamScriptError:
            raise
        except Exception as error:  # noqa: BLE001 - the SDK lets whatever a strange answer causes through
            raise ApiError(SYSTEM, action, f"the answer is not readable ({type(error).__name__})") from None

    def _refuse_unless_key(self, response: requests.Response, action: str) -> None:
        """Raise for an error answer, unless the server asks for another key: the SDK answers that itself, once."""
        try:
            answer = response.json()
            name = str(answer.get("result_code") or answer.get("error") or "")
            wait, key_id = answer.get("retry_after"), answer.get("key_id")
        except (requests.JSONDecodeError, AttributeError):
            name, wait, key_id = "", None, None
        if name == "key":
            self._follow_key(action, str(key_id))
            return
        named = float(str(wait)) if re.fullmatch(r"[0-9]{1,6}(\.[0-9]*)?", str(wait)) else None
        pause = http.retry_after(response.headers) if named is None else named
        if name == THROTTLED_CODE:
            pause = max(retry.silence(), pause or 0.0)
            _QUIET_UNTIL[self._device] = time.monotonic() + pause
            raise _throttled(action, pause)
        code = response.status_code
        cause = http.phrase(code) + (f" ({name})" if re.fullmatch(r"\w{1,60}", name) else "")
        raise ApiError(SYSTEM, action, cause, code=code, retry_after=pause, next_step=WAYS_OUT.get(name, ""))

    def _follow_key(self, action: str, key_id: str) -> None:
        """Let the SDK take the key that the server asks for; raise ApiError where it cannot, or was asked before."""
        known = self.config.get(ConfigKeys.KEY_SERVER_PUBLIC_KEY) or key_id in keeper_public_keys
        if not known or self._key_was_changed:
            refusal = CHANGING_KEY if known else UNKNOWN_KEY
            raise ApiError(SYSTEM, action, refusal.said, permanent=True, next_step=refusal.way_out)
        self._key_was_changed = True


def _throttled(action: str, pause: float) -> ApiError:
    """Return the error for a device whose calls are not served until nobody calls with it for a while, in seconds."""
    return ApiError(
        SYSTEM,
        action,
        THROTTLED.said,
        code=HTTPStatus.FORBIDDEN,
        name=THROTTLED_CODE,
        retry_after=pause,
        quiet=True,
        next_step=THROTTLED.way_out,
    )


def _record(item: Mapping[str, Any], key: bytes, folder_uid: str) -> Any:  # noqa: ANN401 - the SDK's own type
    """Decrypt a record, where need be without its files, which no script reads; None where it is itself damaged."""
    for each in (item, {**item, "files": []}):
        with contextlib.suppress(Exception):  # whatever the SDK's reading of a damaged record ends in
            return Record(each, key, folder_uid)
    return None


def _folder_key(folder: Mapping[str, Any], app_key: bytes) -> bytes:
    """Decrypt a shared folder's key; empty where it is damaged."""
    with contextlib.suppress(Exception):  # as with a record
        return bytes(CryptoUtils.decrypt_aes(base64_to_bytes(folder["folderKey"]), app_key))
    return b""


def _items(folder: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    return (item for item in folder.get("records") or () if isinstance(item, Mapping))


def _uid(item: Mapping[str, Any], name: str) -> str:
    found = item.get(name)
    return found if isinstance(found, str) and re.fullmatch(r"[\w-]{1,64}", found) else "without a UID"
