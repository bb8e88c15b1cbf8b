"""The settings of ``model.memory``."""

from dataclasses import dataclass

from ..utils.errors import InputError


@dataclass(frozen=True)
class MemoryCfg:
    """Use of a memory bank.

    Attributes:
        bank: Folder of a bank, built by ``sclip bank build`` or published by CorrCLIP's authors.
        name: Name of a bank in the authors' folder, e.g. ``'coco'``; None for a bank of this
            package.
        index: Index file of faiss for the search; None for an exact search over the bank's keys.
        clip: A second CLIP by name or path whose features the bank has, too (``--second-clip``):
            its scores are averaged with the first one's. None for none.
        proxy: Name or path of the second tower that computed the keys, if it has moved since the
            bank was built; None for the path in the bank.
        neighbours: Number of regions of the bank that are averaged for each region of the image.
        weight: Weight of their score, 0 to 1, against the image's own score. CorrCLIP v2's is 0.5;
            for your own banks ``--bank`` sets 0.2, centred, which measured better.
        centred: Whether the area-weighted mean of all regions is subtracted from the mean of the
            neighbours, so that frequent classes of the bank do not dominate rare ones. Not in
            CorrCLIP v2.

    Raises:
        InputError: If a value has the wrong type or is out of range.
    """

    bank: str
    name: str | None = None
    index: str | None = None
    clip: str | None = None
    proxy: str | None = None
    neighbours: int = 20
    weight: float = 0.5
    centred: bool = False

    def __post_init__(self) -> None:
        for key in ('bank', 'name', 'index', 'clip', 'proxy'):
            value = getattr(self, key)
            if not isinstance(value, str) and (key == 'bank' or value is not None):
                raise InputError(f'model.memory.{key}={value!r} must be a text')
        if isinstance(self.neighbours, bool) or not isinstance(self.neighbours, int):
            raise InputError(f'model.memory.neighbours={self.neighbours!r} must be an integer')
        if self.neighbours < 1:
            raise InputError(f'model.memory.neighbours={self.neighbours} must be at least 1')
        if not isinstance(self.weight, (int, float)) or not 0 <= self.weight <= 1:
            raise InputError(f'model.memory.weight={self.weight!r} must be between 0 and 1')
        if not isinstance(self.centred, bool):
            raise InputError(f'model.memory.centred={self.centred!r} must be True or False')
