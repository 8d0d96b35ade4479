"""Bundles in which something was made wrong on purpose, for the tests of the tests."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT
from tests.faults.subjects import MAIN, Subject
from tests.faults.trial import Bench, Convergence
from tests.support.warm import Warm
from tools import bundle


@dataclass(frozen=True)
class Breakage:
    """One thing made wrong: what is replaced by what in which file, and the promise that this breaks.

    kind: the fault that shows it, "" where a run without any fault does. subject: in whose plant.
    """

    file: str
    replacements: tuple[tuple[str, str], ...]
    invariant: str
    kind: str = ""
    subject: Subject = MAIN


def made_wrong(breakage: Breakage) -> str:
    """Return the text of the file in which something is made wrong; it must stand there once."""
    text = (ROOT / "pam_scripts" / breakage.file).read_text()
    for right, wrong in breakage.replacements:
        assert 1 == text.count(right), f"{breakage.file} has once: {right}"
        text = text.replace(right, wrong)
    return text


def broken(directory: Path, breakage: Breakage, warm: Warm) -> Bench:
    """Build the subject's bundle from a copy of the package in which something was made wrong."""
    shutil.copytree(ROOT / "pam_scripts", directory / "pam_scripts", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(ROOT / "requirements.txt", directory / "requirements.txt")
    (directory / "pam_scripts" / breakage.file).write_text(made_wrong(breakage))
    bench = Bench(warm, directory, Convergence())
    bench.file(breakage.subject).write_text(bundle.bundle(directory, breakage.subject.script).text)
    return bench
