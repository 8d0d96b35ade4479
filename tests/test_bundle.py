"""The attachable files: what stands in them, what can be left out, and how they run as the Gateway runs them."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.amount import THOROUGH
from tools.bundle import BundleError, UnknownChoice, build, bundle, kinds, lines_of_code, main, scripts
from tools.pythons import find, supported

REPOSITORY = Path(__file__).resolve().parents[1]
SCRIPTS = scripts(REPOSITORY)
TOO_OLD = ("2.7", "3.4", "3.5", "3.6", "3.7", "3.8", "3.9")

# Every mirror and consumer alone, none of them, and all.
CHOICES = [None, "none", *(kind.word for kind in kinds(REPOSITORY))]
# Each script whole, and with one choice, by turns; what lands is built with every choice.
BUILDS = [
    (script, choice)
    for number, script in enumerate(SCRIPTS)
    for choice in (CHOICES if THOROUGH else (None, CHOICES[1 + number % (len(CHOICES) - 1)]))
]

SOURCES = {
    "requirements.txt": "# Runtime.\nrequests>=2,<3\nazure-identity>=1.2,<2\nazure-keyvault-secrets>=4,<5\n",
    "pam_scripts/__init__.py": '"""A small package."""\n\n__version__ = "1.2.3"\n',
    "pam_scripts/core/__init__.py": "",
    "pam_scripts/core/words.py": (
        '"""Words \u2013 with \\\\ backslashes, \\N{BULLET} and """\n\n'
        "from __future__ import annotations\n\n\n"
        "def shout(text: str) -> str:\n"
        '    """Say it loudly."""\n'
        "    if not text:\n"
        '        raise RuntimeError("nothing to say")  # the marked line\n'
        "    return text.upper()\n"
    ),
    "pam_scripts/core/unused.py": '"""Nobody imports this."""\n',
    "pam_scripts/core/typing_only.py": '"""Imported for types only."""\n',
    "pam_scripts/stores/__init__.py": '"""Stores."""\n',
    "pam_scripts/stores/shelf.py": ('"""A store."""\n\nfrom ..core import words\n\nLOUD = words.shout("shelf")\n'),
    "pam_scripts/_private.py": '"""Not a script."""\n',
    "pam_scripts/rotate_thing.py": (
        '"""A script."""\n\n'
        "import sys\n"
        "from typing import TYPE_CHECKING\n\n"
        "from pam_scripts.core import words\n\n"
        "if TYPE_CHECKING:\n"
        "    import numpy\n"
        "    from pam_scripts.core import typing_only\n\n"
        "try:\n"
        "    import tomlkit\n"
        "except ImportError:\n"
        "    tomlkit = None\n\n\n"
        "def main() -> int:\n"
        '    """Answer what stands on standard input, loudly."""\n'
        "    from pam_scripts.stores.shelf import LOUD\n\n"
        "    sys.stdout.write(words.shout(sys.stdin.read().strip()) + LOUD + str(len(sys.argv)))\n"
        "    return 3\n"
    ),
}

# A registry, with a store that is a package and needs an SDK, one that is a module and needs a helper, and a consumer.
REGISTRY = {
    "assembly__init": "",
    "assembly__registry": (
        "from __future__ import annotations\n\n"
        "from pam_scripts.consumers import bell\n"
        "from pam_scripts.stores import cupboard as big, drawer\n\n"
        "MIRRORS: tuple[object, ...] = (drawer, big)\n"
        "CONSUMERS = (bell,)\n"
    ),
    "stores__cupboard__init": (
        '"""A cupboard."""\n\n'
        "from pam_scripts.stores.cupboard import locks\n\n"
        'LABEL = "cupboard_name"\n'
        "LOCK = locks.LOCK\n"
    ),
    "stores__cupboard__locks": (
        '"""Locks."""\n\nLOCK = "lock"\n\n\ndef ask():\n    from azure.keyvault.secrets import SecretClient\n'
    ),
    "stores__drawer": '"""A drawer."""\n\nfrom pam_scripts.core import felt, words\n\nLABEL: str = "drawer_name"\n',
    "core__felt": '"""Felt."""\n',
    "consumers__init": '"""Consumers."""\n',
    "consumers__bell": '"""A bell."""\n\nfrom pam_scripts.core import words\n\nLABEL = "bell_names"\n',
    "rotate_thing": (
        '"""A script."""\n\n'
        "import sys\n\n"
        "import pam_scripts\n"
        "from pam_scripts.assembly import registry\n\n"
        "BUILD = pam_scripts.__build__\n\n\n"
        "def main():\n"
        '    """Say which build it is, and of each kind whether it is left out."""\n'
        "    for kind in (*registry.MIRRORS, *registry.CONSUMERS):\n"
        "        sys.stdout.write(f\"{kind.LABEL} {hasattr(kind, 'LEFT_OUT')}, \")\n"
        "    sys.stdout.write(BUILD)\n"
        "    return 0\n"
    ),
}
WORDS = ("drawer", "cupboard", "bell")


def write(root: Path, **changes: str) -> Path:
    """Write the small package below `root`.

    changes: what to replace or add, by path with `__` for `/`, and `init` for `__init__.py`.
    """
    paths = {re.sub(r"/init$", "/__init__", name.replace("__", "/")): text for name, text in changes.items()}
    sources = SOURCES | {f"pam_scripts/{path}.py": text for path, text in paths.items()}
    for path, text in sources.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(text.encode())
    return root


def run(  # noqa: PLR0913 - one run's facts
    file: Path,
    *options: str,
    arguments: Sequence[str] = (),
    given: str = "hello\n",
    python: str = sys.executable,
    cwd: Path | None = None,
    pythonpath: str = "",
) -> subprocess.CompletedProcess[str]:
    """Run a file as the Gateway does: the payload on standard input, nothing else to go by."""
    environment = os.environ | {"PYTHONPATH": pythonpath, "PYTHONIOENCODING": "utf-8"}
    return subprocess.run(
        [python, *options, str(file), *arguments],
        input=given,
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd or file.parent,
        env=environment,
        timeout=60,
    )


def here(versions: Sequence[str]) -> list[pytest.ParameterSet]:
    """Return those of the versions that this machine has, each with its interpreter, for a test that takes both."""
    return [pytest.param(version, python, id=version) for version in versions if (python := find(version))]


def held_in(text: str) -> list[str]:
    """Return the paths of the modules whose digests a file's head lists."""
    return re.findall(r"^# [0-9a-f]{64}  (.+)$", text, re.MULTILINE)


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """Build the small package's script and move the file where nothing else stands, under another name."""
    build(write(tmp_path / "root"), tmp_path / "dist")
    place = tmp_path / "elsewhere" / "attached file"
    place.parent.mkdir()
    return (tmp_path / "dist" / "rotate_thing.py").rename(place)


