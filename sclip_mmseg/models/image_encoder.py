"""CLIP's image tower with a method: windows → maps of cosines."""

import math
from collections.abc import Iterable, Iterator
from itertools import chain

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from mmseg.registry import MODELS
from torch import Tensor, nn

from ..old_names import KEYS, old_arguments
from ..regions import resize_nearest
from ..registry import METHODS, UPSAMPLERS, type_name
from ..towers import VisionTransformer, find_clip, load_image_tower
from ..towers.normalisation import CLIP, Normalisation, fold_normalisation
from ..towers.proxy import ProxyTower
from ..towers.repository import Checkpoint
from ..towers.sam import SamTower
from ..towers.vit import matrices
from ..utils.errors import InputError
from ..utils.torch_types import height_width
from ..zoo import TOY, is_toy
from .encoder import ImageEncoder
from .file_image import FileImage
from .fusion import CutImage, WindowMaps
from .methods import Classify, Method
from .simfeatup import SimFeatUp, UpsampledText
from .view import View
from .window_batch import choose_window_batch
from .window_cfg import WindowCfg
from .windowed_image import Compare, ImageFeatures, WindowedImage, WindowFeatures
from .windows import Window

PRECISIONS = {'fp32': torch.float32, 'fp16': torch.float16, 'bf16': torch.bfloat16}


def check_precision(precision: str) -> torch.dtype:
    """Return the dtype of a precision.

    Raises:
        InputError: If it is not one of :data:`PRECISIONS`.
    """
    if precision not in PRECISIONS:
        raise InputError(f"precision='{precision}' is not one of {', '.join(PRECISIONS)}")
    return PRECISIONS[precision]


