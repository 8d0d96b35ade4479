"""The shape of the package: which module may import which, and what stands where."""

from __future__ import annotations

import ast
import functools
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = "pam_scripts"
# From the bottom to the top: a layer may import those before it, and itself.
LAYERS = ("core", "rotation", "gateway", "logins", "parts", "assembly", "script", "cli")
PARTS = ("issuers", "stores", "consumers")
NETWORK = (
    "asyncio",
    "ftplib",
    "http",
    "smtplib",
    "socket",
    "socketserver",
    "ssl",
    "urllib.request",
    "xmlrpc",
)
WORDS = {"http.HTTPStatus"}  # names numbers, talks to nobody
OUTSIDE = {"bench", "sandbox", "tests", "tools"}

# What a Python on Windows lacks: modules, and members of modules that both have.
# https://docs.python.org/3/library/unix.html, and "Availability: Unix" in the pages of the modules.
NOT_ON_WINDOWS = {
    *("_curses", "crypt", "curses", "fcntl", "grp", "nis", "ossaudiodev", "posix", "pty", "pwd", "readline"),
    *("resource", "spwd", "syslog", "termios", "tty"),
    *(f"os.{name}" for name in ("chown", "fork", "forkpty", "getegid", "geteuid", "getgid", "getuid", "killpg")),
    *(f"os.{name}" for name in ("mkfifo", "nice", "setsid", "setuid", "sysconf", "uname", "wait", "O_NONBLOCK")),
    *(f"signal.{name}" for name in ("SIGALRM", "SIGCHLD", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGQUIT", "SIGUSR1")),
    *(f"signal.{name}" for name in ("alarm", "pause", "pthread_kill", "setitimer", "sigwait")),
    *("select.poll", "select.epoll", "socket.AF_UNIX", "time.tzset"),
}
THE_HOST = f"{PACKAGE}.core.host"
# What the parts of one role have in common stands beside them, or in their package itself.
SHARED = (f"{PACKAGE}.stores.previous",)
TEMPLATE_SET = ("commander.csv", "commander.json", "project.json", "web.csv")


def modules(root: Path) -> dict[str, Path]:
    """Return the package's modules by dotted name."""
    found = {}
    for path in sorted((root / PACKAGE).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@functools.cache
def parsed(source: bytes) -> tuple[ast.AST, ...]:
    """Return every node of a module's source."""
    return tuple(ast.walk(ast.parse(source)))


def imports(name: str, known: dict[str, Path]) -> set[str]:
    """Return all that a module imports, for types only too: own modules, and members of others, by name."""
    path = known[name]
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found = set()
    for node in parsed(path.read_bytes()):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parents, node.module] if node.module else parents)
            members = {f"{base}.{alias.name}" for alias in node.names}
            is_own = base.partition(".")[0] == PACKAGE
            found |= {base if is_own and member not in known else member for member in members}
    return found


def members(path: Path) -> set[str]:
    """Return what a module takes from others by a dot: `os.getuid`."""
    return {
        f"{node.value.id}.{node.attr}"
        for node in parsed(path.read_bytes())
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    }


def not_on_windows(root: Path) -> list[str]:
    """Return every use of what Windows lacks, or of the system's name, but in the one module that is about that."""
    known = modules(root)
    return [
        f"{name}: {used}"
        for name, path in known.items()
        if name != THE_HOST
        for used in sorted(imports(name, known) | members(path))
        if used in {*NOT_ON_WINDOWS, "os.name", "sys.platform", "os._exit", "platform.system"}
        or used.partition(".")[0] in NOT_ON_WINDOWS
    ]


def place(name: str) -> tuple[str, str]:
    """Return a module's layer, one of LAYERS (empty for the package), and of a part which one it is."""
    parts = [*name.split(".")[1:], "", ""]
    if parts[0] in PARTS:
        if name in SHARED:
            return "parts", ""
        return "parts", f"{parts[0]}.{parts[1]}" if parts[1] else ""
    if parts[0] == "__main__":
        return "cli", ""
    return ("" if parts[0] == "" else parts[0] if parts[0] in LAYERS else "script"), ""


def may_import(importer: str, imported: str) -> bool:
    """Say whether the house allows one own module to import the other: down, and never from part to part."""
    (layer, part), (other_layer, other_part) = place(importer), place(imported)
    if other_layer == "":
        return True
    if imported.endswith(".__main__"):
        return False
    if layer == other_layer == "parts":
        return other_part in {"", part}
    if layer == other_layer == "script":
        return False
    return LAYERS.index(other_layer) <= LAYERS.index(layer)


def wrong_imports(root: Path) -> list[str]:
    """Return every import that goes the wrong way, or to the repository's own tests and tools."""
    known = modules(root)
    wrong = []
    for name in known:
        for imported in sorted(imports(name, known)):
            top = imported.partition(".")[0]
            if top in OUTSIDE or (top == PACKAGE and not may_import(name, imported)):
                wrong.append(f"{name} imports {imported}")
    return wrong


def reach(start: str, known: dict[str, Path]) -> set[str]:
    """Return all that a module imports, and the own modules among them, and so on."""
    found: set[str] = set()
    waiting = {start}
    while waiting:
        name = waiting.pop()
        found.add(name)
        if name in known:
            waiting |= (imports(name, known) | {name.rpartition(".")[0]} - {""}) - found
    return found


def scripts(root: Path) -> list[str]:
    """Return the names of the modules at the top level of the package, dunder modules left out."""
    return sorted(path.stem for path in (root / PACKAGE).glob("*.py") if not path.name.startswith("__"))


def test_imports_point_one_way() -> None:
    """Command line, scripts, assembly, parts, logins, gateway, rotation, core; nobody looks back."""
    seen = {place(name)[0] for name in modules(REPOSITORY)}

    assert {*LAYERS} == seen - {""}
    assert [] == wrong_imports(REPOSITORY)


@pytest.mark.parametrize(
    ("importer", "source"),
    [
        ("core/http", "from pam_scripts.rotation import order"),
        ("core/http", "import pam_scripts.rotate_thing"),
        ("rotation/order", "from pam_scripts.issuers import seeq"),
        ("rotation/order", "from pam_scripts.gateway import run"),
        ("gateway/run", "from pam_scripts.logins import azure"),
        ("logins/azure", "from pam_scripts.stores import keeper"),
        ("issuers/seeq", "from pam_scripts.stores.keeper import Keeper"),
        ("issuers/seeq", "from ..stores import keeper"),
        ("issuers/seeq", "from . import entra"),
        ("issuers/seeq", "from pam_scripts.assembly import registry"),
        ("stores/keeper", "def late():\n    from pam_scripts.issuers import seeq"),
        ("stores/keeper", "from pam_scripts import rotate_thing"),
        ("consumers/apps", "import pam_scripts.stores.keeper"),
        ("assembly/registry", "from pam_scripts import rotate_thing"),
        ("rotate_other", "from pam_scripts.rotate_thing import main"),
        ("rotate_other", "from pam_scripts.cli import audit"),
        ("rotation/order", "import pam_scripts.cli.audit"),
        ("cli/audit", "from pam_scripts import __main__"),
        ("core/http", "from sandbox.clock import Clock"),
    ],
)
def test_a_wrong_import_is_seen(importer: str, source: str, tmp_path: Path) -> None:
    """The check itself finds each kind of wrong import, so that its silence means something."""
    for name in (
        "core/http",
        "rotation/order",
        "gateway/run",
        "logins/azure",
        "issuers/seeq",
        "issuers/entra",
        "stores/keeper",
        "assembly/registry",
        "rotate_thing",
        "cli/audit",
        "__main__",
        importer,
    ):
        path = tmp_path / PACKAGE / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source if name == importer else "")

    assert 1 == len(wrong_imports(tmp_path))


