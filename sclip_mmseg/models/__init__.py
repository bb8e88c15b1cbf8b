"""The segmentor and its parts."""

from ..memory import MemoryCfg
from ..old_names import keep_old_names
from ..towers.proxy import ProxyTower
from ..towers.sam import SamTower
from .data_preprocessor import PadSegDataPreProcessor
from .image_encoder import CLIPImageEncoder
from .methods import RCS, SFR, LastBlockMethod, LastTokens, Method
from .pamr import PAMR
from .propagation import LaplacianPropagation
from .sam_refinement import SAMRefinement
from .segmentor import CLIPSegmentor
from .simfeatup import SimFeatUp
from .text_head import CLIPTextHead
from .trained import (
    GroupViTEncoder,
    GroupViTTextHead,
    SAM3Encoder,
    SAM3TextHead,
    Talk2DINOEncoder,
    Talk2DINOTextHead,
    TCLEncoder,
)
from .tta import CLIPTTAModel
from .view import View

keep_old_names(
    __name__,
    InferenceCfg='WindowCfg and DecisionRule of this package replace it',
    RegionMajority='regions.RegionMajority',
)

#: A config's dicts without ``type``, by dotted key, and what takes their keys as arguments.
PLAIN_DICTS = {
    'model.memory': MemoryCfg,
    'model.image_encoder.proxy': ProxyTower,
    'model.image_encoder.sam': SamTower,
    'model.image_encoder.method.rcs': RCS,
    'model.image_encoder.method.sfr': SFR,
}

__all__ = [
    'PAMR',
    'PLAIN_DICTS',
    'CLIPImageEncoder',
    'CLIPSegmentor',
    'CLIPTTAModel',
    'CLIPTextHead',
    'GroupViTEncoder',
    'GroupViTTextHead',
    'LaplacianPropagation',
    'LastBlockMethod',
    'LastTokens',
    'Method',
    'PadSegDataPreProcessor',
    'SAM3Encoder',
    'SAM3TextHead',
    'SAMRefinement',
    'SimFeatUp',
    'TCLEncoder',
    'Talk2DINOEncoder',
    'Talk2DINOTextHead',
    'View',
]
