"""What several commands share: options and arguments, the records to work on, standard output, progress."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TypeAlias

from pam_scripts.cli.shared import Shared
from pam_scripts.core import host
from pam_scripts.core.deadline import Deadline
from pam_scripts.core.errors import BadInput
from pam_scripts.core.secret import Secret, presentable
from pam_scripts.gateway.console import Console

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001 - argparse has no public name
"""Where a module adds the parser of its command."""


def fetch(options: argparse.Namespace, deadline: Deadline, console: Console) -> Shared:
    """Return all shared records, and warn of those that cannot be decrypted.

    Raises BadInput where one that the options of `add_sources` name is not among them.
    """
    shared = Shared.fetch(deadline, options.credential, options.configuration)
    for remark in shared.remarks:
        console.warn(remark)
    return shared


def days(text: str) -> int:
    """Return an argument that counts days; raise ArgumentTypeError where it is none from 1 to 3650."""
    if not text.isdecimal() or not 0 < int(text) <= 3650:  # noqa: PLR2004 - ten years
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 3650")
    return int(text)


def pair(text: str) -> tuple[str, str]:
    """Return label and value of an argument FIELD=VALUE; raise ArgumentTypeError where it is none."""
    label, sign, value = text.partition("=")
    if not sign or not label or not value:
        raise argparse.ArgumentTypeError(f"{text!r} is not FIELD=VALUE")
    return label, value


def write(text: str, *, with_secrets: bool = False) -> None:
    """Write to standard output; a reader that goes away, such as `head`, is no failure.

    text: made of presentable parts. Raises BadInput where it cannot be written, for a full disk.
    """
    if sys.stdout is None:
        raise BadInput("standard output is closed")
    try:
        sys.stdout.write(f"{text if with_secrets else Secret.redact_whole(text)}\n")
        sys.stdout.flush()
    except OSError as error:
        # The interpreter flushes once more at its end, and would end with a status of its own.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if error.errno not in host.HERE.reader_gone:
            raise BadInput(f"standard output cannot be written to ({type(error).__name__})") from None


@contextlib.contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """Yield what shows a line in place of the one before, on a terminal only; wipe the last one off at the end."""
    lock = threading.Lock()
    is_shown = sys.stderr.isatty()

    def say(line: str) -> None:
        if is_shown:
            with lock:
                # A line that is as long as the terminal is wide could not be wiped off again.
                sys.stderr.write(f"\r\x1b[K{presentable(line)[: shutil.get_terminal_size().columns - 1]}")
                sys.stderr.flush()

    try:
        yield say
    finally:
        say("")
