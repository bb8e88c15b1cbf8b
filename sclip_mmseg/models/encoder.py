"""The interface of image encoders."""

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn

from ..old_names import OldAttribute, RefusesOldOverrides
from ..towers.normalisation import Normalisation
from ..towers.repository import Checkpoint
from ..towers.sam import SamTower
from ..utils.errors import NotFetched
from .file_image import FileImage
from .fusion import WindowMaps
from .methods import Classify
from .view import View
from .window_cfg import WindowCfg
from .windowed_image import WindowedImage


class ImageEncoder(RefusesOldOverrides, nn.Module):
    """Maps images to query maps: one call per batch of windows, or per whole image.

    Attributes:
        patch_size: Smallest side of a window in pixels.
        min_size: Smallest side of an image in pixels; smaller sides are padded before windows are
            cut.
        embed_dim: Width of the features that the text head compares with its queries.
        needs_regions: Whether views must have regions.
        sees_whole_image: Whether :meth:`encode_image` is called instead of :meth:`forward`.
        align_corners: Whether a window's map is resized to the window with ``align_corners`` of
            ``torch.nn.functional.interpolate``.
        attention_covers_image: Whether the grid of :meth:`attention_map` covers an image of any
            size, because the encoder resizes it; else its cells are patches.
        mismatch_hint: Hint for the error message where text embeddings have another width than the
            features.
        sam: Segment Anything, for methods and corrections that use it; None without it.
        normalisation: Mean and standard deviation that the encoder expects of its input images;
            None where no config states them.
        checkpoint_finder: Finds the file that the argument ``checkpoint`` names; None for encoders
            without this argument, or whose argument is a path.
    """

    patch_size: int
    embed_dim: int
    min_size: int = 1
    needs_regions: bool = False
    sees_whole_image: bool = False
    sees_picture = OldAttribute('sees_whole_image')
    encode_picture = OldAttribute('encode_image')
    one_source = OldAttribute('mismatch_hint')
    align_corners: bool = False
    attention_covers_image: bool = False
    mismatch_hint: str = 'image_encoder.clip and text_head must come from the same CLIP'
    sam: SamTower | None
    normalisation: Normalisation | None = None
    checkpoint_finder: Callable[[str], Checkpoint] | None = None

    def __init__(self) -> None:
        super().__init__()
        self.sam = None  # on the instance: a class attribute would hide the submodule

    def forward(self, view: View, text: Classify) -> Tensor:
        """Compute query maps ``[B, Q, h, w]`` of windows, on any grid."""
        raise NotImplementedError

    def resize(self, view: View, windows: WindowCfg) -> View:
        """Resize an image before its windows are cut; most encoders leave it as it is."""
        return view

    def encode_image(self, image: WindowedImage, text: Classify) -> WindowMaps:
        """Compute the query maps of all windows of an image."""
        raise NotImplementedError

    def features(self, view: View, text: Classify) -> Tensor:
        """Compute L2-normalised patch features ``[B, h, w, D]`` of windows, float32."""
        raise NotImplementedError

    def matrices(self) -> Iterator[nn.Parameter]:
        """Iterate over the parameters that ``precision`` casts."""
        raise NotImplementedError

    def choose_batch(self, size: tuple[int, int]) -> int:
        """Return the number of windows of a size (height, width in pixels) to encode at a time."""
        raise NotImplementedError

    def attention_map(self, view: View, text: Classify, file: FileImage | None = None) -> Tensor:
        """Compute the attention of patches, see :meth:`.methods.Method.attention_map`.

        Raises:
            NotImplementedError: If the encoder has no such weights.
        """
        raise NotImplementedError


class MissingEncoder(ImageEncoder):
    """Placeholder for an encoder whose weights cannot be fetched, until a checkpoint replaces it.

    OpenMMLab's programs build a model with its config's weights even if they then load others.

    Args:
        error: The error of fetching, raised wherever the encoder is needed.
    """

    def __init__(self, error: NotFetched):
        super().__init__()
        self.error = error

    def __getattr__(self, name: str) -> Any:
        """Raise the error for attributes that all encoders have."""
        if name in ImageEncoder.__annotations__:
            raise self.error
        return super().__getattr__(name)

    def matrices(self) -> Iterator[nn.Parameter]:
        """Return an empty iterator."""
        return iter(())
