"""Keeper Secrets Manager, as its SDKs speak with it.

The wire is the one the vendor's Python SDK (`keeper-secrets-manager-core`) sends and expects: one POST
per call under `/api/rest/sm/v1/`, a fresh AES key in each request wrapped for the server's P-256 key,
the body encrypted with it and signed by the client, the answer encrypted with it too; errors are
plain JSON. See https://docs.keeper.io/keeperpam/secrets-manager/about/security-encryption-model.

The server's key is made at start, and clients learn it from their configuration (`serverPublicKey`),
as in Keeper's isolated deployments. The real server cannot read records; this one keeps the record
keys too, so that tests can look inside and a person can "edit" a record in the vault.

Folders, records that a client makes, and files follow the same SDK and the one for JavaScript
(`@keeper-security/secrets-manager-core`), which differ in how they write Base64. A file's content lies
beside the service, at an address that the service hands out with each file, as it does at Amazon.
"""

from __future__ import annotations

import base64
import hmac
import itertools
import json
import os
import re
import secrets
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes, padding, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Host, Route, Router

from sandbox.services import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from starlette.requests import Request

    from sandbox.clock import Clock

Field = dict[str, Any]
Data = dict[str, Any]

HOST = "keepersecurity.com"
FILES_HOST = "keeper-files.s3.amazonaws.com"
# Outside the table of keys that the SDK ships, so that no client can take it for one of Keeper's own.
KEY_ID = 90
# What a device may call of one endpoint before a pause, by Keeper's SDKs; and how long that pause must be, in seconds.
CALLS_ALLOWED = 100
SILENCE = 10.0
FOLDER_NAME = "PAM"
UPLOADED = 201

