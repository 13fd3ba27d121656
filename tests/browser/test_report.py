"""The report as readers see it: nothing missing, nothing from elsewhere, readable on a phone and in the dark."""

from urllib.parse import unquote

import pytest

PHONE = 390
BROKEN = "images => images.filter(image => !image.complete || image.naturalWidth === 0).map(image => image.alt)"
WIDER = """() => [...document.querySelectorAll('body *')].filter(element => {
    for (let above = element.parentElement; above; above = above.parentElement)
        if (getComputedStyle(above).overflowX === 'auto') return false;
    return element.getBoundingClientRect().right > innerWidth + 1 && getComputedStyle(element).position !== 'absolute';
}).map(element => element.tagName + '.' + element.className)"""
# relative luminance (WCAG 2) of two CSS colours, as the ratio of contrast
CONTRAST = """selector => {
    const light = text => {
        const [r, g, b] = text.match(/[0-9.]+/g).slice(0, 3).map(v => v / 255)
            .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const back = light(getComputedStyle(document.body).backgroundColor);
    return [...document.querySelectorAll(selector)].map(element => {
        const front = light(getComputedStyle(element).color);
        return (Math.max(front, back) + 0.05) / (Math.min(front, back) + 0.05);
    });
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, PHONE])
def test_every_image_is_there_and_nothing_complains(open_page, width, scheme):
    page, complaints, _ = open_page(width, scheme)
    images = page.locator("img")
    assert images.count() >= 6
    assert images.evaluate_all(BROKEN) == []
    assert complaints == []


def test_nothing_is_asked_of_the_network(open_page, report):
    _, _, requests = open_page()
    assert [url for url in requests if not url.startswith("data:")] == [report.as_uri()]


@pytest.mark.parametrize("width", [PHONE, 320, 800])
def test_the_page_does_not_scroll_sideways(open_page, width):
    page, _, _ = open_page(width)
    page.evaluate("document.querySelectorAll('details').forEach(it => it.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(WIDER) == []


def test_images_say_what_they_show(open_page):
    page, _, _ = open_page()
    texts = page.locator("img").evaluate_all("images => images.map(image => image.alt.trim())")
    assert min(map(len, texts)) > 20
    captions = page.locator("figcaption").all_inner_texts()
    assert len(captions) == len(texts)


def test_the_dark_page_is_dark_and_both_can_be_read(open_page):
    backs = {}
    for scheme in ("light", "dark"):
        page, _, _ = open_page(1280, scheme)
        backs[scheme] = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (
            page.evaluate("getComputedStyle(document.querySelector('.card')).backgroundColor") == "rgb(255, 255, 255)"
        )
        assert min(page.evaluate(CONTRAST, "p, li, h1, h2, a, .badge, figcaption, summary, dt, dd")) > 4.5
    assert backs["light"] != backs["dark"]


def test_pictures_can_be_enlarged_on_a_phone(open_page):
    page, _, _ = open_page(PHONE)
    figure = page.locator("figure").first
    before = figure.locator("img").bounding_box()["width"]
    figure.locator(".zoom").click()
    assert figure.locator("img").bounding_box()["width"] > 1.5 * before
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE, "the card scrolls, not the page"


def test_links_lead_somewhere(open_page, report):
    page, _, _ = open_page()
    links = page.locator("a").evaluate_all("links => links.map(link => link.getAttribute('href'))")
    for link in links:
        if link.startswith("#"):
            assert page.locator(f"[id='{link[1:]}']").count() == 1, link
        else:
            assert (report.parent / unquote(link)).is_file(), link
