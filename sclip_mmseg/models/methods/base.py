"""The interface of methods, and the base class of those that only change the last attention."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...old_names import OldAttribute, RefusesOldOverrides, keep_old_names, warn_of
from ...towers import Grid, VisionTransformer
from ...towers.tokens import OnGrid
from ...utils.cache import cached_tensors
from ...utils.errors import InputError
from ...utils.torch_types import total
from ..view import View
from ..windowed_image import AdjustedQueries, ImageFeatures, WindowedImage, WindowFeatures
from ..windows import Size

keep_old_names(
    __name__,
    PictureMethod='WholeImageMethod',
    own_pairs='self_pairs',
    run_earlier_blocks='call tower.run(images, …)',
)


class Classify(Protocol):
    """Computes cosines of patch features with the text queries; a method's view of the text head.

    Attributes:
        class_ids: Class of each query, int64 ``[Q]``.
        embeddings: Embeddings of the queries, L2-normalised, float32 ``[Q, D]``.
    """

    class_ids: Tensor
    embeddings: Tensor

    def __call__(self, features: Tensor, adjusted: AdjustedQueries | None = None) -> Tensor:
        """Compute cosines ``[B, Q, h, w]``, float32.

        Args:
            features: Features ``[B, h, w, D]`` of any norm.
            adjusted: Queries to compare with in place of :attr:`embeddings`.
        """


class Method(RefusesOldOverrides, nn.Module):
    """Computes patch features of windows. Subclasses override :meth:`forward`.

    A method may run the tower's blocks in any way, and return features on any grid.
    """

    #: Whether :meth:`forward` also gets a second tower, ``proxy``: a ``ProxyTower``.
    needs_proxy: bool = False
    #: Whether :meth:`forward` also gets Segment Anything, ``sam``: a ``SamTower``.
    needs_sam: bool = False
    #: Whether the views must have regions.
    needs_regions: bool = False
    #: Whether it returns features of windows, which an upsampler can take.
    on_windows: bool = True
    #: Whether it gets all windows of an image together, see :class:`WholeImageMethod`.
    sees_whole_image: bool = False
    sees_picture = OldAttribute('sees_whole_image')
    picture_size = OldAttribute('working_size')
    #: What else it needs that an exported model does not have; empty for nothing.
    not_exported: str = ''

    def check(self, tower: VisionTransformer) -> None:
        """Refuse a tower that the method cannot run on.

        Raises:
            InputError: If the tower does not fit.
        """

    def forward(
        self, tower: VisionTransformer, view: Any, classify: Classify, /, *args: Any, **kwargs: Any
    ) -> Tensor | ImageFeatures | WindowFeatures:
        """Compute patch features.

        Args:
            tower: CLIP's image tower.
            view: The windows, a ``View``; a :class:`WholeImageMethod` gets another argument.
            classify: Computes cosines with the text queries, for methods that need them.
            args, kwargs: The towers ``proxy`` and ``sam`` that the method needs.

        Returns:
            Features ``[B, h, w, D]`` of any norm and floating dtype; or
            :class:`..windowed_image.WindowFeatures`, which may have adjusted queries.
        """
        raise NotImplementedError

    def working_size(self, tower: VisionTransformer, size: Size, crop_size: Size) -> Size:
        """Choose the size to which an image is resized before its windows are cut.

        Args:
            tower: CLIP's image tower.
            size: Height and width of the input image in pixels.
            crop_size: Height and width of the windows in pixels.
        """
        return size

    def attention_map(
        self, tower: VisionTransformer, view: Any, classify: Classify, /, *args: Any, **kwargs: Any
    ) -> Tensor:
        """Compute the attention of patches in the last block, for figures.

        Arguments as :meth:`forward`.

        Returns:
            Mean over heads, float32 ``[B, h, w, h, w]``: for each patch a map over all patches.

        Raises:
            NotImplementedError: If the method has no such weights.
        """
        raise NotImplementedError


class WholeImageMethod(Method):
    """Computes features from all windows of an image together.

    A method may iterate over the windows (:meth:`..windowed_image.WindowedImage.batches`) any
    number of times. Nothing is shared between images.
    """

    sees_whole_image = True

    def forward(
        self,
        tower: VisionTransformer,
        image: WindowedImage,
        classify: Classify,
        /,
        *args: Any,
        **kwargs: Any,
    ) -> ImageFeatures | WindowFeatures:
        """Compute features of an image, or of its windows.

        Args:
            tower: CLIP's image tower.
            image: The image and its windows.
            classify: Computes cosines with the text queries, for methods that need them.
            args, kwargs: See :meth:`Method.forward`.
        """
        raise NotImplementedError


@dataclass
class LastTokens(OnGrid):
    """Inputs of the last block's attention: P prefix tokens, then N patches, row by row.

    Attributes:
        q, k, v: The block's own queries, keys and values ``[B, heads, P + N, d]``.
        x: Normalised input of the block ``[B, P + N, width]``; q, k and v are projections of it.
        grid: Rows and columns of patches; their product is N.
        mean_map: Mean attention map, see :attr:`earlier`; None if the method requests no blocks.
        similarity: Term that :class:`.resclip.SFR` adds to the logits, ``[B, 1, P + N, P + N]``, 0
            to 1.
        replaced: Values to mix in place of ``v``, ``[B, heads, P + N, ...]``; None for ``v``.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    x: Tensor
    grid: Grid
    mean_map: Tensor | None = None
    similarity: Tensor | None = None
    replaced: Tensor | None = None

    @property
    def values(self) -> Tensor:
        """The values that attention mixes, ``[B, heads, P + N, d]``."""
        return self.v if self.replaced is None else self.replaced

    @property
    def earlier(self) -> Tensor:
        """Mean attention map of the ``earlier_blocks``, ``[B, heads, P + N, P + N]``.

        Raises:
            ValueError: If the method requests no earlier blocks.
        """
        if self.mean_map is None:
            raise ValueError('a method that uses earlier maps must set earlier_blocks')
        return self.mean_map

    def heads_of(self, x: Tensor) -> Tensor:
        """Split ``[B, P + N, width]`` into heads, ``[B, heads, P + N, d]``."""
        return x.unflatten(-1, (self.q.shape[1], -1)).transpose(1, 2)

    def pad(self, weights: Tensor) -> Tensor:
        """Pad patch weights ``[..., N, N]`` with zeros to ``[..., P + N, P + N]``."""
        prefix = self.q.shape[2] - self.num_patches
        return F.pad(weights, (prefix, 0, prefix, 0))