# What the real answers to a refused call say of the place in the server that refuses.
_LOCATION = "default exception manager - api validation exception"
_STANDARD_ALPHABET = str.maketrans("-_", "+/")


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
    refuses: the name of an error that every call of the device is refused with; empty for none.
    asks_for_key: a number of a public key that is asked for whatever a client names; None for none.
    unreadable: uids of records, folders and files whose keys reach the client wrapped for somebody
        else, so that it cannot decrypt them.

    Everything may be called from any thread: each call and each request holds one lock.
    """

    def __init__(self, clock: Clock) -> None:
        self.hosts: tuple[str, ...] = (HOST, FILES_HOST)
        files = [Route("/{uid}", self._download), Route("/", self._upload, methods=["POST"])]
        self.app = Starlette(
            routes=[
                Host(FILES_HOST, Router(files)),
                Route("/api/rest/sm/v1/{call}", self._serve, methods=["POST"]),
            ]
        )
        self.checks_revisions = True
        self.unreadable: set[str] = set()
        self._clock = clock
        self._lock = threading.RLock()
        self._records: dict[str, _Record] = {}
        # One counter for the whole vault: a record's revisions grow, but not by one.
        self._revisions = itertools.count(4_211)
        # Whether the second copy of a record may be edited.
        self._shared_again: dict[str, bool] = {}
        self.calls_allowed = CALLS_ALLOWED
        self.silence = SILENCE
        # Of each endpoint, the calls since the last pause, and when the last one came.
        self._called: dict[str, tuple[int, datetime]] = {}
        self.asks_for_key: int | None = None
        self.refuses = ""
        self._throttled = 0
        self._retry_after: float | str = 0.0
        self._key_id = KEY_ID
        self._server_keys = {KEY_ID: ec.generate_private_key(ec.SECP256R1())}
        self._client_key = ec.generate_private_key(ec.SECP256R1())
        self._owner_key = ec.generate_private_key(ec.SECP256R1())
        token = os.urandom(32)
        client_id = hmac.digest(token, b"KEEPER_SECRETS_MANAGER_CLIENT_ID", "sha512")
        self._client_id = base64.b64encode(client_id).decode()
        self._app_key = os.urandom(32)
        self._folders: dict[str, _Folder] = {}
        self._folder_uid = self.add_folder(FOLDER_NAME)
        self._files: dict[str, _File] = {}
        self._calls: dict[str, Callable[[Data], bytes]] = {
            "get_secret": self._get_secret,
            "update_secret": self._update_secret,
            "finalize_secret_update": self._finalize_secret_update,
            "rollback_secret_update": self._rollback_secret_update,
            "create_secret": self._create_secret,
            "delete_secret": self._delete_secret,
            "get_folders": self._get_folders,
            "create_folder": self._create_folder,
            "update_folder": self._update_folder,
            "delete_folder": self._delete_folder,
            "add_file": self._add_file,
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
        folder: bool | str = True,
        notes: str = "",
    ) -> str:
        """Put a record into the vault and return its uid, a new one where none is given.

        fields, custom: the standard and the custom fields, {"type", "label" (optional), "value": [...]}.
        shared: whether the application may read the record; editable: whether it may also save it.
        folder: shared through the shared folder (or the folder with this uid), or else as a single
        record. The two reach a client under different keys.
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
            record = _Record(uid, editable=editable, shared=shared, folder=bool(folder), saved_at=now)
            record.folder_uid = folder if isinstance(folder, str) else self._folder_uid
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

    def set_editable(self, uid: str, editable: bool) -> None:
        """Let the application save the record, or only read it."""
        with self._lock:
            self._records[uid].editable = editable

    def add_folder(self, name: str, parent: str = "", *, editable: bool = True) -> str:
        """Make a folder and return its uid: one that is shared with the application, or one within `parent`."""
        with self._lock:
            folder = _Folder(new_uid(), name, parent, editable)
            self._folders[folder.uid] = folder
        return folder.uid

    def add_file(self, uid: str, name: str, content: bytes, *, title: str = "", kind: str = "text/plain") -> str:
        """Attach a file to a record and return the file's uid."""
        about = {"name": name, "title": title or name, "type": kind, "size": len(content)}
        with self._lock:
            about["lastModified"] = round(self._clock.now().timestamp() * 1000)
            file = _File(new_uid(), json.dumps(about).encode())
            file.sealed = _seal(file.key, content)
            self._files[file.uid] = file
            self._records[uid].files.append(file.uid)
        self.edit(uid, lambda data: _refer_to(data, file.uid))
        return file.uid

    # -- what tests look at -----------------------------------------------------------------------

    @property
    def folder_uid(self) -> str:
        """The uid of the folder in which records are shared, where nothing else is said."""
        return self._folder_uid

    def folders(self) -> dict[str, tuple[str, str]]:
        """Return name and parent of each folder, by uid; a shared folder has an empty parent."""
        with self._lock:
            return {uid: (folder.name, folder.parent) for uid, folder in self._folders.items()}

    def uids(self, folder: str = "") -> list[str]:
        """List the uids of all records, or of those that lie in a folder."""
        with self._lock:
            found = [r for r in self._records.values() if not folder or (r.folder and r.folder_uid == folder)]
            return [record.uid for record in found]

    def files(self, uid: str) -> dict[str, bytes]:
        """Return the content of each file that is attached to a record, by name."""
        with self._lock:
            files = [self._files[one] for one in self._records[uid].files]
            return {json.loads(one.about)["name"]: _unseal(one.key, one.sealed) for one in files if one.sealed}

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

    def config(self, *, own_key: bool = True) -> dict[str, str]:
        """Make the configuration of the bound device, as the SDK's storages keep it.

        own_key: with the server's key in it, as isolated deployments have it. Elsewhere the SDK takes
        the key by its number from the table that it ships: `server_keys`.
        """
        der = self._client_key.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        config = {
            "hostname": HOST,
            "clientId": self._client_id,
            "privateKey": base64.b64encode(der).decode(),
            "appKey": base64.b64encode(self._app_key).decode(),
            "appOwnerPublicKey": base64.b64encode(_point(self._owner_key)).decode(),
            "serverPublicKeyId": str(KEY_ID),
        }
        return {**config, "serverPublicKey": self.server_keys()[str(KEY_ID)]} if own_key else config

    def server_keys(self) -> dict[str, str]:
        """Return the server's public keys by number, as an SDK ships those of the real servers."""
        with self._lock:
            return {
                str(number): base64.urlsafe_b64encode(_point(key)).decode().rstrip("=")
                for number, key in self._server_keys.items()
            }

    def rotate_server_key(self) -> int:
        """Have the server take no key from now on but a new one, and return that one's number."""
        with self._lock:
            self._key_id += 1
            self._server_keys[self._key_id] = ec.generate_private_key(ec.SECP256R1())
            return self._key_id

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
            agent = request.headers.get("user-agent", "null")
            about = {"path": f"{request.url}, POST, {agent}", "additional_info": "", "location": _LOCATION}
            return JSONResponse({**about, **error}, refusal.status)
        # A save has nothing to say; the SDK takes an empty body for that and does not decrypt it.
        return Response(_seal(transmission_key, answer) if answer else b"")

    def _open(self, request: Request, body: bytes) -> tuple[bytes, Data]:
        """Unwrap a request: its transmission key and what it asks for, from a client proven to be ours."""
        headers = request.headers
        if self.asks_for_key is not None:
            raise Refusal(401, "key", "use another server key", key_id=self.asks_for_key)
        if headers.get("publickeyid") != str(self._key_id):
            raise Refusal(401, "key", "use another server key", key_id=self._key_id)
        try:
            wrapped = _bytes(headers["transmissionkey"])
            signature = _bytes(headers["authorization"].removeprefix("Signature "))
            transmission_key = _unwrap(self._server_keys[self._key_id], wrapped)
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
            raise Refusal(403, self.refuses, "Unable to validate application access")
        now = self._clock.now()
        count, last = self._called.get(call, (0, now))
        count = 1 if (now - last).total_seconds() >= self.silence else count + 1
        self._called[call] = (count, now)
        if self._throttled or count > self.calls_allowed:
            self._throttled = max(0, self._throttled - 1)
            wait: Data = {"retry_after": self._retry_after} if self._retry_after else {}
            raise Refusal(403, "throttled", call, additional_info="throttled", **wait)

    def _get_secret(self, asked: Data) -> bytes:
        # Nothing tells a client of records that it may not read: they are just not there.
        readable = [r for r in self._records.values() if r.shared and self._is_asked_for(r, asked)]
        singles = [self._sealed_record(r, self._app_key, "") for r in readable if not r.folder]
        again = [r for r in readable if r.uid in self._shared_again]
        singles += [
            {**self._sealed_record(r, self._app_key, ""), "isEditable": self._shared_again[r.uid]} for r in again
        ]
        folders = []
        for shared in [one for one in self._folders.values() if not one.parent]:
            within = [r for r in readable if r.folder and self._shared_folder(r.folder_uid) is shared]
            # A folder without records is left out: a client that is to make the first one asks for the folders.
            if within:
                folders.append(
                    {
                        "folderUid": shared.uid,
                        "folderKey": self._sealed_key(shared.uid, self._app_key, shared.key),
                        "name": shared.name,
                        "records": [self._sealed_record(r, shared.key, r.folder_uid) for r in within],
                    }
                )
        app_data = json.dumps({"title": "Gateway", "type": "app"}).encode()
        answer = {
            "encryptedAppKey": None,
            "appData": base64.urlsafe_b64encode(_seal(self._app_key, app_data)).decode().rstrip("="),
            "records": singles,
            "folders": folders,
            "expiresOn": 0,
            "warnings": None,
        }
        return json.dumps(answer).encode()

    def _update_secret(self, asked: Data) -> bytes:
        record = self._writable(asked)
        self._check_revision(record, asked.get("revision"))
        try:
            data = json.loads(_unseal(record.key, _bytes(asked["data"])))
        except (KeyError, ValueError, TypeError, InvalidTag) as error:
            # The real server cannot look inside and would keep what nobody can read; here it is noticed.
            raise Refusal(400, "bad_request", "the record is not encrypted with its key") from error
        transaction = asked.get("transactionType")
        for uid in asked.get("links2Remove") or ():
            record.files = [one for one in record.files if one != uid]
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

    def _sealed_key(self, uid: str, wrapping: bytes, key: bytes) -> str:
        """Wrap the key of a record, folder or file for the client, or for nobody where it shall be unreadable."""
        return _sealed_text(os.urandom(32) if uid in self.unreadable else wrapping, key)

    def _sealed_record(self, record: _Record, shared_under: bytes, inner_folder: str) -> Data:
        files = [self._files[uid] for uid in record.files]
        return {
            "recordUid": record.uid,
            "recordKey": self._sealed_key(record.uid, shared_under, record.key),
            "data": _sealed_text(record.key, json.dumps(record.data).encode()),
            "revision": record.revision,
            "isEditable": record.editable,
            "innerFolderUid": inner_folder,
            "files": [
                {
                    "fileUid": file.uid,
                    "fileKey": self._sealed_key(file.uid, record.key, file.key),
                    "data": _sealed_text(file.key, file.about),
                    "url": f"https://{FILES_HOST}/{file.uid}?X-Amz-Signature={file.signature}",
                    "thumbnailUrl": None,
                }
                for file in files
                if file.sealed
            ],
            "links": None,
        }

    # -- the wire: folders, and records that clients make -----------------------------------------

    def _is_asked_for(self, record: _Record, asked: Data) -> bool:
        records, folders = asked.get("requestedRecords") or (), asked.get("requestedFolders") or ()
        if record.uid in records or not (records or folders):
            return True
        return record.folder and any(uid in folders for uid in self._way_up(record.folder_uid))

    def _way_up(self, uid: str) -> list[str]:
        """List a folder and those that it lies in, the shared one last."""
        way = [uid]
        while parent := self._folders[way[-1]].parent:
            way.append(parent)
        return way

    def _shared_folder(self, uid: str) -> _Folder:
        return self._folders[self._way_up(uid)[-1]]

    def _folder_to_write(self, asked: Data, shared: str, within: str) -> tuple[_Folder, str]:
        """Find the shared folder that a call names, and the uid of the one within it where it names one too."""
        folder = self._folders.get(str(asked.get(shared)))
        inner = str(asked.get(within) or (folder.uid if folder else ""))
        if folder is None or folder.parent or inner not in self._folders or self._shared_folder(inner) is not folder:
            raise Refusal(403, "access_denied", "the application has no access to this folder")
        if not folder.editable:
            raise Refusal(403, "access_denied", "the application may not edit this folder")
        return folder, inner

    def _create_secret(self, asked: Data) -> bytes:
        folder, inner = self._folder_to_write(asked, "folderUid", "subFolderUid")
        uid = str(asked.get("recordUid"))
        if uid in self._records:
            raise Refusal(400, "bad_request", "a record with this uid is there already")
        try:
            key = _unseal(folder.key, _bytes(asked["folderKey"]))
            owners = _unwrap(self._owner_key, _bytes(asked["recordKey"]))
            data = json.loads(_unseal(key, _bytes(asked["data"])))
        except (KeyError, ValueError, TypeError, InvalidTag) as error:
            raise Refusal(400, "bad_request", "the record is not encrypted with its key") from error
        if owners != key:
            # The owner of the application would see a record that nobody can open; the real server cannot tell.
            raise Refusal(400, "bad_request", "owner and folder were given different keys")
        record = _Record(uid, editable=True, shared=True, folder=True, saved_at=self._clock.now(), key=key)
        record.folder_uid = inner
        self._records[uid] = record
        self._store(record, data)
        return b""

    def _delete_secret(self, asked: Data) -> bytes:
        answers = []
        for uid in asked.get("recordUids") or ():
            answer = {"recordUid": uid, "responseCode": "ok", "errorMessage": ""}
            try:
                del self._records[self._writable({"recordUid": uid}).uid]
            except Refusal as refusal:
                answer.update(responseCode=refusal.code, errorMessage=refusal.message)
            answers.append(answer)
        return json.dumps({"records": answers}).encode()

    def _get_folders(self, _asked: Data) -> bytes:
        folders = []
        for folder in self._folders.values():
            key = self._sealed_key(folder.uid, self._app_key, folder.key)
            if folder.parent:
                key = _text(_seal_cbc(self._shared_folder(folder.uid).key, folder.key))
            data = _text(_seal_cbc(folder.key, json.dumps({"name": folder.name}).encode()))
            folders.append({"folderUid": folder.uid, "folderKey": key, "parent": folder.parent, "data": data})
        return json.dumps({"folders": folders}).encode()

    def _create_folder(self, asked: Data) -> bytes:
        shared, inner = self._folder_to_write(asked, "sharedFolderUid", "parentUid")
        uid = str(asked.get("folderUid"))
        if uid in self._folders:
            raise Refusal(400, "bad_request", "a folder with this uid is there already")
        try:
            key = _unseal_cbc(shared.key, _bytes(asked["sharedFolderKey"]))
            name = json.loads(_unseal_cbc(key, _bytes(asked["data"])))["name"]
        except (KeyError, ValueError, TypeError) as error:
            raise Refusal(400, "bad_request", "the folder is not encrypted with its key") from error
        self._folders[uid] = _Folder(uid, name, inner, key=key)
        return b""

    def _update_folder(self, asked: Data) -> bytes:
        uid = str(asked.get("folderUid"))
        folder = self._folders.get(uid)
        if folder is None or not self._shared_folder(uid).editable:
            raise Refusal(403, "access_denied", "the application may not edit this folder")
        try:
            folder.name = json.loads(_unseal_cbc(folder.key, _bytes(asked["data"])))["name"]
        except (KeyError, ValueError, TypeError) as error:
            raise Refusal(400, "bad_request", "the folder is not encrypted with its key") from error
        return b""

    def _delete_folder(self, asked: Data) -> bytes:
        answers = []
        # A folder that is not there is no error: https://docs.keeper.io/secrets-manager, the SDK's own comment.
        for uid in asked.get("folderUids") or ():
            answer = {"folderUid": uid, "responseCode": "ok", "errorMessage": ""}
            below = [one for one in self._folders if uid in self._way_up(one)]
            held = [r for r in self._records.values() if r.folder and r.folder_uid in below]
            if below and (len(below) > 1 or held) and not asked.get("forceDeletion"):
                # The real word for it is not published.
                answer.update(responseCode="bad_request", errorMessage="the folder is not empty")
            else:
                for record in held:
                    del self._records[record.uid]
                for one in below:
                    del self._folders[one]
            answers.append(answer)
        return json.dumps({"folders": answers}).encode()

    # -- the wire: files ----------------------------------------------------------------------------

    def _add_file(self, asked: Data) -> bytes:
        owner = self._writable({"recordUid": asked.get("ownerRecordUid")})
        if "ownerRecordRevision" in asked:
            self._check_revision(owner, asked["ownerRecordRevision"])
        try:
            key = _unseal(owner.key, _bytes(asked["linkKey"]))
            owners = _unwrap(self._owner_key, _bytes(asked["fileRecordKey"]))
            about = _unseal(key, _bytes(asked["fileRecordData"]))
            data = json.loads(_unseal(owner.key, _bytes(asked["ownerRecordData"])))
        except (KeyError, ValueError, TypeError, InvalidTag) as error:
            raise Refusal(400, "bad_request", "the file is not encrypted with its key") from error
        if owners != key:
            raise Refusal(400, "bad_request", "owner and record were given different keys")
        file = _File(str(asked.get("fileRecordUid")), about, key=key)
        self._files[file.uid] = file
        owner.files.append(file.uid)
        self._store(owner, data)
        parameters = {"key": file.uid, "success_action_status": str(UPLOADED), "x-amz-signature": file.signature}
        where = {"url": f"https://{FILES_HOST}/", "parameters": json.dumps(parameters), "thumbnailUrl": None}
        return json.dumps({**where, "successStatusCode": UPLOADED}).encode()

    async def _upload(self, request: Request) -> Response:
        form = _form(request.headers.get("content-type", ""), await request.body())
        with self._lock:
            file = self._files.get(form.get("key", b"").decode())
            if file is None or form.get("x-amz-signature", b"").decode() != file.signature:
                return _no_access()
            file.sealed = form["file"]
        return Response(status_code=UPLOADED)

    async def _download(self, request: Request) -> Response:
        with self._lock:
            file = self._files.get(request.path_params["uid"])
            if file is None or not file.sealed or request.query_params.get("X-Amz-Signature") != file.signature:
                return _no_access()
            return Response(file.sealed, media_type="application/octet-stream")


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
    folder_uid: str = ""
    files: list[str] = field(default_factory=list)

    @property
    def data(self) -> Data:
        return self.versions[-1]


