"""A fork server: real processes that start in milliseconds, so that thousands of runs can be tried.

Most of a short run's time goes into importing third-party packages and the script's own modules. Here
one interpreter (the runtime's, not the tests') imports them once, and forks itself for every run. What
comes out is a process like any other: its own standard streams, environment, directories and process
id, to be killed and to be waited for. What a module does while it is imported, it does before the run
has its environment: a test of that starts cold. Linux only; the server needs the standard library alone.
"""

from __future__ import annotations

import array
import ast
import atexit
import contextlib
import datetime as dt
import functools
import gc
import importlib
import json
import os
import runpy
import selectors
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sandbox.gateway import RotationResult

# What the scripts import, as far as it is installed: a name more or less costs time, nothing else.
HEAVY = (
    "argparse",
    "email.utils",
    "requests",
    "urllib3.contrib.socks",
    "cryptography.hazmat.primitives.asymmetric.ec",
    "keeper_secrets_manager_core",
    "azure.core.pipeline.transport._requests_basic",
    "azure.core.rest._requests_basic",
    "azure.identity",
    "azure.keyvault.secrets",
    "msal_extensions",
    "boto3",
)

PACKAGE = "pam_scripts"

_LONGEST_JOB = 1 << 20


# -- the side of the tests ------------------------------------------------------------------------