def test_runs_under_any_file_name_with_the_payload_on_standard_input_and_exits_with_the_status_of_main(
    built: Path, tmp_path: Path
) -> None:
    """A file without extension, run from another directory, reads standard input and exits as main says."""
    result = run(built, cwd=tmp_path)

    assert (3, "HELLOSHELF1", "") == (result.returncode, result.stdout, result.stderr)


@pytest.mark.parametrize(("version", "python"), here(supported()))
def test_runs_on_each_supported_python(version: str, python: str, built: Path) -> None:
    """The oldest supported interpreter and those after it run the same file, as far as this machine has them."""
    result = run(built, python=python)

    assert (3, "HELLOSHELF1", "") == (result.returncode, result.stdout, result.stderr), version


def test_runs_in_isolated_mode(built: Path) -> None:
    """`python -I`, which ignores the environment and the script's directory, changes nothing."""
    result = run(built, "-I")

    assert (3, "HELLOSHELF1", "") == (result.returncode, result.stdout, result.stderr)


def test_runs_with_windows_line_ends(built: Path) -> None:
    """A file whose line ends were changed on the way to a Windows host still runs."""
    built.write_bytes(built.read_bytes().replace(b"\n", b"\r\n"))

    result = run(built)

    assert (3, "HELLOSHELF1", "") == (result.returncode, result.stdout, result.stderr)


def test_another_package_of_the_same_name_is_not_taken(built: Path, tmp_path: Path) -> None:
    """A package called pam_scripts in the path, the working directory or beside the file is left alone."""
    for directory in (tmp_path / "path", tmp_path / "work", built.parent):
        (directory / "pam_scripts").mkdir(parents=True)
        (directory / "pam_scripts" / "__init__.py").write_text("raise SystemExit('the wrong package')\n")

    result = run(built, cwd=tmp_path / "work", pythonpath=str(tmp_path / "path"))

    assert (3, "HELLOSHELF1", "") == (result.returncode, result.stdout, result.stderr)


