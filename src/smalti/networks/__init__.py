"""Networks that denoisers are held against: architectures, EDM preconditioning, safe checkpoints, and one call for all of them."""

from smalti.networks.architectures import build, preset_config
from smalti.networks.checkpoint import Checkpoint
from smalti.networks.conventions import CONVENTIONS, DiscreteTable
from smalti.networks.dit import DiT
from smalti.networks.loading import shipped
from smalti.networks.network import Network
from smalti.networks.preconditioning import EDMPreconditioned
from smalti.networks.unet import UNet

__all__ = [
    "CONVENTIONS",
    "Checkpoint",
    "DiT",
    "DiscreteTable",
    "EDMPreconditioned",
    "Network",
    "UNet",
    "build",
    "preset_config",
    "shipped",
]
