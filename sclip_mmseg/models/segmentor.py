"""The segmentor: image → windows → query maps → one map → refine → decide."""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.structures import PixelData
from mmseg.models import BaseSegmentor
from mmseg.registry import MODELS, TRANSFORMS
from mmseg.structures import SegDataSample
from mmseg.utils import get_classes, get_palette
from torch import Tensor

from ..config import NO_CHECKPOINT, is_saved_model, place_checkpoint
from ..datasets import voc_palette
from ..datasets.background import Background
from ..memory import MemoryCfg
from ..old_names import OldAttribute
from ..regions import CorrectionInputs, build_regions, check_regions
from ..registry import POSTPROCESSORS, REFINERS, in_scope, type_name
from ..utils.errors import HalfOverflow, InputError, NotFetched
from ..utils.precision import check_matmul_precision, own_precision
from ..utils.torch_types import height_width
from .building import build_text_head, check_text_head
from .decision import DecisionRule, find_background, segment, segment_variants
from .encoder import ImageEncoder, MissingEncoder
from .file_image import FileImage
from .fusion import DenseMap, QueryMap, WindowMaps, cut_windows, encode_windows
from .image_encoder import build_encoder
from .image_input import ImageInput, flipped_axes, unpad
from .memory import Memory, check_encoder
from .saved_weights import adapt_embeddings, check_weights, describe_weights
from .test_cfg import read_test_cfg
from .text_head import CLIPTextHead
from .texts import read_texts
from .view import View
from .window_cfg import WindowCfg
from .windowed_image import WindowedImage
from .windows import Size


