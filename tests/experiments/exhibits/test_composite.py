"""W Fig. 7: the parts of a composite belong together."""

import dataclasses

import numpy as np
import pytest
import torch

from laboratories import laboratory, shown
from smalti import Optimal
from smalti.analysis.forward import forward_batch
from smalti.denoisers import PSPCSquare
from smalti.experiments.exhibits.composite import HowACompositeIsMade, _tiling
from smalti.experiments.steps import Store, run


@pytest.fixture(scope="module")
def lab():
    return laboratory()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("w7")


@pytest.fixture(scope="module")
def parts(lab, folder):
    return run(HowACompositeIsMade().steps(lab), Store(folder), show=False)["composite/square"]


def test_outputs_are_those_of_the_denoisers_on_one_z(lab, parts):
    sigma = float(parts["sigma"])
    z = forward_batch(lab.source, sigma, lab.seed, 0, [0]).z
    outputs = dict(zip(parts["names"].tolist(), parts["outputs"], strict=True))
    assert sigma == 1.9
    assert np.allclose(outputs["composite"], lab.denoisers["pspc-square"](z, sigma)[0].numpy(), atol=1e-6)
    assert np.allclose(outputs["optimal"], Optimal(lab.source)(z, sigma)[0].numpy(), atol=1e-6)
    assert set(outputs) == {"composite", "pspc-flex", "optimal", "ddpmpp"}
    assert np.allclose(z[0].numpy() / np.sqrt(1 + sigma**2), parts["noisy"], atol=1e-6)


def test_the_posterior_mean_is_the_average_of_training_patches(lab, parts):
    """By its definition, in numpy."""
    sigma, side, (y, x) = float(parts["sigma"]), int(parts["side"]), parts["query"]
    z = forward_batch(lab.source, sigma, lab.seed, 0, [0]).z[0].double().numpy()
    patches = lab.source.working().double().numpy()[:, :, y : y + side, x : x + side]
    squares = ((z[:, y : y + side, x : x + side] - patches) ** 2).sum((1, 2, 3))
    weights = np.exp(-(squares - squares.min()) / (2 * sigma**2))
    weights /= weights.sum()
    assert np.allclose(np.tensordot(weights, patches, 1), parts["query_mean"], atol=1e-6)
    assert np.allclose(np.sort(weights)[::-1][:6], parts["weights"], atol=1e-6)
    assert np.allclose(patches[parts["match_images"]], parts["matches"], atol=1e-6)


def test_it_is_the_patch_of_most_contrast(lab, parts):
    side, clean = int(parts["side"]), torch.from_numpy(parts["clean"])
    contrasts = clean.unfold(1, side, 1).unfold(2, side, 1).std((0, 3, 4))
    y, x = parts["query"]
    assert float(contrasts[y, x]) == pytest.approx(float(contrasts.max()))


def test_patches_drawn_apart_cover_the_image():
    anchors = np.array([(y, x) for y in range(6) for x in range(6)])  # 3 x 3 patches of 8 x 8
    corners = _tiling(anchors, (8, 8), 3)
    covered = np.zeros((8, 8), bool)
    for y, x in corners:
        covered[y : y + 3, x : x + 3] = True
    assert covered.all()
    assert len(corners) == 9


def test_tables_and_pictures(lab, folder):
    found = shown(HowACompositeIsMade(), lab, folder)
    masks = found.tables["w7-masks"]
    assert [picture.name for picture in found.pictures] == ["w7-composite", "w7-masks"]
    assert set(masks.where(sigma=12.9)["n"]) == {36}
    flex = lab.denoisers["pspc-flex"].collection(1.9).queries.masks((1, 6, 6))[:, 0]
    row = masks.where(sigma=1.9, place="edge").rows[0]
    assert row["n"] == int(flex[row["row"] * 6 + row["column"]].sum())
    matches = found.tables["w7-matches"]
    assert matches["weight"] == sorted(matches["weight"], reverse=True)
    assert matches["cumulative"][-1] == pytest.approx(sum(matches["weight"]))
    network = found.tables["w7-outputs"].where(output="ddpmpp").rows[0]
    assert network["mse_to_network"] == 0


def test_matches_of_a_limited_denoiser_are_its_own_images(lab, tmp_path):
    few = lab.source.subset(np.arange(0, 30, 3))
    limited = {**lab.denoisers, "pspc-square": lab.denoisers["pspc-square"].with_source(few)}
    limited = dataclasses.replace(lab, denoisers=limited, limited={"pspc-square": 10}, _identities={})
    parts = run(HowACompositeIsMade().steps(limited), Store(tmp_path), show=False)["composite/square"]
    side, (y, x) = int(parts["side"]), parts["query"]
    patches = few.working().numpy()[:, :, y : y + side, x : x + side]
    assert np.allclose(patches[parts["match_images"]], parts["matches"], atol=1e-6)
    found = shown(HowACompositeIsMade(), limited, tmp_path)
    assert "of 10 training patches" in found.pictures[0].caption
    assert "pspc-square (N=10)" in found.pictures[0].caption
    keys = [{step.name: step.key for step in HowACompositeIsMade().steps(each)} for each in (lab, limited)]
    assert keys[0]["composite/masks"] == keys[1]["composite/masks"]


def test_without_a_network_and_without_patches(tmp_path, lab):
    alone = laboratory({})
    assert set(shown(HowACompositeIsMade(), alone, tmp_path / "a").tables["w7-outputs"]["mse_to_network"]) == {None}
    whole = {**lab.denoisers, "pspc-square": PSPCSquare(lab.source, patch_size=6)}
    found = shown(HowACompositeIsMade(), dataclasses.replace(alone, denoisers=whole, _identities={}), tmp_path / "b")
    assert [picture.name for picture in found.pictures] == ["w7-masks"]
    assert "whole images" in found.notes[0]
