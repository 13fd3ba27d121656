"""Networks that denoisers are held against: U-Nets with their published parameter names, and EDM preconditioning."""

from smalti.networks.preconditioning import EDMPreconditioned
from smalti.networks.unet import UNet

__all__ = ["EDMPreconditioned", "UNet"]
