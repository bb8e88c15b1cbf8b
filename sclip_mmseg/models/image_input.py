"""An image of a batch, as the segmentor gets it from mmseg."""

from dataclasses import dataclass

from mmseg.structures import SegDataSample
from torch import Tensor

from ..regions import resize_nearest
from ..utils.torch_types import height_width
from .file_image import FileImage
from .view import View
from .windows import Size


@dataclass
class ImageInput:
    """An image to be segmented.

    Attributes:
        pixels: Normalised image ``[3, H, W]`` without padding.
        sample: Metadata of the image, to which the result is added.
        file: The image at the size of its file.
        regions: Region ids at the original size, int64 ``[H, W]``; None for none.
    """

    pixels: Tensor
    sample: SegDataSample
    file: FileImage
    regions: Tensor | None = None

    @property
    def size(self) -> Size:
        """Original height and width in pixels."""
        return tuple(self.sample.get('ori_shape', self.pixels.shape[-2:]))

    def view(self) -> View:
        """Return the image as one window, with its regions resized and mirrored alike."""
        if self.regions is None:
            return View(self.pixels[None])
        regions = resize_nearest(self.regions, height_width(self.pixels))
        return View(self.pixels[None], regions.flip(flipped_axes(self.sample))[None])


def flipped_axes(sample: SegDataSample) -> tuple[int, ...]:
    """Return the axes along which a view is mirrored."""
    axes = {'horizontal': (-1,), 'vertical': (-2,), 'diagonal': (-2, -1)}
    return axes[sample.flip_direction] if sample.get('flip') else ()


def unpad(image: Tensor, sample: SegDataSample) -> Tensor:
    """Return an image ``[3, H, W]`` without the padding of its batch."""
    left, right, top, bottom = sample.get('img_padding_size', (0, 0, 0, 0))
    height, width = image.shape[-2:]
    return image[:, top : height - bottom, left : width - right]
