"""Keeper Secrets Manager, as its SDKs speak with it.

The wire is the one the vendor's Python SDK (`keeper-secrets-manager-core`) sends and expects: one POST
per call under `/api/rest/sm/v1/`, a fresh AES key in each request wrapped for the server's P-256 key,
the body encrypted with it and signed by the client, the answer encrypted with it too; errors are
plain JSON. See https://docs.keeper.io/keeperpam/secrets-manager/about/security-encryption-model.

The server's key is made at start, and clients learn it from their configuration (`serverPublicKey`),
as in Keeper's isolated deployments. The real server cannot read records; this one keeps the record
keys too, so that tests can look inside and a person can "edit" a record in the vault.
"""

from __future__ import annotations

import base64
import hmac
import itertools
import json
import os
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.services import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from starlette.requests import Request

    from sandbox.clock import Clock

Field = dict[str, Any]
Data = dict[str, Any]

HOST = "keepersecurity.com"
# Outside the table of keys that the SDK ships, so that no client can take it for one of Keeper's own.
KEY_ID = 90
# What a device may call of one endpoint before a pause, by Keeper's SDKs; and how long that pause must be, in seconds.
CALLS_ALLOWED = 100
SILENCE = 10.0
FOLDER_NAME = "PAM"
_LOCATION = "default exception manager - api validation exception"


def text(label: str, value: str = "") -> Field:
    """Make a field of type `text`; empty has no value at all, as the vault stores it."""
    return _field("text", value, label)


def secret(label: str, value: str = "") -> Field:
    """Make a field of type `secret`, the one that the vault masks."""
    return _field("secret", value, label)


def multiline(label: str, value: str = "") -> Field:
    """Make a field of type `multiline`."""
    return _field("multiline", value, label)


def login(value: str = "") -> Field:
    """Make the standard field `login`, which has no label."""
    return _field("login", value)


def password(value: str = "") -> Field:
    """Make the standard field `password`, which has no label."""
    return _field("password", value)


def url(value: str = "") -> Field:
    """Make the standard field `url`, which has no label."""
    return _field("url", value)


