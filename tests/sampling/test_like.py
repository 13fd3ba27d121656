import numpy as np
import pytest
import torch
from PIL import Image

from smalti.core.errors import InputError
from smalti.sampling.like import generate_like, picture_pyramid, read_picture, turned


def stripes(height=24, width=28):
    y, x = np.mgrid[:height, :width]
    return np.stack([128 + 100 * np.sin(x / 2), 128 + 100 * np.cos(y / 3), 128 + 50 * np.sin((x + y) / 4)]).astype(
        np.uint8
    )


PICTURE = stripes()
OPTIONS = {"patch_size": 5, "steps": 4}


def test_images_are_made_of_the_pictures_patches():
    result = generate_like(PICTURE, n=2, sources=True, **OPTIONS)
    assert result.images.shape == (2, 3, 24, 28)
    assert [tuple(s.shape[2:]) for s in result.scales] == [(12, 14), (24, 28)]
    original = read_picture(PICTURE)
    for image, places in zip(result.images, result.places, strict=True):
        sure = places.share > 0.99
        assert sure.mean() > 0.1
        copied = original[:, places.row, places.column]
        assert (copied - image.double()).abs().amax(0)[torch.from_numpy(sure)].max() < 0.05
    assert (result.images[0] - result.images[1]).abs().max() > 0.1


def test_an_image_depends_on_its_number_alone():
    two = generate_like(PICTURE, n=2, seed=7, eta=0.3, **OPTIONS).images
    assert torch.equal(generate_like(PICTURE, n=1, seed=7, eta=0.3, **OPTIONS).images[0], two[0])
    assert torch.equal(generate_like(PICTURE, n=1, first=1, seed=7, eta=0.3, **OPTIONS).images[0], two[1])
    assert not torch.equal(generate_like(PICTURE, n=1, seed=8, eta=0.3, **OPTIONS).images[0], two[0])


def test_another_size_keeps_the_arrangement():
    picture = np.zeros((3, 24, 24), np.uint8)
    picture[:, :, 12:] = 255
    wide = generate_like(picture, size=(24, 40), **OPTIONS).images[0]
    assert wide.shape == (3, 24, 40)
    assert wide[:, :, :15].mean() < -0.8
    assert wide[:, :, 25:].mean() > 0.8


def test_tiles_are_seamless():
    ramp = np.broadcast_to(np.abs(np.linspace(-255, 255, 32)), (1, 32, 32)).astype(
        np.uint8
    )  # light, dark, light: may be continued
    tile = generate_like(ramp, tile=True, patch_size=7, steps=6).images[0]
    seam = (tile[:, :, 0] - tile[:, :, -1]).abs().max()
    inside = (tile[:, :, 1:] - tile[:, :, :-1]).abs().max()
    assert seam <= 1.5 * inside
    plain = generate_like(np.ascontiguousarray(PICTURE), n=1, **OPTIONS).images
    assert not torch.equal(plain, generate_like(PICTURE, n=1, tile=True, **OPTIONS).images)


@pytest.mark.parametrize(("symmetric", "axis"), [("horizontal", -1), ("vertical", -2)])
def test_symmetry_is_exact(symmetric, axis):
    result = generate_like(PICTURE, symmetric=symmetric, eta=0.5, sources=True, **OPTIONS)
    image, places = result.images[0], result.places[0]
    sure = torch.from_numpy(places.share > 0.99)
    assert sure.double().mean() > 0.05
    copied = read_picture(PICTURE)[:, places.row, places.column]
    assert (copied - image.double()).abs().amax(0)[sure].max() < 0.05
    assert torch.equal(image, image.flip(axis))
    assert image.std() > 0.1


def test_kept_pixels_stay_and_the_hole_is_not_a_source():
    picture = np.full((3, 24, 28), 60, np.uint8)
    picture[:, 8:14, 8:14] = 250
    keep = np.ones((24, 28), bool)
    keep[7:15, 7:15] = False
    image = generate_like(picture, keep=keep, **OPTIONS).images[0]
    original = read_picture(picture).float()
    assert torch.equal(image[:, torch.from_numpy(keep)], original[:, torch.from_numpy(keep)])
    torch.testing.assert_close(image, torch.full_like(image, 60 / 127.5 - 1), atol=1e-4, rtol=0)


def test_pixels_are_kept_at_odd_sizes_too():
    """Areas of 23 / 12 pixels: means of ones are not 1 to the last bit."""
    picture, keep = stripes(23, 23), np.ones((23, 23), bool)
    keep[:2, :2] = False
    image = generate_like(picture, keep=keep, **OPTIONS).images[0]
    kept = torch.from_numpy(keep)
    assert torch.equal(image[:, kept], read_picture(picture).float()[:, kept])


