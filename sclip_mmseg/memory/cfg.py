"""The values of ``model.memory``."""

from dataclasses import dataclass

from ..utils.errors import InputError


@dataclass(frozen=True)
class MemoryCfg:
    """How a memory bank is used.

    Attributes:
        bank: Folder of a bank, made by ``sclip bank build`` or published by CorrCLIP's authors.
        name: A bank in the authors' folder, e.g. ``'coco'``; None for a bank of this package.
        index: An index file of faiss, which tells the neighbours; None for an exact search over the
            bank's keys.
        clip: A second CLIP by name or path whose features the bank has, too (``--second-clip``):
            its scores and the first one's are averaged. None for none.
        proxy: The second tower that made the keys, by name or path, where it lies elsewhere than
            when the bank was made; None for where the bank says.
        neighbours: How many regions of the bank are averaged for each region of the picture.
        weight: Weight of their score, 0 to 1; the picture's own has the rest. 0.5 is CorrCLIP
            v2's; for banks of your own ``--bank`` sets 0.2, centred, which measured better.
        centred: Whether the mean of all regions, weighted by their areas, is taken off that of the
            neighbours, so that what is frequent in the bank does not drown what is rare. Not in
            CorrCLIP v2.

    Raises:
        InputError: If a value is of another kind or out of its range.
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
            raise InputError(f'model.memory.weight={self.weight!r} must lie between 0 and 1')
        if not isinstance(self.centred, bool):
            raise InputError(f'model.memory.centred={self.centred!r} must be True or False')
