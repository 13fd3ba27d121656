"""The page of an audit, and the copy search of an explanation, as their readers see them: widths, light and dark, hostile names inert."""

import pytest

import smalti
from smalti.audit.copy_search import copy_search
from smalti.audit.images_page import images_knows, images_limits, images_sections, images_verdicts
from smalti.provenance.explanation import explain_image
from smalti.report.audit_page import AuditPage, render_audit
from smalti.report.explanation_page import ExplanationPage, render_explanation

PHONE = 390
HOSTILE = "<script>document.title='broken'</script><img src=x onerror=alert(1)>\x1b.png"


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> str:
    source = smalti.Source.open("digits")
    found = smalti.audit_images(
        source.subset([5, 1000]),
        source.subset(slice(0, 40)),
        source.subset(slice(600, 630)),
        rate=0.1,
        names=[HOSTILE, "b"],
    )
    page = AuditPage(
        "Are these training images?", images_verdicts(found), images_sections(found), images_knows(found), images_limits(found),
        [("data", HOSTILE)], f"smalti audit --images '{HOSTILE}'",
    )  # fmt: skip
    path = tmp_path_factory.mktemp("page") / "audit.html"
    path.write_text(render_audit(page), "utf-8")
    return path.as_uri()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, PHONE])
def test_nothing_complains_nothing_is_loaded_nothing_scrolls_sideways(visit, address, width, scheme):
    page, complaints, requests = visit(address, width, scheme)
    assert complaints == []
    assert [url for url in requests if not url.startswith("data:")] == [address]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    boxes = page.locator(".panels svg").all()
    assert len(boxes) == 18
    assert all(box.bounding_box()["width"] >= 96 for box in boxes)
    colours = page.evaluate(
        "(() => { const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]; })()"
    )
    dark = sum(map(int, colours[1][4:-1].split(","))) < 200
    assert dark == (scheme == "dark")


def test_names_are_text_and_never_markup(visit, address):
    page, complaints, _ = visit(address)
    assert page.title() == "Are these training images?"
    assert "<img src=x" in page.locator(".exhibit h3").first.inner_text()
    assert page.locator("img").count() == 0
    assert page.locator("script").count() == 0
    assert complaints == []


def test_the_verdict_is_said_first_and_the_limits_are_listed(visit, address):
    page, _, _ = visit(address)
    assert "1 of 2 is a training image" in page.locator(".verdicts li").first.inner_text()
    assert page.locator("#limits li").count() >= 8
    page.locator(".skip").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#limits"


def test_the_most_alike_patch_follows_the_pixel(visit, tmp_path):
    source = smalti.Source.open("digits", limit=80)
    image = source.working([9])[0].flip(-1)
    searched = copy_search(source, image, 5)
    page = ExplanationPage(
        "A picture", ["A test."], explain_image(smalti.PSPCSquare(source), image, [0.6], 2), {9: HOSTILE}, source.images, (3, 4),
        copies=searched.map(),
    )  # fmt: skip
    (tmp_path / "explain.html").write_text(render_explanation(page), "utf-8")
    for width in (1280, PHONE):
        shown, complaints, _ = visit((tmp_path / "explain.html").as_uri(), width)
        shown.wait_for_selector("body[data-ready=yes]")
        said = shown.locator("#copy-said").inner_text()
        assert "a near-copy of" in said
        assert "<img src=x" in said
        assert said.endswith("mirrored: likeness 1.000.")
        shown.locator("input[value=copies]").check()
        pixel = "() => Array.from(document.getElementById('picture').getContext('2d').getImageData(4, 4, 1, 1).data)"
        assert shown.evaluate(pixel)[:3] == [253, 231, 37]  # the bright end of the map
        shown.locator("#picture").focus()
        shown.keyboard.press("PageUp")
        assert shown.locator("#copy-said").inner_text().startswith("Rows 0\u2013")
        assert shown.evaluate("document.documentElement.scrollWidth") <= width
        assert complaints == []