def test_pyramids_end_at_one_patch_and_a_half():
    sizes = [tuple(p.shape[1:]) for p in picture_pyramid(torch.zeros(3, 256, 384), 15)]
    assert sizes == [(32, 48), (64, 96), (128, 192), (256, 384)]
    assert [tuple(p.shape[1:]) for p in picture_pyramid(torch.zeros(3, 97, 61), 15)] == [(49, 31), (97, 61)]


def test_flips_and_quarter_turns():
    picture = torch.arange(6.0).reshape(1, 2, 3)
    views = turned(picture)
    assert len(views) == 8
    assert {tuple(v.shape) for v in views} == {(1, 2, 3), (1, 3, 2)}
    assert len({tuple(v.flatten().tolist()) + tuple(v.shape) for v in views}) == 8
    assert len(turned(picture, quarters=False)) == 2


def test_files(tmp_path):
    path = tmp_path / "transparent.png"
    pixels = np.zeros((24, 28, 4), np.uint8)
    pixels[..., :3] = stripes().transpose(1, 2, 0)
    pixels[:12, ..., 3] = 255
    Image.fromarray(pixels).save(path)
    picture = read_picture(path)
    assert picture.shape == (3, 24, 28)
    assert (picture[:, 12:] == 1).all()  # transparency lies on white
    palette = tmp_path / "palette.png"
    Image.fromarray(PICTURE.transpose(1, 2, 0)).convert("P").save(palette)
    assert read_picture(palette).shape == (3, 24, 28)
    mask = tmp_path / "mask.png"
    Image.fromarray(np.where(np.arange(28) < 20, 255, 0).astype(np.uint8)[None].repeat(24, 0)).save(mask)
    image = generate_like(path, keep=mask, **OPTIONS).images[0]
    assert torch.equal(image[:, :, :20], picture[:, :, :20].float())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patch_size": 25}, "the picture of 24 x 28 is smaller than a 25 x 25 patch"),
        ({"size": (4, 28)}, "the image of 4 x 28 is smaller than a 5 x 5 patch"),
        ({"size": (4000, 4000)}, "has more than 1,048,576 pixels"),
        ({"size": 30}, r"size is \(height, width\), not 30"),
        ({"keep": np.ones((24, 20))}, r"the mask has shape \(24, 20\); the picture is 24 x 28"),
        ({"keep": np.ones((24, 28)), "size": (30, 30)}, "keep and size contradict"),
        ({"keep": np.zeros((24, 28))}, "no 5 x 5 patch lies wholly in what is kept"),
        ({"symmetric": "horizontaly"}, "did you mean 'horizontal'"),
        ({"steps": 1}, "steps must be at least 2"),
        ({"eta": 2}, "eta must be from 0"),
        ({"first": -1}, "first must not be negative"),
        ({"n": 0}, "n must be at least 1"),
    ],
)
def test_bad_input(options, message):
    with pytest.raises(InputError, match=message):
        generate_like(PICTURE, **{**OPTIONS, **options})


def test_bad_pictures(tmp_path):
    with pytest.raises(InputError, match="grey or RGB"):
        generate_like(np.zeros((24, 28, 3), np.uint8))
    with pytest.raises(InputError, match="finite floats"):
        generate_like(np.full((3, 24, 28), np.nan))
    with pytest.raises(InputError, match="has more than 1,048,576 pixels"):
        generate_like(np.zeros((1, 4000, 5000), np.uint8))
    large = tmp_path / "large.png"
    Image.fromarray(np.zeros((4000, 5000), np.uint8)).save(large)
    with pytest.raises(InputError, match=r"has 20\.0 million pixels"):
        generate_like(large)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"nothing")
    with pytest.raises(InputError, match="is not an image that can be read"):
        generate_like(broken)
    with pytest.raises(InputError, match="check the path"):
        generate_like(tmp_path / "missing.png")


@pytest.mark.parametrize("symmetric", [None, "vertical"])
def test_turns_are_sources_and_places_are_the_pictures_own(symmetric):
    result = generate_like(PICTURE, (24, 24), flips=True, quarters=True, symmetric=symmetric, sources=True, **OPTIONS)
    image, places = result.images[0], result.places[0]
    sure = places.share > 0.99
    assert sure.mean() > 0.05
    assert len(np.unique(places.picture)) > 1
    copied = read_picture(PICTURE)[:, places.row, places.column]
    assert (copied - image.double()).abs().amax(0)[torch.from_numpy(sure)].max() < 0.05
