"""A run's report in a headless Chromium: short until it is unfolded, read by pointer, finger and keys."""

from __future__ import annotations

import browser
import pytest
from served import make_run

from aha.runs.report.page import write_report

pytestmark = pytest.mark.skipif(bool(browser.missing()), reason=browser.missing() or "-")
SECOND = "const svg = document.querySelectorAll('svg[data-chart]')[1]; "


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    place = write_report(make_run(tmp_path_factory.mktemp("report") / "zero"))
    with browser.Chromium() as window:
        window.go(place.as_uri())
        yield window
        assert window.complaints() == []


@pytest.mark.parametrize("width", [1280, 390])
def test_it_is_short_until_it_is_unfolded_and_fits_a_phone(page, width):
    page.size(width, 844)
    try:
        folded = page.run("return document.documentElement.scrollHeight")
        assert folded < 8000
        assert page.run("return document.documentElement.scrollWidth") <= width
        page.run("for (const d of document.querySelectorAll('details')) d.open = true")
        assert page.run("return document.documentElement.scrollHeight") > 1.3 * folded
        assert page.run("return document.documentElement.scrollWidth") <= width
    finally:
        page.run("for (const d of document.querySelectorAll('details')) d.open = false")
        page.size(1280, 900)


def test_charts_are_read_by_keys_and_say_so_aloud(page):
    said = page.run(SECOND + "svg.focus(); return svg.getAttribute('aria-label')")
    page.keys("\ue010")  # End
    last = page.run("return document.querySelector('.tip').textContent")
    assert page.run(SECOND + "return svg.getAttribute('aria-label')") == last.replace("\n", ", ")
    page.keys("\ue012")  # to the left
    assert page.run("return document.querySelector('.tip').textContent") != last
    page.keys("\ue00c")  # Escape
    assert page.run("return document.querySelectorAll('.tip').length") == 0
    assert page.run(SECOND + "return svg.getAttribute('aria-label')") == said


def test_a_finger_that_leaves_keeps_the_reading_and_a_touch_elsewhere_ends_it(page):
    touch = (
        "const box = svg.getBoundingClientRect(), send = (node, kind) => node.dispatchEvent(new PointerEvent(kind, "
        "{pointerType: 'touch', bubbles: kind !== 'pointerleave', clientX: box.left + box.width / 2, "
        "clientY: box.top}));"
    )
    page.run(SECOND + touch + "send(svg, 'pointerdown'); send(svg, 'pointerleave')")
    assert page.run("return document.querySelectorAll('.tip').length") == 1
    page.run(SECOND + touch + "send(document.querySelector('h1'), 'pointerdown')")
    assert page.run("return document.querySelectorAll('.tip').length") == 0