@MODELS.register_module()
class CLIPImageEncoder(ImageEncoder):
    """Computes cosines between a frozen CLIP's patches and text queries, with a chosen method.

    Args:
        clip: Name of a CLIP or path of a checkpoint, see :func:`..towers.load_clip`. Input images
            are normalised with OpenAI's mean and std, also for a CLIP trained with others.
        method: Config of the method, a :class:`.methods.Method`.
        proxy: Arguments of the second tower, :class:`..towers.proxy.ProxyTower`, for methods that
            need one.
        sam: Arguments of Segment Anything, :class:`..towers.sam.SamTower`, for methods and
            corrections that need it.
        upsampler: Config of the feature upsampler, :class:`.simfeatup.SimFeatUp`; None for none.
        precision: ``'fp32'``, ``'fp16'`` or ``'bf16'``. LayerNorm is always computed in float32.
        quick_gelu, round_weights: Options of :func:`..towers.load_image_tower`.
        tower: An image tower of ``clip``, already loaded in the same precision, to share; None to
            load it.

    Raises:
        InputError: If the checkpoint cannot be used, or an argument is unknown.
    """

    @old_arguments(**KEYS['CLIPImageEncoder'])
    def __init__(
        self,
        clip: str,
        method: dict | None = None,
        proxy: dict | None = None,
        sam: dict | None = None,
        upsampler: dict | None = None,
        precision: str = 'fp32',
        quick_gelu: bool | None = None,
        round_weights: bool | None = None,
        tower: VisionTransformer | None = None,
    ):
        super().__init__()
        if method is None:
            raise InputError("model.image_encoder needs a method: write method=dict(type='SCLIP')")
        dtype = check_precision(precision)
        self.precision = precision
        self.method: Method = METHODS.build(method)
        if self.method.needs_proxy != (proxy is not None):
            verb = 'needs' if self.method.needs_proxy else 'does not use'
            value = 'dict(checkpoint=NAME or PATH)' if self.method.needs_proxy else None
            raise InputError(
                f'method {type_name(method)} {verb} model.image_encoder.proxy: set it to {value}'
            )
        if self.method.needs_sam and sam is None:
            raise InputError(
                f'method {method["type"]} needs Segment Anything: set model.image_encoder.sam='
                "dict(checkpoint='facebook/sam-vit-base')"
            )
        for name, part in dict(proxy=proxy, sam=sam).items():
            if part is not None and set(part) != {'checkpoint'}:
                raise InputError(
                    f'model.image_encoder.{name} has one key: write '
                    f'{name}=dict(checkpoint=NAME or PATH)'
                )
        self.sam = SamTower(**sam) if sam is not None else None
        self.proxy = ProxyTower(**proxy) if proxy is not None else None
        if tower is None and is_toy(clip):
            print_log(TOY, 'current')
        self.tower = tower or load_image_tower(clip, quick_gelu, round_weights)
        #: Normalisation that the images must have; None where no config states the CLIP's own.
        self.normalisation = self._adapt_normalisation(
            find_clip(clip, quick_gelu), adapted=tower is not None
        )
        self.method.check(self.tower)
        for tower in self._towers:
            tower.set_precision(dtype)
        self.upsampler = self._build_upsampler(upsampler) if upsampler else None
        self.patch_size = max(tower.patch_size for tower in self._towers)
        self.embed_dim = self.tower.output_dim
        self.needs_regions = self.method.needs_regions
        self.sees_whole_image = self.method.sees_whole_image

    def _build_upsampler(self, cfg: dict) -> SimFeatUp:
        name = type_name(cfg)
        if not self.method.on_windows:
            raise InputError(
                f'method {type(self.method).__name__} does not return features of windows, which '
                f'model.image_encoder.upsampler {name} needs: set it to None'
            )
        upsampler = UPSAMPLERS.build(cfg)
        patches = {tower.patch_size for tower in self._towers}
        if patches != {upsampler.patch_size}:
            raise InputError(
                f'{name} upsamples features of patches of {upsampler.patch_size} pixels, but the '
                f'towers have patches of {", ".join(map(str, sorted(patches)))}: use another CLIP '
                'or proxy, or set model.image_encoder.upsampler=None'
            )
        if self.tower.output_dim != upsampler.channels:
            raise InputError(
                f'the checkpoint of model.image_encoder.upsampler has {upsampler.channels} '
                f'channels, but features of this CLIP have {self.tower.output_dim}: the two do not '
                'belong together'
            )
        self.min_size = upsampler.min_size
        return upsampler

    def _adapt_normalisation(self, found: Checkpoint, adapted: bool) -> Normalisation | None:
        own = None if found.spec is None else found.spec.normalisation
        if own is None:
            return None
        if not (adapted or own.is_close(CLIP)):
            fold_normalisation(self.tower, CLIP, own)
            mean, std = own
            print_log(
                f'{found.name} gets images normalised by mean {mean} and std {std}', 'current'
            )
        return CLIP

    @property
    def _towers(self) -> list[VisionTransformer]:
        return [self.tower] if self.proxy is None else [self.tower, self.proxy.tower]

    def matrices(self) -> Iterator[nn.Parameter]:
        """Iterate over the parameters that ``precision`` casts."""
        return chain(*map(matrices, self._towers))

    def forward(self, view: View, text: Classify) -> Tensor:
        """Compare patches with text queries.

        Args:
            view: Windows; both sides at least ``patch_size``. Pixels beyond the last whole patch
                are ignored.
            text: The text head.

        Returns:
            Cosines ``[B, Q, h, w]``, float32, on the method's grid.
        """
        if self.sees_whole_image:
            seen = zip(view.split(), self._run_on_each(view, text))
            return torch.cat([each.scores(self._compare(text, [one])) for one, each in seen])
        return self._run_on_windows(view, text).scores(self._compare(text, [view]))

    def resize(self, view: View, windows: WindowCfg) -> View:
        """See :class:`.encoder.ImageEncoder`."""
        size = height_width(view.images)
        chosen = self.method.working_size(self.tower, size, windows.sizes(size)[0])
        if chosen == size:
            return view
        images = F.interpolate(view.images, chosen, mode='bilinear', align_corners=False)
        regions = None if view.regions is None else resize_nearest(view.regions, chosen)
        return View(images, regions)

    def encode_image(
        self, image: WindowedImage, text: Classify, compare: Compare | None = None
    ) -> WindowMaps:
        """See :class:`.encoder.ImageEncoder`. Maps are cosines, or scores that the method returns.

        Args:
            image: The image with its windows.
            text: The text head.
            compare: Function that turns features into maps; None for the text head's cosines.
        """
        if self.sees_whole_image:
            windows = (image.windows.cut(number) for number in range(len(image.windows)))
            return self._run_on_image(image, text).maps(
                image, compare or self._compare(text, windows)
            )
        maps = [
            self._run_on_windows(view, text).scores(compare) if compare else self(view, text)
            for _, view in image.batches()
        ]
        return image.windows.arrange(list(torch.cat(maps).permute(0, 2, 3, 1)))

    def features(self, view: View, text: Classify) -> Tensor:
        """L2-normalised features ``[B, h, w, D]``, float32; arguments as :meth:`forward`."""
        features = self._run(view, text)
        if self.upsampler is not None:
            features = self.upsampler(features, view.images)
        return F.normalize(features.float(), dim=-1)

    @property
    def attention_covers_image(self) -> bool:  # type: ignore[override]
        """See :class:`.encoder.ImageEncoder`: Segment Anything's grid does."""
        return self.method.needs_sam

    def attention_map(self, view: View, text: Classify, file: FileImage | None = None) -> Tensor:
        """See :meth:`.methods.Method.attention_map`.

        Args:
            view: Images, each encoded as one window.
            text: The text head.
            file: The image at the size of its file, for methods that need it; only with a view of
                one image. None to use the view's pixels.
        """
        if not self.sees_whole_image:
            return self.method.attention_map(self.tower, view, text, **self._other_towers)
        maps = [
            self.method.attention_map(self.tower, image, text, **self._other_towers)
            for image in (self._one_window(each, file) for each in view.split())
        ]
        return torch.cat(maps)

    def _run(self, view: View, text: Classify) -> Tensor:
        if not self.sees_whole_image:
            return self._run_on_windows(view, text).values
        return torch.stack([seen.features for seen in self._run_on_each(view, text)])

    def _run_on_windows(self, view: View, text: Classify) -> WindowFeatures:
        seen = self.method(self.tower, view, text, **self._other_towers)
        return WindowFeatures(seen) if isinstance(seen, Tensor) else seen

    def _compare(self, text: Classify, windows: Iterable[View]) -> Compare:
        """Return the text head, or one that compares upsampled features of some windows."""
        if self.upsampler is None:
            return text
        return UpsampledText(self.upsampler, text, torch.cat([view.images for view in windows]))

    def _run_on_each(self, view: View, text: Classify) -> Iterator[ImageFeatures | WindowFeatures]:
        """The method's output for each image in one window."""
        return (self._run_on_image(self._one_window(each), text) for each in view.split())

    def _run_on_image(self, image: WindowedImage, text: Classify) -> ImageFeatures | WindowFeatures:
        return self.method(self.tower, image, text, **self._other_towers)

    def _one_window(self, view: View, file: FileImage | None = None) -> WindowedImage:
        """Wrap a view of one image as a single window."""
        size = height_width(view.images)
        windows = CutImage(view, size, size, ((0, 0), (0, 0)), [Window(0, 0, *size)])
        if file is None:
            file = FileImage(None, to_pixels(view.images[0]))
        return WindowedImage(windows, size, self.choose_batch, file)

    @property
    def _other_towers(self) -> dict:
        """The other towers that the method needs, as keyword arguments."""
        given = {} if self.proxy is None else dict(proxy=self.proxy)
        return dict(given, sam=self.sam) if self.method.needs_sam else given

    def choose_batch(self, size: tuple[int, int]) -> int:
        """Return the number of windows of a size (height, width in pixels) to encode at a time."""
        return min(
            choose_window_batch(
                tower.num_prefix_tokens + math.prod(side // tower.patch_size for side in size),
                tower.width,
                tower.heads,
                tower.device,
            )
            for tower in self._towers
        )


def to_pixels(image: Tensor) -> np.ndarray:
    """Turn an image ``[3, H, W]``, normalised for CLIP, into BGR, uint8 ``[H, W, 3]``."""
    mean, std = (torch.tensor(values, device=image.device)[:, None, None] for values in CLIP)
    pixels = ((image.detach().float() * std + mean) * 255).round().clamp(0, 255)
    return pixels.byte().flip(0).permute(1, 2, 0).cpu().numpy()


def build_encoder(cfg: dict, shared: tuple[dict, ImageEncoder] | None = None) -> ImageEncoder:
    """Build an image encoder, sharing towers that are already loaded.

    Args:
        cfg: Config of the encoder.
        shared: Config of another encoder, and that encoder. It is returned if the configs are
            equal; its CLIP is shared if only method, proxy, SAM and upsampler differ.

    Raises:
        InputError: If the encoder cannot be built.
    """
    if shared is not None:
        other_cfg, other = shared
        if cfg == other_cfg:
            return other
        if type(other) is CLIPImageEncoder and _towers_of(cfg) == _towers_of(other_cfg):
            return MODELS.build({**cfg, 'tower': other.tower})
    return MODELS.build(cfg)


def _towers_of(cfg: dict) -> dict:
    others = ('method', 'proxy', 'sam', 'upsampler')
    return {key: value for key, value in cfg.items() if key not in others}
