"""Build one attachable file for each script: `python -m tools.bundle` writes `dist/SCRIPT.py`.

A PAM script is attached to a Keeper record as a single file. The files built here hold the package's
own modules verbatim, so that a reviewer reads what they attach and a traceback names a module's own lines;
third-party packages come from the interpreter that runs the script. A build has no dates and no paths
in it: the same sources give the same bytes.

Own modules are found by following the scripts' imports, those inside functions included and those
under `if TYPE_CHECKING` left out. An import that is made from a string (`importlib.import_module`) is
not seen.

A build may leave mirrors and consumers out (`WITH`). Which there are is read from the package's
registry. A module that is left out is replaced by a stand-in that says so; what only it imports is left
out, too.
"""

from __future__ import annotations

import argparse
import ast
import functools
import hashlib
import io
import re
import string
import sys
import tokenize
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

PACKAGE = "pam_scripts"

REGISTRY = f"{PACKAGE}.assembly.registry"
"""The module that lists every mirror and every consumer; a package may have none."""

NONE = "none"
"""The word for a build without any mirror and any consumer."""

HELP = """\
Build the attachable files: one for each script, with the package's own modules word for word.

Prints a line for each file: its SHA-256, its name, its lines, and the lines of code in the package's
own modules that it holds (blank lines, comments and docstrings not counted)."""

EPILOG = f"""\
--with names the mirrors and consumers to build in, by their modules, with commas or blanks between them;
{NONE} for none of them. Without it all are in. A record that fills in the field of what was left out is
refused by the script. `make bundle WITH="key_vault"` is the same as `--with key_vault`.

  SCRIPT.py                                everything is in
  SCRIPT-with-key_vault.py                 key_vault is in, the others are left out
  SCRIPT-with-key_vault-container_apps.py  two are in
  SCRIPT-with-{NONE}.py                      none is in

SHA256SUMS lists every .py file in the directory, those of earlier builds too. A file's head says the
build's name (the version and eight digits for what the file holds), what is in, what is left out, and
how to check both. The same sources give the same bytes.

Exit status: 0 built; 1 the sources cannot be bundled; 2 --with names what is not there. Nothing is
written unless it is 0."""

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
# $script, build $build: a post-rotation script for Keeper, to attach to a record.
#
# It was put together by "$command".
# It holds the modules listed here as they stand in the repository, each between triple quotes, and runs
# them from there: nothing is unpacked, nothing is fetched.
#
$choice# To check the whole file, build it again from the same version with the same command: the bytes are the
# same, and dist/SHA256SUMS has their SHA-256. To check the modules, let this print OK for each, in a copy
# of the repository:
#
#     grep -E "^# [0-9a-f]{64}  " THIS_FILE | cut -c 3- | sha256sum --check
#
# The build's name is the version, $version, and the first eight digits that this prints:
#
#     grep -E "^# ([0-9a-f]{64}  |left out of this build: )" THIS_FILE | sha256sum
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
        # A traceback names this file, the module, and its own line: the text begins after a line end.
        held = "%s (%s)" % (THIS_FILE, module.__name__)
        exec(compile(self.modules[module.__name__][1][1:], held, "exec", dont_inherit=True), module.__dict__)


# Name of each module: whether it is a package, and its text.
MODULES = {
$modules}

sys.meta_path.insert(0, HeldModules(MODULES))
importlib.import_module("$package").__build__ = "$build"
status = importlib.import_module("$package.$script").main()
# The process ends here: taking apart, object by object, what the system takes back at once would cost as
# much as all the looking.
gc.freeze()
sys.exit(status)
''')

# What the head says of mirrors and consumers, where the package lists any.
CHOICE = string.Template("""\
# Mirrors and consumers, each with the field of a record that asks for it:
#
$lines
#
""")
REFUSED = """\
# In place of what is left out stands a module of that name that says no more than so, and a record that
# fills in such a field is refused.
#
"""

# What stands in place of a mirror or a consumer that is left out: the registry finds LEFT_OUT there.
STAND_IN = string.Template('''\
"""Left out of this build: $word."""

