"""Memory banks: features of regions of unlabelled images."""

from .bank import Bank, find_neighbours, open_bank
from .cfg import MemoryCfg
from .files import BankWriter, bank_regions, check_models, describe_models, read_info

__all__ = [
    'Bank',
    'BankWriter',
    'MemoryCfg',
    'bank_regions',
    'check_models',
    'describe_models',
    'find_neighbours',
    'open_bank',
    'read_info',
]