@MODELS.register_module()
class CLIPSegmentor(BaseSegmentor):
    """Training-free open-vocabulary segmentation with a frozen CLIP or a trained system.

    Args:
        image_encoder: Config of the image encoder, e.g. :class:`.image_encoder.CLIPImageEncoder`.
            If it has a ``background`` other than None, the first channel of its maps is a
            background without a query.
        text_head: Config of the text head, e.g. :class:`.text_head.CLIPTextHead`. Its checkpoint
            defaults to the image encoder's.
        refine: Config of a module that refines query maps, e.g. :class:`.pamr.PAMR`; None for none.
        region_masks: Path pattern of the images' region maps, see :class:`..regions.RegionFiles`,
            or config of a generator of region maps, see :mod:`..regions`; for methods and
            corrections that need one.
        postprocess: Config of a module that corrects labels at the end, e.g.
            :class:`..regions.RegionMajority`; None for none.
        memory: Arguments of a memory bank in which regions are looked up, see
            :class:`..memory.MemoryCfg`; None for none.
        test_cfg: Windows and decision rule, see :func:`.test_cfg.read_test_cfg`.
        data_preprocessor: Config of the preprocessor, :class:`.PadSegDataPreProcessor`.
        pretrained, train_cfg: None, as mmseg's ``init_model`` sets them.
        share: A segmentor on the same device, whose towers this one uses, and whose embeddings it
            uses if its config asks for the same; None in configs.

    Raises:
        InputError: If a value or a file cannot be used. Values are checked before weights are read.
    """

    windows: WindowCfg
    rule: DecisionRule
    seg_logits: bool
    image_encoder: ImageEncoder
    text_head: CLIPTextHead
    class_ids: Tensor
    num_classes: int
    pictures = OldAttribute('windowed_images')

    @in_scope()
    @own_precision()
    def __init__(
        self,
        image_encoder: dict,
        text_head: dict,
        refine: dict | None = None,
        region_masks: str | dict | None = None,
        postprocess: dict | None = None,
        memory: dict | None = None,
        test_cfg: dict | None = None,
        data_preprocessor: dict | None = None,
        pretrained: None = None,
        train_cfg: None = None,
        share: 'CLIPSegmentor | None' = None,
    ):
        super().__init__(data_preprocessor=data_preprocessor)
        if pretrained is not None or train_cfg is not None:
            raise InputError('model.pretrained and train_cfg are not used: set image_encoder.clip')
        self.windows, self.rule, self.seg_logits = read_test_cfg(test_cfg)
        self.background = find_background(image_encoder, self.rule.background)
        self.text_head_cfg = text_head
        self.query_set = read_texts(**text_head).query_set
        self.refine = REFINERS.build(refine) if refine else None
        self.postprocess = POSTPROCESSORS.build(postprocess) if postprocess else None
        self.memory_cfg = MemoryCfg(**memory) if memory else None
        if self.memory_cfg is not None:
            check_encoder(image_encoder)
        self.memory: Memory | None = None
        self.regions = None if region_masks is None else build_regions(region_masks)
        try:
            self._read_weights(image_encoder, share)
        except NotFetched as error:
            self.image_encoder = MissingEncoder(error)
        self._name_classes()
        class_ids = torch.tensor(self.query_set.class_ids)
        if image_encoder.get('background') is not None:  # channel 0 of the maps
            class_ids = F.pad(class_ids + 1, (1, 0))
        self.register_buffer('class_ids', class_ids, persistent=False)
        self.requires_grad_(False)

    def _read_weights(self, encoder_cfg: dict, share: 'CLIPSegmentor | None' = None) -> None:
        """Build the image encoder and the text head, and check that all parts fit together."""
        self.encoder_cfg = encoder_cfg
        check_text_head(encoder_cfg, self.text_head_cfg)  # before an encoder is downloaded
        if share is not None:
            share.require_weights()
        shared = (share.encoder_cfg, share.image_encoder) if share else None
        self.image_encoder = build_encoder(encoder_cfg, shared)
        self._check_regions()
        self._check_sizes()
        self._check_normalisation()
        self.text_head = build_text_head(encoder_cfg, self.text_head_cfg, share and share.text_head)
        dims = self.image_encoder.embed_dim, self.text_head.embeddings.shape[-1]
        if dims[0] != dims[1]:
            file = self.text_head_cfg.get('embeddings')
            raise InputError(
                f'image features have {dims[0]} dimensions but text embeddings'
                f'{f" of {file}" if file else ""} {dims[1]}: {self.image_encoder.mismatch_hint}'
            )
        self._open_memory()

    def _open_memory(self) -> None:
        cfg = self.memory_cfg
        if cfg is None:
            return
        heads = [self.text_head]
        if cfg.clip is not None:
            if self.text_head_cfg.get('embeddings'):
                raise InputError(
                    'text_head.embeddings holds the embeddings of one CLIP: with model.memory.clip '
                    'give text_head.queries instead'
                )
            heads.append(
                build_text_head({**self.encoder_cfg, 'clip': cfg.clip}, self.text_head_cfg)
            )
        self.memory = Memory(cfg, self.encoder_cfg, self.image_encoder, heads)

    def require_weights(self) -> None:
        """Check that weights are loaded: the config's, or those of another checkpoint.

        Raises:
            InputError: If the config's weights could not be fetched.
        """
        if isinstance(self.image_encoder, MissingEncoder):
            raise self.image_encoder.error

    @in_scope()
    def read_checkpoint(self, checkpoint: str) -> None:
        """Load another checkpoint, as if the config named it.

        Args:
            checkpoint: Name or path: of a trained system if the model is one, else of a CLIP.

        Raises:
            InputError: If the checkpoint cannot be used.
        """
        encoder, head = dict(self.encoder_cfg), dict(self.text_head_cfg)
        place_checkpoint(encoder, head, checkpoint)
        self.text_head_cfg = head
        self._read_weights(encoder)
        for part in (self.image_encoder, self.text_head):
            part.requires_grad_(False).to(self.class_ids.device).train(self.training)

    def _save_to_state_dict(self, destination: dict, prefix: str, keep_vars: bool) -> None:
        self.require_weights()
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if hasattr(destination, '_metadata'):
            destination._metadata[prefix[:-1]].update(describe_weights(self.text_head))

    def _load_from_state_dict(
        self, state_dict: dict, prefix: str, local_metadata: dict, *args: Any
    ) -> None:
        """Load weights of the whole model, or a CLIP that mmengine's loader announces.

        All of OpenMMLab's programs come through here: ``init_model``, ``Runner``, inferencers.
        """
        checkpoint = local_metadata.get('checkpoint')
        found = {name.removeprefix(prefix): value for name, value in state_dict.items()}
        if checkpoint is not None and not is_saved_model(found):
            if checkpoint != NO_CHECKPOINT:
                self.read_checkpoint(checkpoint)
            found = self.state_dict()
            state_dict.clear()
        self.require_weights()
        source = checkpoint or 'the state dict'
        adapt_embeddings(found, self.text_head, local_metadata, source)
        check_weights(found, self.state_dict(), source)
        state_dict.update({prefix + name: value for name, value in found.items()})
        if 'meta' in local_metadata:  # else mmseg would show its classes, not the model's
            local_metadata['meta']['dataset_meta'] = self.dataset_meta
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)

    @property
    def cfg(self) -> Config:
        """A copy of the whole config, since mmseg's ``inference_model`` edits what it gets.

        Steps of the pipeline are given by the names of mmseg's transforms, even if the config has
        the classes themselves, and are found in any default scope.
        """
        cfg = copy.deepcopy(self._cfg)
        for step in cfg.get('test_pipeline', ()):
            step.setdefault('_scope_', 'mmseg')
            if TRANSFORMS.get(type_name(step)) is step['type']:
                step['type'] = type_name(step)
        return cfg

    @cfg.setter
    def cfg(self, cfg: Config) -> None:
        self._cfg = cfg

    @property
    def dataset_meta(self) -> dict:
        """``classes`` and ``palette``, which programs of mmseg show."""
        return self._dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, meta: dict) -> None:
        """Rename or recolour the classes.

        Cityscapes' classes are ignored: mmseg's ``MMSegInferencer`` sets them if it gets no
        weights.

        Raises:
            InputError: If the number of classes differs from the model's.
        """
        if meta == dict(classes=get_classes('cityscapes'), palette=get_palette('cityscapes')):
            return
        if len(meta['classes']) != self.num_classes:
            raise InputError(
                f'dataset_meta names {len(meta["classes"])} classes, but the model has '
                f'{self.num_classes}: name as many'
            )
        self._dataset_meta = meta

    def _apply(self, function: Callable[[Tensor], Tensor], recurse: bool = True) -> 'CLIPSegmentor':
        """Move or cast the model. ``half`` and the like cast only what ``precision`` casts."""
        matrices = list(self.image_encoder.matrices())
        cast = {id(tensor) for matrix in matrices for tensor in (matrix, matrix.grad)}

        def apply(tensor: Tensor) -> Tensor:
            result = function(tensor)
            keep = result.dtype != tensor.dtype and id(tensor) not in cast
            return tensor.to(result.device) if keep else result

        return super()._apply(apply, recurse)

    def _corrects_by(self, what: str) -> bool:
        """Whether the correction of labels uses ``'regions'``, ``'scores'`` or ``'sam'``."""
        return getattr(self.postprocess, f'needs_{what}', False)

    def _check_regions(self) -> None:
        needed = self.image_encoder.needs_regions or self._corrects_by('regions')
        needed = needed or self.memory_cfg is not None
        if self._corrects_by('sam') and self.image_encoder.sam is None:
            raise InputError(
                'model.postprocess needs Segment Anything: set model.image_encoder.sam='
                "dict(checkpoint='facebook/sam-vit-base')"
            )
        if needed and self.regions is None:
            raise InputError(
                'the method, model.memory or model.postprocess needs region maps: set '
                'model.region_masks to their path, with {stem} in place of the image name, '
                "or to dict(type='Felzenszwalb')"
            )
        if self.regions is not None and not needed:
            raise InputError(
                'model.region_masks is not used by this method: set it to None, or correct labels '
                "with it by model.postprocess=dict(type='RegionMajority')"
            )

    def _name_classes(self) -> None:
        self.rule.num_classes(self.query_set.class_ids)  # raises if background is not a class
        names, palette = self.query_set.class_names, self.query_set.palette
        if self.background is Background.NO_QUERY:
            names = ('background', *names)
            black = [0, 0, 0]
            palette = voc_palette(len(names)) if black in palette else [black, *palette]
        self.out_channels = self.num_classes = len(names)
        self._dataset_meta = dict(classes=names, palette=palette)

    def _check_sizes(self) -> None:
        patch, crop = self.image_encoder.patch_size, self.windows.crop_size
        least = max(self.windows.min_size, self.image_encoder.min_size)
        self.windows = replace(self.windows, min_size=least)
        if self.windows.mode == 'slide' and min(crop) < least:
            raise InputError(
                f'test_cfg.crop_size={crop} is smaller than the {least}×{least} pixels that '
                'model.image_encoder.upsampler or test_cfg.min_size needs'
            )
        if self.windows.mode == 'slide' and min(crop) < patch:
            raise InputError(
                f'test_cfg.crop_size={crop} is smaller than a patch of {patch}×{patch} pixels'
            )

    def _check_normalisation(self) -> None:
        """Check that the preprocessor normalises images as the encoder expects, where stated."""
        expected = self.image_encoder.normalisation
        if expected is None:
            return
        given = [getattr(self.data_preprocessor, key, None) for key in ('mean', 'std')]
        for values, each in zip(given, expected):
            wanted = 255 * torch.tensor(each)
            if values is None or not torch.allclose(values.flatten().float(), wanted, atol=0.01):
                mean, std = ([round(255 * value, 3) for value in part] for part in expected)
                is_clip = 'clip' in self.encoder_cfg
                why = (
                    ': a CLIP from the Hub, or one with a config beside its path, is adapted to '
                    'this normalisation, whatever it was trained with (a config beside a path is '
                    'not read if model.image_encoder.quick_gelu is set)'
                )
                raise InputError(
                    f'model.data_preprocessor must have mean={mean} and std={std}{why * is_clip}'
                )

    def extract_feat(self, inputs: Tensor) -> Tensor:
        """Compute patch features ``[B, h, w, D]`` of normalised images ``[B, 3, H, W]``."""
        self.require_weights()
        return self.image_encoder.features(View(inputs), self.text_head)

    def encode_decode(self, inputs: Tensor, batch_img_metas: list[dict] | None = None) -> Tensor:
        """Compute query maps ``[B, Q, H, W]`` of images ``[B, 3, H, W]``, each as one window."""
        maps, corners = self._forward(inputs), self.image_encoder.align_corners
        return F.interpolate(maps, inputs.shape[-2:], mode='bilinear', align_corners=corners)

    def _forward(self, inputs: Tensor, data_samples: list[SegDataSample] | None = None) -> Tensor:
        """Compute query maps ``[B, Q, h, w]`` of images ``[B, 3, H, W]``."""
        return self._encode(View(inputs))

    def _encode(self, view: View) -> Tensor:
        """Compute query maps ``[B, Q, h, w]`` of windows; only this differs between systems."""
        self.require_weights()
        return self.image_encoder(view, self.text_head)

    def loss(self, inputs: Tensor, data_samples: list[SegDataSample]) -> dict:
        """Raise, since there is nothing to train.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError(
            'CLIPSegmentor is training-free and has no loss: evaluate it with tools/test.py'
        )

    @own_precision()
    @torch.no_grad()
    def predict(
        self, inputs: Tensor, data_samples: list[SegDataSample] | None = None
    ) -> list[SegDataSample]:
        """Segment a batch. The model's own precision holds, whatever the caller's autocast.

        Args:
            inputs: Normalised images ``[B, 3, H, W]``, padded on the right and at the bottom if
                their sizes differ.
            data_samples: Metadata of the images; None for images without padding, whose results
                have their own size. Region maps are found or made by ``img_path``, unless the
                metadata have one as ``regions``, integers ``[H, W]`` at the original size.

        Returns:
            The samples, with ``pred_sem_seg`` (int64 ``[1, H, W]``) and, unless
            ``test_cfg.seg_logits`` is off, ``seg_logits`` (class scores, float32 ``[K, H, W]``, 0
            to 1) at each image's original size.

        Raises:
            InputError: If an image is smaller than a patch, or its features are not finite; or if
                torch is set to compute float32 products at lower precision.
        """
        samples = data_samples or [SegDataSample() for _ in inputs]
        images = self._read_inputs(inputs, samples)
        for image, maps in zip(images, self._encode_images(images)):
            self._decide(maps, image)
        return samples

    @own_precision()
    @torch.no_grad()
    def encode_images(self, inputs: Tensor, data_samples: list[SegDataSample]) -> list[WindowMaps]:
        """Run the first part of :meth:`predict`: compute the coarse maps of each image's windows.

        Arguments and errors are those of :meth:`predict`; :meth:`decide_variants` does the rest.
        """
        return list(self._encode_images(self._read_inputs(inputs, data_samples)))

    @torch.no_grad()
    def decide_variants(
        self, maps: WindowMaps, image: Tensor, sample: SegDataSample, rules: Sequence[DecisionRule]
    ) -> Iterator[tuple[DecisionRule, Tensor]]:
        """Run the rest of :meth:`predict` for several decision rules.

        Args:
            maps: Maps of one image, from :meth:`encode_images`.
            image: The same image as given to :meth:`encode_images`, ``[3, H, W]``.
            sample: Metadata of the image.
            rules: Decision rules, see :func:`.decision.segment_variants`.

        Yields:
            Each rule, and the classes it gives the image, int64 ``[H, W]``.
        """
        image = unpad(image, sample)
        item = self._read_input(image, sample, self._corrects_by('regions'))
        query_map = self._fuse(maps, item)
        if self._corrects_by('scores'):
            for rule in rules:
                scores, classes = segment(query_map, self.class_ids, rule, keep_scores=True)
                yield rule, self._correct(classes, scores, item)
            return
        for rule, classes in segment_variants(query_map, self.class_ids, rules):
            yield rule, self._correct(classes, None, item)

    def _read_inputs(self, inputs: Tensor, samples: list[SegDataSample]) -> list[ImageInput]:
        """Return the images without padding, with their regions."""
        check_matmul_precision()
        images = [unpad(image, sample) for image, sample in zip(inputs, samples)]
        for image, sample in zip(images, samples):
            self.check_size(height_width(image), sample.get('img_path'))
        return [self._read_input(image, sample) for image, sample in zip(images, samples)]

    def check_size(self, size: Size, name: str | None = None) -> None:
        """Check that an image is at least as large as a patch.

        Args:
            size: Height and width in pixels.
            name: Path of the image.

        Raises:
            InputError: If the image is smaller.
        """
        patch = self.image_encoder.patch_size
        if max(min(size), self.windows.min_size) < patch:
            raise InputError(
                f'{name or "an image"} is {tuple(size)} pixels after resizing, smaller than a '
                f'patch of {patch}×{patch}'
            )

    def _read_input(
        self, image: Tensor, sample: SegDataSample, with_regions: bool = True
    ) -> ImageInput:
        regions = self._load_regions(image, sample) if with_regions else None
        path, pixels, raster = map(sample.get, ('img_path', 'pixels', 'map'))
        file = FileImage(path, pixels, flipped_axes(sample), raster)
        return ImageInput(image, sample, file, regions)

    def _encode_images(self, images: list[ImageInput]) -> list[WindowMaps]:
        if self.image_encoder.sees_whole_image or self.memory is not None:
            maps = [self._encode_image(image) for image in images]
        else:
            views = [image.view() for image in images]
            given = self._encode, self.windows, self.window_batch, self.image_encoder.align_corners
            maps = encode_windows(views, *given)
        for each, image in zip(maps, images):
            self.check_finite(each.cells, image.sample.get('img_path'))
        return maps

    def check_finite(self, maps: Tensor, name: str | None = None) -> None:
        """Check that an image's maps are finite.

        Args:
            maps: Maps of any shape.
            name: Path of the image.

        Raises:
            InputError: If they are not finite.
        """
        # One pass without a mask; aminmax returns NaN for both if there is one.
        if not torch.stack(maps.aminmax()).isfinite().all():
            halved = any(each.dtype == torch.half for each in self.image_encoder.matrices())
            raise _not_finite(name, halved)

    def windowed_images(
        self, inputs: Tensor, data_samples: list[SegDataSample]
    ) -> list[WindowedImage]:
        """Return the images with their windows; arguments as :meth:`predict`."""
        return [self._windowed_image(image) for image in self._read_inputs(inputs, data_samples)]

    def _windowed_image(self, image: ImageInput) -> WindowedImage:
        cut = cut_windows(self.image_encoder.resize(image.view(), self.windows), self.windows)
        return WindowedImage(cut, image.size, self.window_batch, image.file)

    def _encode_image(self, image: ImageInput) -> WindowMaps:
        windowed = self._windowed_image(image)
        if self.memory is not None:
            return self.memory.encode(self.image_encoder, windowed, self.text_head)
        return self.image_encoder.encode_image(windowed, self.text_head)

    def correct(self, classes: Tensor, scores: Tensor, sample: SegDataSample) -> Tensor:
        """Correct the classes ``[H, W]`` by ``postprocess``, given scores ``[K, H, W]``."""
        item = self._read_input(classes, sample, self._corrects_by('regions'))
        return self._correct(classes, scores, item)

    def _correct(self, classes: Tensor, scores: Tensor | None, image: ImageInput) -> Tensor:
        if self.postprocess is None:
            return classes
        sam = self.image_encoder.sam if self._corrects_by('sam') else None
        known = dict(regions=image.regions, scores=scores, file=image.file, sam=sam)
        known = {name: value for name, value in known.items() if value is not None}
        return self.postprocess(classes, CorrectionInputs(**known))

    def _load_regions(self, like: Tensor, sample: SegDataSample) -> Tensor | None:
        """Load an image's region ids at its original size, int64 ``[H, W]``; None for none."""
        if self.regions is None:
            return None
        size = sample.get('ori_shape', like.shape[-2:])
        if sample.get('regions') is not None:
            return check_regions(sample.regions, size, 'the region map').to(like.device)
        if not sample.get('img_path'):
            raise InputError(
                "model.region_masks is found by the image's name: segment an image from a file, "
                'not an array, or segment the array with sclip_mmseg.apis.segment'
            )
        return self.regions.load(sample.img_path, size, sample.get('map')).to(like.device)

    def window_batch(self, size: Size) -> int:
        """Return the number of windows of a size (height, width in pixels) to encode at a time."""
        return self.windows.window_batch or self.image_encoder.choose_batch(size)

    def _decide(self, maps: WindowMaps, image: ImageInput) -> None:
        """Fuse the windows' maps at the original size, refine, decide and correct."""
        query_map = self._fuse(maps, image)
        keep_scores = self.seg_logits or self._corrects_by('scores')
        scores, classes = segment(query_map, self.class_ids, self.rule, keep_scores)
        if self.seg_logits:
            image.sample.seg_logits = PixelData(data=scores)
        classes = self._correct(classes, scores, image)
        image.sample.pred_sem_seg = PixelData(data=classes[None])

    def _fuse(self, maps: WindowMaps, image: ImageInput) -> QueryMap:
        """Return the fused, refined map at the original size."""
        size, axes = image.size, flipped_axes(image.sample)
        flip = [axis in axes for axis in (-2, -1)]
        fused = maps.pixels(size, flip) or maps.fuse(size, flip)
        if self.refine is None:
            return fused
        guide = _resize(image.pixels.flip(axes), size)
        text = (self.text_head.embeddings,) if getattr(self.refine, 'needs_text', False) else ()
        return DenseMap(self.refine(fused.whole()[None], guide[None], *text)[0])


def _not_finite(name: str | None, halved: bool) -> InputError:
    where = f'the features of {name or "an image"} are not finite: '
    if halved:
        return HalfOverflow(
            f"{where}model.image_encoder.precision='fp16' overflows with this checkpoint; use "
            "'bf16' or 'fp32'"
        )
    return InputError(
        f'{where}the checkpoint, the text embeddings or the image contain NaN or infinity'
    )


def _resize(x: Tensor, size: Size) -> Tensor:
    return F.interpolate(x[None], size, mode='bilinear', align_corners=False)[0]
