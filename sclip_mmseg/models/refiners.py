"""Building of modules that refine query maps."""

from torch import nn

from ..registry import REFINERS
from ..utils.errors import InputError


def build_image_refiner(cfg: dict, key: str) -> nn.Module:
    """Build a refiner that takes maps and images, but not the embeddings of queries.

    Args:
        cfg: Config of the refiner.
        key: Key of ``cfg`` in the whole config.

    Raises:
        InputError: If ``cfg`` is not a config, or the refiner also needs the embeddings.
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
