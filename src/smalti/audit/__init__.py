"""Are these training images? Images and networks held against the images that they may have been made from."""

from smalti.audit.images import ImagesAudit, audit_images
from smalti.audit.limits import Limits, set_limits
from smalti.audit.network import NetworkAudit, audit_network
from smalti.audit.patches import PatchMatches, best_patches

__all__ = [
    "ImagesAudit",
    "Limits",
    "NetworkAudit",
    "PatchMatches",
    "audit_images",
    "audit_network",
    "best_patches",
    "set_limits",
]