class LastBlockMethod(Method):
    """Changes how the last block mixes its tokens, by default a sum of softmax maps.

    A method overrides :meth:`pairs`, :meth:`bias` or :meth:`mix`.
    """

    #: Whether the last block adds its input and runs its MLP; else it outputs the attention only.
    keep_residual: bool = True
    #: Blocks, counted from 1, whose mean attention map the method needs.
    earlier_blocks: Sequence[int] = ()

    def check(self, tower: VisionTransformer) -> None:
        """See :class:`Method`."""
        earlier, wanted = len(tower.blocks) - 1, list(self.earlier_blocks)
        if any(not 1 <= block <= earlier for block in wanted):
            raise InputError(
                f'the method needs the maps of blocks {wanted}, but only blocks 1 to {earlier} '
                'precede the last: set model.image_encoder.method.rcs.blocks to middle ones'
            )

    def forward(
        self, tower: VisionTransformer, view: View, classify: Classify
    ) -> Tensor | WindowFeatures:
        """See :class:`Method`."""
        return self.read_out(tower, *self.prepare(tower, view, classify))

    def prepare(
        self, tower: VisionTransformer, view: View, classify: Classify
    ) -> tuple[Tensor, LastTokens]:
        """Return the last block's input ``[B, P + N, width]``, and the inputs of its attention."""
        number, mean_of = len(tower.blocks), set(self.earlier_blocks)
        asked = {number: ['normalised', 'q', 'k', 'v']}
        tokens = tower.run(view.images, asked, sums={'weights': mean_of})
        last = tokens.blocks[number]
        earlier = (tokens.sums['weights'] / len(mean_of)).to(last.q) if mean_of else None
        return tokens.x, LastTokens(last.q, last.k, last.v, last.normalised, tokens.grid, earlier)

    def read_out(self, tower: VisionTransformer, x: Tensor, tokens: LastTokens) -> Tensor:
        """Run the last block's attention and everything after it, to ``[B, h, w, D]``."""
        block, mixed = tower.blocks[-1], self.mix(tokens)
        x = block.residual_mlp(x, mixed) if self.keep_residual else block.project_out(mixed)
        return tower.read_out(tokens.patches_of(x)).unflatten(1, tokens.grid)

    def mix(self, tokens: LastTokens) -> Tensor:
        """Mix the values of all tokens, ``[B, heads, P + N, d]``."""
        bias = self.bias(tokens)
        maps = (
            F.scaled_dot_product_attention(a, b, tokens.values, attn_mask=bias)
            for a, b in self.pairs(tokens)
        )
        return total(maps)

    def pairs(self, tokens: LastTokens) -> list[tuple[Tensor, Tensor]]:
        """Return features ``[B, heads, P + N, d]``; the scaled products are the maps' logits."""
        raise NotImplementedError

    def bias(self, tokens: LastTokens) -> Tensor | None:
        """Return a term for all logits, broadcastable to ``[B, heads, P + N, P + N]``, or None."""
        return None

    def attention_map(self, tower: VisionTransformer, view: View, classify: Classify) -> Tensor:
        """See :class:`Method`."""
        _, tokens = self.prepare(tower, view, classify)
        weights = self.token_weights(tokens).float().mean(1)
        return unflatten_map(tokens.map_of(weights), tokens.grid)

    def token_weights(self, tokens: LastTokens) -> Tensor:
        """Compute the weights of the values, ``[B, heads, P + N, P + N]``."""
        return self.mix(replace(tokens, replaced=identity_values(tokens.v)))

    def attention_weights(self, tower: VisionTransformer, view: View, classify: Classify) -> Tensor:
        """Old form of :meth:`token_weights`."""
        warn_of('attention_weights(…)', 'token_weights(prepare(…)[1])')
        return self.token_weights(self.prepare(tower, view, classify)[1])