class Run:
    """One run that was started; made by `Warm.start`."""

    def __init__(self, connection: socket.socket, command: str, room: Path, outputs: Sequence[int]) -> None:
        self._connection = connection
        self._command = command
        self._room = room
        self._outputs = outputs
        self._started = time.monotonic()
        self._answers = connection.makefile("rb")
        self.pid = int(self._answers.readline())

    def wait(self, timeout: float = 150) -> RotationResult:
        """Wait for the end and return what came of it; past the timeout (seconds) the run is killed."""
        from sandbox.gateway import RotationResult  # noqa: PLC0415 - the server has no such package

        self._connection.settimeout(timeout)
        try:
            status = self._answers.readline()
        except TimeoutError:
            self.kill()
            self._connection.settimeout(None)
            self._answers = self._connection.makefile("rb")
            status = self._answers.readline()
        seconds = time.monotonic() - self._started
        self._connection.close()
        stdout, stderr = (_whole(output) for output in self._outputs)
        left = {
            path.relative_to(self._room).as_posix(): path.read_bytes()
            for path in sorted(self._room.rglob("*"))
            if path.is_file()
        }
        shutil.rmtree(self._room, ignore_errors=True)
        returncode = os.waitstatus_to_exitcode(int(status))
        return RotationResult(self._command, returncode == 0, stdout, stderr, returncode, seconds, left)

    @property
    def ended(self) -> bool:
        """Whether the process does nothing any more."""
        try:
            state = Path(f"/proc/{self.pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        return state in (b"Z", b"X")

    def kill(self) -> None:
        """End the run at once, as a power cut would."""
        self._signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Ask the run to end, as a service that stops does."""
        self._signal(signal.SIGTERM)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)


class Warm:
    """A fork server under one interpreter, for as long as the `with` statement lasts.

    `start` may be called from any number of threads.
    """

    def __init__(self, python: str) -> None:
        self._python = python

    def __enter__(self) -> Warm:  # noqa: PYI034 - `typing.Self` is for newer Pythons, and nobody inherits from this
        self._directory = Path(tempfile.mkdtemp(prefix="warm-"))
        self._address = str(self._directory / "socket")
        environment = {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"}
        self._server = subprocess.Popen(
            [self._python, "-I", __file__, self._address],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        assert self._server.stdout is not None, "it is a pipe"
        if not self._server.stdout.readline():
            raise RuntimeError(f"{self._python} could not start the fork server")
        return self

    def __exit__(self, *_: object) -> None:
        self._server.terminate()
        self._server.wait()
        if self._server.stdout is not None:
            self._server.stdout.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def start(  # noqa: PLR0913 - each is one thing that a run may have otherwise
        self,
        script: Path,
        stdin: bytes,
        *,
        environment: Mapping[str, str],
        arguments: Sequence[str] = (),
        direct_port: int | None = None,
        directory: Path | None = None,
        clock: float = 0.0,
    ) -> Run:
        """Start a script as `sandbox.gateway.Gateway.start` does, and return at once.

        script: a file, or a package's directory, which is run as `python -m` runs it from the one above.
        environment: as there. direct_port: go direct, with every host name leading to this port. directory: where
        it runs; its own where none is named. clock: by how many seconds the host's clock is ahead, for this run.
        """
        room = Path(tempfile.mkdtemp(prefix="run-", dir=self._directory))
        for name in ("work", "home", "tmp"):
            (room / name).mkdir()
        files = [os.memfd_create(name) for name in ("stdin", "stdout", "stderr")]
        os.write(files[0], stdin)
        os.lseek(files[0], 0, os.SEEK_SET)
        job = {
            "script": str(script),
            "arguments": list(arguments),
            "directory": str(directory or room / "work"),
            "direct_port": direct_port,
            "clock": clock,
            "environment": {
                "PATH": os.environ.get("PATH", os.defpath),
                "HOME": str(room / "home"),
                "TMPDIR": str(room / "tmp"),
                "LANG": "C.UTF-8",
                "PYTHONPATH": "",
                **environment,
            },
        }
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.connect(self._address)
        line = json.dumps(job).encode() + b"\n"
        connection.sendmsg([line[:1]], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files))])
        connection.sendall(line[1:])
        os.close(files[0])
        return Run(connection, shlex.join([self._python, str(script), *arguments]), room, files[1:])


def _whole(file: int) -> str:
    os.lseek(file, 0, os.SEEK_SET)
    with os.fdopen(file, "rb") as opened:
        return opened.read().decode(errors="replace")


# -- the server -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Loaded:
    """A script as far as it is the same for every run.

    code: what is executed; None for a package. modules: its own modules by their names, imported already.
    """

    code: CodeType | None
    modules: Mapping[str, ModuleType]


class _Loader:
    """Loads a script once, however many copies of it there are: importing its own modules is half of a run's work."""

    def __init__(self) -> None:
        self._loaded: dict[str | bytes, _Loaded] = {}

    def load(self, script: str) -> _Loaded:
        """Return a script's code, and its own modules where all of them could be imported."""
        path = Path(script)
        # A package is taken to stay as it is; of a file what counts is what stands in it.
        what = script if path.is_dir() else path.read_bytes()
        if what not in self._loaded:
            code = compile(what, script, "exec", dont_inherit=True) if isinstance(what, bytes) else None
            self._loaded[what] = _Loaded(code, _imported(path))
            # What stands in memory now is shared with every run; the collector would copy it page by page.
            gc.collect()
            gc.freeze()
        return self._loaded[what]


def _imported(script: Path) -> Mapping[str, ModuleType]:
    """Import a script's own modules and take them out of the interpreter again: other scripts have some of these names.

    What cannot be imported, or ends while it is, does so in the run.
    """
    before, path, finders, threshold = set(sys.modules), sys.path[:], sys.meta_path[:], gc.get_threshold()
    is_whole = False
    with contextlib.suppress(Exception, SystemExit):
        if script.is_dir():
            sys.path.insert(0, str(script.parent))
            runpy.run_module(script.name, run_name="imported")
        else:
            _import_held(script)
        is_whole = True
    sys.path[:], sys.meta_path[:] = path, finders
    gc.set_threshold(*threshold)
    own = {name: sys.modules.pop(name) for name in {*sys.modules} - before if name.partition(".")[0] == PACKAGE}
    return own if is_whole else {}


def _import_held(script: Path) -> None:
    """Import all that a bundle (see tools/bundle.py) holds, up to where it would begin; nothing of any other script."""
    tree = ast.parse(script.read_bytes(), str(script))
    start = next((number for number, node in enumerate(tree.body) if _assigns(node, "status")), 0)
    outer: dict[str, Any] = {"__name__": "imported", "__file__": str(script)}
    exec(compile(ast.Module(tree.body[:start], []), str(script), "exec", dont_inherit=True), outer)  # noqa: S102 - so will the run
    for name in outer.get("MODULES", ()):
        importlib.import_module(name)


def _assigns(node: ast.stmt, name: str) -> bool:
    return isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name


def _serve(address: str) -> None:
    for name in HEAVY:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    with contextlib.suppress(ImportError):
        _read_of_aws()
    loader = _Loader()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(address)
    listener.listen(256)
    # The end of a run wakes the loop through this pair: a handler alone would not.
    woken, waker = socket.socketpair()
    for end in (woken, waker):
        end.setblocking(False)
    signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    selector.register(woken, selectors.EVENT_READ)
    waiting: dict[int, socket.socket] = {}
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        for key, _ in selector.select():
            if key.fileobj is woken:
                with contextlib.suppress(BlockingIOError):
                    woken.recv(4096)
                for pid, status in _ended():
                    with contextlib.suppress(OSError), waiting.pop(pid) as connection:
                        connection.sendall(b"%d\n" % status)
                continue
            connection, _ = listener.accept()
            job, files = _receive(connection)
            loaded = loader.load(job["script"])
            pid = os.fork()
            if not pid:
                _become(job, loaded, files)
            for file in files:
                os.close(file)
            waiting[pid] = connection
            connection.sendall(b"%d\n" % pid)


def _read_of_aws() -> None:
    """Read what botocore says of the services that scripts ask: it is the same for every run, and IAM's is large."""
    import boto3  # noqa: PLC0415 - where it is installed
    from botocore.loaders import JSONFileLoader  # noqa: PLC0415

    read = functools.cache(JSONFileLoader().load_file)
    JSONFileLoader.load_file = lambda _, path: read(path)
    for service in ("secretsmanager", "iam", "sts"):
        boto3.session.Session("no key", "no secret", region_name="eu-central-1").client(service)


def _ended() -> Iterator[tuple[int, int]]:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        yield pid, status


def _receive(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    files = array.array("i")
    first, ancillary, _, _ = connection.recvmsg(1, socket.CMSG_SPACE(3 * files.itemsize))
    for _, _, data in ancillary:
        files.frombytes(data)
    with connection.makefile("rb") as rest:
        return json.loads(first + rest.readline(_LONGEST_JOB)), list(files)


def _become(job: Mapping[str, Any], loaded: _Loaded, files: Sequence[int]) -> None:
    """Turn the forked process into the run; never returns."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for number, file in enumerate(files):
        os.dup2(file, number)
    os.closerange(3, 256)
    os.environ.clear()
    os.environ.update(job["environment"])
    os.chdir(job["directory"])
    tempfile.tempdir = None
    sys.argv[:] = [job["script"], *job["arguments"]]
    sys.path.insert(0, str(Path(job["script"]).parent))
    if job["direct_port"]:
        _lead_to(job["direct_port"])
    if job["clock"]:
        _set_clock(job["clock"], loaded.modules.values())
    sys.modules.update(loaded.modules)
    package = loaded.modules.get(PACKAGE)
    if package and package.__spec__ and package.__spec__.loader:
        # It says when the run began.
        package.__spec__.loader.exec_module(package)
    main = sys.modules["__main__"] = ModuleType("__main__")
    main.__file__ = job["script"]
    status: object = 0
    try:
        if loaded.code is None:
            runpy.run_module(Path(job["script"]).name, run_name="__main__", alter_sys=True)
        else:
            exec(loaded.code, main.__dict__)  # noqa: S102 - running what it is given is the point
    except SystemExit as end:
        status = end.code
    except BaseException:  # noqa: BLE001 - what an interpreter does with it
        traceback.print_exc()
        status = 1
    _exit(status)


def _lead_to(port: int) -> None:
    """Have every host name, looked up for port 443 in this process, resolve to 127.0.0.1 and `port`; no other is known.

    A client meets a lost connection differently with a proxy in between and without one; without one, the
    services' real host names must lead to loopback.
    """
    resolve = socket.getaddrinfo

    def on_loopback(host: Any, service: Any, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - passed on as it is
        if str(service) in ("443", "https"):
            host, service = "127.0.0.1", port
        elif host not in ("127.0.0.1", "localhost"):
            raise socket.gaierror(socket.EAI_NONAME, "the sandbox has no such name")
        return resolve(host, service, *arguments, **options)

    socket.getaddrinfo = on_loopback  # type: ignore[assignment]  # the same call, whatever it is given


def _set_clock(ahead: float, imported: Iterable[ModuleType]) -> None:
    """Have this process take the time for so many seconds later than it is.

    For all that asks by `datetime.datetime.now` and `time.time`, which scripts and SDKs do, without a word in them.
    imported: modules that have taken the former of the two by its name already.
    """
    delta, seconds = dt.timedelta(seconds=ahead), time.time

    class Shifted(dt.datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> Shifted:
            return super().now(tz) + delta

        @classmethod
        def utcnow(cls) -> Shifted:
            return super().utcnow() + delta

    for module in imported:
        if vars(module).get("datetime") is dt.datetime:
            vars(module)["datetime"] = Shifted
    dt.datetime = Shifted  # type: ignore[misc]  # for whoever looks it up from now on
    time.time = lambda: seconds() + ahead


def _exit(status: object) -> None:
    """End as an interpreter does, but for taking the whole of memory apart first."""
    if isinstance(status, str):
        sys.stderr.write(f"{status}\n")
    threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001 - waits for threads, as an interpreter's end does
    atexit._run_exitfuncs()  # noqa: SLF001 - the same
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status & 0xFF if isinstance(status, int) else int(status is not None))


if __name__ == "__main__":
    _serve(sys.argv[1])
