"""What differs between the systems that a Keeper Gateway runs on: places, signals, file rights, encodings, the end.

Nothing else in the package asks which system this is. The facts are values, so that what Windows has can be tried
elsewhere, by putting them in.
"""

from __future__ import annotations

import errno
import os
import re
import signal
import stat
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType


@dataclass(frozen=True, repr=False)
class Host:
    """The facts of one kind of system.

    configurations: where a Gateway keeps its Secrets Manager configuration, the likeliest first; `~` is the user's
    directory, `%NAME%` a variable. variables: what such a variable holds where it is not set. log: where the
    Gateway's log is, in words. signals: the names of those that ask a process to end. line_end: of a line of output.
    has_modes: a file's mode says who may read it. ascii_only: whoever reads a pipe does not decode what Python encodes.
    reader_gone: the numbers of the errors that a write has where nobody reads any more.
    """

    configurations: tuple[str, ...]
    variables: Mapping[str, str]
    log: str
    signals: tuple[str, ...]
    line_end: str
    has_modes: bool
    ascii_only: bool
    reader_gone: tuple[int, ...]

    def configuration_files(self, environment: Mapping[str, str]) -> list[str]:
        """Return the paths where a Gateway keeps its configuration; `~` is left as it is, for people to read."""

        def value(found: re.Match[str]) -> str:
            return environment.get(found[1], "").strip() or self.variables[found[1]]

        return [str(Path(re.sub(r"%(\w+)%", value, path))) for path in self.configurations]

    def rights(self, path: Path) -> tuple[str, str]:
        """Return who may read a file, in words, and what to do where others may who need not; raise OSError."""
        if not self.has_modes:
            return "its rights are in Windows' own list", ""
        found = path.stat()
        shown = f"{stat.filemode(found.st_mode)}, owner {_owner(path)}"
        is_open = found.st_mode & (stat.S_IRGRP | stat.S_IROTH | stat.S_IWOTH)
        return shown, f"others on this host can read it: chmod 600 {path}" if is_open else ""

    def encoding(self, asked: str | None) -> str:
        """Return how a line of output is written into a pipe or a file. asked: what Python would take.

        Python takes Windows' ANSI code page, and PowerShell reads the OEM code page: each byte beyond ASCII would be
        another letter. UTF-8 is only taken where somebody has asked for it (PYTHONIOENCODING, PYTHONUTF8).
        """
        asked = asked or "utf-8"
        return "ascii" if self.ascii_only and asked.lower().replace("-", "") != "utf8" else asked

    def on_stop(self, stop: Callable[[str], object]) -> None:
        """Call `stop`, with the signal's name, when this process is asked to end. From the main thread only."""

        def told(number: int, _frame: FrameType | None) -> None:
            stop(signal.Signals(number).name)

        for name in self.signals:
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), told)

    @contextmanager
    def stopping(self, stop: Callable[[str], object]) -> Iterator[None]:
        """Have `stop` called as `on_stop` does, within the `with` statement; in any thread but the main one, not."""
        before = {}
        if threading.current_thread() is threading.main_thread():
            numbers = [getattr(signal, name) for name in self.signals if hasattr(signal, name)]
            before = {number: signal.getsignal(number) for number in numbers}
            self.on_stop(stop)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


# https://docs.keeper.io/en/keeperpam/privileged-access-manager/getting-started/gateways/linux-installation
POSIX = Host(
    configurations=("/etc/keeper-gateway/gateway-config.json", "~/.keeper/gateway-config.json"),
    variables={},
    log="/var/log/keeper-gateway/ of a service; the container's output in Docker and Kubernetes",
    signals=("SIGTERM", "SIGINT", "SIGHUP"),
    line_end="\n",
    has_modes=True,
    ascii_only=False,
    reader_gone=(errno.EPIPE,),
)

# https://docs.keeper.io/en/keeperpam/privileged-access-manager/getting-started/gateways/windows-installation
# The newer page's place before the one of the page on the Gateway's security. A process that Windows ends
# (TerminateProcess) is told nothing; Ctrl-Break and a console that closes are SIGBREAK.
WINDOWS = Host(
    configurations=(
        "%PROGRAMDATA%/KeeperGateway/config/gateway-config.json",
        "%PROGRAMDATA%/KeeperGatewayPrivate/gateway-config.json",
        "~/.keeper/gateway-config.json",
    ),
    variables={"PROGRAMDATA": "C:\\ProgramData"},
    log="below C:\\ProgramData\\KeeperGateway\\",
    signals=("SIGTERM", "SIGINT", "SIGBREAK"),
    line_end="\r\n",
    has_modes=False,
    ascii_only=True,
    # https://github.com/python/cpython/issues/79935
    reader_gone=(errno.EPIPE, errno.EINVAL),
)

HERE = WINDOWS if os.name == "nt" else POSIX
"""The facts of the system that this runs on."""


def user_number() -> str:
    """Return the number of the user who runs this, empty where users have none."""
    return str(os.getuid()) if hasattr(os, "getuid") else ""


def end_process(status: int) -> None:
    """End at once, whatever other threads are at: nothing of Python's runs any more, and nothing is flushed."""
    os._exit(status)


def _owner(path: Path) -> str:
    try:
        return path.owner()
    except (KeyError, NotImplementedError, OSError):
        return "unknown"
