"""Making a laboratory: whose masks PSPC-Flex has."""

import pytest
import torch

from helpers import random_source
from laboratories import SIGMAS, TINY, Blurs
from smalti.experiments.building import build_laboratory
from smalti.experiments.captions import label_of
from smalti.experiments.exhibits.sensitivity import SensitiveArea
from smalti.experiments.steps import Store, missing


@pytest.fixture
def source():
    return random_source(20, (1, 6, 6))


def build(source, networks, folder, **more):
    sigmas = torch.tensor(SIGMAS, dtype=torch.float64)
    return build_laboratory(
        source, networks, Store(folder), scale=TINY, measure=False, sigmas=sigmas, show=False, **more
    )


def test_flex_looks_where_the_network_looks(source, tmp_path):
    lab = build(source, {"ddpmpp": Blurs(source, 3)}, tmp_path)
    flex = lab.denoisers["pspc-flex"]
    masks = flex.collection(SIGMAS[-1]).queries.masks((1, 6, 6))[:, 0].unflatten(0, (6, 6))
    seen = torch.zeros(6, 6, dtype=torch.bool)
    seen[1:4, 2:5] = True
    assert masks[2, 3].any()
    assert not masks[2, 3][~seen].any(), "a blur of 3 x 3 looks no further, and the Wiener filter would"
    assert any("masks cut from the gradients of ddpmpp" in note for note in lab.notes)
    assert label_of(lab, "pspc-flex") == "pspc-flex"
    assert lab.identity("pspc-flex")["heatmaps"] != "wiener"
    step = next(step for step in SensitiveArea().steps(lab) if step.name == "w4/ddpmpp")
    assert missing([step], Store(tmp_path)) == [], "the exhibit shows the same heatmaps"


def test_without_a_network_its_masks_are_wieners_and_so_labelled(source, tmp_path):
    lab = build(source, {}, tmp_path)
    assert lab.identity("pspc-flex")["heatmaps"] == "wiener"
    assert label_of(lab, "pspc-flex") == "pspc-flex (Wiener masks)"
    assert any("since there is no network" in note for note in lab.notes)
