"""Ask for known weaknesses of all that a host may have installed: `python -m tools.audit_packages`, by pip-audit.

Every version of `requirements-aws.lock` is asked for, those for other Pythons and platforms, too. Where the service
does not answer for each of them, this says "not audited", and nothing else: pip-audit alone would leave out what the
service does not know, and call the rest clean.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tools import locks
from tools.locks import Pin

ROOT = Path(__file__).resolve().parents[1]
LOCK = "requirements-aws.lock"

EPILOG = """\
All other options go to pip-audit, such as `-s osv`.

Exit status: 0 no weakness is known, or not audited; 1 some are known; with --must-ask, also 1 where not audited."""


class NotAuditedError(Exception):
    """The service did not answer for every package."""


def known(pins: Sequence[Pin], options: Sequence[str] = ()) -> list[str]:
    """Return a line for each weakness that is known of these packages.

    `options` go to pip-audit. Raises `NotAuditedError` unless the service answered for every one.
    """
    # Two versions of a package, for different Pythons, are no list that pip-audit takes: the second one is asked later.
    by_name = itertools.groupby(sorted(pins, key=lambda pin: pin.name), key=lambda pin: pin.name)
    rounds = itertools.zip_longest(*(list(versions) for _, versions in by_name))
    return [line for each in rounds for line in _ask([pin for pin in each if pin], options)]


def _ask(pins: Sequence[Pin], options: Sequence[str]) -> list[str]:
    with tempfile.TemporaryDirectory() as directory:
        asked = Path(directory, "requirements.txt")
        asked.write_text("".join(f"{pin.name}=={pin.version}\n" for pin in pins), encoding="utf-8")
        command = [sys.executable, "-m", "pip_audit", "--strict", "--no-deps", "--disable-pip", "--format", "json"]
        command += ["--progress-spinner", "off", "--requirement", str(asked), *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - by its user's options
    try:
        found = json.loads(done.stdout)["dependencies"]
        lines = [
            f"{each['name']} {each['version']}: {weakness['id']}, mended in {' '.join(weakness['fix_versions']) or '-'}"
            for each in found
            for weakness in each["vulns"]
        ]
        answered = {(_normal(each["name"]), each["version"]) for each in found}
    except (ValueError, KeyError, TypeError) as error:
        raise NotAuditedError from error
    if answered != {(_normal(pin.name), pin.version) for pin in pins} or done.returncode != bool(lines):
        raise NotAuditedError
    return lines


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def main(arguments: list[str] | None = None) -> int:
    """Ask, say what was found, and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.audit_packages",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--must-ask", action="store_true", help="end with 1 where the service could not be asked")
    options, others = parser.parse_known_args(arguments)
    pins = locks.read(ROOT / LOCK)
    try:
        lines = known(pins, others)
    except NotAuditedError:
        sys.stdout.write("not audited\n")
        return 1 if options.must_ask else 0
    sys.stdout.writelines(f"{line}\n" for line in lines)
    sys.stdout.write(f"audited: {len(pins)} packages of {LOCK}, {len(lines) or 'no'} known weaknesses\n")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