def test_what_differs_between_systems_stands_in_one_module() -> None:
    """No bundle and no command reaches for what Windows lacks, or asks which system it runs on, but there."""
    known = modules(REPOSITORY)

    assert THE_HOST in reach(f"{PACKAGE}.gateway.run", known)
    assert [] == not_on_windows(REPOSITORY)
    assert {"os.getuid", "os.name", "os._exit"} < members(known[THE_HOST])


@pytest.mark.parametrize(
    "source",
    [
        "import fcntl",
        "def late():\n    import pwd",
        "from os import fork",
        "import os\nos.fork()",
        "import signal\nsignal.signal(signal.SIGHUP, print)",
        "import os\nWINDOWS = os.name == 'nt'",
        "import os.path, termios as console",
        "import sys\nif sys.platform == 'win32':\n    pass",
    ],
)
def test_a_use_of_what_windows_lacks_is_seen(source: str, tmp_path: Path) -> None:
    """The check itself finds each kind, so that its silence means something."""
    path = tmp_path / PACKAGE / "core" / "files.py"
    path.parent.mkdir(parents=True)
    path.write_text(source, encoding="utf-8")

    assert 1 == len(not_on_windows(tmp_path))


def test_the_order_of_a_rotation_knows_no_vendor_and_no_network() -> None:
    """`order.py` and all that it imports, however far, come from rotation, core and the standard library."""
    known = modules(REPOSITORY)
    reached = reach(f"{PACKAGE}.rotation.order", known)
    own = {name for name in reached if name in known}
    others = reached - own - WORDS

    assert f"{PACKAGE}.rotation.order" in own
    assert others, "it imports something of the standard library"
    assert set() == {name for name in own if place(name)[0] not in {"", "core", "rotation"}}
    assert set() == {name.partition(".")[0] for name in others} - sys.stdlib_module_names
    assert [] == [name for name in others if f"{name}.".startswith(tuple(f"{each}." for each in NETWORK))]


