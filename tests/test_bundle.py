"""The attachable files: what stands in them, and how they run as the Gateway runs them."""

from __future__ import annotations

import ast
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools.bundle import BundleError, build, bundle, scripts

REPOSITORY = Path(__file__).resolve().parents[1]
SCRIPTS = scripts(REPOSITORY)

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


def write(root: Path, **changes: str) -> Path:
    """Write the small package below `root`; `changes` replaces or adds, by path with `__` for `/`."""
    sources = SOURCES | {f"pam_scripts/{name.replace('__', '/')}.py": text for name, text in changes.items()}
    for path, text in sources.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(text.encode())
    return root


def run(
    file: Path,
    *options: str,
    given: str = "hello\n",
    python: str = sys.executable,
    cwd: Path | None = None,
    pythonpath: str = "",
) -> subprocess.CompletedProcess[str]:
    """Run a file as the Gateway does: the payload on standard input, nothing else to go by."""
    environment = os.environ | {"PYTHONPATH": pythonpath, "PYTHONIOENCODING": "utf-8"}
    return subprocess.run(
        [python, *options, str(file)],
        input=given,
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd or file.parent,
        env=environment,
        timeout=60,
    )


def interpreter(version: str) -> str:
    """Return an interpreter of this version, or skip the test."""
    on_path = shutil.which(f"python{version}")
    candidates = [on_path] if on_path else []
    candidates += map(str, sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python")))
    for candidate in candidates:
        # A launcher may be on the path for a version that is not installed: ask.
        code = "import sys; print('%d.%d' % sys.version_info[:2])"
        answer = subprocess.run([candidate, "-c", code], capture_output=True, text=True, check=False)
        if answer.stdout.strip() == version:
            return candidate
    pytest.skip(f"Python {version} is not installed here")


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


@pytest.mark.parametrize("version", ["3.10", "3.11", "3.12", "3.13", "3.14"])
def test_runs_on_each_supported_python(version: str, built: Path) -> None:
    """The oldest supported interpreter and those after it run the same file."""
    result = run(built, python=interpreter(version))

    assert (3, "HELLOSHELF1", "") == (result.returncode, result.stdout, result.stderr)


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


def test_a_traceback_shows_the_lines_of_the_attached_file(built: Path) -> None:
    """An uncaught error names the attached file, the line number in it, and the text of that line."""
    result = run(built, given="")

    lines = built.read_text(encoding="utf-8").splitlines()
    number = next(n for n, line in enumerate(lines, 1) if line.endswith("# the marked line"))
    assert 1 == result.returncode
    assert f'File "{built}", line {number}, in shout\n    {lines[number - 1].strip()}' in result.stderr


def test_only_what_the_script_imports_is_held(built: Path) -> None:
    """Imports are followed, in functions too; unused, private and types-only modules stay out."""
    held = re.findall(r"^# [0-9a-f]{64}  (.+)$", built.read_text(encoding="utf-8"), re.MULTILINE)

    assert [
        "pam_scripts/__init__.py",
        "pam_scripts/core/__init__.py",
        "pam_scripts/core/words.py",
        "pam_scripts/rotate_thing.py",
        "pam_scripts/stores/__init__.py",
        "pam_scripts/stores/shelf.py",
    ] == held


def test_private_modules_are_not_scripts(tmp_path: Path) -> None:
    """A module whose name begins with an underscore gets no attachable file."""
    assert ["rotate_thing"] == scripts(write(tmp_path))


def test_the_header_names_script_version_and_the_digest_of_each_module(tmp_path: Path) -> None:
    """A reviewer can compare each module with the repository by its SHA-256."""
    root = write(tmp_path)
    header = bundle(root, "rotate_thing").partition("\nimport ")[0]

    assert "# rotate_thing, version 1.2.3:" in header
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
    sums = build(write(tmp_path / "root"), tmp_path / "dist")

    digest = hashlib.sha256((tmp_path / "dist" / "rotate_thing.py").read_bytes()).hexdigest()
    assert f"{digest}  rotate_thing.py\n" == (tmp_path / "dist" / "SHA256SUMS").read_text()
    assert {"rotate_thing.py": digest} == sums


@pytest.mark.parametrize("version", ["2.7", "3.4", "3.6", "3.7", "3.8", "3.9"])
def test_an_old_interpreter_is_told_so_in_one_line(version: str, built: Path) -> None:
    """An interpreter that is too old exits 2 and says which it is and what to set."""
    python = interpreter(version)

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


def test_there_are_scripts_to_bundle() -> None:
    """The tests below run over the repository's own scripts, of which there is at least one."""
    assert "rotate_seeq_application_key" in SCRIPTS


@pytest.mark.parametrize("script", SCRIPTS)
def test_each_script_builds_twice_to_the_same_file_that_old_interpreters_parse(script: str) -> None:
    """The outer file keeps to syntax that Python 3.4 knows, and does not change between builds."""
    text = bundle(REPOSITORY, script)

    assert bundle(REPOSITORY, script) == text
    ast.parse(text, feature_version=(3, 4))


@pytest.mark.parametrize("script", SCRIPTS)
def test_each_script_holds_its_modules_verbatim(script: str) -> None:
    """The bytes of every module that the header lists stand in the file, and its digest is theirs."""
    content = bundle(REPOSITORY, script).encode()
    held = re.findall(r"^# ([0-9a-f]{64})  (.+)$", content.decode(), re.MULTILINE)

    assert f"pam_scripts/{script}.py" in {path for _, path in held}
    for digest, path in held:
        source = (REPOSITORY / path).read_bytes()
        assert b"r'''\n" + source + b"''')" in content
        assert hashlib.sha256(source).hexdigest() == digest


@pytest.mark.parametrize("script", SCRIPTS)
def test_each_script_refuses_a_payload_it_cannot_read(script: str, tmp_path: Path) -> None:
    """The attachable file finds all that it imports, and answers rubbish on standard input with exit 2."""
    file = tmp_path / "attached"
    file.write_text(bundle(REPOSITORY, script), encoding="utf-8")

    result = run(file, given="not a payload\n")

    assert 2 == result.returncode, result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("version", ["2.7", "3.6", "3.9"])
def test_each_script_tells_an_old_interpreter_so(version: str, script: str, tmp_path: Path) -> None:
    """The real files too answer an old interpreter with one line and exit 2."""
    python = interpreter(version)
    file = tmp_path / "attached"
    file.write_text(bundle(REPOSITORY, script), encoding="utf-8")

    result = run(file, python=python)

    assert 2 == result.returncode
    assert 1 == len(result.stderr.splitlines())
    assert f"{script}: nothing was touched: this needs Python 3.10 or newer" in result.stderr


@pytest.mark.parametrize("script", SCRIPTS)
def test_each_script_says_what_to_install(script: str, tmp_path: Path) -> None:
    """On an interpreter without any package, the one line names the Keeper SDK by its PyPI name."""
    file = tmp_path / "attached"
    file.write_text(bundle(REPOSITORY, script), encoding="utf-8")

    result = run(file, "-S")

    assert 2 == result.returncode
    assert 1 == len(result.stderr.splitlines())
    assert '"keeper-secrets-manager-core' in result.stderr
