"""The package's own registries; its other parts are in mmseg's."""

from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.registry import DefaultScope, Registry

# Their scope is mmseg's, in which configs are read.
#: How an image encoder makes patch features, :class:`.models.methods.Method`.
METHODS = Registry('method', scope='mmseg')
#: What makes patch features finer, such as :class:`.models.simfeatup.SimFeatUp`.
UPSAMPLERS = Registry('upsampler', scope='mmseg')
#: What refines query maps, such as :class:`.models.pamr.PAMR`.
REFINERS = Registry('refiner', scope='mmseg')
#: What corrects labels at the end, such as :class:`.regions.RegionMajority`.
POSTPROCESSORS = Registry('postprocessor', scope='mmseg')
#: What makes maps of regions of pictures, such as :class:`.regions.Felzenszwalb`.
REGION_GENERATORS = Registry('region generator', scope='mmseg')


def type_name(cfg: dict) -> str:
    """Name of what a config builds, whose ``type`` is the class itself in new-style configs."""
    kind = cfg['type']
    return kind if isinstance(kind, str) else kind.__name__


@contextmanager
def in_scope() -> Iterator[None]:
    """Look names up in mmseg's registries, whatever the default scope of the process is."""
    with DefaultScope.overwrite_default_scope('mmseg'):
        yield


#: How maps become classes, :class:`.models.decision.DecisionRule` and what is added to one.
DECISIONS = Registry('decision rule', scope='mmseg')
#: What writes segmentations as files, :class:`.apis.writers.Writer`.
WRITERS = Registry('writer', scope='mmseg')
