"""The exported network: a segmentor's part of a window."""

import torch.nn.functional as F
from mmengine.config import Config
from mmseg.registry import MODELS
from torch import Tensor, nn

from ..models import CLIPSegmentor
from ..models.test_cfg import read_test_cfg
from ..models.view import View
from ..models.windows import Size
from ..registry import METHODS, type_name
from ..utils.errors import InputError
from .metadata import find_scale


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


def find_window(cfg: Config, size: Size | None = None) -> Size:
    """The size of the windows that a segmentor's network is exported for, by its config alone.

    Args:
        cfg: Config of a model of :func:`..apis.build_segmentor`, or to be one.
        size: Height and width of whole pictures in pixels, for the methods that see these.

    Raises:
        InputError: If the segmentor needs more than windows one by one, its pictures are resized in
            a way that metadata have no name for, or the size is missing or has no use.
    """
    model, encoder = cfg.model, cfg.model.image_encoder
    name = type_name(encoder.get('method') or encoder)
    method = METHODS.build(encoder.method) if encoder.get('method') else MODELS.get(encoder.type)
    refine = model.get('refine')
    needs = {
        'a region map of each picture': method.needs_regions or model.get('region_masks'),
        'all windows of a picture together': method.sees_whole_image,
        f'the picture at its own size (model.refine, {refine and type_name(refine)})': refine,
        'the picture that its labels are corrected by (model.postprocess)': model.get(
            'postprocess'
        ),
        getattr(method, 'not_exported', ''): getattr(method, 'not_exported', ''),
        'its upsampler (model.image_encoder.upsampler=None leaves it out)': encoder.get(
            'upsampler'
        ),
    }
    if missing := [words for words, needed in needs.items() if needed]:
        raise InputError(
            f'{name} cannot be exported: it needs {" and ".join(missing)}, and an exported '
            'model sees one window at a time; choose another --method, such as scclip'
        )
    find_scale(cfg.test_pipeline)
    windows = read_test_cfg(model.test_cfg).windows
    if windows.mode == 'slide':
        if size is not None:
            raise InputError(
                f'--size is for methods that see whole pictures, {name} sees windows of '
                f'model.test_cfg.crop_size={windows.crop_size}: leave it out'
            )
        return windows.crop_size
    if size is None:
        raise InputError(
            f'{name} sees whole pictures: say by --size, such as 336x448, how large they are '
            'once resized; or let it see windows, by --cfg-options model.test_cfg.mode=slide'
        )
    return size