def test_a_module_that_lies_beside_the_file_is_not_imported(built: Path) -> None:
    """Somebody else's typing.py in the directory of the attached file is not run."""
    (built.parent / "typing.py").write_text("raise SystemExit('planted')\n")

    result = run(built)

    assert (3, "HELLOSHELF1", "") == (result.returncode, result.stdout, result.stderr)


def test_a_traceback_names_the_lines_of_the_modules(built: Path) -> None:
    """An uncaught error names the attached file, the module in it, and its line there."""
    result = run(built, given="")

    lines = SOURCES["pam_scripts/core/words.py"].splitlines()
    number = next(n for n, line in enumerate(lines, 1) if line.endswith("# the marked line"))
    assert 1 == result.returncode
    assert f'File "{built} (pam_scripts.core.words)", line {number}, in shout\n' in result.stderr


def test_only_what_the_script_imports_is_held(built: Path) -> None:
    """Imports are followed, in functions too; unused, private and types-only modules stay out."""
    assert [
        "pam_scripts/__init__.py",
        "pam_scripts/core/__init__.py",
        "pam_scripts/core/words.py",
        "pam_scripts/rotate_thing.py",
        "pam_scripts/stores/__init__.py",
        "pam_scripts/stores/shelf.py",
    ] == held_in(built.read_text(encoding="utf-8"))


def test_private_modules_are_not_scripts(tmp_path: Path) -> None:
    """A module whose name begins with an underscore gets no attachable file."""
    assert ["rotate_thing"] == scripts(write(tmp_path))


def test_the_head_names_script_build_and_the_digest_of_each_module(tmp_path: Path) -> None:
    """A reviewer can compare each module with the repository by its SHA-256."""
    root = write(tmp_path)
    made = bundle(root, "rotate_thing")
    header = made.text.partition("\nimport ")[0]

    assert re.fullmatch(r"1\.2\.3\+[0-9a-f]{8}", made.build)
    assert f"# rotate_thing, build {made.build}:" in header
    assert '# It was put together by "make bundle".\n' in header
    for digest, path in re.findall(r"^# ([0-9a-f]{64})  (.+)$", header, re.MULTILINE):
        assert hashlib.sha256((root / path).read_bytes()).hexdigest() == digest


def test_two_builds_are_the_same_byte_for_byte(tmp_path: Path) -> None:
    """Neither the place, the hash seed nor the time shows in what is built."""
    outputs = []
    for seed in ("1", "2"):
        root = write(tmp_path / seed)
        command = [sys.executable, "-m", "tools.bundle", "--root", str(root)]
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(REPOSITORY)}
        subprocess.run(command, check=True, cwd=tmp_path, env=environment, capture_output=True)
        outputs.append({path.name: path.read_bytes() for path in (root / "dist").iterdir()})

    assert {"rotate_thing.py", "SHA256SUMS"} == set(outputs[0])
    assert outputs[0] == outputs[1]
    assert b"\r" not in outputs[0]["rotate_thing.py"]


def test_the_checksums_are_in_the_format_of_sha256sum(tmp_path: Path) -> None:
    """Each line of SHA256SUMS is the digest, two blanks, the file name; the same is returned."""
    made = build(write(tmp_path / "root"), tmp_path / "dist")

    digest = hashlib.sha256((tmp_path / "dist" / "rotate_thing.py").read_bytes()).hexdigest()
    assert f"{digest}  rotate_thing.py\n" == (tmp_path / "dist" / "SHA256SUMS").read_text()
    assert [("rotate_thing.py", digest)] == [(each.name, each.sha256) for each in made]


@pytest.mark.parametrize(("version", "python"), here(TOO_OLD))
def test_an_old_interpreter_is_told_so_in_one_line(version: str, python: str, built: Path) -> None:
    """An interpreter that is too old exits 2 and says which it is and what to set; each that this machine has."""
    result = run(built, python=python)

    assert (2, "") == (result.returncode, result.stdout)
    assert 1 == len(result.stderr.splitlines())
    assert "rotate_thing: nothing was touched: this needs Python 3.10 or newer" in result.stderr
    assert f"{python} is Python {version}." in result.stderr
    assert "set the script command" in result.stderr


