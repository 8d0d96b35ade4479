"""The Keeper Gateway's side: its payload in, an exit status and plain lines out.

https://docs.keeper.io/en/keeperpam/privileged-access-manager/password-rotation/post-rotation-scripts/inputs-and-outputs
"""

from __future__ import annotations

import argparse
import base64
import codecs
import contextlib
import json
import logging
import os
import secrets
import signal
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TextIO

from pam_scripts import __build__
from pam_scripts.core.errors import BadInput, NotCertain, OldKeysAlive, PamScriptError, defect
from pam_scripts.core.fields import Field, Record, Settings
from pam_scripts.core.ops_log import Entry
from pam_scripts.core.patience import Deadline, utc_now
from pam_scripts.core.roles import Plan, Run
from pam_scripts.core.secret import Secret

# Seconds past the deadline after which a run that still hangs in a call is ended from outside of it.
_GRACE = 10.0

# What fetching the records may take with `--check`: the record's own deadline is not known yet.
_LOOKING_SECONDS = 60.0


def run_fields(deadline: int = 120) -> tuple[Field, ...]:
    """Return the fields that every script's record may carry. deadline: seconds that a run takes at most by default."""
    return (
        Field("dry_run", "'True': look at everything, report, change nothing", default="False"),
        Field("diagnose", "'True': tell what the script sees of its host, and do nothing else", default="False"),
        Field(
            "deadline_seconds",
            "seconds that the whole run may take, from 10 to 3600; the default grows by twice `health_seconds` where "
            "consumers are named",
            default=f"{deadline}",
        ),
        Field("ca_bundle", "path of a PEM file on the Gateway's host: a private CA to trust beside the public ones"),
        Field("health_seconds", "seconds that consumers may take to be well again after a reload", default="180"),
        Field("environment", "where this credential is used, for the ops log: `dev`, `stage`, `production`"),
        Field("rotation_reason", "why it is rotated, for the ops log", default="routine rotation"),
        Field("log_format", "`json`: the last line on stdout sums the run up for a SIEM", default="text"),
    )


# Fields of every script that replaces keys.
PLAN_FIELDS = (
    Field("keep_previous_keys", "how many of the newest old keys stay alive", default="0"),
    Field("take_over", "'True': also delete keys that another Keeper record's rotation made", default="False"),
)


@dataclass(frozen=True)
class Job:
    """What the Gateway asks for: the PAM User record to rotate, and what came with it.

    attached: the records attached to the script, and the related resource; never the PAM User
    record, never the PAM Configuration. new_password: what Keeper made for the record; empty where
    it made none.
    """

    user: Record
    configuration: Record | None
    attached: Sequence[Record]
    new_password: Secret = field(default_factory=lambda: Secret(""))

    @property
    def sources(self) -> list[Record]:
        """The records that may say where things are, in the order in which they are asked; the user's own last."""
        return [*self.attached, *([self.configuration] if self.configuration else []), self.user]


class Voice:
    """Where a run's lines go: stdout for what happened, stderr for what is wrong; never a secret value.

    Lost lines never disturb a run: a log that went away is no reason to stop half-way.
    """

    def say(self, line: str) -> None:
        """Report a step."""
        self._print(line, sys.stdout)

    def warn(self, line: str) -> None:
        """Report what does not stop the run, but that somebody should see."""
        self._print(f"warning: {line}", sys.stderr)

    def fail(self, error: PamScriptError) -> None:
        """Report the one failure a run ends with."""
        self._print(f"error: {error}", sys.stderr)

    @staticmethod
    def _print(line: str, stream: TextIO) -> None:
        line = " ".join(Secret.redact(line).splitlines())
        with contextlib.suppress(OSError, ValueError):
            stream.write(f"{line}\n")
            stream.flush()


