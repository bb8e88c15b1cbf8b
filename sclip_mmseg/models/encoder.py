"""The interface of image encoders."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from ..old_names import OldAttribute, RefusesOldOverrides
from ..towers.normalisation import Normalisation
from ..towers.sam import SamTower
from ..utils.errors import NotFetched
from .file_image import FileImage
from .fusion import WindowMaps
from .methods import Classify
from .view import View
from .window_cfg import WindowCfg
from .windowed_image import WindowedImage


class ImageEncoder(RefusesOldOverrides, nn.Module):
    """Maps images to queries: windows by a call, or all windows of an image together.

    Attributes:
        patch_size: Least side of a window in pixels.
        min_size: Sides of an image below so many pixels are padded before windows are cut.
        embed_dim: Width of the features that the text head compares with its queries.
        needs_regions: Whether views must have regions.
        sees_whole_image: Whether :meth:`encode_image` is called, in place of a call per window.
        align_corners: Whether the outer cells of a window's map lie at its corners when it is
            resized to the window, as ``torch.nn.functional.interpolate`` has it.
        attention_covers_image: Whether the grid of :meth:`attention_map` covers an image of any
            size, because the encoder resizes it; else its cells are patches.
        one_source: What embeddings of another width than the features' have wrong.
        sam: Segment Anything, for what it guides or corrects; None for none.
        normalisation: Mean and standard deviation that images must come with; None where a config
            does not state them.
    """

    patch_size: int
    embed_dim: int
    min_size: int = 1
    needs_regions: bool = False
    sees_whole_image: bool = False
    sees_picture = OldAttribute('sees_whole_image')
    encode_picture = OldAttribute('encode_image')
    align_corners: bool = False
    attention_covers_image: bool = False
    one_source: str = 'image_encoder.clip and text_head must come from the same CLIP'
    sam: SamTower | None
    normalisation: Normalisation | None = None

    def __init__(self) -> None:
        super().__init__()
        self.sam = None  # of the instance: a class's would hide a module

    def forward(self, view: View, text: Classify) -> Tensor:
        """Maps of the queries of windows, ``[B, Q, h, w]`` on any grid."""
        raise NotImplementedError

    def resize(self, view: View, windows: WindowCfg) -> View:
        """Resize an image before its windows are cut; most encoders leave it as it is."""
        return view

    def encode_image(self, image: WindowedImage, text: Classify) -> WindowMaps:
        """Maps of the queries of an image."""
        raise NotImplementedError

    def features(self, view: View, text: Classify) -> Tensor:
        """L2-normalised patch features ``[B, h, w, D]`` of windows, float32."""
        raise NotImplementedError

    def matrices(self) -> Iterator[nn.Parameter]:
        """The parameters that a precision casts."""
        raise NotImplementedError

    def choose_batch(self, size: tuple[int, int]) -> int:
        """Number of windows of a height and width in pixels to encode at a time."""
        raise NotImplementedError

    def attention_map(self, view: View, text: Classify, file: FileImage | None = None) -> Tensor:
        """See :meth:`.methods.Method.attention_map`.

        Raises:
            NotImplementedError: If the encoder has no such weights.
        """
        raise NotImplementedError


class MissingEncoder(ImageEncoder):
    """Stands for an encoder whose weights cannot be fetched, until a checkpoint replaces it.

    Programs of OpenMMLab build a model with its config's weights even when they load others next.

    Args:
        error: What prevented it, raised by whatever needs the encoder.
    """

    def __init__(self, error: NotFetched):
        super().__init__()
        self.error = error

    def __getattr__(self, name: str) -> Any:
        """Raise the error where an attribute of all encoders is asked for."""
        if name in ImageEncoder.__annotations__:
            raise self.error
        return super().__getattr__(name)

    def matrices(self) -> Iterator[nn.Parameter]:
        """Give none."""
        return iter(())
