"""Training the networks: EDM's loss and noise distribution, on one machine, resumable to the bit on a CPU."""

from smalti.training.recipe import Recipe
from smalti.training.trainer import Training, TrainingDivergedError, train

__all__ = ["Recipe", "Training", "TrainingDivergedError", "train"]
