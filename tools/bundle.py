"""Build one attachable file for each script: `python -m tools.bundle` writes `dist/SCRIPT.py`.

A PAM script is attached to a Keeper record as a single file. The files built here hold the package's
own modules verbatim, so that a reviewer reads what they attach and a traceback shows its true lines;
third-party packages come from the interpreter that runs the script. A build has no dates and no paths
in it: the same sources give the same bytes.

Own modules are found by following the scripts' imports, those inside functions included and those
under `if TYPE_CHECKING` left out. An import that is made from a string (`importlib.import_module`) is
not seen.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import re
import string
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PACKAGE = "pam_scripts"

DISTRIBUTIONS = {
    "azure.core": "azure-identity",
    "azure.identity": "azure-identity",
    "azure.keyvault.secrets": "azure-keyvault-secrets",
    "boto3": "boto3",
    "botocore": "boto3",
    "cryptography": "keeper-secrets-manager-core",
    "keeper_secrets_manager_core": "keeper-secrets-manager-core",
    "requests": "requests",
    "urllib3": "requests",
}
"""Import name of each third-party package -> PyPI name of the requirement that brings it."""

# The outer file. Python 2.7 must be able to parse it: an old interpreter then says in one line what is
# wrong, where it would else show a syntax error.
OUTER = string.Template('''\
#!/usr/bin/env python3
# -*- coding: utf-8 -*-
#
# $script, version $version: a post-rotation script for Keeper, to attach to a record.
#
# The file was put together by "python -m tools.bundle". It holds the modules listed here as they stand
# in the repository, each between triple quotes, and runs them from there: nothing is unpacked, nothing
# is fetched.
#
# To check the whole file, build it again from the same version: the bytes are the same, and
# dist/SHA256SUMS has their SHA-256. To check the modules, let this print OK for each, in a copy of the
# repository:
#
#     grep -E "^# [0-9a-f]{64}  " THIS_FILE | cut -c 3- | sha256sum --check
#
$digests

import os
import sys

if sys.version_info < (3, 10):
    sys.stderr.write(
        "$script: "
        "nothing was touched: this needs Python 3.10 or newer, and %s is Python %d.%d.%d; set the script "
        "command to a newer interpreter, for example /opt/pam-scripts/bin/python\\n"
        % ((sys.executable,) + tuple(sys.version_info[:3]))
    )
    sys.exit(2)

# Python looks for modules beside the script first. That may be a directory for temporary files, where
# others can leave a file called requests.py: take the directory out.
THIS_FILE = os.path.abspath(__file__)
if sys.path and os.path.realpath(sys.path[0]) == os.path.dirname(os.path.realpath(THIS_FILE)):
    del sys.path[0]

import gc
import importlib
import importlib.util

# Imports make tens of thousands of objects, and next to none of them is garbage. Python would look through
# them a hundred times for cycles, a tenth of a short run's CPU time; this way only a long run does.
gc.set_threshold(100000)

# Import name, and what to ask of PyPI for it.
REQUIREMENTS = (
$requirements)


def is_installed(name):
    try:
        return importlib.util.find_spec(name) is not None
    except ImportError:  # the package around it is not installed
        return False


MISSING = sorted(set(requirement for name, requirement in REQUIREMENTS if not is_installed(name)))
if MISSING:
    sys.stderr.write(
        "$script: "
        "nothing was touched: packages are missing; install them with: %s -m pip install %s\\n"
        % (sys.executable, " ".join('"%s"' % requirement for requirement in MISSING))
    )
    sys.exit(2)


class HeldModules(object):
    """Finds and runs the modules that this file holds, before Python looks for them elsewhere."""

    def __init__(self, modules):
        self.modules = modules

    def find_spec(self, name, path=None, target=None):
        if name not in self.modules:
            return None
        is_package = self.modules[name][0]
        return importlib.util.spec_from_loader(name, self, origin=THIS_FILE, is_package=is_package)

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        _, line, source = self.modules[module.__name__]
        # The blank lines give each line of the source the number that it has in this file, so that a
        # traceback shows it.
        padded = "\\n" * (line - 1) + source
        exec(compile(padded, THIS_FILE, "exec", dont_inherit=True), module.__dict__)


# Name of each module: whether it is a package, the line here at which its text begins, the text.
MODULES = {
$modules}

sys.meta_path.insert(0, HeldModules(MODULES))
status = importlib.import_module("$package.$script").main()
# The process ends here: taking apart, object by object, what the system takes back at once would cost as
# much as all the looking.
gc.freeze()
sys.exit(status)
''')


class BundleError(Exception):
    """The sources cannot be put into one file; the message says which, and why."""


@dataclass(frozen=True)
class Module:
    """One of the package's own modules.

    `name` is the dotted name, `path` its place below the root with forward slashes, `is_package`
    whether it is an `__init__.py`, `source` its text as it stands in the file.
    """

    name: str
    path: str
    is_package: bool
    source: str

    @property
    def sha256(self) -> str:
        """SHA-256 of the file's bytes, in hexadecimal."""
        return hashlib.sha256(self.source.encode()).hexdigest()


