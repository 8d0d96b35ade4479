"""Put a release together: `python -m tools.release` writes all that a team gets to `dist/release-VERSION/`.

It needs Python and nothing else, and to sign, OpenSSH's `ssh-keygen`. There are no dates and no paths in what it
writes: the same sources give the same bytes, wherever and whenever they are put together.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tools import bundle, locks
from tools.bundle import NONE, Bundle, BundleError
from tools.locks import LockError
from tools.sbom import sbom

NAMESPACE = "pam-scripts-release"
"""What a signature is for, so that one made for anything else does not count: ssh-keygen's `-n`."""

RANGES = tuple(dict.fromkeys(file for files in locks.LOCKS.values() for file in files))

EPILOG = f"""\
In it are: scripts/, the files to attach, for each useful choice of mirrors and consumers; record_templates/; the locks
and the ranges that they are made of; sbom.cdx.json, the bill of materials; CHANGES.md, the changelog's section of this
version; LICENSE; and SHA256SUMS of all these. With --sign, SHA256SUMS.sig is made, too: a signature in the namespace
{NAMESPACE}. How to check it: docs/release.md.

Exit status: 0 written; 1 it cannot be put together, or not signed; 2 --tag names another version."""


class ReleaseError(Exception):
    """The release cannot be put together; the message says why. `status` is the exit status."""

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


def choices(root: Path) -> list[str | None]:
    """Return what the files of a release are built with, as `tools.bundle` takes it.

    All; nothing; each mirror alone, and with every consumer. Any other choice is a `make bundle WITH=...` away.
    """
    known = bundle.kinds(root)
    mirrors = [kind.word for kind in known if ".stores." in kind.module]
    consumers = [kind.word for kind in known if kind.word not in mirrors]
    return [None, NONE, *mirrors, *(" ".join([mirror, *consumers]) for mirror in mirrors)]


def changes(changelog: str, version: str) -> str:
    """Return the changelog's section of a version, without its heading. Raises `ReleaseError` where there is none."""
    heading = rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d\n"
    found = re.search(rf"{heading}(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL)
    if not found or not found[1].strip():
        raise ReleaseError(f"CHANGELOG.md has no section of this version: `## [{version}] - YYYY-MM-DD`, and entries")
    return f"# Version {version}\n\n{found[1].strip()}\n"


def contents(root: Path, version: str) -> Mapping[str, bytes]:
    """Return each file of a version's release by its path there.

    Raises `ReleaseError`, `BundleError` or `LockError` where the sources do not make one, and `OSError`.
    """
    bundles = [bundle.bundle(root, script, wanted) for wanted in choices(root) for script in bundle.scripts(root)]
    files = {f"scripts/{each.name}": each.text.encode() for each in bundles}
    for path in sorted((root / "record_templates").iterdir()):
        files[f"record_templates/{path.name}"] = path.read_bytes()
    for name in (*locks.LOCKS, *RANGES, "LICENSE"):
        files[name] = (root / name).read_bytes()
    files["CHANGES.md"] = changes((root / "CHANGELOG.md").read_text(encoding="utf-8"), version).encode()
    files["sbom.cdx.json"] = _sbom(root, version, bundles).encode()
    listing = "".join(f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files))
    files["SHA256SUMS"] = listing.encode()
    return files


def _sbom(root: Path, version: str, bundles: Sequence[Bundle]) -> str:
    always, everything = (locks.read(root / name) for name in locks.LOCKS)
    return sbom(version, everything, {pin.purl for pin in always}, bundles)


def write(directory: Path, files: Mapping[str, bytes]) -> None:
    """Write the files below a directory that then holds nothing else."""
    shutil.rmtree(directory, ignore_errors=True)
    for name, content in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(content)


def sign(directory: Path, key: Path) -> Path:
    """Sign `SHA256SUMS`, and so all that it lists, and return the file with the signature.

    `key` is a private key, or a public one whose private half ssh-agent has. A passphrase is asked for on the terminal.
    Raises `ReleaseError` where ssh-keygen is missing, or refuses.
    """
    sums = directory / "SHA256SUMS"
    command = ["ssh-keygen", "-q", "-Y", "sign", "-f", str(key.expanduser()), "-n", NAMESPACE, str(sums)]
    try:
        done = subprocess.run(command, check=False)  # noqa: S603 - the key that its owner named
    except FileNotFoundError as error:
        raise ReleaseError("not signed: ssh-keygen is missing; it comes with OpenSSH's client") from error
    if done.returncode:
        raise ReleaseError(f"not signed: ssh-keygen refused, as it says above; the rest is in {directory}")
    return sums.with_name("SHA256SUMS.sig")


def main(arguments: list[str] | None = None) -> int:
    """Write the release and say where it is; return the exit status, with the reason on stderr if it is not 0."""
    repository = Path(__file__).resolve().parents[1]
    parser = argparse.ArgumentParser(
        prog="python -m tools.release",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--tag", help="write nothing unless the version is this tag's: v1.0.0 for version 1.0.0")
    parser.add_argument("--sign", type=Path, metavar="KEY", help="OpenSSH key to sign SHA256SUMS with")
    parser.add_argument("--root", type=Path, default=repository, help="directory with the sources (this repository)")
    parser.add_argument("--output", type=Path, help="directory to make release-VERSION in (ROOT/dist)")
    options = parser.parse_args(arguments)
    try:
        version = bundle.version_of(options.root)
        if options.tag and options.tag != f"v{version}":
            raise ReleaseError(f"the tag is {options.tag}, and the version is {version}: nothing was written", 2)
        files = contents(options.root, version)
        directory = (options.output or options.root / "dist") / f"release-{version}"
        write(directory, files)
        signature = sign(directory, options.sign) if options.sign else None
    except (ReleaseError, BundleError, LockError, OSError, SyntaxError) as error:
        sys.stderr.write(f"release: {error}\n")
        return getattr(error, "status", 1)
    signed = f"signed: {signature.name}" if signature else "not signed"
    sums = hashlib.sha256(files["SHA256SUMS"]).hexdigest()
    sys.stdout.write(f"{directory}: {len(files)} files, {signed}\n{sums}  SHA256SUMS\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
