"""A real browser: Debian's chromium, driven by playwright. Where either is missing the tests are skipped, and the run says so."""

from __future__ import annotations

import shutil

import pytest

from tiny_exhibits import TINY

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
ARGUMENTS += ["--disable-background-networking", "--disable-component-update"]
NAMES = ("chromium", "chromium-browser", "google-chrome")
_skipped: list[str] = []


def _skip(reason):
    if reason not in _skipped:
        _skipped.append(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def browser():
    """A headless browser."""
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        _skip("playwright is not installed: pip install playwright")
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        _skip("no browser is installed: apt-get install chromium")
    with sync_playwright() as playwright:
        try:
            started = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        except Error as error:
            _skip(f"{path} does not start: {str(error).splitlines()[0]}")
        yield started
        started.close()


@pytest.fixture(scope="session")
def report(browser, tmp_path_factory):
    """The path of a small real report, of curves (SVG) and images (PNG)."""
    from smalti import Source
    from smalti.experiments.reproduce import reproduce
    from smalti.experiments.request import Request
    from smalti.networks import Network

    folder = tmp_path_factory.mktemp("report")
    networks = {name: Network.load(f"{name}-digits") for name in ("ddpmpp", "dit")}
    source = networks["ddpmpp"].training_source(Source.open("digits"))
    return reproduce(Request(source, networks, TINY, 0.05, only=("w1", "w2"), command="smalti reproduce"), folder)


@pytest.fixture
def visit(browser):
    """Opens a page: (address, width, "light" or "dark", touch) -> the page, what it complained of, what it asked the network for."""
    contexts = []

    def opened(address, width=1280, scheme="light", touch=False):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, has_touch=touch)
        contexts.append(context)
        page, complaints, requests = context.new_page(), [], []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(address, wait_until="load")
        return page, complaints, requests

    yield opened
    for context in contexts:
        context.close()


@pytest.fixture
def open_page(visit, report):
    """Opens the report: (width, "light" or "dark") -> as `visit`."""
    return lambda width=1280, scheme="light": visit(report.as_uri(), width, scheme)


def pytest_terminal_summary(terminalreporter):
    for reason in _skipped:
        terminalreporter.write_line(f"the browser tests were skipped: {reason}")
