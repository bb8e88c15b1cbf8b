"""The ablations of SCLIP's paper: other projections, and attention maps other than its own."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...registry import METHODS
from ...towers import VisionTransformer, find_weights, read_tensors
from ...towers.building import as_float
from ...utils.cache import cached_tensors
from ...utils.errors import InputError
from .base import LastBlockMethod, LastTokens, patch_distance
from .clip import CLIP

Pairs = list[tuple[Tensor, Tensor]]


@METHODS.register_module()
class SingleCSA(LastBlockMethod):
    """One of SCLIP's two maps, ``softmax(q qᵀ / √d) v`` or ``softmax(k kᵀ / √d) v``.

    Args:
        projection: ``'q'`` or ``'k'``.

    Raises:
        InputError: If ``projection`` is neither.
    """

    def __init__(self, projection: str):
        super().__init__()
        if projection not in ('q', 'k'):
            raise InputError(f"method.projection={projection!r} must be 'q' or 'k'")
        self.projection = projection

    def pairs(self, tokens: LastTokens) -> Pairs:
        """See :class:`.base.LastBlockMethod`."""
        feature = getattr(tokens, self.projection)
        return [(feature, feature)]


@METHODS.register_module()
class IdentityCSA(LastBlockMethod):
    """``softmax(x xᵀ / √width) v`` of the block's normalised input x, without any projection.

    One map over the whole width serves all heads, since without a projection the heads' slices of x
    are arbitrary. (The paper does not say how x is divided among heads.)
    """

    def pairs(self, tokens: LastTokens) -> Pairs:
        """See :class:`.base.LastBlockMethod`."""
        x = tokens.x[:, None].expand(-1, tokens.q.shape[1], -1, -1)
        return [(x, x)]


@METHODS.register_module()
class RandomCSA(LastBlockMethod):
    """``Σᵢ softmax(x Wᵢ Wᵢᵀ xᵀ / √d) v`` with random matrices ``Wᵢ``, entries ``N(0, 1 / width)``.

    Args:
        num_projections: Number of matrices, each of which gives a map.
        seed: Seed of the matrices.

    Raises:
        InputError: If ``num_projections`` is not positive.
    """

    def __init__(self, num_projections: int = 1, seed: int = 0):
        super().__init__()
        if num_projections < 1:
            raise InputError(f'method.num_projections={num_projections} must be positive')
        self.num_projections = num_projections
        self.seed = seed

    def pairs(self, tokens: LastTokens) -> Pairs:
        """See :class:`.base.LastBlockMethod`."""
        x = tokens.x
        matrices = random_projections(
            self.num_projections, x.shape[-1], self.seed, x.dtype, x.device
        )
        features = [tokens.heads_of(x @ matrix) for matrix in matrices]
        return [(feature, feature) for feature in features]


@cached_tensors(max_bytes=1 << 26)
def random_projections(
    count: int, width: int, seed: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Return matrices with entries from ``N(0, 1 / width)``, ``[count, width, width]``.

    They are drawn on the CPU, so that every device gets the same.
    """
    generator = torch.Generator().manual_seed(seed)
    matrices = torch.randn(count, width, width, generator=generator) * width**-0.5
    return matrices.to(device=device, dtype=dtype)


@METHODS.register_module()
class LearnedCSA(LastBlockMethod):
    """``softmax(x W Wᵀ xᵀ / √d) v`` with a learned matrix W.

    Args:
        projection: Path of a file with ``weight`` ``[width, width]``, as
            ``tools/train_projection.py`` writes it; None for the identity, to be trained.
        width: Channel width of the block, needed without ``projection``.

    Raises:
        InputError: If the file has no such matrix, or neither file nor width is given.
    """

    def __init__(self, projection: str | None = None, width: int | None = None):
        super().__init__()
        if projection is not None:
            weight = _read(projection)
        elif width is not None:
            weight = torch.eye(width)
        else:
            raise InputError('method.projection=None: give a file of tools/train_projection.py')
        self.weight = nn.Parameter(weight)

    def check(self, tower: VisionTransformer) -> None:
        """See :class:`.base.Method`."""
        super().check(tower)
        if len(self.weight) != tower.width:
            raise InputError(
                f'the matrix of method.projection is {len(self.weight)} wide, the tower of '
                f'image_encoder.clip {tower.width}: train one for this CLIP with '
                'tools/train_projection.py'
            )

    def pairs(self, tokens: LastTokens) -> Pairs:
        """See :class:`.base.LastBlockMethod`."""
        feature = tokens.heads_of(tokens.x @ self.weight.to(tokens.x.dtype))
        return [(feature, feature)]


def _read(path: str) -> Tensor:
    found = find_weights(path)
    weight = None if found is None else read_tensors(found).get('weight')
    if weight is None or weight.ndim != 2 or weight.shape[0] != weight.shape[1]:
        raise InputError(
            f"method.projection='{path}' has no square matrix 'weight': make it with "
            'tools/train_projection.py'
        )
    return as_float(weight, 'weight', f"method.projection='{path}'")


@METHODS.register_module()
class SharpenedCLIP(LastBlockMethod):
    """CLIP's attention with a sharper softmax, ``softmax(τ q kᵀ / √d) v``.

    Args:
        sharpness: τ, positive.

    Raises:
        InputError: If ``sharpness`` is not positive.
    """

    def __init__(self, sharpness: float = 2.0):
        super().__init__()
        if not sharpness > 0:
            raise InputError(f'method.sharpness={sharpness} must be positive')
        self.sharpness = sharpness

    def pairs(self, tokens: LastTokens) -> Pairs:
        """See :class:`.base.LastBlockMethod`."""
        return [(tokens.q * self.sharpness, tokens.k)]


@METHODS.register_module()
class LocalCLIP(CLIP):
    """CLIP's attention, limited to a window of patches around each patch.

    Prefix tokens attend to all tokens, and all patches attend to prefix tokens.

    Args:
        window: Side of the window in patches, odd.

    Raises:
        InputError: If ``window`` is not odd and positive.
    """

    def __init__(self, window: int = 3):
        super().__init__()
        if window < 1 or window % 2 == 0:
            raise InputError(f'method.window={window} must be an odd number of patches')
        self.window = window

    def bias(self, tokens: LastTokens) -> Tensor:
        """0 in the window and for the prefix, minus infinity elsewhere, ``[P + N, P + N]``."""
        far = patch_distance(tokens.grid, tokens.q.device) > self.window // 2
        return tokens.pad(tokens.q.new_zeros(far.shape).masked_fill_(far, float('-inf')))


@METHODS.register_module()
class EarlierBlock(LastBlockMethod):
    """The attention map of an earlier block, applied to the last block's values.

    Args:
        block: Number of the block, counted from 1.
    """

    def __init__(self, block: int = 3):
        super().__init__()
        self.earlier_blocks: Sequence[int] = (block,)

    def mix(self, tokens: LastTokens) -> Tensor:
        """See :class:`.base.LastBlockMethod`."""
        return tokens.earlier @ tokens.values