@dataclass
class _Folder:
    """One folder: shared with the application, or within another (`parent`)."""

    uid: str
    name: str
    parent: str
    editable: bool = True
    key: bytes = field(default_factory=lambda: os.urandom(32), repr=False)


@dataclass
class _File:
    """One file: what is said of it (JSON), its key, and its content once that is there, encrypted with the key."""

    uid: str
    about: bytes = field(repr=False)
    key: bytes = field(default_factory=lambda: os.urandom(32), repr=False)
    sealed: bytes = field(default=b"", repr=False)
    signature: str = field(default_factory=lambda: secrets.token_hex(32), repr=False)


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


def _unwrap(key: ec.EllipticCurvePrivateKey, wrapped: bytes) -> bytes:
    # ECIES as Keeper does it: an uncompressed ephemeral point, then AES-GCM under its SHA-256'd secret.
    ephemeral = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), wrapped[:65])
    digest = hashes.Hash(hashes.SHA256())
    digest.update(key.exchange(ec.ECDH(), ephemeral))
    return _unseal(digest.finalize(), wrapped[65:])


def _seal_cbc(key: bytes, plain: bytes) -> bytes:
    """Encrypt as Keeper does what concerns folders."""
    padder, start = padding.PKCS7(128).padder(), os.urandom(16)
    encryptor = Cipher(algorithms.AES(key), modes.CBC(start)).encryptor()
    return start + encryptor.update(padder.update(plain) + padder.finalize()) + encryptor.finalize()


