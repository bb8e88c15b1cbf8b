"""Your own labelled images, in folders."""

from .checks import find_problems
from .dataset import FolderDataset

__all__ = ['FolderDataset', 'find_problems']
