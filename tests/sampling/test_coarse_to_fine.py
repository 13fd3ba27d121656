import itertools
import math

import pytest
import torch

from helpers import random_source
from smalti import Centred, Optimal, PSPCSquare, Source
from smalti.core.denoiser import Denoiser
from smalti.core.errors import InputError, SmaltiError
from smalti.core.noise import standard_normal
from smalti.sampling.coarse_to_fine import coarse_to_fine_steps, linear_levels
from smalti.sampling.defaults import default_denoiser, default_sides, default_steps
from smalti.sampling.generation import default_sizes, generate, pyramid, scale_denoisers
from smalti.sampling.resampling import area_down, smooth_up

SOURCE = random_source(12, (3, 16, 16), labels=True)


class Shrink(Denoiser):
    """A plain linear denoiser, which remembers what it was asked."""

    def __init__(self, shape, mean=0.25):
        self.shape, self.mean, self.asked = shape, mean, []

    def denoise(self, z, sigma, labels):
        self.asked.append((z.clone(), float(sigma[0])))
        weight = 1 / (1 + sigma[:, None, None, None] ** 2)
        return self.mean + weight * (z - self.mean)


def shapes(*sides):
    return [Shrink((1, side, side)) for side in sides]


def test_levels():
    assert linear_levels(2) == [0, 1 - 1e-3]
    levels = linear_levels(10)
    assert levels[0] == 0
    assert levels[-1] == pytest.approx(0.999)
    assert {round(b - a, 12) for a, b in itertools.pairwise(levels)} == {round(0.999 / 9, 12)}
    with pytest.raises(InputError, match="steps must be at least 2"):
        linear_levels(1)


def test_every_step_is_the_formula():
    small, large = shapes(4, 8)
    steps = list(coarse_to_fine_steps([small, large], [3], seed=5, steps=3, eta=0.6))
    assert [(s.scale, s.step, s.finished) for s in steps] == [(k, i, i == 3) for k in range(2) for i in range(4)]
    coarser = None
    for scale, denoiser in enumerate((small, large)):
        x = standard_normal(5, [3], denoiser.shape, (scale, 0))
        for step, a in enumerate(linear_levels(3)):
            found = steps[4 * scale + step]
            torch.testing.assert_close(found.x, x)
            s = 1 - a
            raw = torch.full_like(x, 0.25) if a == 0 else denoiser(x / a, s / a)
            blended = raw
            if coarser is not None and step < 2:
                size = denoiser.shape[1:]
                blended = smooth_up(coarser, size) + raw - smooth_up(area_down(raw, (4, 4)), size)
            torch.testing.assert_close(found.denoised, blended)
            assert found.sigma == (math.inf if a == 0 else s / a)
            if step == 2:
                x = blended
                break
            noise = math.sqrt(1 - 0.36) * (x - a * raw) / s
            noise = noise + 0.6 * standard_normal(5, [3], denoiser.shape, (scale, step + 1))
            following = linear_levels(3)[step + 1]
            x = following * blended + (1 - following) * noise
        torch.testing.assert_close(steps[4 * scale + 3].x, x)
        coarser = x


def test_infinite_sigma_is_the_mean_of_the_source():
    for made in (Optimal(SOURCE), PSPCSquare(SOURCE, patch_size=5)):
        first = next(iter(coarse_to_fine_steps([made], [0, 1])))
        assert first.sigma == math.inf
        mean = SOURCE.working().double().mean(0)
        torch.testing.assert_close(first.denoised, mean.expand(2, -1, -1, -1), atol=1e-5, rtol=0)
        one = next(iter(coarse_to_fine_steps([made], [0], labels=torch.tensor([1])))).denoised
        torch.testing.assert_close(one[0], SOURCE.working(SOURCE.labels == 1).double().mean(0), atol=1e-5, rtol=0)


def test_before_the_last_step_the_low_frequencies_are_the_coarser_image():
    steps = list(coarse_to_fine_steps(scale_denoisers(SOURCE, [8, 16], PSPCSquare), range(2), steps=4))
    coarse = next(step.x for step in steps if step.scale == 0 and step.finished)
    for step in steps:
        if step.scale == 1 and step.step < 3:
            torch.testing.assert_close(area_down(step.denoised, (8, 8)), coarse)


def test_a_sample_depends_on_its_number_alone():
    whole = generate(SOURCE, n=5, seed=3, steps=3, eta=0.5, denoiser=PSPCSquare)
    parts = generate(SOURCE, n=5, seed=3, steps=3, eta=0.5, denoiser=PSPCSquare, batch_size=2)
    torch.testing.assert_close(whole.images, parts.images, atol=1e-5, rtol=0)
    torch.testing.assert_close(
        generate(SOURCE, n=2, seed=3, steps=3, eta=0.5, denoiser=PSPCSquare).images, whole.images[:2]
    )
    other = generate(SOURCE, n=2, seed=4, steps=3, eta=0.5, denoiser=PSPCSquare)
    assert (other.images - whole.images[:2]).abs().max() > 0.1


