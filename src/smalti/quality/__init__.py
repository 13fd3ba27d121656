"""How good samples are, and whether they are copies: KID, precision and recall, distances to the training set."""

from smalti.quality.copies import Copies, copies, nearest_distances, patch_distances
from smalti.quality.features import Features, load_features
from smalti.quality.kid import KID, kid
from smalti.quality.manifold import diversity, precision_recall
from smalti.quality.measure import Quality, Reference, measure

__all__ = [
    "KID",
    "Copies",
    "Features",
    "Quality",
    "Reference",
    "copies",
    "diversity",
    "kid",
    "load_features",
    "measure",
    "nearest_distances",
    "patch_distances",
    "precision_recall",
]
