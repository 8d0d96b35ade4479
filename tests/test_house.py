"""The shape of the package: which module may import which, and what stands where."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = "pam_scripts"
ROLES = ("issuers", "stores", "consumers")
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
TEMPLATE_SET = ("commander.csv", "commander.json", "web.csv")


def modules(root: Path) -> dict[str, Path]:
    """Return the package's modules by dotted name."""
    found = {}
    for path in sorted((root / PACKAGE).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(name: str, known: dict[str, Path]) -> set[str]:
    """Return all that a module imports, for types only too: own modules, and members of others, by name."""
    path = known[name]
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(path.read_bytes(), str(path))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parents, node.module] if node.module else parents)
            members = {f"{base}.{alias.name}" for alias in node.names}
            is_own = base.partition(".")[0] == PACKAGE
            found |= {base if is_own and member not in known else member for member in members}
    return found


def place(name: str) -> tuple[str, str]:
    """Return a module's role (`script`, `cli`, `core`, one of ROLES; empty for the package) and who it is there."""
    parts = [*name.split(".")[1:], "", ""]
    if parts[0] in {"", "cli", "core", *ROLES}:
        return parts[0], parts[1]
    if parts[0] == "__main__":
        return "cli", parts[0]
    return "script", parts[0]


def may_import(importer: str, imported: str) -> bool:
    """Say whether the house allows one own module to import the other."""
    (role, member), (other_role, other_member) = place(importer), place(imported)
    if other_role == "":
        return True
    if role == "cli":
        return other_member != "__main__"
    if role == "script":
        return other_role not in {"cli", "script"}
    if role in ROLES:
        return other_role == "core" or (other_role == role and other_member in {"", member})
    return role == "core" == other_role


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
    """The command line imports scripts, scripts issuers, stores and consumers, those core; nobody looks back."""
    seen = {place(name)[0] for name in modules(REPOSITORY)}

    assert {"cli", "script", "core", "issuers", "stores"} <= seen
    assert [] == wrong_imports(REPOSITORY)


@pytest.mark.parametrize(
    ("importer", "source"),
    [
        ("core/rotation", "from pam_scripts.issuers import seeq"),
        ("core/rotation", "import pam_scripts.rotate_thing"),
        ("issuers/seeq", "from pam_scripts.stores.keeper import Keeper"),
        ("issuers/seeq", "from ..stores import keeper"),
        ("issuers/seeq", "from . import entra"),
        ("stores/keeper", "def late():\n    from pam_scripts.issuers import seeq"),
        ("stores/keeper", "from pam_scripts import rotate_thing"),
        ("consumers/apps", "import pam_scripts.stores.keeper"),
        ("rotate_other", "from pam_scripts.rotate_thing import main"),
        ("rotate_other", "from pam_scripts.cli import audit"),
        ("core/rotation", "import pam_scripts.cli.audit"),
        ("cli/audit", "from pam_scripts import __main__"),
        ("core/rotation", "from sandbox.clock import Clock"),
    ],
)
def test_a_wrong_import_is_seen(importer: str, source: str, tmp_path: Path) -> None:
    """The check itself finds each kind of wrong import, so that its silence means something."""
    for name in (
        "core/rotation",
        "issuers/seeq",
        "issuers/entra",
        "stores/keeper",
        "rotate_thing",
        "cli/audit",
        "__main__",
        importer,
    ):
        path = tmp_path / PACKAGE / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source if name == importer else "")

    assert 1 == len(wrong_imports(tmp_path))


def test_the_order_of_a_rotation_knows_no_vendor_and_no_network() -> None:
    """`rotation.py` and all that it imports, however far, come from core and the standard library."""
    known = modules(REPOSITORY)
    reached = reach(f"{PACKAGE}.core.rotation", known)
    own = {name for name in reached if name in known}
    others = reached - own - WORDS

    assert f"{PACKAGE}.core.rotation" in own
    assert others, "it imports something of the standard library"
    assert set() == {name for name in own if place(name)[0] not in {"", "core"}}
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
