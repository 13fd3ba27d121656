"""Every convention gives back the same D: the exact denoiser of a Gaussian, expressed in each."""

from __future__ import annotations

import copy

import pytest
import torch

from smalti import InputError
from smalti.networks.conventions import CONVENTIONS, DiscreteTable, as_denoiser
from smalti.networks.tables import SCHEDULES

MEAN, VARIANCE = 0.3, 0.25
TABLE = DiscreteTable.named("linear")
VP = [name for name in CONVENTIONS if name.endswith("-vp")]


def exact(z, sigma):
    """E[x | z] for x ~ N(MEAN, VARIANCE)."""
    return (VARIANCE * z + sigma**2 * MEAN) / (VARIANCE + sigma**2)


def expressed(convention, table=None, seen=None):
    """That denoiser as a float64 network of `convention`; `seen` collects what it is called with."""

    def network(x, noise, *labels):
        if seen is not None:
            seen.append((x, noise, *labels))
        noise = noise.double().reshape(-1, 1, 1, 1)
        if not convention.endswith("-vp"):
            z = x.double()
            d = exact(z, noise)
            return {"edm": d, "epsilon-ve": (z - d) / noise, "score-ve": (d - z) / noise**2}[convention]
        low = noise.floor().long().clamp(max=len(table) - 2)
        logs = table.sigmas.log()
        sigma = (logs[low] + (noise - low) * (logs[low + 1] - logs[low])).exp()
        abar = 1 / (1 + sigma**2)
        d = exact(x.double() / abar.sqrt(), sigma)
        epsilon = (x.double() - abar.sqrt() * d) / (1 - abar).sqrt()
        return {
            "epsilon-vp": epsilon,
            "v-vp": abar.sqrt() * epsilon - (1 - abar).sqrt() * d,
            "sample-vp": d,
        }[convention]

    return network


def noisy(sigma, dtype=torch.float64):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(len(sigma), 2, 3, 5, dtype=dtype, generator=generator) * (1 + sigma.reshape(-1, 1, 1, 1)).to(
        dtype
    )


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_on_the_table_each_convention_gives_the_exact_denoiser(convention):
    table = TABLE if convention.endswith("-vp") else None
    sigma = TABLE.sigmas[[0, 1, 100, 300, 500, 700]]
    z = noisy(sigma)
    result = as_denoiser(expressed(convention, table), convention, table)(z, sigma, None)
    wanted = exact(z, sigma.reshape(-1, 1, 1, 1))
    assert result.dtype == torch.float64
    # the network sees float32: what it says is good to 1e-7 of z
    error = ((result - wanted).abs() / (1 + sigma.reshape(-1, 1, 1, 1))).max()
    assert error < 1e-6


@pytest.mark.parametrize("convention", VP)
def test_between_levels_too(convention):
    sigma = torch.tensor([0.0123, 0.5, 1.92, 33.3], dtype=torch.float64)
    z = noisy(sigma)
    result = as_denoiser(expressed(convention, TABLE), convention, TABLE)(z, sigma)
    assert ((result - exact(z, sigma.reshape(-1, 1, 1, 1))).abs() / (1 + sigma.reshape(-1, 1, 1, 1))).max() < 2e-6


def test_what_the_network_is_called_with():
    seen = []
    labels = torch.tensor([3, 1])
    sigma = torch.tensor([1.0, 2.0], dtype=torch.float64)
    z = noisy(sigma, torch.float16)
    result = as_denoiser(expressed("epsilon-vp", TABLE, seen), "epsilon-vp", TABLE)(z, sigma, labels)
    x, t, given = seen[0]
    assert x.dtype == t.dtype == result.dtype == torch.float32
    assert given is labels
    torch.testing.assert_close(x, (z.double() / (1 + sigma.reshape(-1, 1, 1, 1) ** 2).sqrt()).float())
    as_denoiser(expressed("edm", None, seen), "edm")(z, sigma)
    assert len(seen[1]) == 2  # no labels, no third argument
    torch.testing.assert_close(seen[1][1], sigma.float())


@pytest.mark.parametrize("convention", VP)
def test_outside_the_table_scale_and_coefficients_are_the_true_ones(convention):
    seen = []
    sigma = torch.tensor([0.002, 1000.0], dtype=torch.float64)
    z = noisy(sigma)

    def network(x, t):
        seen.append((x, t))
        return torch.full_like(x, 0.7)

    result = as_denoiser(network, convention, TABLE)(z, sigma)
    x, t = seen[0]
    assert t.tolist() == [0, 999]
    level = sigma.reshape(-1, 1, 1, 1)
    torch.testing.assert_close(x.double(), z / (1 + level**2).sqrt(), rtol=1e-6, atol=1e-6)
    said = torch.tensor(0.7).double()
    wanted = {
        "epsilon-vp": z - level * said,
        "v-vp": z / (1 + level**2) - level / (1 + level**2).sqrt() * said,
        "sample-vp": said.expand_as(z),
    }
    torch.testing.assert_close(result, wanted[convention])


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_differentiable_and_under_transforms(convention):
    table = TABLE if convention.endswith("-vp") else None
    denoise = as_denoiser(expressed(convention, table), convention, table)
    sigma = TABLE.sigmas[[300, 600]]
    slope = VARIANCE / (VARIANCE + sigma.reshape(-1, 1, 1, 1) ** 2)
    z = noisy(sigma).requires_grad_()
    (gradient,) = torch.autograd.grad(denoise(z, sigma).sum(), z)
    torch.testing.assert_close(gradient, slope.expand_as(z), rtol=1e-4, atol=1e-5)
    _, pull = torch.func.vjp(lambda y: denoise(y, sigma), z.detach())
    torch.testing.assert_close(pull(torch.ones_like(z))[0], slope.expand_as(z), rtol=1e-4, atol=1e-5)
    many = torch.func.vmap(lambda y: denoise(y, sigma))(torch.stack([z.detach(), -z.detach()]))
    torch.testing.assert_close(many[1], denoise(-z.detach(), sigma), rtol=1e-5, atol=1e-5)


