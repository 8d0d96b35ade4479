"""The page of an audit, opened in a real browser: it must be read by people, on any desk, with any input device."""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from pam_scripts.cli.audit.finding import Severity
from pam_scripts.cli.audit.page import page
from pam_scripts.cli.audit.report import Report, Row
from pam_scripts.cli.audit.rules import EXPIRED, OLD_KEYS
from pam_scripts.core.times import utc_now

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), ""
)
needs_a_browser = pytest.mark.skipif(not CHROMIUM, reason="no Chromium on this machine: apt-get install chromium")
NASTY = "<script>document.title='taken'</script><img src=x onerror=alert(1)> \"quoted\" & 'more'"


def row(
    number: int,
    days: float | None,
    severity: Severity | None = None,
    title: str = "",
    links: Mapping[str, str] | None = None,
) -> Row:
    """Make a row whose key ends in so many days."""
    now = utc_now()
    rule = next((rule for rule in (EXPIRED, OLD_KEYS) if rule.severity == severity), None)
    problems = [rule.found(f"{number} of them", "rotate: that mends it")] if rule else []
    return Row(
        record=f"Record{number}",
        title=title or f"Key {number}",
        script="rotate_seeq_application_key",
        target=f"target-{number}",
        target_name=f"application Report {number}",
        server="seeq.example.com",
        key_id=f"key{number}",
        live_keys=1,
        created_at=now - timedelta(days=10),
        age_days=10,
        expires_at=None if days is None else now + timedelta(days=days),
        days_left=None if days is None else int(days),
        last_used=None,
        rotated_at=now - timedelta(days=10),
        mirror="same",
        build="0.2.0+1a2b3c4d",
        other_labels=[],
        problems=problems,
        links=LINKS if links is None else links,
    )


LINKS = {
    "seeq.example.com": "https://seeq.example.com",
    "plant-vault": "https://portal.azure.com/#@tenant.example/asset/Microsoft_Azure_KeyVault/Secret/"
    "https://plant-vault.vault.azure.net/secrets/seeq-app-7-key-id",
}
ROWS = [
    row(1, -40, "broken", NASTY),
    *(row(number, number, "look") for number in range(2, 10)),
    *(row(number, number) for number in range(10, 60)),
    row(60, None),
    row(61, 4000),
]


@dataclass
class Opened:
    """The page in a browser. complaints: what the browser's console said."""

    page: Page
    complaints: list[str]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start a headless Chromium."""
    with sync_playwright() as playwright:
        # The sandbox of Chromium does not start under root, as which containers run their tests.
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


def opened(browser: Browser, directory: Path, rows: list[Row], scheme: Literal["light", "dark"] = "light") -> Opened:
    """Open the page of these rows, as a file, without any network."""
    file = directory / "audit.html"
    file.write_text(page(Report(rows, utc_now(), 3)), encoding="utf-8")
    context = browser.new_context(color_scheme=scheme, offline=True, viewport={"width": 1280, "height": 900})
    made = Opened(context.new_page(), [])
    made.page.on("console", lambda message: made.complaints.append(message.text))
    made.page.on(
        "request", lambda request: made.complaints.append(request.url) if "audit.html" not in request.url else None
    )
    made.page.goto(file.as_uri())
    return made


@pytest.mark.thorough
@needs_a_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_legible_in_light_and_dark(scheme: Literal["light", "dark"], browser: Browser, tmp_path: Path) -> None:
    """Text stands out from its ground as WCAG AA asks (4.5 to 1), in either scheme; the picture is not empty."""
    made = opened(browser, tmp_path, ROWS, scheme)
    picture = made.page.screenshot(path=tmp_path / f"{scheme}.png", full_page=True)

    ground = colour(made.page, "body", "backgroundColor")
    assert (sum(ground) < 200) == (scheme == "dark")
    assert len(picture) > 50_000
    card = colour(made.page, ".card", "backgroundColor")
    for element in ("h1", "header .quiet", ".problem p", ".problem .quiet", ".word.broken", ".word.look", "td small"):
        assert contrast(colour(made.page, element, "color"), card) >= 4.5, element
    assert [] == made.complaints


@needs_a_browser
def test_nothing_is_fetched_and_nothing_is_run(browser: Browser, tmp_path: Path) -> None:
    """Offline it is whole; a record's title with markup in it is text, and the policy forbids all that is not there."""
    made = opened(browser, tmp_path, ROWS)

    assert "Key audit: 9 of 61 need attention" == made.page.title()
    assert made.page.get_by_text(NASTY).first.is_visible()
    assert 0 == made.page.locator("img, link, iframe, [style], [onclick]").count()
    assert 1 == made.page.locator("script").count()
    assert [] == made.complaints
    source = (tmp_path / "audit.html").read_text(encoding="utf-8")
    assert re.search(r"default-src 'none'; style-src 'sha256-[\w+/=]+'; script-src 'sha256-[\w+/=]+';", source)
    assert "none is printed or compared" in made.page.locator("footer").inner_text()
    # Another script than the page's own is refused, and the browser says so.
    made.page.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), {text: 'window.taken = 1'}))"
    )
    assert made.page.evaluate("window.taken") is None
    assert "Content Security Policy" in made.complaints[0]