LABEL = $label
LEFT_OUT = True
''')

# Tokens that make no line one of code.
_NO_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}


class BundleError(Exception):
    """The sources cannot be put into one file; the message says which, and why."""


class UnknownChoice(BundleError):
    """What is to be built in is not there to choose; the message says what is."""


@dataclass(frozen=True)
class Kind:
    """A kind of mirror or consumer, which a build holds or leaves out.

    `module` is the dotted name of its module or package, `label` the field of a record that asks for it.
    """

    module: str
    label: str

    @property
    def word(self) -> str:
        """What it is called in WITH, in file names and in the head."""
        return self.module.rpartition(".")[2]


@dataclass(frozen=True)
class Choice:
    """The kinds that a build holds, and those that it leaves out, both in the registry's order."""

    held: Sequence[Kind]
    left_out: Sequence[Kind]

    @property
    def words(self) -> list[str]:
        """The words that say it; none where nothing is left out."""
        return [kind.word for kind in self.held] or [NONE] if self.left_out else []

    @property
    def ending(self) -> str:
        """What it adds to a script's name in the name of the file."""
        return "-".join(["-with", *self.words]) if self.words else ""

    @property
    def command(self) -> str:
        """The command that builds it."""
        return f"make bundle WITH={','.join(self.words)}" if self.words else "make bundle"


@dataclass(frozen=True)
class Module:
    """One of the package's own modules.

    `name` is the dotted name, `path` its place below the root with forward slashes, `is_package`
    whether it is an `__init__.py`, `source` its text as it stands in the file. `is_stand_in` says that
    the text was made here, to stand in place of what is left out.
    """

    name: str
    path: str
    is_package: bool
    source: str
    is_stand_in: bool = False

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


@dataclass(frozen=True)
class Bundle:
    """One attachable file: its `name`, its `text`, the name of its `build`, and the modules in it."""

    name: str
    text: str
    build: str
    modules: Sequence[Module]

    @property
    def sha256(self) -> str:
        """SHA-256 of the file's bytes, in hexadecimal."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def lines(self) -> int:
        """How many lines the file has."""
        return self.text.count("\n")

    @property
    def lines_of_code(self) -> int:
        """How many lines of the package's own modules carry code; stand-ins are not counted."""
        return sum(lines_of_code(module.source) for module in self.modules if not module.is_stand_in)


def scripts(root: Path) -> list[str]:
    """Return the names of the attachable scripts below `root`, sorted."""
    return sorted(path.stem for path in (root / PACKAGE).glob("*.py") if not path.name.startswith("_"))


def kinds(root: Path) -> list[Kind]:
    """Return the mirrors and consumers that the package's registry lists, in its order; none without one.

    Nothing is imported. Raises `BundleError` where the registry's lists, or a label, cannot be read.
    """
    registry = _read(root, REGISTRY)
    if registry is None:
        return []
    imported = {
        alias.asname or alias.name: f"{_absolute(node, REGISTRY.rpartition('.')[0])}.{alias.name}"
        for node in ast.parse(registry.source, registry.path).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    found = []
    for listing in ("MIRRORS", "CONSUMERS"):
        value = _assigned(registry, listing)
        for each in value.elts if isinstance(value, (ast.Tuple, ast.List)) else [value]:
            name = imported.get(ast.unparse(each), "")
            module = _read(root, name) if name.startswith(f"{PACKAGE}.") else None
            if module is None:
                raise BundleError(f"{registry.path}: {listing} has {ast.unparse(each)}, no module that it imports")
            label = _assigned(module, "LABEL")
            if not isinstance(label, ast.Constant) or not isinstance(label.value, str):
                raise BundleError(f"{module.path}: LABEL is not a text in quotes")
            found.append(Kind(name, label.value))
    words = [kind.word for kind in found]
    if double := sorted({word for word in words if words.count(word) > 1}):
        raise BundleError(f"{registry.path}: lists two modules called {double[0]}")
    return found


def choose(root: Path, wanted: str | None) -> Choice:
    """Return what a build is to hold. `wanted` has words with commas or blanks between them, or is None for all.

    Raises `UnknownChoice` where a word is no kind's.
    """
    known = kinds(root)
    if wanted is None:
        return Choice(known, [])
    words = re.split(r"[,\s]+", wanted.strip(", \t\n"))
    choices = [*(kind.word for kind in known), NONE]
    for word in words:
        if word not in choices:
            raise UnknownChoice(f"WITH names {word!r}; choose from: {', '.join(choices)}")
    if NONE in words and set(words) != {NONE}:
        raise UnknownChoice(f"WITH names {NONE!r} beside others; choose from: {', '.join(choices)}")
    return Choice([kind for kind in known if kind.word in words], [kind for kind in known if kind.word not in words])


def bundle(root: Path, script: str, wanted: str | None = None) -> Bundle:
    """Return the attachable file of one script.

    `root` is the directory that holds the package and `requirements.txt`, `wanted` as `choose` has it.
    Raises `BundleError` where a module is missing, cannot be quoted, or imports a package that
    `requirements.txt` does not name, or a kind that is left out; and as `choose` does.
    """
    choice = choose(root, wanted)
    modules, imports = _closure(root, f"{PACKAGE}.{script}", {kind.module: kind for kind in choice.left_out})
    requirements = _requirements(root, imports)
    there = {module.name for module in modules}
    held = [f"# in this build: {_shown(kind)}" for kind in choice.held if kind.module in there]
    left_out = [f"# left out of this build: {_shown(kind)}" for kind in choice.left_out if kind.module in there]
    digests = [f"# {module.sha256}  {module.path}" for module in modules if not module.is_stand_in]
    said = CHOICE.substitute(lines="\n".join([*held, *left_out])) if held or left_out else ""
    version = version_of(root)
    # The head tells how to come to the same digits.
    listing = "".join(f"{line}\n" for line in [*left_out, *digests])
    build_name = f"{version}+{hashlib.sha256(listing.encode()).hexdigest()[:8]}"
    blank = OUTER.substitute(
        package=PACKAGE,
        script=script,
        version=version,
        build=build_name,
        command=choice.command,
        choice=said + (REFUSED if left_out else ""),
        digests="\n".join(digests),
        requirements="".join(f"    ({name!r}, {text!r}),\n" for name, text in requirements),
        modules="@MODULES@",
    )
    before, after = blank.split("@MODULES@")
    entries = [f"    {module.name!r}: ({module.is_package}, r'''\n{module.source}'''),\n" for module in modules]
    return Bundle(f"{script}{choice.ending}.py", before + "".join(entries) + after, build_name, modules)


def build(root: Path, output: Path, wanted: str | None = None) -> list[Bundle]:
    """Write every script's attachable file into `output`, and `SHA256SUMS` of all that lie there.

    `wanted` is as `choose` has it. Returns what was built. Raises `BundleError` as `bundle` does, or
    where there is no script at all; nothing is written then.
    """
    bundles = [bundle(root, script, wanted) for script in scripts(root)]
    if not bundles:
        raise BundleError(f"{root / PACKAGE}: no attachable script there")
    output.mkdir(parents=True, exist_ok=True)
    for each in bundles:
        (output / each.name).write_bytes(each.text.encode())
    files = sorted(output.glob("*.py"), key=lambda path: path.name)
    listing = "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files)
    (output / "SHA256SUMS").write_bytes(listing.encode())
    return bundles


def lines_of_code(source: str) -> int:
    """Return how many lines of a module carry code: no blank lines, no comments, no docstrings."""
    docstrings = {
        line
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    texts = source.split("\n")
    carrying: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in _NO_CODE or (token.type == tokenize.STRING and token.start[0] in docstrings):
            continue
        carrying.update(line for line in range(token.start[0], token.end[0] + 1) if texts[line - 1].strip())
    return len(carrying)


@functools.cache  # all scripts need most of the modules
def imports_of(source: str, name: str, *, is_package: bool) -> Sequence[Import]:
    """Return what a module's source imports when it runs, function bodies included.

    `name` is the module's dotted name, from which relative imports are counted.
    """
    package = name if is_package else name.rpartition(".")[0]
    return tuple(_walk(ast.parse(source, name).body, package, optional=False))


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
        elif isinstance(node, (ast.stmt, ast.excepthandler, ast.match_case)):  # no expression holds an import
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


def _closure(root: Path, start: str, left_out: Mapping[str, Kind]) -> tuple[list[Module], list[Import]]:
    """Return every own module that `start` needs, by name, and all that they import from elsewhere.

    `left_out` has the kinds in whose place stand-ins are returned, by module.
    """
    found: dict[str, Module] = {}
    elsewhere: list[Import] = []
    waiting = [start]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        module = _stand_in(left_out[name]) if name in left_out else _read(root, name)
        if module is None:
            raise BundleError(f"{name}: no such module, or no __init__.py in its directory")
        found[name] = module
        waiting.extend(_parents(name))
        for each in imports_of(module.source, name, is_package=module.is_package):
            if each.module.partition(".")[0] != PACKAGE:
                elsewhere.append(each)
                continue
            _check_is_in(module, each, left_out)
            waiting.extend([each.module, *_parents(each.module)])
            if each.member and _read(root, each.dotted):
                waiting.append(each.dotted)
    return [found[name] for name in sorted(found)], elsewhere


def _check_is_in(importer: Module, imported: Import, left_out: Mapping[str, Kind]) -> None:
    """Raise `BundleError` where a module needs more of a kind that is left out than the stand-in has."""
    if importer.name == REGISTRY and imported.dotted in left_out:
        return
    for name in (*_parents(imported.dotted), imported.dotted):
        if name in left_out:
            raise BundleError(
                f"{importer.path}: imports {imported.dotted}, which WITH leaves out; only {REGISTRY} may import {name}"
            )


def _stand_in(kind: Kind) -> Module:
    path = f"{kind.module.replace('.', '/')}.py"
    source = STAND_IN.substitute(word=kind.word, label=repr(kind.label))
    _check_quotable(path, source)
    return Module(kind.module, path, is_package=False, source=source, is_stand_in=True)


def _shown(kind: Kind) -> str:
    return f"{kind.word} ({kind.label!r})"


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


def version_of(root: Path) -> str:
    """Return the package's version, as its sources say it. Raises `BundleError` where they do not."""
    package = _read(root, PACKAGE)
    if package is None:
        raise BundleError(f"{PACKAGE}: no such package")
    return str(ast.literal_eval(_assigned(package, "__version__")))


def _assigned(module: Module, name: str) -> ast.expr:
    """Return what a module sets a name to, at its top level."""
    for node in ast.parse(module.source, module.path).body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.AnnAssign):
            targets = [node.target]
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value and name in map(ast.unparse, targets):
            return node.value
    raise BundleError(f"{module.path}: sets no {name}")


def main(arguments: list[str] | None = None) -> int:
    """Build the files and print a line for each; return the exit status, with the reason on stderr if it is not 0."""
    repository = Path(__file__).resolve().parents[1]
    parser = argparse.ArgumentParser(
        prog="python -m tools.bundle",
        description=HELP,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--with", dest="wanted", metavar="WORDS", help="mirrors and consumers to build in (all)")
    parser.add_argument(
        "--root", type=Path, default=repository, help="directory that holds the package (this repository)"
    )
    parser.add_argument("--output", type=Path, help="directory to write to (ROOT/dist)")
    options = parser.parse_args(arguments)
    try:
        bundles = build(options.root, options.output or options.root / "dist", options.wanted)
    except (BundleError, OSError, SyntaxError) as error:
        sys.stderr.write(f"bundle: {error}\n")
        return 2 if isinstance(error, UnknownChoice) else 1
    width = max(len(each.name) for each in bundles)
    sys.stdout.writelines(
        f"{each.sha256}  {each.name:<{width}}  {each.lines:5,} lines, {each.lines_of_code:5,} of code\n"
        for each in bundles
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