@dataclass(frozen=True)
class Import:
    """One name that a module imports, by absolute names.

    `member` is what is taken from `module`, empty for a plain `import`. `optional` says that the module
    goes on without it: the import stands in a `try` that has an `except ImportError`.
    """

    module: str
    member: str
    optional: bool

    @property
    def dotted(self) -> str:
        """Module and member in one dotted name."""
        return f"{self.module}.{self.member}" if self.member else self.module


def scripts(root: Path) -> list[str]:
    """Return the names of the attachable scripts below `root`, sorted."""
    return sorted(path.stem for path in (root / PACKAGE).glob("*.py") if not path.name.startswith("_"))


def bundle(root: Path, script: str) -> str:
    """Return the attachable file of one script.

    `root` is the directory that holds the package and `requirements.txt`. Raises `BundleError` where a
    module is missing, cannot be quoted, or imports a package that `requirements.txt` does not name.
    """
    modules, imports = _closure(root, f"{PACKAGE}.{script}")
    requirements = _requirements(root, imports)
    blank = OUTER.substitute(
        package=PACKAGE,
        script=script,
        version=_version(root),
        digests="\n".join(f"# {module.sha256}  {module.path}" for module in modules),
        requirements="".join(f"    ({name!r}, {text!r}),\n" for name, text in requirements),
        modules="@MODULES@",
    )
    before, after = blank.split("@MODULES@")
    line = before.count("\n") + 1
    held = []
    for module in modules:
        entry = f"    {module.name!r}: ({module.is_package}, {line}, r'''\n{module.source}'''),\n"
        line += entry.count("\n")
        held.append(entry)
    return before + "".join(held) + after


def build(root: Path, output: Path) -> dict[str, str]:
    """Write every script's attachable file and `SHA256SUMS` into `output`.

    Returns file name -> SHA-256 in hexadecimal. Raises `BundleError` as `bundle` does, or where there is
    no script at all; nothing is written then.
    """
    files = {f"{script}.py": bundle(root, script).encode() for script in scripts(root)}
    if not files:
        raise BundleError(f"{root / PACKAGE}: no attachable script there")
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    output.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (output / name).write_bytes(content)
    listing = "".join(f"{digest}  {name}\n" for name, digest in sums.items())
    (output / "SHA256SUMS").write_bytes(listing.encode())
    return sums


def imports_of(source: str, name: str, *, is_package: bool) -> Iterator[Import]:
    """Yield what a module's source imports when it runs, function bodies included.

    `name` is the module's dotted name, from which relative imports are counted.
    """
    package = name if is_package else name.rpartition(".")[0]
    yield from _walk(ast.parse(source, name).body, package, optional=False)


def _walk(nodes: Iterable[ast.AST], package: str, *, optional: bool) -> Iterator[Import]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, "", optional) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = _absolute(node, package)
            yield from (Import(module, alias.name, optional) for alias in node.names)
        elif isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
            yield from _walk(node.orelse, package, optional=optional)
        elif isinstance(node, ast.Try) and any(_catches_import_error(each) for each in node.handlers):
            yield from _walk([*node.body, *node.orelse], package, optional=True)
            yield from _walk([*node.handlers, *node.finalbody], package, optional=optional)
        else:
            yield from _walk(ast.iter_child_nodes(node), package, optional=optional)


