"""The picture of a rotation in time shows each request once."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from pam_scripts import rotate_seeq_application_key
from sandbox.plant import Plant
from tests.conftest import ROOT
from tests.support.in_process import InProcess
from tools import timeline
from tools.timeline import Bar

SVG = "{http://www.w3.org/2000/svg}"
BARS = [
    Bar("Seeq", "log in", 0.0, 0.1),
    Bar("Seeq", "list", 0.05, 0.15),
    Bar("Keeper", "read", 0.0, 0.1),
    Bar("Entra", "token", 0.0, 0.1),
    Bar("Seeq", "create", 0.2, 0.3),
    Bar("Seeq", "log in", 0.3, 0.4),
    Bar("Keeper", "save", 0.4, 0.5),
    Bar("Key Vault", "set", 0.5, 0.6),
    Bar("Keeper", "read", 0.6, 0.7),
    Bar("Seeq", "delete", 0.7, 0.8),
    Bar("Seeq", "list", 0.8, 0.9),
    Bar("Keeper", "save", 0.9, 1.0),
]


def test_each_request_is_a_bar_and_each_step_is_named() -> None:
    """What is under way at the same time in one system stands in different rows."""
    picture = ET.fromstring(timeline.draw(BARS))  # noqa: S314 - what was just drawn
    told = [one.text for one in picture.iter(f"{SVG}title")][1:]
    rows = {bar: row for row, bar in timeline.rows(BARS[:2])}

    assert len(BARS) == len(told)
    assert 2 == len({*rows.values()})
    assert {"look", "create", "verify", "publish", "look again", "delete", "confirm", "log"} <= {
        one.text for one in picture.iter(f"{SVG}text")
    }
    assert timeline.listed(BARS) == timeline.shown(timeline.draw(BARS))


def test_the_picture_in_the_pages_names_the_requests_of_a_rotation(plant: Plant) -> None:
    """Every request of a run has a word, and the picture has all kinds of them."""
    assert 0 == InProcess(rotate_seeq_application_key.SCRIPT.stem).run(plant).returncode
    kinds = {" ".join(timeline.words(request)) for request in plant.wire.log}
    shown = timeline.shown(timeline.PICTURE.read_text(encoding="utf-8"))

    assert kinds == {kind.rpartition(" ")[0] for kind in shown.split(", ")}
    assert (ROOT / "docs/pictures/rotation.svg") == timeline.PICTURE
