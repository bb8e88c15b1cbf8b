"""The exported network: a segmentor applied to single windows."""

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
    """Network from normalised windows to class scores, and to the maps that are fused.

    Args:
        model: The segmentor, which is not changed.
    """

    def __init__(self, model: CLIPSegmentor):
        super().__init__()
        self.encoder, self.text_head = model.image_encoder, model.text_head
        self.rule, self.class_ids = model.rule, model.class_ids.tolist()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Segment windows, each as a separate image.

        Args:
            images: Normalised windows, ``[B, 3, H, W]``.

        Returns:
            Class scores before any threshold, ``[B, K, H, W]``, 0 to 1; and the query maps
            ``[B, Q, h, w]`` on the method's grid (at full size if the encoder aligns corners),
            both float32.
        """
        maps = self.encoder(View(images), self.text_head)
        height, width = images.shape[-2:]
        corners = self.encoder.align_corners
        fine = F.interpolate(maps, (height, width), mode='bilinear', align_corners=corners)
        maps = fine if corners else maps
        scores = self.rule.scores(fine.permute(0, 2, 3, 1).flatten(0, 1), self.class_ids)
        return scores.unflatten(1, (-1, height)).transpose(0, 1), maps


def find_window(cfg: Config, size: Size | None) -> Size:
    """Window size for which a segmentor's network is exported, found from its config.

    Args:
        cfg: Config of a model, as from :func:`..apis.build_segmentor`.
        size: Height and width of whole images in pixels, for methods that see whole images.

    Returns:
        Height and width in pixels.

    Raises:
        InputError: If the segmentor needs more than single windows, if its images are resized in
            a way that the metadata cannot describe, or if the size is missing or not applicable.
    """
    model, encoder = cfg.model, cfg.model.image_encoder
    name = type_name(encoder.get('method') or encoder)
    method = METHODS.build(encoder.method) if encoder.get('method') else MODELS.get(encoder.type)
    refine = model.get('refine')
    needs = {
        'a region map of each image': method.needs_regions or model.get('region_masks'),
        'all windows of an image together': method.sees_whole_image,
        f'the image at its own size (model.refine, {refine and type_name(refine)})': refine,
        'the image, to correct labels (model.postprocess)': model.get('postprocess'),
        getattr(method, 'not_exported', ''): getattr(method, 'not_exported', ''),
        'its upsampler (model.image_encoder.upsampler=None omits it)': encoder.get('upsampler'),
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
                f'--size is for methods that see whole images; {name} sees windows of '
                f'model.test_cfg.crop_size={windows.crop_size}: leave it out'
            )
        return windows.crop_size
    if size is None:
        raise InputError(
            f'{name} sees whole images: give their size once resized by --size, such as 336x448; '
            'or use windows, by --cfg-options model.test_cfg.mode=slide'
        )
    return size