def test_missing_packages_are_named_with_the_command_that_installs_them(tmp_path: Path) -> None:
    """Without its packages the file exits 2 with one line: what to run, with this very interpreter."""
    source = "import requests.adapters\nfrom azure.identity import X\nfrom azure.keyvault import secrets\n"
    build(write(tmp_path, rotate_thing=source + "from azure.core import Y\n"), tmp_path / "dist")

    result = run(tmp_path / "dist" / "rotate_thing.py", "-S")

    wanted = '"azure-identity>=1.2,<2" "azure-keyvault-secrets>=4,<5" "requests>=2,<3"'
    assert (2, "") == (result.returncode, result.stdout)
    assert (
        "rotate_thing: nothing was touched: packages are missing; install them with: "
        f"{sys.executable} -m pip install {wanted}\n"
    ) == result.stderr


def test_only_the_missing_packages_are_named(tmp_path: Path) -> None:
    """A package that can be found is not asked for."""
    (tmp_path / "site" / "requests").mkdir(parents=True)
    (tmp_path / "site" / "requests" / "__init__.py").touch()
    source = "import requests\nimport azure.identity\n"
    build(write(tmp_path, rotate_thing=source), tmp_path / "dist")

    result = run(tmp_path / "dist" / "rotate_thing.py", "-S", pythonpath=str(tmp_path / "site"))

    assert 2 == result.returncode
    assert result.stderr.endswith(' -m pip install "azure-identity>=1.2,<2"\n')


def test_a_package_that_serves_only_types_or_may_be_absent_is_not_asked_for(built: Path) -> None:
    """Imports under TYPE_CHECKING, or in a try with except ImportError, need not be installed."""
    result = run(built, "-S")

    assert (3, "HELLOSHELF1", "") == (result.returncode, result.stdout, result.stderr)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("X = '''text'''\n", "rotate_thing.py: holds '''"),
        ("X = 1\n\\", "rotate_thing.py: ends in a backslash"),
        ("X = 1\n\\\n", "rotate_thing.py: ends in a backslash"),
        ("X = 1", "rotate_thing.py: has no newline"),
        ("X = 1\r\n", "rotate_thing.py: holds a carriage return"),
        ("import numpy\n", "numpy: which PyPI package is that?"),
        ("import boto3\n", "boto3: requirements.txt does not name boto3"),
        ("import pam_scripts.core.nowhere\n", "pam_scripts.core.nowhere: no such module"),
        ("from pam_scripts.nowhere import x\n", "pam_scripts.nowhere: no such module"),
    ],
)
def test_what_cannot_be_bundled_truly_is_refused(source: str, message: str, tmp_path: Path) -> None:
    """Sources that cannot be quoted, and imports that cannot be answered for, stop the build."""
    root = write(tmp_path, rotate_thing=source)

    with pytest.raises(BundleError, match=re.escape(message)):
        build(root, tmp_path / "dist")
    assert not (tmp_path / "dist").exists()


def test_a_package_without_its_init_file_is_refused(tmp_path: Path) -> None:
    """Each directory on the way to a held module must be a package of its own."""
    root = write(tmp_path)
    (root / "pam_scripts" / "core" / "__init__.py").unlink()

    with pytest.raises(BundleError, match=r"pam_scripts\.core: no such module"):
        bundle(root, "rotate_thing")


def test_the_command_says_why_it_cannot_build(tmp_path: Path) -> None:
    """The build command exits 1 with the reason and no traceback."""
    root = write(tmp_path, rotate_thing="import numpy\n")
    result = subprocess.run(
        [sys.executable, "-m", "tools.bundle", "--root", str(root)],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
    )

    assert 1 == result.returncode
    assert "bundle: numpy: which PyPI package is that? Add it to DISTRIBUTIONS\n" == result.stderr


