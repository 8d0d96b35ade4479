"""What the Keeper Gateway does with a PAM script: its input, its run, its verdict.

The input is written down at
https://docs.keeper.io/keeperpam/privileged-access-manager/password-rotation/post-rotation-scripts/parameters.
What is not written down (working directory, file name, environment) is made as unhelpful here as it
may be there, so that a script which leans on any of it fails in a test and not in production.
"""

from __future__ import annotations

import base64
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sandbox.services.keeper import Keeper

# A blank, a letter beyond ASCII, and an extension that says nothing.
SCRIPT_NAME = "pam script é 7.tmp"


@dataclass(frozen=True)
class RotationResult:
    """What is kept of one run of a script.

    command: the command line. success: the exit status is 0; the Gateway judges by nothing else.
    returncode: the exit status, or minus the signal's number. seconds: from start to end.
    files_left: what the script left behind, by path under `work/` (where it ran), `home/` (HOME),
        `tmp/` (TMPDIR) and `script/` (where it lay).
    """

    command: str
    success: bool
    stdout: str
    stderr: str
    returncode: int
    seconds: float
    files_left: dict[str, bytes] = field(default_factory=dict, repr=False)


class Running:
    """A script that was started and has its input; made by `Gateway.start`."""

    def __init__(
        self,
        command: Sequence[str],
        stdin: bytes,
        *,
        environment: Mapping[str, str],
        room: Path,
        timeout: float,
    ) -> None:
        self.process = subprocess.Popen(  # noqa: S603 - running what it is given is what the Gateway does
            command,
            cwd=room / "work",
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._command = shlex.join(command)
        self._room = room
        self._started = time.monotonic()
        self._result: Future[RotationResult] = Future()
        # A thread feeds and drains the pipes, so that a run goes on whether or not anybody waits for it.
        threading.Thread(target=self._follow, args=(stdin, timeout), name="pam-script", daemon=True).start()

    def wait(self) -> RotationResult:
        """Wait for the script's end (its timeout ends it too) and return what came of it."""
        return self._result.result()

    def kill(self) -> None:
        """End the script at once, as a power cut would."""
        self.process.kill()

    def terminate(self) -> None:
        """Ask the script to end, as a service that stops does."""
        self.process.terminate()

    def _follow(self, stdin: bytes, timeout: float) -> None:
        try:
            result = self._outcome(stdin, timeout)
        except BaseException as error:  # noqa: BLE001 - whatever it is belongs to the thread that waits
            self._result.set_exception(error)
        else:
            self._result.set_result(result)

    def _outcome(self, stdin: bytes, timeout: float) -> RotationResult:
        try:
            try:
                stdout, stderr = self.process.communicate(stdin, timeout)
            except subprocess.TimeoutExpired:
                self.process.kill()
                stdout, stderr = self.process.communicate()
            return RotationResult(
                command=self._command,
                success=self.process.returncode == 0,
                stdout=stdout.decode(errors="replace"),
                stderr=stderr.decode(errors="replace"),
                returncode=self.process.returncode,
                seconds=time.monotonic() - self._started,
                files_left=_files_left(self._room),
            )
        finally:
            shutil.rmtree(self._room, ignore_errors=True)


class Gateway:
    """A Gateway that holds records of `keeper` and runs scripts.

    configuration_uid: its PAM Configuration; a plain one is added to the vault where none is given.
    """

    def __init__(self, keeper: Keeper, configuration_uid: str | None = None) -> None:
        self.keeper = keeper
        self.configuration_uid = configuration_uid or keeper.add_record("pamNetworkConfiguration", "PAM Configuration")

    def flatten(self, uid: str) -> dict[str, Any]:
        """Make the flat object that a script is given for one record.

        It has `uid`, `title`, then one key per field: the label, or the type where there is none; a key
        that is taken gets the first free number from 2. Empty fields are "", several values a list.
        """
        data = self.keeper.record(uid)
        flat: dict[str, Any] = {"uid": uid, "title": data["title"]}
        for item in [*data["fields"], *data["custom"]]:
            name = item.get("label") or item["type"]
            # Documented: the scripts themselves are not handed to the scripts.
            if name == "rotationScripts":
                continue
            key, number = name, 2
            while key in flat:
                key, number = f"{name}{number}", number + 1
            values = item.get("value") or [""]
            flat[key] = values[0] if len(values) == 1 else values
        return flat

    def payload(
        self,
        user_uid: str,
        *,
        attached: Sequence[str] = (),
        resource_uid: str = "",
        new_password: str | None = None,
        old_password: str | None = None,
    ) -> bytes:
        """Make the one Base64 line, without its end, that a script reads from standard input.

        attached: the uids of the records attached to the script, the rotation credential first.
        resource_uid: the machine, database or directory that the user belongs to, if any.
        """
        related = [resource_uid] if resource_uid else []
        records = [self.flatten(u) for u in [self.configuration_uid, *related, user_uid, *attached]]
        whole = {
            "providerRecordUid": self.configuration_uid,
            "resourceRecordUid": resource_uid,
            "userRecordUid": user_uid,
            "newPassword": new_password,
            "oldPassword": old_password,
            "user": self.flatten(user_uid).get("login", ""),
            "records": base64.b64encode(json.dumps(records).encode()).decode(),
        }
        return base64.b64encode(json.dumps(whole).encode())

    def run(  # noqa: PLR0913 - each is one thing that a Gateway may do differently
        self,
        script: Path,
        stdin: bytes,
        *,
        environment: Mapping[str, str],
        python: str = sys.executable,
        directory: Path | None = None,
        arguments: Sequence[str] = (),
        timeout: float = 150,
        line_end: bytes = b"\n",
    ) -> RotationResult:
        """Run a script to its end; the same words as `start`."""
        return self.start(
            script,
            stdin,
            environment=environment,
            python=python,
            directory=directory,
            arguments=arguments,
            timeout=timeout,
            line_end=line_end,
        ).wait()

    def start(  # noqa: PLR0913 - each is one thing that a Gateway may do differently
        self,
        script: Path,
        stdin: bytes,
        *,
        environment: Mapping[str, str],
        python: str = sys.executable,
        directory: Path | None = None,
        arguments: Sequence[str] = (),
        timeout: float = 150,
        line_end: bytes = b"\n",
    ) -> Running:
        """Start a copy of a script and return at once.

        environment: all that the script sees beside PATH, HOME, TMPDIR, LANG and an empty PYTHONPATH;
            what stands in it wins over these.
        directory: where the run's own directories are made for as long as it lasts; the system's
            place for temporary files by default.
        timeout: seconds, after which the script is killed. line_end: what the pipe puts after
            `stdin`; Windows PowerShell puts carriage return and line feed.
        """
        room = Path(tempfile.mkdtemp(prefix="gateway-", dir=directory))
        for name in ("script", "work", "home", "tmp"):
            (room / name).mkdir()
        copied = room / "script" / SCRIPT_NAME
        shutil.copyfile(script, copied)
        given = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(room / "home"),
            "TMPDIR": str(room / "tmp"),
            "LANG": "C.UTF-8",
            "PYTHONPATH": "",
            **environment,
        }
        command = [python, str(copied), *arguments]
        return Running(command, stdin + line_end, environment=given, room=room, timeout=timeout)


def _files_left(room: Path) -> dict[str, bytes]:
    script = room / "script" / SCRIPT_NAME
    return {
        path.relative_to(room).as_posix(): path.read_bytes()
        for path in sorted(room.rglob("*"))
        if path.is_file() and path != script
    }
