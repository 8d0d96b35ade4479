"""What the tests of many records share: a site of several applications, with their scripts attached."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest

from bench.measure import Site
from sandbox.plant import running
from tests.cli.conftest import attach
from tests.conftest import ROOT
from tests.support.warm import Run, Warm

MakeSite = Callable[[int], Site]
Start = Callable[..., Run]


def site_of(directory: Path, applications: int) -> AbstractContextManager[Site]:
    """Have a site of so many applications listen, the admin's record attached to each one's script."""
    site = Site(directory, applications=applications)
    for target in site.targets:
        attach(site, target.user_uid, site.attached)
    return running(site)


@pytest.fixture
def make_site(tmp_path: Path) -> Iterator[MakeSite]:
    """Return a maker of sites on loopback; all of them stop with the test."""
    with ExitStack() as stack:
        yield lambda applications: stack.enter_context(site_of(tmp_path, applications))


@pytest.fixture(scope="session")
def start(warm: Warm) -> Start:
    """Return what starts the command without waiting for its end."""

    def run(site: Site, *arguments: str, client: str = "") -> Run:
        given = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": "/",
            "LANG": "C.UTF-8",
            "COLUMNS": "80",
            **site.environment(),
            **site.wire.environment(client),
        }
        return warm.start(ROOT / "pam_scripts", b"", environment=given, arguments=arguments, directory=ROOT)

    return run