def test_results():
    result = generate(SOURCE, n=3, steps=3, denoiser=PSPCSquare)
    assert [tuple(s.shape) for s in result.scales] == [(3, 3, 8, 8), (3, 3, 16, 16)]
    assert result.images.dtype == torch.float32
    assert torch.equal(result.images, result.scales[-1])
    assert repr(result) == "GenerateResult(n=3, channels=3, scales=8x8, 16x16)"
    assert len(result) == 3


def test_labels_choose_the_class():
    images = torch.full((8, 1, 8, 8), -0.5)
    images[4:] = 0.5
    source = Source(
        images + 0.1 * torch.randn(images.shape, generator=torch.Generator().manual_seed(0)), [0] * 4 + [1] * 4
    )
    found = generate(source, n=4, labels=[0, 1, 1, 0], steps=4, denoiser=PSPCSquare).images.mean((1, 2, 3))
    assert (found > 0).tolist() == [False, True, True, False]


def test_one_denoiser_a_scale():
    sides = []

    def square(side):
        def make(source):
            sides.append((side, source.shape[1]))
            return PSPCSquare(source, patch_size=side)

        return make

    generate(SOURCE, n=1, steps=2, denoiser=[square(3), square(7)])
    assert sides == [(3, 8), (7, 16)]


def test_progress_counts_every_step_of_every_sample():
    done = []
    generate(SOURCE, n=3, steps=4, denoiser=PSPCSquare, batch_size=2, progress=done.append)
    assert sum(done) == 3 * 2 * 4


def test_pyramids():
    assert default_sizes((3, 64, 64)) == [(8, 8), (16, 16), (32, 32), (64, 64)]
    assert default_sizes((3, 28, 28)) == [(14, 14), (28, 28)]
    assert default_sizes((1, 8, 8)) == [(8, 8)]
    assert default_sizes((3, 48, 32)) == [(12, 8), (24, 16), (48, 32)]
    made = pyramid(SOURCE, [4, (8, 8), 16])
    assert [s.shape[1] for s in made] == [4, 8, 16]
    assert made[0].images.dtype.name == "uint8"
    assert made[-1] is SOURCE
    exact = SOURCE.images.astype(float).reshape(12, 3, 4, 4, 4, 4).mean((3, 5))
    assert abs(made[0].images - exact).max() <= 0.5
    floats = random_source(4, (1, 16, 16), dtype="float32")
    torch.testing.assert_close(pyramid(floats)[0].working(), area_down(floats.working(), (8, 8)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 0}, "n must be at least 1"),
        ({"seed": -1}, "the seed must be an integer"),
        ({"steps": 1}, "steps must be at least 2"),
        ({"eta": 1.5}, "eta must be from 0"),
        ({"sizes": [8, 12]}, "the last of sizes must be that of the images, 16 x 16"),
        ({"sizes": [16, 8, 16]}, "sizes must grow"),
        ({"sizes": [0, 16]}, "a side of sizes must be at least 1"),
        ({"denoiser": [PSPCSquare]}, "1 denoisers for 2 scales"),
        ({"denoiser": PSPCSquare(SOURCE)}, "denoiser makes a denoiser of a source"),
        ({"labels": 7}, "labels must be from 0 to 1"),
    ],
)
def test_bad_input(options, message):
    with pytest.raises(InputError, match=message):
        generate(SOURCE, **options)


def test_odd_images_are_refused_with_a_remedy():
    with pytest.raises(InputError, match="109 x 89 images cannot be halved; bring them to an even resolution"):
        default_sizes((3, 109, 89))


def test_a_denoiser_that_fails_is_named():
    class Broken(Shrink):
        def denoise(self, z, sigma, labels):
            return z * torch.nan if float(sigma[0]) < 10 else z * 0

    with pytest.raises(SmaltiError, match=r"NaN or infinite values at scale 1 \(8 x 8\), step 1"):
        list(coarse_to_fine_steps([*shapes(4), Broken((1, 8, 8))], [0], steps=3))


def test_scales_must_grow():
    with pytest.raises(InputError, match="cannot be followed"):
        list(coarse_to_fine_steps(shapes(8, 4), [0]))


def test_default_windows():
    assert [default_sides(side, side) for side in (8, 14, 16, 28, 32, 64, 128)] == [
        (5, 3),
        (7, 3),
        (7, 3),
        (11, 3),
        (11, 3),
        (15, 5),
        (15, 5),
    ]
    assert default_sides(3, 4) == (1, 1)
    assert default_sides(5, 8) == (3, 3)
    made = default_denoiser(SOURCE)
    assert (made.queries, made.responses) == (Centred(7), Centred(3))
    assert generate(SOURCE, n=1, steps=2).images.shape == (1, 3, 16, 16)


def test_steps_may_be_the_default_or_one_number_a_scale():
    done = []
    generate(SOURCE, n=1, progress=done.append)
    assert len(done) == sum(default_steps([(8, 8), (16, 16)])) == 50
    done.clear()
    generate(SOURCE, n=1, steps=[3, 2], progress=done.append)
    assert len(done) == 5
    with pytest.raises(InputError, match="3 numbers of steps for 2 scales"):
        generate(SOURCE, n=1, steps=[3, 2, 2])
    with pytest.raises(InputError, match="steps must be at least 2"):
        generate(SOURCE, n=1, steps=[3, 1])
