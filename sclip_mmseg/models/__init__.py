"""The segmentor and its parts."""

from .attention import (
    CSA,
    BlockTokens,
    ClearCLIPAttention,
    CLIPAttention,
    EarlierBlockAttention,
    LastBlockAttention,
    LocalAttention,
    MaskCLIPAttention,
    NACLIPAttention,
)
from .data_preprocessor import PadSegDataPreProcessor
from .image_encoder import CLIPImageEncoder
from .pamr import PAMR
from .projection import IdentityCSA, LearnedCSA, RandomCSA
from .resclip import RCS, SFR, ResCLIPAttention
from .segmentor import CLIPSegmentor
from .text_head import CLIPTextHead
from .tta import CLIPTTAModel

__all__ = [
    'CSA',
    'PAMR',
    'RCS',
    'SFR',
    'BlockTokens',
    'CLIPAttention',
    'CLIPImageEncoder',
    'CLIPSegmentor',
    'CLIPTTAModel',
    'CLIPTextHead',
    'ClearCLIPAttention',
    'EarlierBlockAttention',
    'IdentityCSA',
    'LastBlockAttention',
    'LearnedCSA',
    'LocalAttention',
    'MaskCLIPAttention',
    'NACLIPAttention',
    'PadSegDataPreProcessor',
    'RandomCSA',
    'ResCLIPAttention',
]
