"""The command: its parser, its list of commands, and the last net under all of them."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Sequence

import pam_scripts
from pam_scripts.cli import check, doctor, payload
from pam_scripts.cli.audit import command as audit
from pam_scripts.cli.templates import command as templates
from pam_scripts.core.errors import NotCertain, PamScriptError, defect
from pam_scripts.gateway.voice import Voice, prepare_output

COMMANDS = (check, audit, templates, payload, doctor)
"""Modules, in the order of the help: each has `add_parser`, and `work`, which returns the exit status."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status."""
    prepare_output()
    options = parser().parse_args(arguments)
    voice = Voice()
    try:
        return _work(options, voice)
    finally:
        with contextlib.suppress(KeyboardInterrupt):
            voice.finish()


def _work(options: argparse.Namespace, voice: Voice) -> int:
    try:
        return int(options.work(options, voice))
    except PamScriptError as error:
        voice.fail(error)
        return error.status
    except KeyboardInterrupt:
        return 1
    except Exception as error:  # noqa: BLE001 - the last net: no traceback ever, it could carry values
        voice.fail(NotCertain(defect(error)))
        return NotCertain.status


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    whole = argparse.ArgumentParser(
        prog="pam-scripts",
        description="See trouble before it happens: look at rotations, records and this host, and change none of them.",
        epilog="All but templates need the Gateway's Secrets Manager configuration: run them as the Gateway's user.",
    )
    whole.add_argument("--version", action="version", version=pam_scripts.__build__)
    commands = whole.add_subparsers(metavar="COMMAND", required=True)
    for one in COMMANDS:
        one.add_parser(commands)
    return whole