class Keeper:
    """One Secrets Manager application with one bound device, and the vault behind it.

    hosts, app: where the service lives, and the ASGI application.
    checks_revisions: whether a save of anything but the current revision is refused. The SDK sends
        the revision it read; False models a backend that lets the last writer win.
    calls_allowed, silence: how many calls of one endpoint are served to a device that never pauses for so many
        seconds. What goes beyond is refused, and each refused call begins the seconds anew.
        https://github.com/external-secrets/external-secrets/issues/4107 has such an answer.
    unreadable: uids of records and of the folder whose keys reach the client wrapped for somebody else, so that
        it cannot decrypt them. damaged_files: uids of records with a file of which the same is true.
    refuses: the name of an error that every call of the device is refused with; empty for none.
    asks_for_key: a number of a public key that is asked for whatever a client names; None for none.

    Everything may be called from any thread: each call and each request holds one lock.
    """

    def __init__(self, clock: Clock) -> None:
        self.hosts: tuple[str, ...] = (HOST,)
        self.app = Starlette(routes=[Route("/api/rest/sm/v1/{call}", self._serve, methods=["POST"])])
        self.checks_revisions = True
        self._clock = clock
        self._lock = threading.RLock()
        self._records: dict[str, _Record] = {}
        # Whether the second copy of a record may be edited.
        self._shared_again: dict[str, bool] = {}
        # One counter for the whole vault: a record's revisions grow, but not by one.
        self._revisions = itertools.count(4_211)
        self.calls_allowed = CALLS_ALLOWED
        self.silence = SILENCE
        # Of each endpoint, the calls since the last pause, and when the last one came.
        self._called: dict[str, tuple[int, datetime]] = {}
        self.unreadable: set[str] = set()
        self.damaged_files: set[str] = set()
        self.asks_for_key: int | None = None
        self.refuses = ""
        self._throttled = 0
        self._retry_after: float | str = 0.0
        self._server_key = ec.generate_private_key(ec.SECP256R1())
        self._client_key = ec.generate_private_key(ec.SECP256R1())
        self._owner_key = ec.generate_private_key(ec.SECP256R1())
        token = os.urandom(32)
        client_id = hmac.digest(token, b"KEEPER_SECRETS_MANAGER_CLIENT_ID", "sha512")
        self._client_id = base64.b64encode(client_id).decode()
        self._app_key = os.urandom(32)
        self._folder_key = os.urandom(32)
        self._folder_uid = new_uid()
        self._calls: dict[str, Callable[[Data], bytes]] = {
            "get_secret": self._get_secret,
            "update_secret": self._update_secret,
            "finalize_secret_update": self._finalize_secret_update,
            "rollback_secret_update": self._rollback_secret_update,
        }

    # -- the vault, as a person sees it -----------------------------------------------------------

    def add_record(  # noqa: PLR0913 - a record has this many properties, each with its keyword
        self,
        record_type: str,
        title: str,
        *,
        fields: Sequence[Field] = (),
        custom: Sequence[Field] = (),
        uid: str | None = None,
        editable: bool = True,
        shared: bool = True,
        folder: bool = True,
        notes: str = "",
    ) -> str:
        """Put a record into the vault and return its uid, a new one where none is given.

        fields, custom: the standard and the custom fields, {"type", "label" (optional), "value": [...]}.
        shared: whether the application may read the record; editable: whether it may also save it.
        folder: shared through the shared folder, or else as a single record. The two reach a client
        under different keys.
        """
        uid = uid or new_uid()
        data = {
            "title": title,
            "type": record_type,
            "fields": list(fields),
            "custom": list(custom),
            "notes": notes,
        }
        with self._lock:
            now = self._clock.now()
            record = _Record(uid, editable=editable, shared=shared, folder=folder, saved_at=now)
            self._records[uid] = record
            self._store(record, data)
        return uid

    def edit(self, uid: str, change: Callable[[Data], None]) -> None:
        """Let a person edit the record in the vault: `change` alters the data it is given."""
        with self._lock:
            record = self._records[uid]
            data = _copy(record.data)
            change(data)
            self._store(record, data)

    def share(self, uid: str, shared: bool) -> None:
        """Give the application the record, or take it away."""
        with self._lock:
            self._records[uid].shared = shared

    def share_again(self, uid: str, *, editable: bool) -> None:
        """Share a record of the folder by itself as well, as a shortcut in another folder does: it then comes twice."""
        with self._lock:
            self._shared_again[uid] = editable

    @property
    def folder_uid(self) -> str:
        """The uid of the shared folder."""
        return self._folder_uid

    def set_editable(self, uid: str, editable: bool) -> None:
        """Let the application save the record, or only read it."""
        with self._lock:
            self._records[uid].editable = editable

    # -- what tests look at -----------------------------------------------------------------------

    def record(self, uid: str) -> Data:
        """Copy the record's current data: title, type, fields, custom, notes."""
        with self._lock:
            return _copy(self._records[uid].data)

    def value(self, uid: str, label: str) -> str | None:
        """Read the first value of the custom field with exactly this label; None if missing or empty."""
        for item in self.record(uid)["custom"]:
            if item.get("label") == label:
                values = item.get("value") or [""]
                return str(values[0]) if values[0] not in ("", None) else None
        return None

    def revision(self, uid: str) -> int:
        """Tell the record's revision; every save in the vault, of any record, takes the next number."""
        with self._lock:
            return self._records[uid].revision

    def saved_at(self, uid: str) -> datetime:
        """Tell when the current version was saved."""
        with self._lock:
            return self._records[uid].saved_at

    def history(self, uid: str) -> list[Data]:
        """Copy every version of the record that was ever saved, oldest first."""
        with self._lock:
            return [_copy(data) for data in self._records[uid].versions]

    # -- the application's device -----------------------------------------------------------------

    def config(self) -> dict[str, str]:
        """Make the configuration of the bound device, as the SDK's storages keep it."""
        der = self._client_key.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return {
            "hostname": HOST,
            "clientId": self._client_id,
            "privateKey": base64.b64encode(der).decode(),
            "appKey": base64.b64encode(self._app_key).decode(),
            "appOwnerPublicKey": base64.b64encode(_point(self._owner_key)).decode(),
            "serverPublicKeyId": str(KEY_ID),
            "serverPublicKey": base64.urlsafe_b64encode(_point(self._server_key)).decode().rstrip("="),
        }

    def config_base64(self) -> str:
        """Make the same configuration as one Base64 line, for `KSM_CONFIG` and `GATEWAY_CONFIG`."""
        return base64.b64encode(json.dumps(self.config()).encode()).decode()

    def secrets(self) -> set[str]:
        """Return what proves who the device is, in each form it is handed out in.

        What stands in records is not among it: its issuers know it, and the vault masks ids as well.
        """
        config = self.config()
        return {config["privateKey"], config["appKey"], self.config_base64()}

    def throttle(self, times: int, retry_after: float | str) -> None:
        """Answer the next `times` calls with `throttled` and this wait in seconds; 0 names none, as is usual."""
        with self._lock:
            self._throttled = times
            self._retry_after = retry_after

    # -- the wire ---------------------------------------------------------------------------------

    async def _serve(self, request: Request) -> Response:
        body = await request.body()
        try:
            with self._lock:
                transmission_key, asked = self._open(request, body)
                self._count(request.path_params["call"])
                call = self._calls.get(request.path_params["call"])
                if call is None:
                    raise Refusal(404, "not_found", "no such call in the sandbox")
                answer = call(asked)
        except Refusal as refusal:
            error = {"error": refusal.code, "message": refusal.message, **refusal.more}
            about = {"path": f"{request.url}, POST, {request.headers.get('user-agent', '')}", "additional_info": ""}
            return JSONResponse({**about, **error}, refusal.status)
        # A save has nothing to say; the SDK takes an empty body for that and does not decrypt it.
        return Response(_seal(transmission_key, answer) if answer else b"")

    def _open(self, request: Request, body: bytes) -> tuple[bytes, Data]:
        """Unwrap a request: its transmission key and what it asks for, from a client proven to be ours."""
        headers = request.headers
        if self.asks_for_key is not None:
            raise Refusal(401, "key", "use another server key", key_id=self.asks_for_key)
        if headers.get("publickeyid") != str(KEY_ID):
            raise Refusal(401, "key", "use another server key", key_id=KEY_ID)
        try:
            wrapped = base64.b64decode(headers["transmissionkey"])
            signature = base64.b64decode(headers["authorization"].removeprefix("Signature "))
            transmission_key = self._unwrap(wrapped)
            asked = json.loads(_unseal(transmission_key, body))
            client_id = asked["clientId"]
        except (KeyError, ValueError, TypeError, InvalidTag) as error:
            raise Refusal(400, "bad_request", "cannot decrypt the request") from error
        # The codes and words of these two are the real ones, as Keeper's older SDKs list them.
        if client_id != self._client_id:
            raise Refusal(403, "access_denied", "Unable to validate application access")
        try:
            self._client_key.public_key().verify(signature, wrapped + body, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature as error:
            raise Refusal(403, "access_denied", "Signature is invalid") from error
        return transmission_key, asked

    def _count(self, call: str) -> None:
        """Refuse a call of a device that has called too often; the one device that there is was proven before."""
        if self.refuses:
            raise Refusal(403, self.refuses, "Unable to validate application access", location=_LOCATION)
        now = self._clock.now()
        count, last = self._called.get(call, (0, now))
        count = 1 if (now - last).total_seconds() >= self.silence else count + 1
        self._called[call] = (count, now)
        if self._throttled or count > self.calls_allowed:
            self._throttled = max(0, self._throttled - 1)
            more: Data = {"additional_info": "throttled", "location": _LOCATION}
            if self._retry_after:
                more["retry_after"] = self._retry_after
            raise Refusal(403, "throttled", call, **more)

    def _unwrap(self, wrapped: bytes) -> bytes:
        # ECIES as Keeper does it: an uncompressed ephemeral point, then AES-GCM under its SHA-256'd secret.
        ephemeral = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), wrapped[:65])
        digest = hashes.Hash(hashes.SHA256())
        digest.update(self._server_key.exchange(ec.ECDH(), ephemeral))
        return _unseal(digest.finalize(), wrapped[65:])

    def _get_secret(self, asked: Data) -> bytes:
        # Nothing tells a client of records that it may not read: they are just not there.
        wanted = asked.get("requestedRecords")
        readable = [r for r in self._records.values() if r.shared and (not wanted or r.uid in wanted)]
        singles = [self._sealed_record(r, self._app_key, "") for r in readable if not r.folder]
        in_folder = [self._sealed_record(r, self._folder_key, self._folder_uid) for r in readable if r.folder]
        again = [r for r in readable if r.uid in self._shared_again]
        singles += [
            {**self._sealed_record(r, self._app_key, ""), "isEditable": self._shared_again[r.uid]} for r in again
        ]
        folder = {
            "folderUid": self._folder_uid,
            "folderKey": self._sealed_key(self._folder_uid, self._app_key, self._folder_key),
            "name": FOLDER_NAME,
            "records": in_folder,
        }
        app_data = json.dumps({"title": "Gateway", "type": "app"}).encode()
        answer = {
            "encryptedAppKey": None,
            "appData": base64.urlsafe_b64encode(_seal(self._app_key, app_data)).decode().rstrip("="),
            "records": singles,
            "folders": [folder] if in_folder else [],
            "expiresOn": 0,
            "warnings": None,
        }
        return json.dumps(answer).encode()

    def _sealed_key(self, uid: str, wrapping: bytes, key: bytes) -> str:
        """Wrap a key for the client, or for nobody where what it opens shall be unreadable."""
        return _sealed_text(os.urandom(32) if uid in self.unreadable else wrapping, key)

    def _sealed_record(self, record: _Record, shared_under: bytes, inner_folder: str) -> Data:
        damaged = {"fileUid": new_uid(), "fileKey": _sealed_text(os.urandom(32), b"key"), "data": "", "url": ""}
        return {
            "recordUid": record.uid,
            "recordKey": self._sealed_key(record.uid, shared_under, record.key),
            "data": _sealed_text(record.key, json.dumps(record.data).encode()),
            "revision": record.revision,
            "isEditable": record.editable,
            "innerFolderUid": inner_folder,
            "files": [damaged] if record.uid in self.damaged_files else [],
            "links": None,
        }

    def _update_secret(self, asked: Data) -> bytes:
        record = self._writable(asked)
        self._check_revision(record, asked.get("revision"))
        try:
            data = json.loads(_unseal(record.key, base64.urlsafe_b64decode(asked["data"])))
        except (KeyError, ValueError, TypeError, InvalidTag) as error:
            # The real server cannot look inside and would keep what nobody can read; here it is noticed.
            raise Refusal(400, "bad_request", "the record is not encrypted with its key") from error
        transaction = asked.get("transactionType")
        if transaction is None:
            self._store(record, data)
        elif transaction in ("general", "rotation"):
            record.held = (record.revision, data)
        else:
            raise Refusal(400, "bad_request", f"unknown transactionType {transaction}")
        return b""

    def _finalize_secret_update(self, asked: Data) -> bytes:
        record = self._writable(asked)
        read_at, data = self._take_held(record)
        # What Keeper does when somebody saved in between is not documented; silent loss would be worst.
        self._check_revision(record, read_at)
        self._store(record, data)
        return b""

    def _rollback_secret_update(self, asked: Data) -> bytes:
        self._take_held(self._writable(asked))
        return b""

    def _take_held(self, record: _Record) -> tuple[int, Data]:
        held, record.held = record.held, None
        if held is None:
            # Undocumented too: the loud answer was chosen.
            raise Refusal(400, "bad_request", "no transaction is open for this record")
        return held

    def _writable(self, asked: Data) -> _Record:
        record = self._records.get(str(asked.get("recordUid")))
        if record is None or not record.shared:
            raise Refusal(403, "access_denied", "the application has no access to this record")
        if not (record.editable or self._shared_again.get(record.uid)):
            raise Refusal(403, "access_denied", "the application may not edit this record")
        return record

    def _check_revision(self, record: _Record, revision: object) -> None:
        if self.checks_revisions and revision != record.revision:
            # The real status and code of this refusal are not published. This is the name that the vault's
            # own API has for it; callers must not depend on it, and fetch the record again instead.
            raise Refusal(400, "out_of_sync", "the record was changed since it was read")

    def _store(self, record: _Record, data: Data) -> None:
        record.versions.append(_copy(data))
        record.revision = next(self._revisions)
        record.saved_at = self._clock.now()


