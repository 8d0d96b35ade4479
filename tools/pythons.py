"""Which of the supported Pythons are on this machine: `python -m tools.pythons` says so, and which are not.

The list stands in `pyproject.toml`, as classifiers. An interpreter is looked for where pyenv puts it, then on the path.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RUNNING = "{}.{}".format(*sys.version_info)
"""The version that runs this."""


def supported(root: Path = ROOT) -> list[str]:
    """Return the versions that the package says it supports, such as `3.10`, the oldest first."""
    text = (root / "pyproject.toml").read_text(encoding="utf-8")
    return re.findall(r'"Programming Language :: Python :: (3\.\d+)"', text)


def find(version: str) -> str | None:
    """Return the path of an interpreter of this version (`3.10`), None where this machine has none that answers."""
    for installed in sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python")):
        return str(installed)
    if on_path := shutil.which(f"python{version}"):
        # It may be a launcher, for a version that is not installed: ask.
        code = "import sys; print('%d.%d' % sys.version_info[:2])"
        answer = subprocess.run([on_path, "-c", code], capture_output=True, text=True, check=False)  # noqa: S603 - found above
        if answer.stdout.strip() == version:
            return on_path
    return None


def told(versions: Sequence[str]) -> str:
    """Return in one line which of the versions are here, and which are not."""
    here = [version for version in versions if find(version)]
    missing = [version for version in versions if version not in here]
    return f"Pythons here: {', '.join(here) or 'none'}" + (f"; not tried: {', '.join(missing)}" if missing else "")


def main(arguments: list[str] | None = None) -> int:
    """Print what is here, as the options ask; return 1 where the version that was asked for is not."""
    parser = argparse.ArgumentParser(prog="python -m tools.pythons", description=__doc__)
    parser.add_argument("version", nargs="?", help="print the path of this one, such as 3.12; 1 where it is not here")
    parser.add_argument(
        "--others", action="store_true", help="print the supported ones that are here, but for this one"
    )
    options = parser.parse_args(arguments)
    if options.version:
        path = find(options.version)
        sys.stdout.write(f"{path}\n" if path else "")
        return 0 if path else 1
    versions = supported()
    others = [version for version in versions if version != RUNNING and find(version)]
    lines = others if options.others else [told(versions)]
    sys.stdout.writelines(f"{line}\n" for line in lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
