"""EquivariantLocalScore by its definition, with flips and classes; windows by level."""

from __future__ import annotations

import pytest
import torch

from helpers import by_class, noisy, random_source, with_flips
from smalti import InputError, LocalScore
from smalti.denoisers import EquivariantLocalScore

SHAPE = (2, 5, 6)


def by_hand(images, z, sigma, window, borders):
    """Each pixel from all windows that it may be compared with, one after another."""
    radius, (height, width) = window // 2, images.shape[2:]
    out = torch.empty(images.shape[1], height, width, dtype=torch.float64)
    for y in range(height):
        for x in range(width):
            distances, values = [], []
            for py, px in _places(y, x, height, width, radius, borders):
                total = torch.zeros(len(images), dtype=torch.float64)
                for dy in range(-radius, radius + 1):
                    for dx in range(-radius, radius + 1):
                        inside = 0 <= y + dy < height and 0 <= x + dx < width
                        if borders == "circular" or inside:
                            here = z[:, (y + dy) % height, (x + dx) % width]
                            total += (here - images[:, :, py + dy, px + dx]).square().sum(1)
                distances.append(total)
                values.append(images[:, :, py, px])
            weights = torch.softmax(-torch.cat(distances) / (2 * sigma**2), 0)
            out[:, y, x] = weights @ torch.cat(values)
    return out


def _places(y, x, height, width, radius, borders):
    def along(at, size):
        inner = range(radius, size - radius)
        return list(inner) if borders == "circular" or at in inner else [at]

    return [(py, px) for py in along(y, height) for px in along(x, width)]


@pytest.mark.parametrize("borders", ["circular", "aware"])
@pytest.mark.parametrize("hflip", [False, True])
def test_by_hand(borders, hflip):
    source = random_source(5, SHAPE, labels=True, hflip=hflip)
    denoiser = EquivariantLocalScore(source, 3, borders)
    for sigma in (0.1, 0.7):
        z = noisy(source, sigma)
        expected = torch.stack([by_hand(with_flips(source), one, sigma, 3, borders) for one in z])
        torch.testing.assert_close(denoiser(z, sigma), expected, atol=1e-5, rtol=0)
        expected = torch.stack(
            [by_hand(with_flips(by_class(source, c)), one, sigma, 3, borders) for one, c in zip(z, (1, 0), strict=True)]
        )
        torch.testing.assert_close(denoiser(z, sigma, labels=[1, 0]), expected, atol=1e-5, rtol=0)


def test_windows_by_level():
    source = random_source(4, SHAPE)
    z = noisy(source, 0.5)
    two = EquivariantLocalScore(source, [5, 1], sigmas=[2.0, 0.1])
    assert torch.equal(two(z, 1.5), EquivariantLocalScore(source, 5)(z, 1.5))
    assert torch.equal(two(z, 0.3), EquivariantLocalScore(source, 1)(z, 0.3))


def test_aware_borders_that_leave_no_inside_are_the_same_place():
    source = random_source(4, SHAPE)
    z = noisy(source, 0.5)
    everywhere = EquivariantLocalScore(source, 11, "aware")
    torch.testing.assert_close(everywhere(z, 0.5), LocalScore(source, 11)(z, 0.5), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"window": 4}, "odd"),
        ({"window": 7}, "wraps around does not fit"),
        ({"window": 13, "borders": "aware"}, "already covers"),
        ({"window": 3, "borders": "mirrored"}, "'circular' or 'aware'"),
        ({"window": [3, 5]}, "2 windows for 18 levels"),
        ({"window": 3, "sigmas": [1.0]}, "a list of windows"),
        ({"window": "3"}, "whole number"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(InputError, match=message):
        EquivariantLocalScore(random_source(3, SHAPE), **arguments)
