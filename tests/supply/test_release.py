"""A release has all that a team needs, its bytes depend on the sources alone, and its signature is for it alone."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import pam_scripts
from tests.conftest import ROOT
from tests.docs.pages import commands
from tests.supply.conftest import Run
from tools import bundle, locks, release
from tools.release import ReleaseError

Json = Any

PAGE = ROOT / "docs/release.md"
SOURCES = ("pam_scripts", "record_templates", "tools", "CHANGELOG.md", "LICENSE", *locks.LOCKS, *release.RANGES)
VERSION = bundle.version_of(ROOT)

VALIDATE = """
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
for text in sys.argv[1:]:
    print(JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None)
"""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a release of the repository, and return where it is."""
    output = tmp_path_factory.mktemp("output")
    assert 0 == release.main(["--output", str(output)])
    return output / f"release-{VERSION}"


@pytest.fixture
def key(tmp_path: Path) -> Callable[[str], Path]:
    """Return a maker of OpenSSH keys without a passphrase."""
    if not shutil.which("ssh-keygen"):
        pytest.skip("ssh-keygen is not installed here; Debian has it in openssh-client")

    def make(owner: str) -> Path:
        path = tmp_path / owner
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", owner, "-f", str(path)]
        subprocess.run(command, check=True)
        return path

    return make


def read(directory: Path) -> Mapping[str, bytes]:
    """Return each file of a directory by its path in it."""
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def bill(directory: Path) -> Json:
    """Return a release's bill of materials."""
    return json.loads((directory / "sbom.cdx.json").read_text(encoding="utf-8"))


@pytest.mark.thorough
def test_the_same_sources_make_the_same_bytes(directory: Path, tmp_path: Path) -> None:
    """From a copy elsewhere, in another zone, with other hashes: none of it shows, and no path of this machine."""
    other = tmp_path / "other sources"
    other.mkdir()
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, other / name)
    environment = os.environ | {"PYTHONHASHSEED": "4711", "TZ": "Asia/Tokyo"}
    command = [sys.executable, "-m", "tools.release"]
    done = subprocess.run(command, cwd=other, env=environment, capture_output=True, text=True, check=True)

    first, second = read(directory), read(other / "dist" / f"release-{VERSION}")
    assert first == second
    assert (
        f"{len(first)} files, not signed\n{hashlib.sha256(first['SHA256SUMS']).hexdigest()}  SHA256SUMS\n"
        in done.stdout
    )
    assert [] == [name for name, content in first.items() if str(ROOT).encode() in content]


@pytest.mark.thorough
def test_a_release_has_the_files_for_each_useful_choice(directory: Path) -> None:
    """All, none, each mirror alone and with every consumer; each as `make bundle` makes it."""
    mirrors = [path.stem for path in (ROOT / "pam_scripts/stores").iterdir() if path.name[0] != "_"]
    mirrors = [kind.word for kind in bundle.kinds(ROOT) if kind.word in mirrors]
    consumers = "-".join(kind.word for kind in bundle.kinds(ROOT) if kind.word not in mirrors)
    endings = ["", "-with-none", *(f"-with-{one}{more}" for one in mirrors for more in ("", f"-{consumers}"))]

    assert {"key_vault", "aws_secrets_manager"} <= set(mirrors)
    expected = {f"{script}{ending}.py" for script in bundle.scripts(ROOT) for ending in endings}
    assert expected == {path.name for path in (directory / "scripts").iterdir()}
    some = bundle.bundle(ROOT, "publish_secret", "key_vault")
    assert some.text == (directory / "scripts" / some.name).read_text(encoding="utf-8")


@pytest.mark.thorough
def test_a_release_has_what_a_host_and_its_reviewers_need(directory: Path) -> None:
    """Templates, locks and ranges as they stand; what changed; the bill of materials; the licence; sums of all."""
    files = read(directory)
    listed = {
        name: digest
        for digest, name in re.findall(r"^([0-9a-f]{64})  (.+)$", files["SHA256SUMS"].decode(), re.MULTILINE)
    }

    copied = [*locks.LOCKS, *release.RANGES, "LICENSE"]
    copied += [f"record_templates/{path.name}" for path in (ROOT / "record_templates").iterdir()]
    assert [] == [name for name in copied if files[name] != (ROOT / name).read_bytes()]
    scripts = {name for name in files if name.startswith("scripts/")}
    assert {*copied, *scripts, "CHANGES.md", "sbom.cdx.json", "SHA256SUMS"} == set(files)
    assert {name: hashlib.sha256(content).hexdigest() for name, content in files.items() if name in listed} == listed
    assert {"SHA256SUMS"} == set(files) - set(listed)


@pytest.mark.thorough
def test_the_bill_of_materials_passes_the_schema(directory: Path, tool: Run) -> None:
    """CycloneDX's own reader takes it; with a word that it does not know, it does not."""
    text = (directory / "sbom.cdx.json").read_text(encoding="utf-8")
    wrong = text.replace('"scope": "required"', '"scope": "perhaps"', 1)

    done = tool("python", "-c", VALIDATE, text, wrong)

    assert (["True", "False"], "") == (done.stdout.split(), done.stderr)