@needs_a_browser
def test_problems_come_first_the_most_urgent_before_the_others(browser: Browser, tmp_path: Path) -> None:
    """The reader's eye meets numbers, then problems with their way out, then the timeline, then the rest."""
    made = opened(browser, tmp_path, ROWS)
    assert ["1 broken", "0 soon", "8 to look at", "52 healthy"] == [
        " ".join(text.split()) for text in made.page.locator(".tiles li").all_inner_texts()
    ]
    headings = made.page.locator("h2").all_inner_texts()

    assert [
        "Problems, the most urgent first",
        "When keys end",
        "All records, by the week in which their keys end",
    ] == headings
    assert "rotate: that mends it" in made.page.locator(".problem").first.inner_text()


@needs_a_browser
def test_the_keyboard_reaches_everything(browser: Browser, tmp_path: Path) -> None:
    """Tab goes to folded problems, to bars and to filters, visibly; Enter on a bar leads to its rows."""
    made = opened(browser, tmp_path, ROWS)
    keyboard, reached = made.page.keyboard, []
    for _ in range(40):
        keyboard.press("Tab")
        reached.append(made.page.evaluate("document.activeElement.tagName.toLowerCase()"))
        if reached[-1] == "summary":
            keyboard.press("Enter")
            assert made.page.locator("details").first.get_attribute("open") is not None
        if made.page.evaluate("document.activeElement.closest('svg') !== null"):
            break

    assert "summary" in reached
    assert "a" == reached[-1]
    # The bar of this week is the first, and what is dead stands there: the row with the nasty title.
    keyboard.press("Enter")
    assert made.page.url.rpartition("#")[2].startswith("week-")
    group = made.page.locator("tr:target")
    assert group.is_visible()
    assert made.page.locator("tbody:has(tr:target)").get_by_text(NASTY).is_visible()


@needs_a_browser
def test_links_lead_to_the_server_and_the_vault_and_nowhere_else(browser: Browser, tmp_path: Path) -> None:
    """Each opens without telling where it was followed; an address that is no plain https is shown as a name alone."""
    rows = [
        row(1, 30, "look"),
        row(2, 30, "look", links={"seeq.example.com": "http://seeq.example.com"}),
        row(3, 30, "look", links={"seeq.example.com": "javascript:alert(1)"}),
        row(4, 30, "look", links={"seeq.example.com": 'https://seeq.example.com/" onclick="alert(1)'}),
        row(5, 30, "look", links={"seeq.example.com": "https://seeq.example.com@elsewhere.example"}),
    ]
    made = opened(browser, tmp_path, rows)
    links = made.page.locator("main a[href^='http']")

    assert {*LINKS.values()} == {one.get_attribute("href") for one in links.all()}
    assert {"noopener noreferrer"} == {one.get_attribute("rel") for one in links.all()}
    assert 2 * len(LINKS) == links.count(), "in the list of problems, and in the table"
    assert 0 == made.page.locator("[onclick], a[href^='javascript']").count()
    assert 10 == made.page.get_by_text("seeq.example.com", exact=True).count()
    assert [] == made.complaints


def test_a_key_that_is_dead_stands_at_today() -> None:
    """Whenever it was to end, and where it had no end at all; one that only needs a mended field stands at its end."""
    rows = [row(1, 100, "broken"), row(2, None, "broken"), row(3, -40, "broken"), row(4, 100, "look"), row(5, None)]
    made = page(Report(rows, utc_now(), 0))
    bars = re.findall(r'aria-label="(Week of [^"]+)"', made)

    assert ["3 dead already; 3 broken", "1 end; 1 to look at"] == [bar.partition(": ")[2] for bar in bars]
    assert "Not shown: 1 without an end" in made
    assert 3 == made.count("<small>dead</small>")


@needs_a_browser
def test_filters_work_with_arrow_keys(browser: Browser, tmp_path: Path) -> None:
    """Radio buttons show all rows, those with problems, or the healthy ones."""
    made = opened(browser, tmp_path, ROWS)
    shown = made.page.locator("tr.ill:visible, tr.healthy:visible")
    assert 9 == shown.count(), "healthy rows are folded"
    made.page.locator("#every").check()
    counts = [shown.count()]
    for _ in range(2):
        made.page.keyboard.press("ArrowRight")
        counts.append(shown.count())

    assert [61, 9, 52] == counts


@needs_a_browser
def test_the_search_works_from_the_keyboard(browser: Browser, tmp_path: Path) -> None:
    """`/` leads to it; rows and problems that have all its words stay, healthy ones too; Escape brings all back."""
    made = opened(browser, tmp_path, ROWS)
    visible = made.page.locator("tr.ill:visible, tr.healthy:visible")
    made.page.keyboard.press("/")
    made.page.keyboard.type("key 4 Record4")

    assert ["Record4", *(f"Record{number}" for number in range(40, 50))] == sorted(
        visible.locator("code").all_inner_texts()
    )
    assert "11 of 61" == made.page.locator("#found").inner_text()
    assert 1 == made.page.locator(".problem li:visible").count()
    made.page.keyboard.press("Escape")
    assert 9 == visible.count()
    assert [] == made.complaints


