"""The methods, one file per paper. Configs name a method by its class."""

from ...old_names import keep_old_names
from .ablations import (
    EarlierBlock,
    IdentityCSA,
    LearnedCSA,
    LocalCLIP,
    RandomCSA,
    SharpenedCLIP,
    SingleCSA,
)
from .base import Classify, LastBlockMethod, LastTokens, Method, WholeImageMethod
from .clearclip import ClearCLIP
from .clip import CLIP
from .corrclip import CorrCLIP, CorrCLIPv2
from .gem import GEM
from .maskclip import MaskCLIP
from .naclip import NACLIP
from .ovstitcher import OVStitcher
from .pearl import PEARL
from .proxyclip import ProxyCLIP
from .resclip import RCS, SFR, ResCLIP
from .rfclip import RFCLIP
from .scclip import SCCLIP
from .sclip import SCLIP
from .segearth import SegEarth
from .sfp import SFP
from .trident import Trident

keep_old_names(__name__, PictureMethod='WholeImageMethod')
__all__ = [
    'CLIP',
    'GEM',
    'NACLIP',
    'PEARL',
    'RCS',
    'RFCLIP',
    'SCCLIP',
    'SCLIP',
    'SFP',
    'SFR',
    'Classify',
    'ClearCLIP',
    'CorrCLIP',
    'CorrCLIPv2',
    'EarlierBlock',
    'IdentityCSA',
    'LastBlockMethod',
    'LastTokens',
    'LearnedCSA',
    'LocalCLIP',
    'MaskCLIP',
    'Method',
    'OVStitcher',
    'ProxyCLIP',
    'RandomCSA',
    'ResCLIP',
    'SegEarth',
    'SharpenedCLIP',
    'SingleCSA',
    'Trident',
    'WholeImageMethod',
]
