import pytest
import torch

from helpers import random_source
from smalti.core.errors import InputError
from smalti.quality import copies, nearest_distances, patch_distances

SOURCE = random_source(30, (3, 9, 8))


def by_definition(source, image, side, shift):
    views = source.working().double()
    views = torch.cat([views, views.flip(-1)]) if source.hflip else views
    found = []
    for y in range(0, 9 - side + 1, side):
        for x in range(0, 8 - side + 1, side):
            patch = image[:, y : y + side, x : x + side].double()
            best = min(
                float((view[:, t : t + side, u : u + side] - patch).square().mean())
                for view in views
                for t in range(max(0, y - shift), min(9 - side, y + shift) + 1)
                for u in range(max(0, x - shift), min(8 - side, x + shift) + 1)
            )
            found.append(best**0.5)
    return torch.tensor(found).double()


@pytest.mark.parametrize(("hflip", "shift"), [(False, 0), (True, 1), (False, 9)])
def test_patch_distances_are_the_smallest_over_images_flips_and_shifts(hflip, shift):
    source = SOURCE.with_hflip(hflip)
    images = random_source(2, (3, 9, 8), seed=5).working()
    found = patch_distances(source, images, 3, shift)
    assert found.shape == (2, 6)
    for image, row in zip(images, found, strict=True):
        torch.testing.assert_close(row, by_definition(source, image, 3, shift), atol=1e-4, rtol=0)


def test_a_shifted_copy_is_found_by_patches_and_not_at_its_place():
    images = SOURCE.working([4]).roll(1, -1)
    assert patch_distances(SOURCE, images, 3, 1)[0, 1] == pytest.approx(0, abs=1e-6)
    assert patch_distances(SOURCE, images, 3, 0)[0, 1] > 0.01


def test_nearest_distances():
    images = SOURCE.working([7, 2]) + 0.01
    numbers, distances = nearest_distances(SOURCE, images)
    assert numbers.tolist() == [7, 2]
    torch.testing.assert_close(distances, torch.full((2,), 0.01).double(), atol=1e-5, rtol=0)
    mirrored = SOURCE.working([7]).flip(-1)
    assert nearest_distances(SOURCE.with_hflip(True), mirrored)[1][0] == pytest.approx(0, abs=1e-6)


def test_copies_are_below_the_quantile_of_held_out_images():
    held_out = torch.linspace(1, 2, 101)
    found = copies(torch.tensor([0.5, 1.0, 1.5, 1.8]), held_out)
    assert found.limit == pytest.approx(1.01)
    assert found.share == 0.5
    assert found.smallest == 0.5
    assert found.held_out_median == pytest.approx(1.5)


def test_one_percent_of_held_out_images_are_below():
    held_out = torch.rand(1000, generator=torch.Generator().manual_seed(0))
    assert copies(held_out, held_out).share == pytest.approx(0.01, abs=1e-9)


def test_bad_input():
    images = SOURCE.working([0])
    with pytest.raises(InputError, match="a patch of 10 does not fit"):
        patch_distances(SOURCE, images, 10)
    with pytest.raises(InputError, match="shift must not be negative"):
        patch_distances(SOURCE, images, 3, -1)
    with pytest.raises(InputError, match="the training images have"):
        patch_distances(SOURCE, torch.zeros(1, 3, 8, 8), 3)
    with pytest.raises(InputError, match="at least one sample"):
        copies(torch.zeros(0), torch.ones(3))
