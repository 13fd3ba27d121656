"""Networks that denoisers are held against: architectures, preconditionings, safe checkpoints, and one call for all of them."""

from smalti.networks.adm import ADM
from smalti.networks.architectures import build, preset_config
from smalti.networks.checkpoint import Checkpoint
from smalti.networks.conventions import CONVENTIONS, DiscreteTable
from smalti.networks.conversion import convert
from smalti.networks.dit import DiT
from smalti.networks.loading import shipped
from smalti.networks.network import Network
from smalti.networks.preconditioning import EDMPreconditioned, Preconditioned
from smalti.networks.unet import UNet
from smalti.networks.uvit import UViT

__all__ = [
    "ADM",
    "CONVENTIONS",
    "Checkpoint",
    "DiT",
    "DiscreteTable",
    "EDMPreconditioned",
    "Network",
    "Preconditioned",
    "UNet",
    "UViT",
    "build",
    "convert",
    "preset_config",
    "shipped",
]