def test_a_copy_has_its_own_network():
    network = torch.nn.Conv2d(2, 2, 1)

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = network

        def forward(self, x, t):
            return self.conv(x)

    denoise = as_denoiser(Net(), "sample-vp", TABLE)
    other = copy.deepcopy(denoise)
    z, sigma = torch.ones(1, 2, 3, 3), torch.ones(1)
    before = other(z, sigma)
    with torch.no_grad():
        network.weight.zero_()
    assert torch.equal(other(z, sigma), before)
    assert not torch.equal(denoise(z, sigma), before)


def test_float32_and_one_sigma_for_all():
    z = noisy(torch.ones(3), torch.float32)
    result = as_denoiser(expressed("edm"), "edm")(z, torch.tensor(0.5))
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, exact(z, 0.5))


class TestTable:
    @pytest.mark.parametrize("schedule", SCHEDULES)
    def test_levels_are_found_again(self, schedule):
        table = DiscreteTable.named(schedule)
        t = torch.arange(1000, dtype=torch.float64)
        torch.testing.assert_close(table.timestep(table.sigmas), t, rtol=0, atol=1e-9)
        assert bool((table.sigmas.diff() > 0).all())
        assert table.sigmas.dtype == torch.float64

    def test_linear_in_the_logarithm(self):
        table = DiscreteTable.named("linear")
        middle = (table.sigmas[7] * table.sigmas[8]).sqrt()[None]
        torch.testing.assert_close(table.timestep(middle), torch.tensor([7.5], dtype=torch.float64))
        assert table.timestep(torch.tensor([1e-9, 1e9])).tolist() == [0, 999]

    def test_nearest_gives_whole_numbers(self):
        table = DiscreteTable.named("linear", rounding="nearest")
        t = table.timestep(torch.tensor([1e-9, float(table.sigmas[7]) * 1.001, 1e9]))
        assert t.dtype == torch.int64
        assert t.tolist() == [0, 7, 999]

    def test_what_linear_betas_are(self):
        table = DiscreteTable.named("linear", 10, 0.1, 0.2)
        betas = torch.linspace(0.1, 0.2, 10, dtype=torch.float64)
        torch.testing.assert_close(table.alphas_cumprod, (1 - betas).cumprod(0), rtol=1e-6, atol=0)
        torch.testing.assert_close(DiscreteTable.from_betas(betas.tolist()).sigmas, table.sigmas, rtol=1e-6, atol=0)

    def test_pure_noise_at_the_end_is_never_reached(self):
        table = DiscreteTable.named("scaled_linear", beta_start=0.00085, beta_end=0.012, rescale_zero_snr=True)
        assert float(table.sigmas[-1]) == float("inf")
        t = table.timestep(torch.tensor([1e9, float(table.sigmas[998]), float(table.sigmas[500])], dtype=torch.float64))
        torch.testing.assert_close(t, torch.tensor([998.0, 998.0, 500.0], dtype=torch.float64))

    def test_one_level(self):
        assert DiscreteTable([0.5]).timestep(torch.tensor([0.1, 1.0, 9.0])).tolist() == [0, 0, 0]

    @pytest.mark.parametrize(
        "values", [[], [0.5, 0.6], [1.0, 0.5], [0.5, 0.0, 0.1], [0.5, -0.1], [float("nan")], "abc", [[0.5]], None]
    )
    def test_no_table(self, values):
        with pytest.raises(InputError, match=r"\A[^\n]+\Z"):
            DiscreteTable(values)

    @pytest.mark.parametrize(
        "betas", [[0.0, 0.1], [0.1, 1.5], [-0.1], [float("inf")], torch.ones(3, dtype=torch.int64)]
    )
    def test_no_betas(self, betas):
        with pytest.raises(InputError, match=r"\A[^\n]+\Z"):
            DiscreteTable.from_betas(betas)

    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            ({"schedule": "linaer"}, "did you mean 'linear'"),
            ({"steps": 0}, "at least 1"),
            ({"steps": 10**9}, "at most 100000"),
            ({"beta_end": 2.0}, "between 0 and 1"),
            ({"beta_start": "0.1"}, "between 0 and 1"),
            ({"rounding": "up"}, "linear or nearest"),
            ({"steps": 1, "rescale_zero_snr": True}, "one level"),
        ],
    )
    def test_no_schedule(self, arguments, says):
        with pytest.raises(InputError, match=says):
            DiscreteTable.named(**arguments)


class TestErrors:
    def test_unknown_convention(self):
        with pytest.raises(InputError, match="did you mean 'epsilon-vp'"):
            as_denoiser(expressed("edm"), "epsilon_vp")

    def test_a_table_where_it_belongs(self):
        with pytest.raises(InputError, match="DiscreteTable"):
            as_denoiser(expressed("edm"), "v-vp")
        with pytest.raises(InputError, match="leave table out"):
            as_denoiser(expressed("edm"), "edm", TABLE)
        with pytest.raises(InputError, match="callable"):
            as_denoiser(None, "edm")

    @pytest.mark.parametrize("output", [lambda z: (z,), lambda z: z[:, :1], lambda z: None])
    def test_what_a_network_must_return(self, output):
        with pytest.raises(InputError, match="the network returned"):
            as_denoiser(lambda z, sigma: output(z), "edm")(torch.zeros(2, 3, 4, 4), torch.ones(2))
