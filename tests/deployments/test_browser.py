"""The web interface in headless Chromium: fill in the sweep's form, start it, see it succeed, with nothing asked of other hosts.

LADDER_SCREENSHOTS names a folder for pictures of it (the docs' own are in docs/images).
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Browser, Locator, Page, TimeoutError, expect, sync_playwright

from deployments.api import Json

if TYPE_CHECKING:
    from conftest import Live

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SWITCHES = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
SLOW_MS = 60_000

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (apt-get install chromium)"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=SWITCHES)
        yield browser
        browser.close()


def picture(page: Page, name: str) -> None:
    if folder := os.environ.get("LADDER_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(folder) / f"{name}.png")


def field(page: Page, label: str) -> Locator:
    """The innermost form field with this label."""
    return page.locator(".schema-form-property").filter(has=page.get_by_text(f"{label} (Optional)", exact=True)).last


def keep_one(field: Locator, value: str) -> None:
    """Reduce a list field to one item with this value."""
    items = field.locator(".schema-form-property-array-item")
    for num_left in range(items.count() - 1, 0, -1):
        items.last.get_by_role("button").first.click()
        expect(items).to_have_count(num_left)
    items.locator("textarea, input").first.fill(value)


def submit(page: Page) -> Json:
    """Press Submit, again if the server was too busy to take it, as a person would; the flow run that came of it."""
    answers: list[str] = []
    for _ in range(3):
        try:
            with page.expect_response(lambda answer: answer.url.endswith("/create_flow_run"), timeout=SLOW_MS) as waiting:
                page.get_by_role("button", name="Submit").click()
        except TimeoutError:
            answers.append("none: " + page.locator("body").inner_text()[-500:])
            continue
        if waiting.value.ok:
            run: Json = waiting.value.json()
            return run
        answers.append(f"{waiting.value.status} {waiting.value.text()[:200]}")
    raise AssertionError(f"Submit made no run; answers: {answers}")


def test_a_sweep_is_filled_in_started_and_seen_to_succeed(live: "Live", pipeline: str, browser: Browser) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 1100})
    page.set_default_timeout(SLOW_MS)
    base = live.api.url.removesuffix("/api")
    foreign: list[str] = []
    page.on("request", lambda request: None if request.url.startswith((base, "data:", "blob:")) else foreign.append(request.url))

    deployment = live.api.call("GET", "/deployments/name/sweep/cpu")
    page.goto(f"{base}/deployments/deployment/{deployment['id']}")
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_text("Custom run").click()

    expect(page.get_by_text("Seeds to train; two or more show the noise.")).to_be_visible(timeout=SLOW_MS)
    keep_one(field(page, "Models"), "d1w32")
    keep_one(field(page, "Seeds"), "7")
    picture(page, "sweep-form")
    run = submit(page)
    assert run["parameters"]["settings"]["models"] == ["d1w32"]
    assert run["parameters"]["settings"]["seeds"] == [7]
    page.goto(f"{base}/runs/flow-run/{run['id']}")
    live.until_state(run["id"], "COMPLETED", seconds=180)
    expect(page.locator(".state-badge", has_text="Completed").first).to_be_visible(timeout=SLOW_MS)
    page.wait_for_timeout(1500)
    picture(page, "sweep-run")
    assert foreign == []
