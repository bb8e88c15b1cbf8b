"""Learn the projection of SCLIP's ablation from a few labelled images; all else stays frozen.

The last block's attention becomes ``softmax(x W Wᵀ xᵀ / √d) v``. Only W is trained, with a
cross-entropy loss per pixel, starting from the block's own W_q (an ablation of SCLIP, arXiv
2312.01597).
"""

import io
import math
import os.path as osp
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.device import get_device
from mmseg.registry import MODELS
from torch import Tensor
from tqdm import tqdm

from .config import merge_options, read_config
from .datasets.background import Background
from .datasets.checks import (
    CheckedPipeline,
    check_classes,
    check_files,
    load_dataset,
)
from .models import CLIPSegmentor, View
from .models.decision import SigmoidScores, SoftmaxScores, class_scores
from .models.fusion import encode_windows
from .models.texts import read_texts
from .models.window_cfg import WindowCfg
from .models.windows import Size, Window
from .registry import METHODS, in_scope
from .utils.errors import InputError
from .utils.files import write_atomically

IGNORED = 255


def train(
    config: str,
    clip: str | None = None,
    out: str | None = None,
    *,
    images: int = 64,
    epochs: int = 20,
    batch_size: int = 8,
    lr: float = 1e-4,
    seed: int = 0,
    resume: bool = False,
    cfg_options: dict[str, Any] | None = None,
) -> Path:
    """Learn the projection of a config's ``LearnedCSA`` on the training split.

    Args:
        config: Config of the benchmark: a path or the name of a shipped config.
        clip: CLIP by name or path; None for the config's own.
        out: Output file; None for the file that the config's method reads.
        images: Number of labelled images to draw.
        epochs: Number of epochs; each sees one window per image.
        batch_size: Windows per step.
        lr: Learning rate of AdamW.
        seed: Seed for images, order and windows.
        resume: Whether to continue after the last complete epoch, if any.
        cfg_options: Settings that override the config's.

    Returns:
        Path of the written file.

    Raises:
        InputError: If an argument cannot be used.
    """
    for name, value in dict(images=images, epochs=epochs, batch_size=batch_size, lr=lr).items():
        if not value > 0:
            raise InputError(f'--{name.replace("_", "-")} {value} must be positive')
    cfg = read_config(config)
    cfg.merge_from_dict(training_split(cfg.test_dataloader.dataset))
    merge_options(cfg, cfg_options)
    if clip:
        cfg.model.image_encoder.clip = clip
    target = output_path(out, cfg.model.image_encoder.method)
    checkpoint = target.with_name(f'{target.stem}.checkpoint{target.suffix}')
    generator = torch.Generator().manual_seed(seed)
    with in_scope():
        drawn = load_images(cfg, images, generator)
        training = Training(build_model(cfg), drawn, generator, lr, batch_size)
    if resume and checkpoint.is_file():
        training.load(checkpoint)
        if training.epoch > epochs:
            raise InputError(
                f'{checkpoint} was trained for {training.epoch} epochs, more than --epochs '
                f'{epochs}: leave out --resume to start from the beginning'
            )
    target.parent.mkdir(parents=True, exist_ok=True)
    steps = math.ceil(len(drawn) / batch_size)
    with tqdm(total=epochs * steps, initial=training.epoch * steps, desc='steps') as bar:
        while training.epoch < epochs:
            losses = []
            for loss in training.run_epoch():
                losses.append(loss)
                bar.update()
            _save(training.to_dict(), checkpoint)
            bar.write(f'epoch {training.epoch}: loss {sum(losses) / len(losses):.4f}')
    _save(dict(weight=training.weight.detach().cpu()), target)
    return target


def training_split(dataset: dict) -> dict[str, str]:
    """Options that point a dataset's ``ann_file`` and ``data_prefix`` to the training split."""
    values = {f'data_prefix.{key}': value for key, value in dataset.get('data_prefix', {}).items()}
    values['ann_file'] = dataset.get('ann_file', '')
    for old, new in (('validation', 'training'), ('val', 'train'), ('test', 'train')):
        values = {key: value.replace(old, new) for key, value in values.items()}
    return {f'test_dataloader.dataset.{key}': value for key, value in values.items()}