def main(
    name: str,
    title: str,
    contract: Sequence[Field],
    script: Callable[[Job, Settings, Run], None],
    fetch: Callable[[Run, str, Sequence[str], str], Job],
) -> int:
    """Run a script as the Gateway does (a payload on standard input), or as an engineer (`--check`).

    name: the script's own. contract: the PAM User record's fields. fetch: gets the records of a job through Secrets
    Manager, by the UIDs of the record, of attached records, and of the PAM configuration.
    Returns the exit status: 0 only when all is done and confirmed.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    # What libraries log could carry values, and a run's stderr is for its one line.
    logging.getLogger().addHandler(logging.NullHandler())
    arguments = _arguments(title)

    def get_job(run: Run) -> Job:
        if arguments.check:
            return fetch(run, arguments.record, arguments.credential, arguments.configuration)
        return read_job(sys.stdin.buffer.read() if sys.stdin and not sys.stdin.isatty() else b"")

    return carry_out(name, get_job, contract, script, Voice(), check=arguments.check, json_line=arguments.json_lines)


def carry_out(  # noqa: PLR0913 - each is one fact of a run
    name: str,
    get_job: Callable[[Run], Job],
    contract: Sequence[Field],
    script: Callable[[Job, Settings, Run], None],
    voice: Voice,
    *,
    check: bool,
    json_line: bool = False,
) -> int:
    """Do one job, and say how it ended; return the exit status.

    check: look only, whatever the record says. json_line: sum the run up in JSON at the end; a record
    can ask for that too.
    """
    run = _run(name, voice)
    timer: threading.Timer | None = None
    try:
        job = get_job(run)
        run.entry.record = job.user.uid
        settings = Settings(job.user, contract)
        if settings.flag("diagnose") and not check:
            from pam_scripts.core import diagnosis  # noqa: PLC0415 - no rotation needs it

            diagnosis.tell(voice.say)
            return 0
        json_line = settings.choice("log_format", "text", "json") == "json" or json_line
        run.entry.environment, run.entry.reason = settings.text("environment"), settings.text("rotation_reason")
        run.deadline = Deadline(_seconds(job, settings))
        run.dry_run = check or settings.flag("dry_run")
        run.ca_bundle = read_ca_bundle(settings)
        timer = _end_in_order(run, voice)
        script(job, settings, run)
    except Exception as failure:  # noqa: BLE001 - the last net: no traceback ever, it could carry values
        error = failure if isinstance(failure, PamScriptError) else NotCertain(defect(failure))
        # Whoever changes something says what state that left; where nobody did, nothing was.
        if failure is error:
            error.state = error.state or "nothing changed"
        voice.fail(error)
        run.entry.error, run.entry.status = str(error), error.status
    finally:
        if timer:
            timer.cancel()
    if json_line:
        voice.say(run.entry.line())
    return run.entry.status


def _arguments(title: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=title.strip().splitlines()[0],
        epilog="Without options it reads the Keeper Gateway's payload from standard input. "
        "Exit status: 0 rotated and confirmed; 1 failed, nothing changed or all put back; 2 bad input, nothing "
        f"touched; {OldKeysAlive.status} rotated, but old keys are still alive; {NotCertain.status} not certain, "
        "a person must look.",
    )
    parser.add_argument("--version", action="version", version=__build__)
    parser.add_argument("--json-lines", action="store_true", help="sum the run up in JSON, on the last line of stdout")
    parser.add_argument("--check", action="store_true", help="look at everything for one record and change nothing")
    parser.add_argument("--record", metavar="UID", help="the PAM User record to check")
    parser.add_argument(
        "--credential",
        metavar="UID",
        action="append",
        default=[],
        help="a record attached to the script (default: those that the record's own script settings name)",
    )
    parser.add_argument(
        "--configuration",
        metavar="UID",
        default="",
        help="the PAM configuration (default: the only one shared to the application)",
    )
    arguments = parser.parse_args()
    if arguments.check != bool(arguments.record):
        parser.error("--check and --record UID go together")
    return arguments


def _run(name: str, voice: Voice) -> Run:
    started = utc_now()
    rotation_id = f"{started:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
    entry = Entry(script=name, rotated_by=f"pam-scripts {__build__} on {socket.gethostname()}")
    return Run(rotation_id, started, Deadline(_LOOKING_SECONDS), voice.say, voice.warn, entry=entry)


def _seconds(job: Job, settings: Settings) -> float:
    """Return what the run may take: where consumers are waited for, and nothing else is set, so much longer."""
    seconds = settings.number("deadline_seconds", 10, 3600)
    waits = job.user.get("container_apps", "health_urls") and not job.user.get("deadline_seconds")
    return seconds + (2 * health_seconds(settings) if waits else 0)


def health_seconds(settings: Settings) -> int:
    """Return how long consumers may take to be well again."""
    return settings.number("health_seconds", 5, 1800)


def read_ca_bundle(settings: Settings) -> str:
    """Return the path of the CA that a record names, empty for none; raise BadInput where it cannot be read."""
    path = settings.text("ca_bundle")
    try:
        if path:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except (OSError, ssl.SSLError):
        raise settings.bad(
            "ca_bundle", path, "the path of a PEM file on the Gateway's host that its user may read"
        ) from None
    return path


def _end_in_order(run: Run, voice: Voice) -> threading.Timer:
    """See to it that the run ends: in order when it is told to stop, and from outside where a call hangs.

    Returns what ends it from outside, to be cancelled once the run is over.
    """

    def stop(number: int, _frame: object) -> None:
        run.deadline.stop(f"stopped by {signal.Signals(number).name}")

    for name in ("SIGTERM", "SIGINT", "SIGHUP"):
        if hasattr(signal, name) and threading.current_thread() is threading.main_thread():
            signal.signal(getattr(signal, name), stop)

    def end() -> None:
        voice.fail(
            NotCertain(
                f"a call still hangs {_GRACE:g} s after the run's time of {run.deadline.seconds:g} s",
                state=f"what rotation {run.rotation_id} has changed so far stands, and no key in use was left out",
                next_step="run the rotation again: it starts from whatever it finds",
            )
        )
        os._exit(NotCertain.status)

    timer = threading.Timer(run.deadline.seconds + _GRACE, end)
    timer.daemon = True
    timer.start()
    return timer


def read_plan(job: Job, settings: Settings, life: timedelta | None) -> Plan:
    """Return what the rotation is to do, from the fields of PLAN_FIELDS."""
    return Plan(
        owner=job.user.uid,
        life=life,
        keep=settings.number("keep_previous_keys", 0, 100),
        take_over=settings.flag("take_over"),
        health_seconds=health_seconds(settings),
    )


# -- the payload ----------------------------------------------------------------------------------

_HOW = "run it as a PAM script of a record, or try `--check --record UID`"


def read_job(data: bytes) -> Job:
    """Read the Gateway's payload: one line of Base64 JSON, `records` in it Base64 JSON again.

    PowerShell adds a byte order mark, a carriage return or blanks, or writes UTF-16. Raises BadInput naming the field.
    """
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    text = data.decode("utf-16" if wide else "utf-8", errors="replace")
    text = text.replace("\ufeff", "").replace("\x00", "").strip()
    if not text:
        raise BadInput("standard input is empty", next_step=_HOW)
    payload = _decoded(text, "standard input")
    if not isinstance(payload, dict):
        raise BadInput("standard input: the payload is not a JSON object", next_step=_HOW)
    for name in ("newPassword", "oldPassword"):
        if isinstance(payload.get(name), str):
            Secret(payload[name])
    encoded = payload.get("records")
    if not encoded or not isinstance(encoded, str):
        raise BadInput("the payload's field 'records' is missing, or not Base64 text", next_step=_HOW)
    listed = _decoded(encoded, "the payload's field 'records'")
    if not isinstance(listed, list) or not all(isinstance(item, dict) for item in listed):
        raise BadInput("the payload's field 'records' is not a list of records", next_step=_HOW)
    return job_from(
        [Record.from_flat(item) for item in listed],
        user_uid=_uid(payload, "userRecordUid"),
        configuration_uid=_uid(payload, "providerRecordUid"),
        new_password=payload.get("newPassword"),
    )


def job_from(records: Sequence[Record], *, user_uid: str, configuration_uid: str, new_password: object = None) -> Job:
    """Tell the records of a job apart by their UIDs; raise BadInput where the PAM User record is not among them."""
    if not user_uid:
        raise BadInput("the payload's field 'userRecordUid' is missing", next_step=_HOW)
    user = next((record for record in records if record.uid == user_uid), None)
    if user is None:
        raise BadInput(f"the payload's field 'records' lacks the PAM User record {user_uid}", next_step=_HOW)
    configuration = next((record for record in records if configuration_uid and record.uid == configuration_uid), None)
    known = [uid for uid in (user_uid, configuration_uid) if uid]
    attached = [record for record in records if record.uid not in known]
    return Job(user, configuration, attached, Secret(new_password if isinstance(new_password, str) else ""))


def _decoded(text: str, what: str) -> Any:  # noqa: ANN401 - whatever JSON it is
    try:
        # Blanks and line ends inside are what a console made of one long line.
        plain = base64.b64decode("".join(text.split()), validate=True)
    except ValueError:
        raise BadInput(f"{what} is not Base64", next_step=_HOW) from None
    try:
        return json.loads(plain.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise BadInput(f"{what} is not JSON in Base64", next_step=_HOW) from None


def _uid(payload: Mapping[str, Any], name: str) -> str:
    value = payload.get(name)
    return value.strip() if isinstance(value, str) else ""
