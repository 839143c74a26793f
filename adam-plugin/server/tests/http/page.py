"""The page in headless Chromium, driven as a person would: typed into, by keyboard alone, light and dark."""

import argparse
import os
import pathlib
import shutil
import time

from playwright.sync_api import sync_playwright

from served import served

COLUMNS = ["bm25", "dense", "hybrid"]


def ids(page, column):
    return [item.get_attribute("data-id") for item in page.query_selector_all(f"#{column} li")]


def until(page, condition):
    """Waits; the page's own policy forbids playwright's way, which evaluates text inside the page."""
    deadline = time.monotonic() + 30
    while not page.evaluate(condition):
        if time.monotonic() > deadline:
            raise AssertionError(f"never: {condition}")
        page.wait_for_timeout(20)


def settled(page):
    until(page, "['bm25', 'dense', 'hybrid'].every((id) => document.querySelector(`#${id} li`))")
    page.wait_for_load_state("networkidle")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--screenshots", type=pathlib.Path, help="folder for pictures of the page")
    arguments = parser.parse_args()
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        with served() as address:
            check(browser, address, arguments.screenshots)
        with served("--api-key", "sesame") as address:
            check_key(browser, address)
        browser.close()
    print("page: all as it should be")


def open_page(browser, address, asked, faults, **options):
    page = browser.new_page(viewport={"width": 1280, "height": 900}, **options)
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda fault: faults.append(str(fault)))
    page.goto(address)
    return page


def check(browser, address, folder):
    asked, faults = [], []
    page = open_page(browser, address, asked, faults)
    until(page, "document.getElementById('about').textContent.includes('documents')")
    assert "6 documents" in page.inner_text("#about"), page.inner_text("#about")

    # The keyboard alone: the box has the focus from the start, Enter asks.
    page.keyboard.type("birds that use tools")
    page.keyboard.press("Enter")
    settled(page)
    assert ids(page, "dense")[:2] in (["crow", "raven"], ["raven", "crow"]), ids(page, "dense")
    assert ids(page, "hybrid")[0] in ("crow", "raven"), ids(page, "hybrid")
    assert "raven" in ids(page, "bm25"), "`tool` is a word of it"

    # Why a hit is there.
    first = page.inner_text("#hybrid li:first-child .why")
    for part in ("bm25", "dense", "rank", "score", "counts"):
        assert part in first, first
    assert page.query_selector("#hybrid li:first-child .bar i.dense").bounding_box()["width"] > 0
    assert page.query_selector_all("#dense .bar") == [], "one arm alone has nothing to share"
    page.focus("#hybrid li:first-child summary")
    page.keyboard.press("Enter")
    assert "bm25" in page.inner_text("#hybrid li:first-child pre")

    # The slider, by keyboard: at one end the hybrid column ranks as words do, at the other as vectors do.
    page.focus("#weight")
    page.keyboard.press("Home")
    assert page.inner_text("#shown") == "1.00 words, 0.00 meaning", page.inner_text("#shown")
    until(page, "(document.querySelector('#hybrid .why') || {textContent: ''}).textContent.includes('\u00d7 1.00')")
    settled(page)
    words = ids(page, "bm25")
    assert ids(page, "hybrid")[: len(words)] == words, (ids(page, "hybrid"), words)
    page.keyboard.press("End")
    until(page, "document.querySelector('#hybrid div.dense').textContent.includes('\u00d7 1.00')")
    settled(page)
    assert ids(page, "hybrid") == ids(page, "dense"), (ids(page, "hybrid"), ids(page, "dense"))

    # A value chosen narrows all columns, by keyboard; chosen again, it is let go.
    until(page, "document.querySelector('#facets button')")
    assert "year:" in page.inner_text("#facets"), page.inner_text("#facets")
    page.focus("#facets button:has-text('2002')")
    page.keyboard.press("Enter")
    until(page, "document.querySelector('#facets button[aria-pressed=true]')")
    settled(page)
    assert ids(page, "dense") == ["crow"] and ids(page, "hybrid") == ["crow"], ids(page, "dense")
    page.click("#facets button[aria-pressed=true]")
    until(page, "document.querySelectorAll('#dense li').length === 6")
    settled(page)

    # Groups: each document has a year of its own, so all stay, and each says which group it stands for.
    page.select_option("#group", "year")
    until(page, "document.querySelector('#dense li').textContent.includes('1 document')")
    settled(page)
    assert len(ids(page, "dense")) == 6 and "group=year" in page.url
    page.select_option("#group", "")
    until(page, "!document.querySelector('#dense li').textContent.includes('1 document')")
    settled(page)

    # Tab goes from the box to the button to the slider.
    page.focus("#query")
    order = []
    for _ in range(3):
        order.append(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
        page.keyboard.press("Tab")
    assert order == ["query", "BUTTON", "weight"], order

    # Markup in a document stays text; words are marked where they stand, past letters of several bytes.
    page.fill("#query", "wire")
    page.press("#query", "Enter")
    until(page, "document.querySelector('#bm25 li mark')")
    settled(page)
    assert set(ids(page, "bm25")) == {"crow", "markup"}, ids(page, "bm25")
    assert {mark.inner_text() for mark in page.query_selector_all("#bm25 mark")} == {"wire"}
    assert page.query_selector("main img") is None and page.query_selector("main p b") is None
    assert "<b>markup</b>" in page.inner_text("#bm25 li[data-id=markup]")
    assert page.title() == "adam: three ways to search", page.title()

    # Nothing found, and a link that carries the question.
    page.fill("#query", "zzzz")
    page.press("#query", "Enter")
    until(page, "document.querySelector('#bm25 li').textContent === 'nothing found'")
    page.goto(f"{address}/?q=rising+dough&weight=0.3")
    settled(page)
    assert ids(page, "hybrid")[0] == "bread" and page.input_value("#weight") == "0.3"

    outside = [url for url in asked if not url.startswith((address, "data:"))]
    assert not outside, outside
    assert not faults, faults
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        for scheme, width in (("light", 1280), ("dark", 1280), ("light", 420)):
            shown = open_page(browser, f"{address}/?q=birds+that+use+tools", [], faults, color_scheme=scheme)
            shown.set_viewport_size({"width": width, "height": 900})
            settled(shown)
            shown.screenshot(path=folder / f"{scheme}-{width}.png")
            wide = shown.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, f"{width} wide, and {wide} are needed"
            shown.close()


def check_key(browser, address):
    """A server with a key asks for it once, and says so when it is wrong."""
    for key, works in (("sesame", True), ("wrong", False)):
        page = browser.new_page()
        prompts = []
        page.on("dialog", lambda dialog: (prompts.append(dialog.message), dialog.accept(key)))
        page.goto(f"{address}/?q=bread")
        until(page, "document.getElementById('about').textContent")
        assert len(prompts) == 1, prompts
        if works:
            settled(page)
            assert ids(page, "hybrid")[0] == "bread"
        else:
            assert "API key" in page.inner_text("#about"), page.inner_text("#about")
        page.context.close()


if __name__ == "__main__":
    main()
