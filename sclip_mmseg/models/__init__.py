"""The segmentor and its parts."""

from .data_preprocessor import PadSegDataPreProcessor
from .image_encoder import CLIPImageEncoder
from .methods import LastBlockMethod, LastTokens, Method
from .pamr import PAMR
from .segmentor import CLIPSegmentor
from .text_head import CLIPTextHead
from .trained import GroupViTEncoder, GroupViTTextHead, TCLEncoder
from .tta import CLIPTTAModel
from .view import View

__all__ = [
    'PAMR',
    'CLIPImageEncoder',
    'CLIPSegmentor',
    'CLIPTTAModel',
    'CLIPTextHead',
    'GroupViTEncoder',
    'GroupViTTextHead',
    'LastBlockMethod',
    'LastTokens',
    'Method',
    'PadSegDataPreProcessor',
    'TCLEncoder',
    'View',
]