def output_path(out: str | None, method: dict) -> Path:
    """Output path of the projection: ``--out``, or the file that the config reads.

    Raises:
        InputError: If neither is given, or the path is a folder.
    """
    path = out or method.get('projection')
    if not path:
        raise InputError(
            "give --out FILE.pt, or a config with method=dict(type='LearnedCSA', "
            'projection=FILE.pt), such as those in configs/ablations'
        )
    path = Path(osp.normpath(osp.expanduser(path)))
    if path.is_dir():
        raise InputError(f'--out {path} is a folder: give a file')
    return path


def build_model(cfg: Config) -> CLIPSegmentor:
    """Build the config's segmentor; only its projection, initialised to W_q, is trainable."""
    cfg.model.image_encoder.method = dict(type='IdentityCSA')
    model = MODELS.build(cfg.model).eval()  # frozen
    tower = model.image_encoder.tower
    method = METHODS.build(dict(type='LearnedCSA', width=tower.width))
    method.weight.data.copy_(tower.blocks[-1].qkv.weight[: tower.width].T)
    model.image_encoder.method = method
    return model.to(get_device())


def load_images(cfg: Config, count: int, generator: torch.Generator) -> list[dict]:
    """Draw images from the training split and run the config's pipeline on them.

    Returns:
        A dict for each image: ``path``, ``image`` (uint8 ``[3, h, w]``) and ``label`` (int64 ``[h,
        w]``, resized to the image).

    Raises:
        InputError: If data are missing or invalid, or the split has fewer images.
    """
    dataset = load_dataset(cfg.test_dataloader.dataset)
    check_files(dataset)
    query_set = read_texts(**cfg.model.text_head).query_set
    check_classes(dataset, query_set.num_classes, Background.NONE)
    if count > len(dataset):
        raise InputError(f'--images {count}: the training split has only {len(dataset)}')
    dataset.pipeline = CheckedPipeline(dataset)
    drawn = torch.randperm(len(dataset), generator=generator)[:count].tolist()
    with tqdm(drawn, desc='images', leave=False) as bar:  # cleared before an error is shown
        return [_load_image(dataset, index) for index in bar]


def _load_image(dataset: BaseDataset, index: int) -> dict:
    item = dataset[index]
    image, sample = item['inputs'], item['data_samples']
    label = sample.gt_sem_seg.data[None].float()
    label = F.interpolate(label, image.shape[-2:], mode='nearest-exact')[0, 0].long()
    return dict(path=sample.img_path, image=image, label=label)


def random_window(size: Size, crop: Size | None, generator: torch.Generator) -> Window:
    """A window at a random position; it spans a side that is shorter, or whose crop is None."""
    ends = []
    for side, length in zip(size, crop or size):
        length = min(side, length)
        start = int(torch.randint(side - length + 1, (), generator=generator))
        ends.append((start, start + length))
    (top, bottom), (left, right) = ends
    return Window(top, left, bottom, right)


def segmentation_loss(
    cosines: Sequence[Tensor],
    labels: Sequence[Tensor],
    class_ids: Sequence[int],
    logit_scale: float,
) -> Tensor:
    """Mean cross-entropy over the labelled pixels; a class scores the maximum of its queries.

    Args:
        cosines: Query maps ``[Q, h, w]``, one per window.
        labels: Labels, int64 ``[h, w]``, one per window: 0 to K - 1, or 255 if unlabelled.
        class_ids: Class index of each query.
        logit_scale: Factor on the cosines.

    Returns:
        Scalar loss; 0 if no pixel is labelled.
    """
    logits = [class_scores(c * logit_scale, class_ids).flatten(1).T for c in cosines]
    target = torch.cat([label.flatten() for label in labels])
    total = F.cross_entropy(torch.cat(logits), target, ignore_index=IGNORED, reduction='sum')
    return total / (target != IGNORED).sum().clamp(min=1)


