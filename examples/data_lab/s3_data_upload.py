"""What the endpoints of S3DataUpload.ipynb do: show what a worksheet trends, write it to S3 as CSV, and read it back.

Both credentials are rotated in Keeper and read when they are needed: Seeq's by `seeq_credential`, and
that of the identity which may use the bucket by `S3Identity`. docs/data-lab.md explains the set-up.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeVar

from seeq_credential import Credential, CredentialError, SeeqKey, Source, source_from_file

Answer = TypeVar("Answer")

REFUSED = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"}
"""S3's words for an access key that it does not take; a right that is missing is `AccessDenied`, and no key's fault."""

SAMPLES = 10_000
"""How many samples of a signal are read in one request."""

MOST_SAMPLES = 1_000_000
"""How many of a signal are uploaded at most; a worksheet that shows more is refused, not cut."""

_ID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_FILE = re.compile(r"\w[\w.-]{0,99}", re.ASCII)
_TIMEOUT = 15  # seconds that one request to S3 may take


class S3Identity:
    """A rotated AWS access key: read when it is first needed, and again when S3 does not take it any more."""

    def __init__(self, source: Source, region: str) -> None:
        self.source = source
        self.region = region
        self._held: tuple[Credential, Any] | None = None

    @classmethod
    def from_file(cls, region: str, path: Path | None = None) -> S3Identity:
        """Take the source from a hidden file, `.s3_auth.ini` in the project's home directory by default."""
        return cls(source_from_file(path or Path.home() / ".s3_auth.ini"), region)

    def use(self, request: Callable[[Any], Answer]) -> Answer:
        """Make a request with a client of S3 and return its answer; with a newer key, once, where the key is refused.

        Raises CredentialError where the stored key is refused, too; whatever else boto3 raises is passed on.
        """
        credential, client = self._held or self._read()
        if not _is_refused(answer := _attempt(request, client)):
            self._held = credential, client
            return _given(answer)
        refused, (credential, client) = credential, self._read()
        if credential == refused or _is_refused(answer := _attempt(request, client)):
            self._held = None
            raise CredentialError(
                f"S3 refuses the access key {credential.key_id}, which is the one that is stored;"
                " whether it still exists, the last_rotation of its Keeper record says"
            )
        self._held = credential, client
        return _given(answer)

    def _read(self) -> tuple[Credential, Any]:
        import boto3  # noqa: PLC0415 - heavy; the outside caller has no use for it
        from botocore.config import Config  # noqa: PLC0415 - the same

        credential = self.source.read()
        client = boto3.client(
            "s3",
            region_name=self.region,
            aws_access_key_id=credential.key_id,
            aws_secret_access_key=credential.password,
            config=Config(connect_timeout=_TIMEOUT, read_timeout=_TIMEOUT, retries={"mode": "standard"}),
        )
        return credential, client


@dataclass(frozen=True)
class S3DataUpload:
    """The endpoints. url: of Seeq. Each takes the arguments of a request, and returns what may leave the project."""

    key: SeeqKey
    identity: S3Identity
    url: str
    bucket: str

    def items(self, args: Mapping[str, str]) -> str:
        """Return id and name of each signal that the worksheet shows, as JSON."""
        workbook_id, worksheet_id = _worksheet(args)
        shown, _, _ = self._shown(self.key.login(self.url), workbook_id, worksheet_id)
        return json.dumps(shown)

    def upload(self, args: Mapping[str, str]) -> str:
        """Write the samples of the time that the worksheet shows to the bucket; return name and size of the object."""
        from seeq import sdk  # noqa: PLC0415 - heavy; the outside caller has no use for it

        name = _object_name(args)
        session = self.key.login(self.url)
        shown, start, end = self._shown(session, *_worksheet(args))
        signals = sdk.SignalsApi(session.client)
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(["time", "signal", "value"])
        for item in shown:
            for sample in _samples(signals, item["id"], start, end):
                rows.writerow([sample.key, item["name"], sample.value])
        body = text.getvalue().encode()
        self.identity.use(lambda s3: s3.put_object(Bucket=self.bucket, Key=name, Body=body, ContentType="text/csv"))
        return json.dumps({"object": name, "bytes": len(body)})

    def download(self, args: Mapping[str, str]) -> str:
        """Return what was uploaded for this worksheet under this file name."""
        name = _object_name(args)
        content: bytes = self.identity.use(lambda s3: s3.get_object(Bucket=self.bucket, Key=name)["Body"].read())
        return content.decode()

    def _shown(self, session: Any, workbook_id: str, worksheet_id: str) -> tuple[list[dict[str, str]], str, str]:  # noqa: ANN401 - spy's
        """Return the signals of a worksheet's trend, and the start and end of its display range in ISO 8601."""
        from seeq import sdk  # noqa: PLC0415 - as above

        workbooks = sdk.WorkbooksApi(session.client)
        worksheet = workbooks.get_worksheet(workbook_id=workbook_id, worksheet_id=worksheet_id)
        step = workbooks.get_workstep(
            workbook_id=workbook_id, worksheet_id=worksheet_id, workstep_id=worksheet.workstep_id
        )
        stores = json.loads(step.data)["state"]["stores"]
        shown = [{"id": one["id"], "name": one["name"]} for one in stores["sqTrendSeriesStore"]["items"]]
        between = stores["sqDurationStore"]["displayRange"]
        return shown, _iso(between["start"]), _iso(between["end"])


def _samples(signals: Any, signal_id: str, start: str, end: str) -> Iterator[Any]:  # noqa: ANN401 - spy's
    """Yield a signal's samples, page by page."""
    token, number = "", 0
    while True:
        page = signals.get_samples(id=signal_id, start=start, end=end, limit=SAMPLES, continuation_token=token)
        samples, token = page.samples or [], page.continuation_token
        number += len(samples)
        if number > MOST_SAMPLES:
            raise ValueError(f"signal {signal_id} has more than {MOST_SAMPLES} samples in that time; show less of it")
        yield from samples
        if not token or not samples:
            return


def _worksheet(args: Mapping[str, str]) -> tuple[str, str]:
    ids = args.get("workbook_id", ""), args.get("worksheet_id", "")
    if not all(_ID.fullmatch(one) for one in ids):
        raise ValueError("workbook_id and worksheet_id are the two ids of the worksheet's URL")
    return ids


def _object_name(args: Mapping[str, str]) -> str:
    """Return the object's name: whoever may call the endpoint reaches nothing else in the bucket."""
    file_name = args.get("file_name", "")
    if not _FILE.fullmatch(file_name):
        raise ValueError("file_name is letters, digits, dots, hyphens and underscores, 100 at most")
    return "/".join((*_worksheet(args), file_name))


def _iso(milliseconds: float) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _attempt(request: Callable[[Any], Answer], client: Any) -> Answer | Exception:  # noqa: ANN401 - boto3's client
    """Make a request; return what it gives, or the error of S3 that it ends in."""
    from botocore.exceptions import ClientError  # noqa: PLC0415 - as above

    try:
        return request(client)
    except ClientError as error:
        refusal: Exception = error
        return refusal


def _is_refused(answer: object) -> bool:
    response = getattr(answer, "response", {}) if isinstance(answer, Exception) else {}
    return response.get("Error", {}).get("Code") in REFUSED


def _given(answer: Answer | Exception) -> Answer:
    if isinstance(answer, Exception):
        raise answer
    return answer