def test_only_attachable_scripts_stand_at_the_top_of_the_package() -> None:
    """A newcomer sees from the names alone what can be attached."""
    found = scripts(REPOSITORY)

    assert "rotate_seeq_application_key" in found
    assert [] == [name for name in found if not name.startswith(("rotate_", "publish_"))]


def test_each_script_has_a_set_of_record_templates_and_each_set_a_script() -> None:
    """The templates have the script's stem, one file for each way to import them."""
    templates = REPOSITORY / "record_templates"
    expected = {f"{script}.{ending}" for script in scripts(REPOSITORY) for ending in TEMPLATE_SET}

    assert expected
    assert expected == {path.name for path in templates.iterdir()} - {"README.md"}


def test_the_order_reads_on_one_page() -> None:
    """Whoever must trust the package reads it, and is done: 150 lines at most."""
    lines = (REPOSITORY / PACKAGE / "rotation" / "order.py").read_text(encoding="utf-8").splitlines()

    assert len(lines) <= 150


def test_the_contracts_are_for_the_type_checker_alone() -> None:
    """No attached file carries what only says what a module must offer."""
    known = modules(REPOSITORY)
    importers = [name for name in known if f"{PACKAGE}.assembly.kinds" in imports(name, known)]

    attached = reach(f"{PACKAGE}.assembly.script", known) & set(importers)
    assert {f"{PACKAGE}.assembly.registry", f"{PACKAGE}.assembly.script"} == attached


def test_no_class_of_values_shows_what_it_holds() -> None:
    """What is printed of it by mistake is its name: some hold secrets, and none says so by itself."""
    shown = [
        f"{path.relative_to(REPOSITORY)}: {node.name}"
        for path in sorted((REPOSITORY / PACKAGE).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
        for decorator in map(ast.unparse, node.decorator_list)
        if decorator.startswith("dataclass") and "repr=False" not in decorator
    ]

    assert [] == shown