class Training:
    """The state of a training: projection, optimiser, random numbers and finished epochs.

    Args:
        model: The segmentor, see :func:`build_model`.
        images: Images from :func:`load_images`.
        generator: Random generator for order and windows.
        lr: Learning rate.
        batch_size: Windows per step.
    """

    def __init__(
        self,
        model: CLIPSegmentor,
        images: Sequence[dict],
        generator: torch.Generator,
        lr: float,
        batch_size: int,
    ):
        self.model, self.images, self.generator = model, images, generator
        self.batch_size = batch_size
        [self.weight] = (each for each in model.parameters() if each.requires_grad)
        scoring = model.rule.scoring
        if not isinstance(scoring, SoftmaxScores | SigmoidScores):
            raise InputError(
                "the loss needs scores computed from cosines: set test_cfg.activation='softmax'"
            )
        self.logit_scale = scoring.logit_scale
        self.optimizer = torch.optim.AdamW([self.weight], lr=lr)
        self.epoch = 0
        self.settings = dict(
            lr=lr,
            batch_size=batch_size,
            seed=generator.initial_seed(),
            images=[image['path'] for image in images],
        )

    def run_epoch(self) -> Iterator[float]:
        """Train on one window of each image; yield the loss of each step.

        Raises:
            InputError: If the loss is not finite.
        """
        order = torch.randperm(len(self.images), generator=self.generator)
        for batch in order.split(self.batch_size):
            loss = self._loss([self.images[index] for index in batch.tolist()])
            if not loss.isfinite():
                raise InputError(f'the loss is {loss.item()}: set a smaller --lr')
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            yield loss.item()
        self.epoch += 1

    def _loss(self, images: Sequence[dict]) -> Tensor:
        model, cfg = self.model, self.model.windows
        crop = cfg.crop_size if cfg.mode == 'slide' else None
        crops, labels = [], []
        for image in images:
            top, left, bottom, right = random_window(image['label'].shape, crop, self.generator)
            window = image['image'][:, top:bottom, left:right]
            crops.append(model.data_preprocessor(dict(inputs=[window]))['inputs'][0])
            labels.append(image['label'][top:bottom, left:right].to(crops[0].device))
        views = [View(crop[None]) for crop in crops]
        maps = encode_windows(views, model._encode, WindowCfg('whole'), model.window_batch)
        cosines = [each.fuse().whole() for each in maps]
        return segmentation_loss(
            cosines,
            labels,
            model.text_head.query_set.class_ids,
            self.logit_scale,
        )

    def to_dict(self) -> dict[str, Any]:
        """The state that :meth:`load` restores."""
        return dict(
            weight=self.weight.detach().cpu(),
            optimizer=self.optimizer.state_dict(),
            epoch=self.epoch,
            rng=self.generator.get_state(),
            settings=self.settings,
        )

    def load(self, path: Path) -> None:
        """Restore the state of :meth:`to_dict` from a file.

        Raises:
            InputError: If the file cannot be read or belongs to a different training.
        """
        unusable = InputError(
            f'{path} is damaged or not a checkpoint of a training: leave out --resume'
        )
        try:
            state = torch.load(path, map_location='cpu', weights_only=True)
        except Exception as error:  # unpickling a damaged file can raise anything
            raise unusable from error
        if not isinstance(state, dict) or 'settings' not in state:
            raise unusable
        settings = state['settings']
        differing = [key for key, value in self.settings.items() if settings.get(key) != value]
        if differing:
            raise InputError(
                f'{path} belongs to a training with different {", ".join(differing)}: use the same '
                'values, or leave out --resume'
            )
        self.weight.data.copy_(state['weight'])
        self.optimizer.load_state_dict(state['optimizer'])
        self.generator.set_state(state['rng'])
        self.epoch = state['epoch']


def _save(content: dict[str, Any], path: Path) -> None:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_atomically(path, buffer.getvalue())
