"""The report in a real browser: nothing is requested, charts answer, and it fits wide and narrow, light and dark, and without scripts."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lm.report import ReportData, render

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]

DRAWN = """language => [...document.querySelectorAll(`#page-${language} figure`)]
    .every(figure => !figure.offsetParent || (figure.querySelector('.live svg') && !figure.querySelector('.still')))"""
"""Whether every figure of a language that can be seen is drawn."""

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium on the path")]


@pytest.fixture(scope="module")
def address(sample: ReportData, tmp_path_factory: pytest.TempPathFactory) -> str:
    path: Path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render(sample), encoding="utf-8")
    return path.as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield opened
        opened.close()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (380, "light")])
def test_page_draws_its_charts_and_asks_for_nothing(browser: Any, address: str, width: int, scheme: str) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    requests: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(address)
    page.wait_for_function(DRAWN, arg="en")
    assert requests == [address]
    assert complaints == []
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.close()


def test_the_switch_shows_the_other_language(browser: Any, address: str) -> None:
    page = browser.new_page(viewport={"width": 1000, "height": 900})
    page.goto(address)
    assert page.locator("#page-en").is_visible()
    assert not page.locator("#page-zh").is_visible()
    page.click("label:has(#in-zh)")
    page.wait_for_function(DRAWN, arg="zh")
    assert page.locator("#page-zh").is_visible()
    assert not page.locator("#page-en").is_visible()
    assert page.evaluate("document.documentElement.lang") == "zh-Hans"
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.close()


def test_it_prints_on_a_few_pages(browser: Any, address: str, tmp_path: Path) -> None:
    page = browser.new_page()
    page.goto(address)
    page.wait_for_function(DRAWN, arg="en")
    printed = page.pdf(path=str(tmp_path / "report.pdf"), format="A4")
    assert printed.startswith(b"%PDF")
    assert 5 <= printed.count(b"/Type /Page\n") + printed.count(b"/Type /Page /") <= 25
    assert page.evaluate("getComputedStyle(document.querySelector('details.sql')).display") != "none"
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.querySelector('nav.languages')).display") == "none"
    page.close()


def test_points_answer_to_the_pointer(browser: Any, address: str) -> None:
    page = browser.new_page(viewport={"width": 1000, "height": 900})
    page.goto(address)
    page.wait_for_selector("#chart-en-curve .live svg")
    page.locator("#chart-en-curve .live svg .mark-symbol path").nth(6).hover(force=True)
    page.wait_for_selector("#vg-tooltip-element.visible")
    assert "training tokens" in page.inner_text("#vg-tooltip-element")
    page.close()


def test_without_scripts_still_pictures_remain(browser: Any, address: str) -> None:
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(address)
    assert page.locator("#page-en figure .still svg").count() >= 10
    page.click("label:has(#in-zh)")
    assert page.locator("#page-zh").is_visible()
    assert not page.locator("#page-en").is_visible()
    page.close()
