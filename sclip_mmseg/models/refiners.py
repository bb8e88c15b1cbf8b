"""Refinement of query maps."""

from torch import nn

from ..registry import REFINERS
from ..utils.errors import InputError


def build_refiner_of_images(cfg: dict, key: str) -> nn.Module:
    """Build a refiner that is given maps and images, and no embeddings of queries.

    Args:
        cfg: Its config.
        key: Where it stands in the whole config.

    Raises:
        InputError: If it is not a config, or needs the embeddings too.
    """
    if not isinstance(cfg, dict):
        raise InputError(f"{key}={cfg!r} is not a config: write dict(type='PAMR')")
    refiner: nn.Module = REFINERS.build(cfg)
    if getattr(refiner, 'needs_text', False):
        name = type(refiner).__name__
        raise InputError(
            f"{name} needs the texts, set it as model.refine: {key} may be dict(type='PAMR')"
        )
    return refiner