def _unseal_cbc(key: bytes, sealed: bytes) -> bytes:
    """Decrypt that; ValueError where the key is another."""
    unpadder, decryptor = padding.PKCS7(128).unpadder(), Cipher(algorithms.AES(key), modes.CBC(sealed[:16])).decryptor()
    plain = decryptor.update(sealed[16:]) + decryptor.finalize()
    return unpadder.update(plain) + unpadder.finalize()


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _sealed_text(key: bytes, plain: bytes) -> str:
    return _text(_seal(key, plain))


def _bytes(text: str) -> bytes:
    """Read Base64 of either alphabet, with or without padding: each of Keeper's SDKs writes another one."""
    bare = text.translate(_STANDARD_ALPHABET).rstrip("=")
    return base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)


def _refer_to(data: Data, file_uid: str) -> None:
    """Have a record name a file among its standard fields, as the vault and the SDKs do."""
    found = next((item for item in data["fields"] if item["type"] == "fileRef"), None)
    if found is None:
        data["fields"].append({"type": "fileRef", "value": [file_uid]})
    else:
        found["value"].append(file_uid)


def _form(content_type: str, body: bytes) -> dict[str, bytes]:
    """Read a form with a file in it; the JavaScript SDK puts a line end before the first boundary, others do not."""
    boundary = content_type.partition("boundary=")[2].strip('"').encode()
    form = {}
    for part in (b"\r\n" + body).split(b"\r\n--" + boundary)[1:-1]:
        head, _, content = part.partition(b"\r\n\r\n")
        name = re.search(rb'\bname="([^"]*)"', head)
        if name:
            form[name[1].decode()] = content
    return form


def _no_access() -> Response:
    return Response("<Error><Code>AccessDenied</Code></Error>", 403, media_type="application/xml")