def test_the_command_says_in_one_line_that_a_source_is_no_python(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A syntax error in the sources ends the build with its place, and no traceback."""
    root = write(tmp_path, rotate_thing="def main(:\n")

    assert 1 == main(["--root", str(root)])
    assert ("", "bundle: invalid syntax (pam_scripts.rotate_thing, line 1)\n") == capsys.readouterr()


@pytest.mark.parametrize(
    ("wanted", "held", "name"),
    [
        (None, {"drawer", "cupboard", "bell"}, "rotate_thing.py"),
        ("bell cupboard,drawer", {"drawer", "cupboard", "bell"}, "rotate_thing.py"),
        ("drawer", {"drawer"}, "rotate_thing-with-drawer.py"),
        ("cupboard", {"cupboard"}, "rotate_thing-with-cupboard.py"),
        (" bell,\tdrawer, drawer", {"drawer", "bell"}, "rotate_thing-with-drawer-bell.py"),
        ("none", set(), "rotate_thing-with-none.py"),
    ],
)
def test_a_build_holds_the_mirrors_and_consumers_that_it_names_and_nothing_of_the_others(
    wanted: str | None, held: set[str], name: str, tmp_path: Path
) -> None:
    """What is left out is absent with all that only it imports, the rest is there, and the file's name says it."""
    only = {
        "drawer": {"core/felt.py", "core/words.py", "stores/drawer.py"},
        "cupboard": {"stores/cupboard/__init__.py", "stores/cupboard/locks.py"},
        "bell": {"consumers/bell.py", "core/words.py"},
    }
    always = {"assembly/__init__.py", "assembly/registry.py", "consumers/__init__.py", "stores/__init__.py"}
    always |= {"__init__.py", "rotate_thing.py"} | ({"core/__init__.py"} if held & {"drawer", "bell"} else set())
    root = write(tmp_path, **REGISTRY)

    made = bundle(root, "rotate_thing", wanted)

    expected = {f"pam_scripts/{path}" for path in always.union(*(only[word] for word in held))}
    assert name == made.name
    assert expected == set(held_in(made.text))
    for path in expected:
        assert f"r'''\n{(root / path).read_text(encoding='utf-8')}''')" in made.text
    for path in {f"pam_scripts/{path}" for path in set().union(*only.values())} - expected:
        assert (root / path).read_text(encoding="utf-8") not in made.text


def test_a_stand_in_says_no_more_than_its_label_and_that_it_is_left_out(tmp_path: Path) -> None:
    """In place of a module or package that is left out stands a generated module of that name."""
    text = bundle(write(tmp_path, **REGISTRY), "rotate_thing", "bell").text

    stand_in = '"""Left out of this build: cupboard."""\n\nLABEL = \'cupboard_name\'\nLEFT_OUT = True\n'
    assert re.search(
        r"^    'pam_scripts\.stores\.cupboard': \(False, r'''\n" + re.escape(stand_in) + r"'''\),$",
        text,
        re.MULTILINE,
    )


def test_the_head_says_what_is_in_and_what_is_left_out(tmp_path: Path) -> None:
    """Each mirror and consumer is named with the field that asks for it; so is the command to build it again."""
    root = write(tmp_path, **REGISTRY)
    header = bundle(root, "rotate_thing", "bell,drawer").text.partition("\nimport ")[0]

    assert (
        "# in this build: drawer ('drawer_name')\n"
        "# in this build: bell ('bell_names')\n"
        "# left out of this build: cupboard ('cupboard_name')\n"
    ) in header
    assert '# It was put together by "make bundle WITH=drawer,bell".\n' in header
    assert "# left out" not in bundle(root, "rotate_thing").text


@pytest.mark.parametrize("wanted", [None, "none", "drawer", "cupboard,bell"])
def test_the_heads_own_commands_check_the_modules_and_the_name_of_the_build(wanted: str | None, tmp_path: Path) -> None:
    """Run as the head shows them, the one prints OK for each module that is in, the other the digits of the name."""
    root = write(tmp_path, **REGISTRY)
    made = bundle(root, "rotate_thing", wanted)
    (tmp_path / "file").write_text(made.text, encoding="utf-8")

    commands = re.findall(r"^#     (grep .+)$", made.text, re.MULTILINE)
    checked, digits = (
        subprocess.run(
            ["/bin/sh", "-c", command.replace("THIS_FILE", "file")],
            capture_output=True,
            text=True,
            check=True,
            cwd=root,
        ).stdout
        for command in commands
    )

    assert "".join(f"{path}: OK\n" for path in held_in(made.text)) == checked
    assert f"1.2.3+{digits[:8]}" == made.build


@pytest.mark.parametrize("wanted", [None, "none", "drawer", "cupboard,bell"])
def test_a_file_tells_its_script_which_build_it_is_and_what_is_left_out(wanted: str | None, tmp_path: Path) -> None:
    """The build's name is on the package before a module of it is imported, and the registry sees each stand-in."""
    made = bundle(write(tmp_path, **REGISTRY), "rotate_thing", wanted)
    (tmp_path / "file").write_text(made.text, encoding="utf-8")

    result = run(tmp_path / "file")

    out = {word: wanted is not None and word not in wanted for word in WORDS}
    said = f"drawer_name {out['drawer']}, cupboard_name {out['cupboard']}, bell_names {out['bell']}, {made.build}"
    assert (0, said, "") == (result.returncode, result.stdout, result.stderr)


def test_two_choices_and_two_sources_have_different_names(tmp_path: Path) -> None:
    """The digits of a build's name change with what is in it, and with nothing else."""
    root = write(tmp_path / "root", **REGISTRY)
    wanted = [None, "none", "drawer", "cupboard", "bell", "drawer,bell"]
    names = [bundle(root, "rotate_thing", each).build for each in wanted]
    again = [bundle(write(tmp_path / "copy", **REGISTRY), "rotate_thing", each).build for each in wanted]
    changed = write(tmp_path / "changed", **REGISTRY | {"core__felt": '"""Other felt."""\n'})

    assert len(wanted) == len(set(names))
    assert names == again
    assert names[0] != bundle(changed, "rotate_thing").build
    assert names[4] == bundle(changed, "rotate_thing", "bell").build


def test_the_checksums_list_every_file_that_lies_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A build with a choice adds its files to those of earlier builds, and sha256sum finds them all to be true."""
    root = write(tmp_path, **REGISTRY)
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist" / "notes.txt").touch()
    outputs = []
    for options in ([], ["--with", "none"], ["--with", "bell drawer"], ["--with", "none"]):
        assert 0 == main(["--root", str(root), *options])
        outputs.append(capsys.readouterr().out.split()[1])
    listed = (tmp_path / "dist" / "SHA256SUMS").read_text()
    checked = subprocess.run(
        ["/bin/sh", "-c", "sha256sum --check SHA256SUMS"], capture_output=True, text=True, check=True, cwd=root / "dist"
    )

    files = ["rotate_thing-with-drawer-bell.py", "rotate_thing-with-none.py", "rotate_thing.py"]
    assert [files[2], files[1], files[0], files[1]] == outputs
    assert files == [line.split("  ")[1] for line in listed.splitlines()]
    assert "".join(f"{name}: OK\n" for name in files) == checked.stdout


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("drawers", "WITH names 'drawers'"),
        ("drawer,shelf", "WITH names 'shelf'"),
        ("drawer_name", "WITH names 'drawer_name'"),
        ("none,bell", "WITH names 'none' beside others"),
        (",", "WITH names ''"),
    ],
)
def test_an_unknown_word_is_one_line_with_the_choices_and_nothing_is_written(
    wanted: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command exits 2 where it is asked for what the registry does not list."""
    root = write(tmp_path, **REGISTRY)

    status = main(["--root", str(root), "--with", wanted])

    assert 2 == status
    assert ("", f"bundle: {message}; choose from: drawer, cupboard, bell, none\n") == capsys.readouterr()
    assert not (root / "dist").exists()


def test_without_a_registry_there_is_nothing_to_choose(tmp_path: Path) -> None:
    """A package that lists no mirror and no consumer has one build, whose head does not speak of a choice."""
    root = write(tmp_path)

    with pytest.raises(UnknownChoice, match="WITH names 'drawer'; choose from: none"):
        bundle(root, "rotate_thing", "drawer")
    assert bundle(root, "rotate_thing") == bundle(root, "rotate_thing", "none")
    assert "rotate_thing.py" == bundle(root, "rotate_thing", "none").name
    assert "this build: drawer" not in bundle(root, "rotate_thing").text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"assembly__registry": "CONSUMERS = ()\n"}, "assembly/registry.py: sets no MIRRORS"),
        ({"assembly__registry": "MIRRORS = ()\n"}, "assembly/registry.py: sets no CONSUMERS"),
        ({"assembly__registry": "MIRRORS = (drawer,)\n"}, "MIRRORS has drawer, no module that it imports"),
        ({"assembly__registry": "MIRRORS = all_of()\n"}, "MIRRORS has all_of(), no module that it imports"),
        (
            {"assembly__registry": "from pam_scripts.core.words import shout\nMIRRORS = (shout,)\n"},
            "MIRRORS has shout, no module that it imports",
        ),
        (
            {
                "consumers__drawer": 'LABEL = "x"\n',
                "assembly__registry": (
                    "from pam_scripts.stores import drawer\nfrom pam_scripts.consumers import drawer as other\n"
                    "MIRRORS = (drawer,)\nCONSUMERS = (other,)\n"
                ),
            },
            "lists two modules called drawer",
        ),
        ({"consumers__bell": "X = 1\n"}, "consumers/bell.py: sets no LABEL"),
        ({"consumers__bell": "LABEL = X\n"}, "consumers/bell.py: LABEL is not a text in quotes"),
        ({"consumers__bell": 'LABEL = "\\x27\\x27\\x27"\n'}, "consumers/bell.py: holds '''"),
    ],
)
def test_a_registry_that_cannot_be_read_is_refused(changes: dict[str, str], message: str, tmp_path: Path) -> None:
    """Where lists and labels are not written out, no file is built with something else in it than was asked for."""
    root = write(tmp_path, **REGISTRY | changes)

    with pytest.raises(BundleError, match=re.escape(message)):
        bundle(root, "rotate_thing", "none")