@needs_a_browser
def test_counters_lead_to_their_lists(browser: Browser, tmp_path: Path) -> None:
    """With the keyboard: each to its first problem, the healthy ones to their rows; nothing leads to an empty list."""
    made = opened(browser, tmp_path, ROWS)
    tiles = made.page.locator(".tiles a")
    assert 3 == tiles.count()
    for number, severity in enumerate(("broken", "look")):
        tiles.nth(number).press("Enter")
        assert made.page.locator(".problem:target").get_attribute("class") == f"card problem {severity}"
    tiles.nth(2).press("Enter")

    assert made.page.locator("#well").is_checked()
    assert 52 == made.page.locator("tr.healthy:visible").count()


def test_a_thousand_records_stay_small() -> None:
    """Under 1 MB, and under 80 KB where a server compresses it."""
    made = page(
        Report([row(number, number % 90, "look" if number % 20 == 0 else None) for number in range(1000)], utc_now(), 3)
    )

    assert len(made.encode()) < 1_000_000
    assert len(gzip.compress(made.encode())) < 80_000


@needs_a_browser
def test_a_narrow_window_cuts_nothing_off(browser: Browser, tmp_path: Path) -> None:
    """On a telephone the page does not scroll sideways, and every cell of a record stands within the window."""
    made = opened(browser, tmp_path, ROWS)
    made.page.set_viewport_size({"width": 390, "height": 800})

    assert made.page.evaluate("document.documentElement.scrollWidth") <= 390
    edges = "cells => cells.map(one => one.getBoundingClientRect()).map(box => [box.left, box.right])"
    assert all(0 <= left <= right <= 390 for left, right in made.page.locator("tr.ill:visible td").evaluate_all(edges))


@pytest.mark.thorough
@needs_a_browser
@pytest.mark.parametrize("width", [1280, 800])
def test_the_head_of_the_table_stays(width: int, browser: Browser, tmp_path: Path) -> None:
    """However far the rows are scrolled, their columns' names stand above them; no build is broken in the middle."""
    made = opened(browser, tmp_path, ROWS)
    made.page.set_viewport_size({"width": width, "height": 600})
    made.page.locator("#every").check()
    made.page.locator("tr.healthy").nth(40).scroll_into_view_if_needed()

    head, row_shown = made.page.locator("thead th").nth(1), made.page.locator("tr.healthy").nth(40)
    boxes = [one.bounding_box() for one in (head, row_shown)]
    assert boxes[0]
    assert boxes[1]
    assert 0 <= boxes[0]["y"] < boxes[1]["y"] < 600
    lines = (
        "one => { const all = document.createRange(); all.selectNodeContents(one); return all.getClientRects().length }"
    )
    assert 1 == made.page.locator("tr.healthy td:nth-child(10)").first.evaluate(lines)


@needs_a_browser
def test_a_healthy_fleet_says_so(browser: Browser, tmp_path: Path) -> None:
    """Where nothing is wrong, that is what stands in the place of the problems."""
    made = opened(browser, tmp_path, [row(1, 30)])

    assert made.page.get_by_text("Nothing is wrong").is_visible()


def test_an_empty_audit_has_a_page_too() -> None:
    """Without a single record the page is made all the same."""
    made = page(Report([], utc_now(), 0))

    assert "0 records" in made
    assert "No record of a rotation is shared to the application." in made


def test_its_policy_allows_its_own_style_and_nothing_else() -> None:
    """The hashes in the policy are those of style and script as they stand in the page; nothing else is allowed."""
    made = page(Report([], utc_now(), 0))
    style, script = (made.partition(f"<{tag}>")[2].partition(f"</{tag}>")[0] for tag in ("style", "script"))
    digests = [base64.b64encode(hashlib.sha256(part.encode()).digest()).decode() for part in (style, script)]

    assert "body {" in style
    assert "addEventListener" in script
    allowed = f"style-src 'sha256-{digests[0]}'; script-src 'sha256-{digests[1]}'"
    assert f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'" in made


def colour(shown: Page, element: str, name: str) -> list[int]:
    """Return one of an element's colours as it is computed: red, green, blue."""
    text = shown.locator(element).first.evaluate(f"element => getComputedStyle(element).{name}")
    return [int(part) for part in re.findall(r"\d+", text)[:3]]


def contrast(one: list[int], other: list[int]) -> float:
    """Return the contrast of two colours: https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio."""

    def luminance(rgb: list[int]) -> float:
        linear = [value / 255 / 12.92 if value <= 10 else ((value / 255 + 0.055) / 1.055) ** 2.4 for value in rgb]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)
