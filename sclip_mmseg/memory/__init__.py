"""Memory banks: features of regions of unlabelled pictures."""

from .bank import Bank, find_neighbours, open_bank
from .cfg import MemoryCfg

__all__ = ['Bank', 'MemoryCfg', 'find_neighbours', 'open_bank']