@pytest.mark.parametrize(
    ("module", "source", "imported"),
    [
        ("rotate_thing", "from pam_scripts.stores import drawer\n", "pam_scripts.stores.drawer"),
        (
            "rotate_thing",
            "def main():\n    import pam_scripts.stores.cupboard.locks\n",
            "pam_scripts.stores.cupboard.locks",
        ),
        ("assembly__registry", "from pam_scripts.stores.cupboard import LOCK\n", "pam_scripts.stores.cupboard.LOCK"),
    ],
)
def test_who_needs_what_is_left_out_is_refused(module: str, source: str, imported: str, tmp_path: Path) -> None:
    """Only the registry can do with a stand-in: an import by any other module would fail in a rotation."""
    root = write(tmp_path, **REGISTRY | {module: REGISTRY[module] + source})

    bundle(root, "rotate_thing")
    with pytest.raises(BundleError, match=re.escape(f": imports {imported}, which WITH leaves out")):
        bundle(root, "rotate_thing", "none")


@pytest.mark.parametrize(("wanted", "asked"), [(None, True), ("cupboard", True), ("drawer,bell", False)])
def test_the_packages_of_what_is_left_out_are_not_asked_for(wanted: str | None, asked: bool, tmp_path: Path) -> None:
    """A host needs the SDKs of the mirrors that are in, and no others."""
    (tmp_path / "file").write_text(bundle(write(tmp_path, **REGISTRY), "rotate_thing", wanted).text, encoding="utf-8")

    result = run(tmp_path / "file", "-S")

    assert (2 if asked else 0) == result.returncode
    assert asked == ('-m pip install "azure-keyvault-secrets>=4,<5"\n' in result.stderr)