@pytest.mark.thorough
def test_the_bill_of_materials_has_every_package_and_every_file(directory: Path) -> None:
    """Each version of the lock with its hashes, and whether every host needs it; each file to attach."""
    found = bill(directory)
    small, large = (locks.read(ROOT / lock) for lock in locks.LOCKS)

    packages = {each["purl"]: each for each in found["components"]}
    assert {pin.purl for pin in large} == set(packages)
    assert {pin.purl for pin in small} == {purl for purl, each in packages.items() if each["scope"] == "required"}
    for pin in large:
        (files,) = packages[pin.purl]["externalReferences"]
        assert list(pin.hashes) == [each["content"] for each in files["hashes"]]
        assert [pin.marker][: len(pin.marker)] == [each["value"] for each in packages[pin.purl].get("properties", [])]
    attached = {each["name"]: each for each in found["metadata"]["component"]["components"]}
    assert {path.name for path in (directory / "scripts").iterdir()} == set(attached)
    for path in (directory / "scripts").iterdir():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == attached[path.name]["hashes"][0]["content"]
        assert f"build {attached[path.name]['version']}:" in path.read_text(encoding="utf-8")


@pytest.mark.thorough
def test_the_bill_of_materials_says_who_needs_what(directory: Path) -> None:
    """From the root everything is reached; a package that differs by Python is needed in both versions."""
    graph = {each["ref"]: each["dependsOn"] for each in bill(directory)["dependencies"]}
    reached, waiting = set[str](), ["pam-scripts"]
    while waiting:
        ref = waiting.pop()
        reached.add(ref)
        waiting += set(graph[ref]) - reached

    assert set(graph) == reached
    assert {"boto3", "requests"} <= {re.split("[/@]", ref)[1] for ref in graph["pam-scripts"]}
    (cffi,) = (ref for ref in graph if ref.startswith("pkg:pypi/cffi@"))
    assert 2 == len([ref for ref in graph[cffi] if ref.startswith("pkg:pypi/pycparser@")])


@pytest.mark.thorough
def test_the_bill_of_materials_has_nothing_that_differs_from_day_to_day(directory: Path) -> None:
    """No serial number, no time, no tool's version, no address of a package index."""
    text = (directory / "sbom.cdx.json").read_text(encoding="utf-8")

    assert [] == [word for word in ("serialNumber", "timestamp", '"tools"') if word in text]
    assert ["http://cyclonedx.org/schema/bom-1.6.schema.json"] == re.findall(r'"(\w+://[^"]+)"', text)


def test_the_changes_are_the_changelogs_section_of_the_version() -> None:
    """What stands below its heading, up to the next; a version without a section, date or entry makes no release."""
    old = "## [0.2.0] - 2026-01-01\n"
    log = f"# Changelog\n\n## [Unreleased]\n\n- new\n\n## [1.0.0] - 2026-11-27\n\n### Added\n\n- all\n\n{old}"

    assert "# Version 1.0.0\n\n### Added\n\n- all\n" == release.changes(log, "1.0.0")
    for version in ("Unreleased", "0.2.0", "0.1.0", "1.0"):
        with pytest.raises(ReleaseError, match=r"CHANGELOG\.md has no section of this version"):
            release.changes(log, version)


def test_the_version_is_said_in_one_place() -> None:
    """The package, its metadata, and the newest section of the changelog agree."""
    versions = re.findall(r"^## \[(\d[^\]]+)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)

    assert VERSION == pam_scripts.__version__ == versions[0]


def test_another_tag_than_the_versions_makes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever tags a commit whose version is another one is told both."""
    assert 2 == release.main(["--tag", "v0.0.1", "--output", str(tmp_path)])

    told = f"release: the tag is v0.0.1, and the version is {VERSION}: nothing was written\n"
    assert (told, []) == (capsys.readouterr().err, list(tmp_path.iterdir()))


@pytest.mark.thorough
def test_a_signature_is_checked_as_the_page_says(directory: Path, key: Callable[[str], Path], tmp_path: Path) -> None:
    """The commands of the page, word for word, accept what the maintainer signed, and nothing else."""
    copy = tmp_path / f"release-{VERSION}"
    shutil.copytree(directory, copy)
    maintainer = key("maintainer")
    public = " ".join(maintainer.with_suffix(".pub").read_text(encoding="utf-8").split()[:2])
    allowed = f'releases@pam-scripts namespaces="{release.NAMESPACE}" {public}\n'
    (tmp_path / "allowed_signers").write_text(allowed)
    verify, check = checks = [one.text for one in commands(PAGE) if one.text.startswith(("ssh-keygen -Y v", "sha256"))]

    def outcomes() -> list[int]:
        done = [subprocess.run(["bash", "-c", text], cwd=copy, capture_output=True, check=False) for text in checks]  # noqa: S607 - from the path
        return [min(each.returncode, 1) for each in done]

    assert "SHA256SUMS.sig" == release.sign(copy, maintainer).name
    assert [0, 0] == outcomes()

    (copy / "requirements.lock").write_text("another==1\n")
    assert [0, 1] == outcomes()

    for other, namespace in ((key("other"), release.NAMESPACE), (maintainer, "file")):
        (copy / "SHA256SUMS.sig").unlink()
        command = ["ssh-keygen", "-q", "-Y", "sign", "-f", str(other), "-n", namespace, str(copy / "SHA256SUMS")]
        subprocess.run(command, check=True, capture_output=True)
        assert [1, 1] == outcomes(), (verify, check)


@pytest.mark.thorough
def test_what_cannot_be_signed_is_said(
    directory: Path, key: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that is not there, or no ssh-keygen: one line, and no signature."""
    copy = tmp_path / "release"
    shutil.copytree(directory, copy)
    maintainer = key("maintainer")

    with pytest.raises(ReleaseError, match="not signed: ssh-keygen refused"):
        release.sign(copy, tmp_path / "nowhere")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ReleaseError, match="not signed: ssh-keygen is missing"):
        release.sign(copy, maintainer)
    assert not (copy / "SHA256SUMS.sig").exists()
