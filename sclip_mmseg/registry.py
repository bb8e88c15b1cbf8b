"""The package's own registries; its other classes are in mmseg's registries."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mmengine.registry import DefaultScope, Registry

# They have mmseg's scope, which is the scope of the configs.
#: Methods that compute an image encoder's patch features, :class:`.models.methods.Method`.
METHODS = Registry('method', scope='mmseg')
#: Feature upsamplers, such as :class:`.models.simfeatup.SimFeatUp`.
UPSAMPLERS = Registry('upsampler', scope='mmseg')
#: Refinements of query maps, such as :class:`.models.pamr.PAMR`.
REFINERS = Registry('refiner', scope='mmseg')
#: Corrections of the final labels, such as :class:`.regions.RegionMajority`.
POSTPROCESSORS = Registry('postprocessor', scope='mmseg')
#: Generators of region maps, such as :class:`.regions.Felzenszwalb`.
REGION_GENERATORS = Registry('region generator', scope='mmseg')
#: Decision rules, which turn maps into classes, :class:`.models.decision.DecisionRule`, and parts
#: that can be added to one.
DECISIONS = Registry('decision rule', scope='mmseg')
#: Writers of segmentations to files, :class:`.apis.writers.Writer`.
WRITERS = Registry('writer', scope='mmseg')


def type_name(cfg: dict) -> str:
    """Class name that a config builds; ``type`` is the class itself in new-style configs."""
    kind = cfg['type']
    return kind if isinstance(kind, str) else kind.__name__


def find_type(registry: Registry, kind: Any) -> Any:
    """The class of a ``type``, its name or the class itself; None if the name is unknown."""
    return registry.get(kind) if isinstance(kind, str) else kind


@contextmanager
def in_scope() -> Iterator[None]:
    """Look up names in mmseg's registries, whatever the default scope of the process is."""
    with DefaultScope.overwrite_default_scope('mmseg'):
        yield