def test_the_command_prints_digest_name_lines_and_lines_of_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line a file, whose first two columns are those of SHA256SUMS; stand-ins are no code of the package."""
    root = write(tmp_path, **REGISTRY, rotate_other='"""Another."""\n\n\ndef main():\n    return 0\n')

    main(["--root", str(root), "--with", "none"])

    printed = capsys.readouterr().out.splitlines()
    counts = {path.name: len(path.read_bytes().splitlines()) for path in (tmp_path / "dist").glob("*.py")}
    other, thing = counts["rotate_other-with-none.py"], counts["rotate_thing-with-none.py"]
    # Of code: the version's line and main's two; the version's, the registry's five and the script's nine.
    assert [f"{other:5,} lines,     3 of code", f"{thing:5,} lines,    15 of code"] == [line[-26:] for line in printed]
    listed = (tmp_path / "dist" / "SHA256SUMS").read_text()
    assert listed.split() == [word for line in printed for word in line.split()[:2]]


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("", 0),
        ('"""A docstring\n\nof three lines."""\n', 0),
        ("# A comment.\n\n    # Another.\n", 0),
        ("X = 1  # one\n\nY = (\n    # nothing\n    2,\n)\n", 4),
        ('def f(x: int) -> int:\n    """Say\n\n    it."""\n    return x\n', 2),
        ('def f() -> None: """Say it."""\n', 1),
        ('class C:\n    """Say it."""\n\n    x = "x"\n    """And this."""\n', 2),
        ('X = """one\n\n# two\n"""\n', 3),
        ('X = f"""one {1}\n\ntwo"""\n', 2),
    ],
)
def test_lines_of_code_are_those_that_carry_code(source: str, lines: int) -> None:
    """Blank lines, comments and docstrings are not counted; the lines of any other text are."""
    assert lines == lines_of_code(source)