@dataclass
class _Record:
    """One record: its versions, its key, who may do what, and an update held for its transaction."""

    uid: str
    editable: bool
    shared: bool
    folder: bool
    saved_at: datetime
    key: bytes = field(default_factory=lambda: os.urandom(32), repr=False)
    versions: list[Data] = field(default_factory=list, repr=False)
    revision: int = 0
    held: tuple[int, Data] | None = field(default=None, repr=False)

    @property
    def data(self) -> Data:
        return self.versions[-1]


def _field(kind: str, value: str, label: str | None = None) -> Field:
    made: Field = {"type": kind, "value": [value] if value else []}
    return made if label is None else {**made, "label": label}


def _copy(data: Data) -> Data:
    # Many times as fast as `copy.deepcopy`.
    copied: Data = json.loads(json.dumps(data))
    return copied


def new_uid() -> str:
    """Make a uid for a record or folder: 16 bytes as 22 characters of Base64."""
    raw = os.urandom(16)
    # Keeper too avoids a uid that begins with a dash: command lines would take it for an option.
    return base64.urlsafe_b64encode(bytes([raw[0] & 0x7F]) + raw[1:]).decode().rstrip("=")


def _point(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)


def _seal(key: bytes, plain: bytes) -> bytes:
    nonce = os.urandom(12)
    return nonce + AESGCM(key).encrypt(nonce, plain, None)


def _unseal(key: bytes, sealed: bytes) -> bytes:
    return AESGCM(key).decrypt(sealed[:12], sealed[12:], None)


def _sealed_text(key: bytes, plain: bytes) -> str:
    return base64.b64encode(_seal(key, plain)).decode()
