"""The picture of the audit's page in the README: `python -m tools.picture`, or `make picture`.

The page is that of `make demo-audit`, a fleet in the sandbox, as the Chromium of this machine shows it. Since its dates
are those of the day, no test compares it: it is made anew where the page has changed to the eye.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, sync_playwright

from sandbox import audit

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "pictures"
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
WIDTH, HEIGHT = 1000, 640
# Of a README; what is bigger nobody wants in a repository.
_MOST_BYTES = 150_000


def main(pictures: Path = PICTURES) -> int:
    """Draw the page in both schemes; return 0 where both are there and small."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        sys.stderr.write("no Chromium on this machine: apt-get install chromium\n")
        return 1
    with tempfile.TemporaryDirectory() as directory, sync_playwright() as playwright:
        if audit.main(Path(directory)):
            return 1
        # The sandbox of Chromium does not start under root, as which containers run.
        started = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        sizes = [_draw(started, Path(directory) / "audit.html", pictures, scheme) for scheme in SCHEMES]
        started.close()
    return int(max(sizes) > _MOST_BYTES)


def _draw(browser: Browser, page: Path, pictures: Path, scheme: Literal["light", "dark"]) -> int:
    """Write one picture, and return its size in bytes."""
    file = pictures / f"audit-{scheme}.png"
    context = browser.new_context(color_scheme=scheme, offline=True, viewport={"width": WIDTH, "height": HEIGHT})
    shown = context.new_page()
    shown.goto(page.as_uri())
    size = len(shown.screenshot(path=file))
    context.close()
    sys.stdout.write(f"{file}: {size // 1000} KB\n")
    return size


if __name__ == "__main__":
    raise SystemExit(main())