def test_help_tells_the_words_the_files_and_the_exit_statuses() -> None:
    """The command explains itself: what to ask for, what is written and printed, and how it ends."""
    result = subprocess.run(
        [sys.executable, "-m", "tools.bundle", "--help"], capture_output=True, text=True, check=True, cwd=REPOSITORY
    )

    for part in ("--with", 'WITH="key_vault"', "SCRIPT-with-none.py", "SHA256SUMS", "lines of code", "Exit status"):
        assert part in result.stdout


def test_there_are_scripts_to_bundle() -> None:
    """The tests below run over the repository's own scripts, of which there is at least one."""
    assert "rotate_seeq_application_key" in SCRIPTS


@pytest.mark.parametrize(("script", "wanted"), BUILDS)
def test_each_script_builds_twice_to_the_same_file_that_old_interpreters_parse(script: str, wanted: str | None) -> None:
    """The outer file keeps to syntax that Python 3.4 knows, and does not change between builds."""
    made = bundle(REPOSITORY, script, wanted)

    assert bundle(REPOSITORY, script, wanted) == made
    ast.parse(made.text, feature_version=(3, 4))


@pytest.mark.parametrize(("script", "wanted"), BUILDS)
def test_each_script_holds_its_modules_verbatim(script: str, wanted: str | None) -> None:
    """The bytes of every module that the head lists stand in the file, and its digest is theirs."""
    content = bundle(REPOSITORY, script, wanted).text.encode()
    held = re.findall(r"^# ([0-9a-f]{64})  (.+)$", content.decode(), re.MULTILINE)

    assert f"pam_scripts/{script}.py" in {path for _, path in held}
    for digest, path in held:
        source = (REPOSITORY / path).read_bytes()
        assert b"r'''\n" + source + b"''')" in content
        assert hashlib.sha256(source).hexdigest() == digest


@pytest.mark.parametrize("script", SCRIPTS)
def test_each_script_names_its_build(script: str, tmp_path: Path) -> None:
    """`--version` and `rotated_by` have the name that stands in the file's head, not the version alone."""
    made = bundle(REPOSITORY, script)
    (tmp_path / "attached").write_text(made.text, encoding="utf-8")

    version = run(tmp_path / "attached", arguments=["--version"])
    failed = run(tmp_path / "attached", arguments=["--json-lines"], given="not a payload\n")

    assert f"# {script}, build {made.build}:" in made.text
    assert (0, f"{made.build}\n", "") == (version.returncode, version.stdout, version.stderr)
    assert json.loads(failed.stdout.splitlines()[-1])["rotated_by"].startswith(f"pam-scripts {made.build} on ")


@pytest.mark.parametrize("wanted", [None, "none"])
@pytest.mark.parametrize("script", SCRIPTS)
def test_each_script_refuses_a_payload_it_cannot_read(script: str, wanted: str | None, tmp_path: Path) -> None:
    """The attachable file finds all that it imports, and answers rubbish on standard input with exit 2."""
    file = tmp_path / "attached"
    file.write_text(bundle(REPOSITORY, script, wanted).text, encoding="utf-8")

    result = run(file, given="not a payload\n")

    assert 2 == result.returncode, result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize(("version", "python"), here(("2.7", "3.6", "3.9")))
def test_each_script_tells_an_old_interpreter_so(version: str, python: str, script: str, tmp_path: Path) -> None:
    """The real files too answer an old interpreter with one line and exit 2."""
    file = tmp_path / "attached"
    file.write_text(bundle(REPOSITORY, script).text, encoding="utf-8")

    result = run(file, python=python)

    assert 2 == result.returncode
    assert 1 == len(result.stderr.splitlines())
    assert f"{script}: nothing was touched: this needs Python 3.10 or newer" in result.stderr
    assert f"is Python {version}." in result.stderr


@pytest.mark.parametrize("script", SCRIPTS)
def test_each_script_says_what_to_install(script: str, tmp_path: Path) -> None:
    """On an interpreter without any package, the one line names the Keeper SDK by its PyPI name."""
    file = tmp_path / "attached"
    file.write_text(bundle(REPOSITORY, script).text, encoding="utf-8")

    result = run(file, "-S")

    assert 2 == result.returncode
    assert 1 == len(result.stderr.splitlines())
    assert '"keeper-secrets-manager-core' in result.stderr
