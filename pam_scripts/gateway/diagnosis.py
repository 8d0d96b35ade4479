"""What a script sees of the host it runs on: for `diagnose` = `True` in a record, and for `doctor`.

Names of variables and packages only, never a variable's value: it may be a credential.
"""

from __future__ import annotations

import getpass
import locale
import os
import platform
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path

import pam_scripts
from pam_scripts.core import host

# What requirements.txt asks for, by the names that PyPI has for it.
PACKAGES = ("keeper-secrets-manager-core", "requests", "azure-identity", "azure-keyvault-secrets")


def tell(say: Callable[[str], None]) -> None:
    """Say in plain lines who runs this, with which interpreter, where, and which variables are set."""
    say(f"Diagnosis by pam-scripts {pam_scripts.__build__}: nothing else is done while 'diagnose' is 'True'")
    for name, found in describe_host().items():
        say(f"{name}: {found}")


def describe_host() -> dict[str, str]:
    """Return what there is, by name."""
    return {
        "Interpreter": f"{sys.executable or 'unknown'}, Python {platform.python_version()} on {platform.platform()}",
        "Virtualenv": sys.prefix if sys.prefix != sys.base_prefix else "none",
        "Packages": ", ".join(f"{name} {version or 'is missing'}" for name, version in packages().items()),
        "User": _user(),
        "Directory": _directory(),
        "Script": sys.argv[0] if sys.argv else "unknown",
        "Encoding": f"output {getattr(sys.stdout, 'encoding', 'none')}, files {locale.getpreferredencoding(False)}",
        "Variables": ", ".join(sorted(os.environ)) or "none",
    }


def packages() -> dict[str, str]:
    """Return the version of each required package, empty for one that is missing."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = ""
    return found


def missing() -> list[str]:
    """Return the names of required packages that are not installed."""
    return [name for name, version in packages().items() if not version]


def way_to_install(names: Sequence[str]) -> str:
    """Return the command that installs these packages for this interpreter; empty for none."""
    return f"{sys.executable} -m pip install {' '.join(names)}" if names else ""


def _user() -> str:
    number = f" ({host.user_number()})" if host.user_number() else ""
    try:
        return getpass.getuser() + number
    except (ImportError, KeyError, OSError):  # no name in the environment, and none in the host's list of users
        return f"without a name{number}"


def _directory() -> str:
    try:
        return str(Path.cwd())
    except OSError as error:
        return f"cannot be read ({type(error).__name__})"