def identity_values(values: Tensor) -> Tensor:
    """Replacement of values ``[B, heads, N, d]`` whose mix is the weights, ``[B, heads, N, N]``."""
    identity = torch.eye(values.shape[2], dtype=values.dtype, device=values.device)
    return identity.expand(*values.shape[:2], -1, -1)


def unflatten_map(weights: Tensor, grid: Grid) -> Tensor:
    """Reshape weights ``[B, N, N]`` to ``[B, h, w, h, w]``."""
    return weights.unflatten(2, grid).unflatten(1, grid)


def self_pairs(maps: Tensor) -> Tensor:
    """Mask of the diagonal of maps ``[..., N, N]``, bool ``[N, N]``.

    Writing to a view of the diagonal would do the same, but cannot be exported.
    """
    index = torch.arange(maps.shape[-1], device=maps.device)
    return index[:, None] == index


def patch_offsets(grid: Grid, device: torch.device) -> tuple[Tensor, Tensor]:
    """Rows down and columns right from each patch i to each patch j, int64 ``[N, N]`` each."""
    rows, columns = grid
    index = torch.arange(rows * columns, device=device)
    y, x = index // columns, index % columns
    return y[None] - y[:, None], x[None] - x[:, None]


def patch_distance(grid: Grid, device: torch.device) -> Tensor:
    """Chebyshev distance of every pair of patches, int64 ``[N, N]``."""
    dy, dx = patch_offsets(grid, device)
    return torch.maximum(dy.abs(), dx.abs())


@cached_tensors(max_bytes=1 << 26)
def gaussian_window(grid: Grid, std: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """NACLIP's ω: a 2-D Gaussian of peak 1 over the patch grid, centred on each patch.

    Args:
        grid: Patch rows and columns.
        std: Standard deviation in patches.
        dtype: Data type of the result.
        device: Device of the result.

    Returns:
        The Gaussians, ``[N, N]``.
    """
    dy, dx = patch_offsets(grid, device)
    return (-(dy**2 + dx**2) / (2 * std**2)).exp().to(dtype)
