"""The page that shows where pixels come from, as its readers use it: mouse, keys, touch; light and dark; hostile names inert."""

import numpy as np
import pytest

import smalti
from smalti.provenance.explanation import explain_sample
from smalti.report.explanation_page import ExplanationPage, render_explanation

PHONE = 390
HOSTILE = "<script>document.title='broken'</script><img src=x onerror=alert(1)>.png"


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> str:
    source = smalti.Source.open("digits", limit=80)
    found = explain_sample(smalti.PSPCSquare(source), seed=3, steps=8, counterfactuals=2)
    names = {number: f"{number} {HOSTILE}" for number in range(len(source))}
    page = ExplanationPage(
        "Where a digit comes from", ["A test."], found, names, source.images, (3, 4), start=5, limits=["Much."]
    )
    path = tmp_path_factory.mktemp("page") / "explain.html"
    path.write_text(render_explanation(page), "utf-8")
    return path.as_uri()


def ready(visit, address, *arguments, **options):
    page, complaints, requests = visit(address, *arguments, **options)
    page.wait_for_selector("body[data-ready=yes]")
    return page, complaints, requests


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, PHONE])
def test_nothing_complains_nothing_is_loaded_nothing_scrolls_sideways(visit, address, width, scheme):
    page, complaints, requests = ready(visit, address, width, scheme)
    assert complaints == []
    assert [url for url in requests if not url.startswith("data:")] == [address]
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_names_are_text_and_never_markup(visit, address):
    page, complaints, _ = ready(visit, address)
    assert page.title() == "Where a digit comes from"
    assert HOSTILE in page.locator("#elements .name").first.inner_text()
    assert HOSTILE in page.locator("tbody td").nth(1).inner_text()
    assert page.locator("img").count() == 0
    assert complaints == []


def test_a_click_chooses_the_pixel_under_it(visit, address):
    page, _, _ = ready(visit, address)
    box = page.locator("#picture").bounding_box()
    page.mouse.click(box["x"] + box["width"] * 6.5 / 8, box["y"] + box["height"] * 1.5 / 8)
    assert page.locator("#said").inner_text().startswith("Pixel at row 1, column 6,")


def test_a_finger_does_too_on_a_phone(visit, address):
    page, _, _ = ready(visit, address, PHONE, touch=True)
    box = page.locator("#picture").bounding_box()
    page.touchscreen.tap(box["x"] + box["width"] * 0.5 / 8, box["y"] + box["height"] * 7.5 / 8)
    assert page.locator("#said").inner_text().startswith("Pixel at row 7, column 0,")


def test_keys_move_the_pixel_and_the_level(visit, address):
    page, _, _ = ready(visit, address)
    page.locator("#picture").focus()
    for key in ("ArrowDown", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    assert page.locator("#said").inner_text().startswith("Pixel at row 4, column 6,")
    page.keyboard.press("Home")
    page.keyboard.press("PageUp")
    assert page.locator("#said").inner_text().startswith("Pixel at row 0, column 0,")
    before = page.locator("#sigma").inner_text()
    page.locator("#level").focus()
    page.keyboard.press("ArrowRight")
    after = page.locator("#sigma").inner_text()
    assert float(after.split()[1]) < float(before.split()[1])


def test_what_is_listed_are_the_shares(visit, address):
    page, _, _ = ready(visit, address)
    source = smalti.Source.open("digits", limit=80)
    denoiser = smalti.PSPCSquare(source)
    run = smalti.sample(denoiser, n=1, steps=8, solver="euler", seed=3)
    found = denoiser.attribute(run.states[5], float(run.sigmas[5]), pixels=[(3, 4)], top=5)
    listed = page.locator("#elements .name").all_inner_texts()
    numbers = [int(name.split()[0]) for name in listed]
    assert numbers == found.images[0, 0, : len(numbers)].tolist()
    largest = float(found.shares[0, 0, 0])
    shown = page.locator("#elements .place").first.inner_text()
    assert abs(float(shown.split(" %")[0]) / 100 - largest) <= 0.0051


def test_every_view_draws_something(visit, address):
    page, _, _ = ready(visit, address)
    pixels = "() => Array.from(document.getElementById('picture').getContext('2d').getImageData(4, 4, 1, 1).data)"
    seen = {}
    for view in ("denoised", "noisy", "effective", "share"):
        page.locator(f"input[value={view}]").check()
        seen[view] = tuple(page.evaluate(pixels))
        assert page.locator("#legend").inner_text()
    assert len(set(seen.values())) > 1


def test_large_sets_keep_the_images_that_matter(monkeypatch):
    """More training images than the page holds: those with the largest shares are pictured, all are named."""
    import smalti.report.explanation_page as module

    monkeypatch.setattr(module, "PICTURED", 3)
    shares = np.array([[[0.1, 0.05]], [[0.6, 0.2]], [[0.5, 0.4]]])
    images = np.array([[[9, 8]], [[5, 7]], [[5, 7]]])
    numbers, slots = module._slots(images, shares, [8])
    assert numbers[:3].tolist() == [8, 5, 7]
    assert numbers[slots].tolist() == images.tolist()