def _absolute(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    parents = package.split(".")
    base = parents[: len(parents) - node.level + 1]
    return ".".join([*base, node.module] if node.module else base)


def _catches_import_error(handler: ast.ExceptHandler) -> bool:
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(isinstance(each, ast.Name) and each.id in {"ImportError", "ModuleNotFoundError"} for each in caught)


def _closure(root: Path, start: str) -> tuple[list[Module], list[Import]]:
    """Return every own module that `start` needs, by name, and all that they import from elsewhere."""
    found: dict[str, Module] = {}
    elsewhere: list[Import] = []
    waiting = [start]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        module = _read(root, name)
        if module is None:
            raise BundleError(f"{name}: no such module, or no __init__.py in its directory")
        found[name] = module
        waiting.extend(_parents(name))
        for each in imports_of(module.source, name, is_package=module.is_package):
            if each.module.partition(".")[0] != PACKAGE:
                elsewhere.append(each)
                continue
            waiting.extend([each.module, *_parents(each.module)])
            if each.member and _read(root, each.dotted):
                waiting.append(each.dotted)
    return [found[name] for name in sorted(found)], elsewhere


def _parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts))]


def _read(root: Path, name: str) -> Module | None:
    below = name.replace(".", "/")
    for path, is_package in ((f"{below}/__init__.py", True), (f"{below}.py", False)):
        if (root / path).is_file():
            try:
                source = (root / path).read_bytes().decode()
            except UnicodeDecodeError as error:
                raise BundleError(f"{path}: is not UTF-8") from error
            _check_quotable(path, source)
            return Module(name, path, is_package, source)
    return None


def _check_quotable(path: str, source: str) -> None:
    if "'''" in source:
        raise BundleError(f"{path}: holds ''', which would end the quotes around it")
    if source.rstrip("\n").endswith("\\"):
        raise BundleError(f"{path}: ends in a backslash")
    if source and not source.endswith("\n"):
        raise BundleError(f"{path}: has no newline at its end")
    if "\r" in source or "\0" in source or source.startswith("\ufeff"):
        raise BundleError(f"{path}: holds a carriage return, a NUL or a byte order mark")


def _requirements(root: Path, imports: Iterable[Import]) -> list[tuple[str, str]]:
    """Return the import names that must be found, each with its line of `requirements.txt`."""
    listed = {}
    for text in (root / "requirements.txt").read_text(encoding="utf-8").splitlines():
        requirement = text.partition("#")[0].strip()
        if match := re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", requirement):
            listed[match[0]] = requirement
    needed = {}
    for each in imports:
        if each.optional or each.module.partition(".")[0] in sys.stdlib_module_names:
            continue
        known = [name for name in [*_parents(each.dotted), each.dotted] if name in DISTRIBUTIONS]
        if not known:
            raise BundleError(f"{each.dotted}: which PyPI package is that? Add it to DISTRIBUTIONS")
        distribution = DISTRIBUTIONS[known[-1]]
        if distribution not in listed:
            raise BundleError(f"{each.dotted}: requirements.txt does not name {distribution}")
        needed[known[-1]] = listed[distribution]
    return sorted(needed.items())


def _version(root: Path) -> str:
    path = root / PACKAGE / "__init__.py"
    for node in ast.parse(path.read_bytes()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__version__":
            return str(ast.literal_eval(node.value))
    raise BundleError(f"{PACKAGE}/__init__.py: sets no __version__")


def main(arguments: list[str] | None = None) -> int:
    """Build the files, print the checksums; return the exit status: 0, or 1 with the reason on stderr."""
    repository = Path(__file__).resolve().parents[1]
    parser = argparse.ArgumentParser(prog="python -m tools.bundle", description="Build the attachable files.")
    parser.add_argument(
        "--root", type=Path, default=repository, help="directory that holds the package (this repository)"
    )
    parser.add_argument("--output", type=Path, help="directory to write to (ROOT/dist)")
    options = parser.parse_args(arguments)
    try:
        sums = build(options.root, options.output or options.root / "dist")
    except BundleError as error:
        sys.stderr.write(f"bundle: {error}\n")
        return 1
    sys.stdout.writelines(f"{digest}  {name}\n" for name, digest in sums.items())
    return 0


if __name__ == "__main__":
    sys.exit(main())
