"""The forms that others read (workflows, hooks, templates for issues) are as they read them, and say what they must."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.supply.conftest import Run
from tools import pythons

WORKFLOWS = sorted((ROOT / ".github/workflows").iterdir())
TEMPLATES = [*sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("[!c]*.yml")), ROOT / ".github/pull_request_template.md"]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE)

each_workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)


# By the schema that check-jsonschema has of each; a process for all, since it takes seconds to start.
FORMS = {
    "github-workflows": "workflows/*.yml",
    "github-issue-forms": "ISSUE_TEMPLATE/[!c]*.yml",
    "github-issue-config": "ISSUE_TEMPLATE/config.yml",
    "dependabot": "dependabot.yml",
}
CHECK_ALL = """
import sys
from check_jsonschema import main
for line in sys.argv[1:]:
    schema, *files = line.split("\\t")
    try:
        main(["--quiet", "--builtin-schema", f"vendor.{schema}", *files])
    except SystemExit as ended:
        print(schema, ended.code)
"""


def test_a_form_is_what_its_reader_takes(tool: Run, tmp_path: Path) -> None:
    """Each file passes the schema of GitHub's forms; one with a word that is not theirs does not."""
    files = {schema: sorted((ROOT / ".github").glob(pattern)) for schema, pattern in FORMS.items()}
    wrong = tmp_path / "wrong.yml"
    wrong.write_text("name: wrong\non: push\njobs:\n  one:\n    runs-on: ubuntu-latest\n    step: []\n")
    lines = ["\t".join(map(str, [schema, *paths])) for schema, paths in files.items()]

    done = tool("python", "-c", CHECK_ALL, *lines, f"github-workflows\t{wrong}")

    assert all(files.values())
    assert [*(f"{schema} 0" for schema in FORMS), "github-workflows 1"] == done.stdout.splitlines()


def test_the_hooks_are_what_pre_commit_takes(tool: Run) -> None:
    """By its own reader."""
    done = tool("pre-commit", "validate-config", ".pre-commit-config.yaml")

    assert 0 == done.returncode, done.stdout


def test_the_hooks_run_what_make_lint_runs() -> None:
    """No linter is in one of them alone."""
    hooks = re.findall(r"entry: \S+ -m (.+)", (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    lint = re.findall(r"^\t\$\(RUN\) -m (.+)", MAKEFILE.partition("\nlint:")[2].partition("\n\n")[0], re.MULTILINE)

    assert 3 == len(lint)
    assert [line.removesuffix(" .") for line in lint] == [hook.removesuffix(" --force-exclude") for hook in hooks]


@each_workflow
def test_a_workflow_runs_what_it_did_not_write_by_its_commit(path: Path) -> None:
    """Each action is named by a full commit, with the version that it is beside it."""
    used = re.findall(r"uses: (.+)", path.read_text(encoding="utf-8"))

    assert used
    assert [] == [one for one in used if not re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", one)]


@each_workflow
def test_a_workflow_may_read_and_no_more_where_it_runs_our_code(path: Path) -> None:
    """Writing is a job's own right, of one that checks nothing out; what was checked out keeps no login."""
    head, *jobs = re.split(r"^  (?=[\w-]+:$)", path.read_text(encoding="utf-8"), flags=re.MULTILINE)

    assert "\npermissions:\n  contents: read\n" in path.read_text(encoding="utf-8")
    assert "write" not in head.partition("\nname:")[2]
    for job in jobs:
        assert "write" not in job or ("checkout" not in job and "make " not in job)
        assert job.count("actions/checkout@") == job.count("persist-credentials: false")


def test_workflows_run_targets_of_the_makefile() -> None:
    """What they run can be run by hand, too."""
    ran = [target for path in WORKFLOWS for target in re.findall(r"run: make (\S+)", path.read_text(encoding="utf-8"))]

    assert {"lint", "test", "audit-packages", "release"} == set(ran)
    assert set(ran) <= set(TARGETS)


def test_the_tests_run_with_each_supported_python() -> None:
    """The workflow's matrix is pyproject's list."""
    (matrix,) = re.findall(r"python: \[(.+)\]", (ROOT / ".github/workflows/test.yml").read_text(encoding="utf-8"))

    assert pythons.supported() == re.findall(r'"([\d.]+)"', matrix)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_a_template_asks_for_version_and_diagnosis_and_warns_of_secrets(path: Path) -> None:
    """Whoever writes to us is told before anything else to leave secrets out."""
    text = path.read_text(encoding="utf-8")

    assert "--version" in text
    assert "diagnose" in text
    assert 0 <= text.index("No secrets here") < text.index("--version")


def test_make_alone_says_what_it_can_do() -> None:
    """Every target for people stands in the list with one line."""
    # As a person types it: a make that runs these tests would have its child say more.
    alone = {name: text for name, text in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    told = subprocess.run(
        ["make"],  # noqa: S607 - from the path
        cwd=ROOT,
        env=alone,
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    (targets,) = re.findall(r"^\.PHONY: (.+)$", MAKEFILE, re.MULTILINE)
    assert targets.split() == [line.split()[0] for line in told.splitlines()]
    assert all(len(line.split(maxsplit=1)[1]) <= 80 for line in told.splitlines())
