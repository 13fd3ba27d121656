import pytest
import torch

from smalti import Crops, EveryPlace, PosteriorMeanCollection, Source
from smalti.core.errors import InputError
from smalti.denoisers.picture_patches import PicturePatches
from smalti.engine.picture import PictureProgram, canvas, coverage, folded, gaussian_response, reference_composite
from smalti.engine.threads import set_threads

UNIFORM = float("inf")


def picture(height, width, channels=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, channels, height // 3 + 2, width // 3 + 2, generator=generator, dtype=torch.float64)
    return torch.nn.functional.interpolate(coarse, size=(height, width), mode="bilinear")[0] * 0.5


def noisy(clean, sigma, seed=1):
    return clean + sigma * torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


PICTURES = [picture(14, 17), picture(9, 12, seed=3)]


@pytest.mark.parametrize("wrap", [False, True])
@pytest.mark.parametrize(("side", "width"), [(5, 0.4), (4, UNIFORM), (7, 0.3)])
def test_box_sums_are_the_reference(wrap, side, width):
    response = gaussian_response(side, width)
    program = PictureProgram(PICTURES, response, wrap, 34.0)
    for sigma in (100.0, 0.7, 0.2, 0.003):
        z = noisy(picture(11, 19, seed=5), sigma)
        expected = reference_composite(PICTURES, z[None], sigma, response, wrap)[0]
        torch.testing.assert_close(program.composite(z, sigma), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("sigma", [0.6, 0.003])
def test_where_everything_is_weighed_it_is_the_reference_too(sigma):
    """At the low level in float64: no gap leaves anything out, and logits are large."""
    source, z = picture(24, 23), noisy(picture(20, 21, seed=7), sigma)
    response = gaussian_response(3, 0.5)
    expected = reference_composite([source], z[None], sigma, response)[0]
    found = PictureProgram([source], response, False, 1e6).composite(z, sigma)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("channels", [1, 2])
def test_any_number_of_channels(channels):
    source, z = picture(12, 9, channels), noisy(picture(8, 13, channels, 7), 0.4)
    response = gaussian_response(3, 0.5)
    expected = reference_composite([source], z[None], 0.4, response)[0]
    torch.testing.assert_close(
        PictureProgram([source], response, False, 34.0).composite(z, 0.4), expected, atol=1e-5, rtol=0
    )


def test_at_equal_sizes_it_is_the_collection_of_crops_at_every_place():
    image = picture(10, 9)
    source = Source(image[None].float().numpy())
    for sigma in (5.0, 0.5, 0.05):
        z = noisy(image, sigma)[None]
        collection = PosteriorMeanCollection(source, Crops(4), match=EveryPlace(), backend="reference")
        found = PicturePatches([source.working()[0]], 4, width=UNIFORM)(z, sigma)
        torch.testing.assert_close(found, collection(z, sigma), atol=1e-5, rtol=0)


def test_a_crop_of_the_picture_comes_back_at_low_noise():
    crop = PICTURES[0][:, 3:11, 2:13]
    found = PicturePatches(PICTURES, 5, (8, 11))(noisy(crop, 1e-3)[None], 1e-3)
    torch.testing.assert_close(found[0], crop, atol=1e-5, rtol=0)


def test_places_of_a_crop_are_where_it_was_cut():
    crop = PICTURES[0][:, 3:11, 2:13]
    places = PicturePatches(PICTURES, 5, (8, 11)).places(crop, 1e-3)
    rows, columns = torch.meshgrid(torch.arange(8), torch.arange(11), indexing="ij")
    assert (places.picture == 0).all()
    assert (places.row == (rows + 3).numpy()).all()
    assert (places.column == (columns + 2).numpy()).all()
    assert places.share == pytest.approx(1, abs=1e-4)


def test_shares_are_the_largest_weight_of_a_place():
    z, sigma, response = noisy(picture(7, 6, seed=2), 0.3), 0.3, gaussian_response(3, 0.5)
    source = PICTURES[1]
    places = PicturePatches([source], 3, (7, 6), width=0.5).places(z, sigma)
    patches = torch.nn.functional.unfold(source[None], 3)[0].T
    queries = torch.nn.functional.unfold(z[None], 3)[0].T
    weights = torch.softmax(-(torch.cdist(queries, patches) ** 2) / (2 * sigma**2), 1).reshape(5, 4, 7, 10)
    totals = torch.zeros(7, 6, 9, 12, dtype=torch.float64)  # pixel of z, pixel of the picture
    for y in range(3):
        for x in range(3):
            share = response[y] * response[x] * weights
            for a in range(5):
                for b in range(4):
                    totals[a + y, b + x, y : y + 7, x : x + 10] += share[a, b]
    totals = totals / coverage((7, 6), response, False)[..., None, None]
    largest = totals.flatten(2).max(2)
    torch.testing.assert_close(torch.from_numpy(places.share), largest.values, atol=1e-5, rtol=0)
    found = torch.from_numpy(places.row * 12 + places.column)
    assert (totals.flatten(2).gather(2, found[..., None])[..., 0] - largest.values).abs().max() < 1e-6


def test_wrapping_moves_with_z():
    denoiser = PicturePatches(PICTURES, 4, (8, 9), wrap=True)
    z = noisy(picture(8, 9, seed=4), 0.3)[None]
    torch.testing.assert_close(
        denoiser(z.roll((3, 5), (2, 3)), 0.3), denoiser(z, 0.3).roll((3, 5), (2, 3)), atol=1e-5, rtol=0
    )


def test_masked_patches_are_left_out():
    mask = torch.ones(14, 17, dtype=torch.bool)
    mask[5:, :6] = False
    denoiser = PicturePatches(PICTURES[:1], 4, (9, 10), masks=[mask])
    for sigma in (1e6, 1e4, 3.0, 0.2, 0.01):
        z = noisy(PICTURES[0][:, 5:14, :10], sigma)
        expected = reference_composite(PICTURES[:1], z[None], sigma, gaussian_response(4, 0.2), masks=[mask])[0]
        torch.testing.assert_close(denoiser(z[None], sigma)[0], expected, atol=1e-5, rtol=0)


def test_pictures_of_little_contrast_do_not_grow_dark():
    """Where normalisers count what numerators leave out, it is pixels that are lacking, not their differences."""
    flat = 0.9 + 2e-5 * picture(50, 50, channels=1)
    z = noisy(flat[:, :30, :31], 6e-6)[None]
    found = PicturePatches([flat], 5, (30, 31))(z, 6e-6)
    torch.testing.assert_close(
        found, reference_composite([flat], z, 6e-6, gaussian_response(5, 0.2)), atol=1e-5, rtol=0
    )


def test_candidates_that_rounding_drives_away_are_found():
    """Two patches as far from z, of which float32 sees one at 0 and the other two units away; the first is what limits go by."""
    unit, bit = 2.0**-23, 2.0**-50
    z = torch.full((1, 4, 4), 1 + 2.5 * unit - bit, dtype=torch.float64)
    source = torch.full((1, 40, 4), 0.5, dtype=torch.float64)
    source[:, 0:4], source[:, 8:12] = 1 + 1.5 * unit + bit, 1 + 3.5 * unit + bit
    response = gaussian_response(4, 0.2)
    found = PictureProgram([source], response, False, 22.0).composite(z, 1e-8)
    expected = reference_composite([source], z[None], 1e-8, response)[0]
    torch.testing.assert_close(found, expected, atol=0.1 * unit, rtol=0)


@pytest.mark.parametrize("masked", [False, True])
def test_at_high_noise_it_is_the_mean_patch(masked):
    mask = torch.ones(14, 17, dtype=torch.bool)
    mask[2, 3] = not masked
    z = torch.zeros(1, 3, 9, 10, dtype=torch.float64)
    denoiser = PicturePatches(PICTURES[:1], 3, (9, 10), masks=[mask])
    expected = reference_composite(PICTURES[:1], z, 1e6, gaussian_response(3, 0.2), masks=[mask])
    torch.testing.assert_close(denoiser(z, 1e6), expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(denoiser(z, 1e6)[0], denoiser.mean())


def test_the_number_of_threads_does_not_matter():
    z = noisy(picture(11, 13, seed=6), 0.3)
    program = PictureProgram(PICTURES, gaussian_response(5, 0.2), False, 34.0)
    try:
        set_threads(1)
        one = program.composite(z, 0.3)
        set_threads(3)
        assert torch.equal(program.composite(z, 0.3), one)
    finally:
        set_threads(None)


def test_fold_is_the_adjoint_of_canvas():
    x, y = picture(6, 5), picture(9, 8, seed=2)
    torch.testing.assert_close((canvas(x, 4, True) * y).sum(), (x * folded(y, (6, 5))).sum())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patch_size": 10}, "a 10 x 10 patch does not fit a picture of 9 x 12"),
        ({"patch_size": 5, "size": (4, 9)}, "a 5 x 5 patch does not fit z of 4 x 9"),
        ({"width": 0}, "the width of the response must be greater than 0"),
        ({"backend": "cuda"}, "unknown backend 'cuda'"),
        ({"masks": [torch.ones(3, 3), torch.ones(9, 12)]}, "a mask has shape"),
        ({"masks": [torch.zeros(14, 17), torch.zeros(9, 12)]}, "no 5 x 5 patch lies wholly in what is kept"),
    ],
)
def test_bad_input(options, message):
    with pytest.raises(InputError, match=message):
        PicturePatches(PICTURES, **{"patch_size": 5, **options})
