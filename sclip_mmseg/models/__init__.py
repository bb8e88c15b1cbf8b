"""The segmentor and its parts."""

from .attention import CSA, CLIPAttention, LastBlockAttention, MaskCLIPAttention
from .data_preprocessor import PadSegDataPreProcessor
from .image_encoder import CLIPImageEncoder
from .pamr import PAMR
from .segmentor import CLIPSegmentor
from .text_head import CLIPTextHead
from .tta import CLIPTTAModel

__all__ = [
    'CSA',
    'PAMR',
    'CLIPAttention',
    'CLIPImageEncoder',
    'CLIPSegmentor',
    'CLIPTTAModel',
    'CLIPTextHead',
    'LastBlockAttention',
    'MaskCLIPAttention',
    'PadSegDataPreProcessor',
]
