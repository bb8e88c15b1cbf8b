"""What is exported: a segmentor's part of a window."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models import CLIPImageEncoder, CLIPSegmentor
from ..models.view import View
from ..models.windows import Size
from ..registry import type_name
from ..utils.errors import InputError


class WindowNetwork(nn.Module):
    """Normalised windows → their class scores, and the maps that windows are fused by.

    Args:
        model: The segmentor, which stays as it is.
    """

    def __init__(self, model: CLIPSegmentor):
        super().__init__()
        self.encoder, self.text_head = model.image_encoder, model.text_head
        self.rule, self.class_ids = model.rule, model.class_ids.tolist()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Segment windows, each as a picture of its own.

        Args:
            images: Normalised, ``[B, 3, H, W]``.

        Returns:
            Class scores before any threshold, ``[B, K, H, W]``, 0 to 1; and the query maps
            ``[B, Q, h, w]`` on the method's grid (of pixels, where windows are not resized as
            pictures are), both float32.
        """
        maps = self.encoder(View(images), self.text_head)
        height, width = images.shape[-2:]
        corners = self.encoder.align_corners
        fine = F.interpolate(maps, (height, width), mode='bilinear', align_corners=corners)
        maps = fine if corners else maps
        scores = self.rule.scores(fine.permute(0, 2, 3, 1).flatten(0, 1), self.class_ids)
        return scores.unflatten(1, (-1, height)).transpose(0, 1), maps


def find_window(model: CLIPSegmentor, size: Size | None = None) -> Size:
    """The size of the windows that a segmentor's network is exported for.

    Args:
        model: The segmentor.
        size: Height and width of whole pictures in pixels, for the methods that see these.

    Raises:
        InputError: If the segmentor needs more than windows one by one, or the size is missing or
            has no use.
    """
    encoder = model.image_encoder
    method = type_name(model.encoder_cfg.get('method') or model.encoder_cfg)
    refine = model.refine and type(model.refine).__name__
    needs = {
        'a region map of each picture': encoder.needs_regions or model.regions is not None,
        'all windows of a picture together': encoder.sees_picture,
        f'the picture at its own size (model.refine, {refine})': model.refine is not None,
        'the picture that its labels are corrected by (model.postprocess)': model.postprocess
        is not None,
    }
    if isinstance(encoder, CLIPImageEncoder) and encoder.method.not_exported:
        needs[encoder.method.not_exported] = True
    if isinstance(encoder, CLIPImageEncoder) and encoder.upsampler is not None:
        needs['its upsampler (model.image_encoder.upsampler=None leaves it out)'] = True
    if missing := [words for words, needed in needs.items() if needed]:
        raise InputError(
            f'{method} cannot be exported: it needs {" and ".join(missing)}, and an exported '
            'model sees one window at a time; choose another --method, such as scclip'
        )
    if any(matrix.dtype != torch.float32 for matrix in encoder.matrices()):
        raise InputError("models are exported in float32: build them with precision='fp32'")
    if model.windows.mode == 'slide':
        if size is not None:
            raise InputError(
                f'--size is for methods that see whole pictures, {method} sees windows of '
                f'model.test_cfg.crop_size={model.windows.crop_size}: leave it out'
            )
        return model.windows.crop_size
    if size is None:
        raise InputError(
            f'{method} sees whole pictures: say by --size, such as 336x448, how large they are '
            'once resized; or let it see windows, by --cfg-options model.test_cfg.mode=slide'
        )
    if min(size) < encoder.patch_size:
        raise InputError(f'--size {size[0]}x{size[1]} is less than a patch of {encoder.patch_size}')
    return size
