"""Equal content has equal identities, other content others; all are plain JSON."""

import json

import pytest
import torch

from helpers import random_source
from smalti import (
    Crops,
    Full,
    InputError,
    Masks,
    Network,
    PosteriorMeanCollection,
    compare,
    deviations,
    reverse_z,
    transforms,
)
from smalti.analysis.identity import identity_of, plain, source_identity
from smalti.core.denoiser import Denoiser
from smalti.denoisers import LocalScore, Optimal, PSPCSquare


class Own(Denoiser):
    def __init__(self, value):
        self.value, self.shape = value, (1, 4, 4)


class Digested:
    def __init__(self, digest):
        self.said = digest

    def digest(self):
        return self.said


def test_what_makes_a_difference():
    source, other = random_source(5, (1, 4, 4)), random_source(5, (1, 4, 4), seed=1)
    torch.manual_seed(0)
    one, two = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    things = [
        Optimal(source), Optimal(other), Optimal(source.with_hflip(True)), Optimal(source, backend="torch"),
        LocalScore(source), LocalScore(source, window=3), PSPCSquare(source), PSPCSquare(source, patch_size=3),
        PSPCSquare(source, patch_sizes=[2, 3], sigmas=torch.tensor([1.0, 2.0])),
        PSPCSquare(source, patch_sizes=[2, 3], sigmas=torch.tensor([1.0, 3.0])),
        PosteriorMeanCollection(source, Crops(2)), PosteriorMeanCollection(source, Crops(3)),
        PosteriorMeanCollection(source, Full()), PosteriorMeanCollection(source, Masks(torch.ones(1, 4, 4))),
        PosteriorMeanCollection(source, Masks(2 * torch.ones(1, 4, 4))),
        Own(one), Own(two), Own(Digested("a")), Own(Digested("b")), Own(Optimal(source)), Own({"a": [1, None]}),
        Own({"a": [1, 2]}), Own("text"), Own(torch.ones(2, dtype=torch.bfloat16)), Own(torch.sin), Own(torch.cos),
        Digested("a"), Digested("b"),
    ]  # fmt: skip
    texts = [json.dumps(identity_of(thing), sort_keys=True) for thing in things]
    assert len(set(texts)) == len(texts)


def test_content_counts_and_not_the_object():
    again = [Optimal(random_source(5, (1, 4, 4))) for _ in range(2)]
    assert identity_of(again[0]) == identity_of(again[1])
    torch.manual_seed(0)
    one = torch.nn.Linear(2, 2)
    two = torch.nn.Linear(2, 2)
    two.load_state_dict(one.state_dict())
    assert identity_of(Own(one)) == identity_of(Own(two))
    assert source_identity(again[0].source) == source_identity(again[1].source)


def test_files_count_by_content(tmp_path):
    """Another heatmap under the same name is another denoiser; the same one elsewhere is not."""
    first, second = tmp_path / "a" / "h.npy", tmp_path / "b" / "h.npy"
    for place, content in ((first, b"one"), (second, b"one")):
        place.parent.mkdir()
        place.write_bytes(content)
    assert plain(str(first)) == plain(second)
    second.write_bytes(b"two")
    assert plain(str(first)) != plain(str(second))
    assert plain("wiener") == "wiener"


def test_a_plain_function_is_looked_at_like_any_denoiser(tmp_path):
    """It has no identity, and needs none where nothing is kept."""
    source = random_source(20, (1, 6, 6))
    network = Network(lambda z, sigma: z / 2, shape=(1, 6, 6))
    z = reverse_z(network, n=2, steps=3, progress=False)
    assert "Network('network', function" in z.about["denoiser"]["repr"]
    assert len(compare(network, [Optimal(source)], z, progress=False)) == 3
    assert len(deviations(network, source, [1.0], 2, progress=False).errors()) == 1
    assert transforms(network, source, n=2, progress=False).outputs["network"].shape == (5, 2, 1, 6, 6)
    for call in (
        lambda: reverse_z(network, n=2, steps=3, keep=tmp_path, progress=False),
        lambda: compare(network, [Optimal(source)], z, keep=tmp_path, progress=False),
        lambda: deviations(network, source, [1.0], 2, keep=tmp_path, progress=False),
        lambda: transforms(network, source, n=2, keep=tmp_path, progress=False),
    ):
        with pytest.raises(InputError, match="no weights to identify it by"):
            call()
    assert not list(tmp_path.iterdir())
