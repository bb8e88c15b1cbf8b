#!/usr/bin/env python
"""Learn the projection of SCLIP's ablation from a few labelled images; all else stays frozen.

The last block's attention becomes ``softmax(x W Wᵀ xᵀ / √d) v``. W starts as the block's own W_q
and alone is trained, by the cross-entropy of each pixel's class (an ablation of SCLIP, arXiv
2312.01597).
"""

if __name__ == '__main__':  # before all imports, which take seconds
    from sclip_mmseg.utils.interrupt import end_at_once_if_interrupted

    end_at_once_if_interrupted()

import argparse
import math
import os
import os.path as osp
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from mmengine.config import Config, DictAction
from mmengine.device import get_device
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from torch import Tensor, nn
from tqdm import tqdm

from sclip_mmseg import InputError
from sclip_mmseg.config import read_config
from sclip_mmseg.datasets.background import Background
from sclip_mmseg.datasets.checks import (
    CheckedPipeline,
    check_classes,
    check_files,
    load_dataset,
)
from sclip_mmseg.models import View
from sclip_mmseg.models.decision import class_scores
from sclip_mmseg.models.fusion import encode_windows
from sclip_mmseg.models.texts import read_texts
from sclip_mmseg.models.window_cfg import WindowCfg
from sclip_mmseg.models.windows import Size, Window
from sclip_mmseg.registry import METHODS
from sclip_mmseg.utils.program import as_program

IGNORED = 255


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config', help='config of the benchmark, see configs/ablations')
    parser.add_argument(
        'clip', nargs='?', help="CLIP by name or path; default: the config's own image encoder's"
    )
    parser.add_argument('--out', help="default: the file that the config's LearnedCSA reads")
    parser.add_argument('--images', type=int, default=64, help='labelled images drawn by the seed')
    parser.add_argument('--epochs', type=int, default=20, help='a window of each image per epoch')
    parser.add_argument('--batch-size', type=int, default=8, help='windows per step')
    parser.add_argument('--lr', type=float, default=1e-4, help='learning rate of AdamW')
    parser.add_argument('--seed', type=int, default=0, help='of images, order and windows')
    parser.add_argument(
        '--resume', action='store_true', help='go on after the last whole epoch, if there was one'
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        default={},
        help='override settings of the config; the training split is test_dataloader.dataset with '
        'train in place of val in ann_file and data_prefix, unless they are set here',
    )
    return parser.parse_intermixed_args(argv)


def load_config(args: argparse.Namespace) -> Config:
    """Read the config, turn to the training split and apply the command line.

    Raises:
        InputError: If there is no such config, or a number is out of its range.
    """
    for name in ('images', 'epochs', 'batch_size', 'lr'):
        if not getattr(args, name) > 0:
            flag = name.replace('_', '-')
            raise InputError(f'--{flag} {getattr(args, name)} must be positive')
    cfg = read_config(str(args.config))
    cfg.merge_from_dict(training_split(cfg.test_dataloader.dataset))
    cfg.merge_from_dict(args.cfg_options)
    if args.clip:
        cfg.model.image_encoder.clip = args.clip
    return cfg


def training_split(dataset: dict) -> dict[str, str]:
    """Options that turn a dataset's ``ann_file`` and ``data_prefix`` to the training split."""
    values = {f'data_prefix.{key}': value for key, value in dataset.get('data_prefix', {}).items()}
    values['ann_file'] = dataset.get('ann_file', '')
    for old, new in (('validation', 'training'), ('val', 'train'), ('test', 'train')):
        values = {key: value.replace(old, new) for key, value in values.items()}
    return {f'test_dataloader.dataset.{key}': value for key, value in values.items()}


def output_path(out: str, method: dict) -> Path:
    """Where the projection goes: ``--out``, or the file that the config reads it from.

    Raises:
        InputError: If there is neither, or it is a folder.
    """
    path = out or method.get('projection')
    if not path:
        raise InputError(
            "give --out FILE.pt, or a config whose method is dict(type='LearnedCSA', "
            'projection=FILE.pt) as those of configs/ablations'
        )
    path = Path(osp.normpath(osp.expanduser(path)))
    if path.is_dir():
        raise InputError(f'--out {path} is a folder, write a file')
    return path


def build_model(cfg: Config) -> nn.Module:
    """Build the config's segmentor with a trainable projection, W_q at first, and nothing else."""
    cfg.model.image_encoder.method = dict(type='IdentityCSA')
    model = MODELS.build(cfg.model).eval()  # frozen as a whole
    tower = model.image_encoder.tower
    method = METHODS.build(dict(type='LearnedCSA', width=tower.width))
    method.weight.data.copy_(tower.blocks[-1].qkv.weight[: tower.width].T)
    model.image_encoder.method = method
    return model.to(get_device())


def load_images(cfg: Config, count: int, generator: torch.Generator) -> list[dict]:
    """Draw images from the training split and run the config's pipeline on them.

    Returns:
        For each image its ``path``, ``image`` (uint8 ``[3, h, w]``) and ``label`` (int64 ``[h,
        w]``, resized to the image).

    Raises:
        InputError: If data are missing or do not fit, or the split has fewer images.
    """
    dataset = load_dataset(cfg.test_dataloader.dataset)
    check_files(dataset)
    query_set = read_texts(**cfg.model.text_head).query_set
    check_classes(dataset, query_set.num_classes, Background.NONE)
    if count > len(dataset):
        raise InputError(f'--images {count}: the training split has only {len(dataset)}')
    dataset.pipeline = CheckedPipeline(dataset)
    drawn = torch.randperm(len(dataset), generator=generator)[:count].tolist()
    return [_load_image(dataset, index) for index in tqdm(drawn, desc='images', leave=False)]


def _load_image(dataset, index: int) -> dict:
    item = dataset[index]
    image, sample = item['inputs'], item['data_samples']
    label = sample.gt_sem_seg.data[None].float()
    label = F.interpolate(label, image.shape[-2:], mode='nearest-exact')[0, 0].long()
    return dict(path=sample.img_path, image=image, label=label)


def random_window(size: Size, crop: Size | None, generator: torch.Generator) -> Window:
    """A window at a random place of an image; all of it along a side that is shorter, or None."""
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
    """Mean cross-entropy over the labelled pixels, a class having the maximum of its queries.

    Args:
        cosines: ``[Q, h, w]`` of each window.
        labels: int64 ``[h, w]`` of each window, 0 to K - 1, or 255 for a pixel without label.
        class_ids: The class of each query.
        logit_scale: Factor on the cosines.

    Returns:
        A scalar; 0 if no pixel has a label.
    """
    logits = [class_scores(c * logit_scale, class_ids).flatten(1).T for c in cosines]
    target = torch.cat([label.flatten() for label in labels])
    total = F.cross_entropy(torch.cat(logits), target, ignore_index=IGNORED, reduction='sum')
    return total / (target != IGNORED).sum().clamp(min=1)


class Training:
    """The state of a training: projection, optimiser, random numbers and finished epochs.

    Args:
        model: The segmentor, see :func:`build_model`.
        images: See :func:`load_images`.
        generator: Draws order and windows.
        lr: Learning rate.
        batch_size: Windows per step.
    """

    def __init__(
        self,
        model: nn.Module,
        images: Sequence[dict],
        generator: torch.Generator,
        lr: float,
        batch_size: int,
    ):
        self.model, self.images, self.generator = model, images, generator
        self.batch_size = batch_size
        self.weight = model.image_encoder.method.weight
        self.optimizer = torch.optim.AdamW([self.weight], lr=lr)
        self.epoch = 0
        self.settings = dict(
            lr=lr,
            batch_size=batch_size,
            seed=generator.initial_seed(),
            images=[image['path'] for image in images],
        )

    def run_epoch(self) -> Iterator[float]:
        """See a window of each image once; yield the loss of each step.

        Raises:
            InputError: If the loss is not finite.
        """
        order = torch.randperm(len(self.images), generator=self.generator)
        for batch in order.split(self.batch_size):
            loss = self._loss([self.images[index] for index in batch.tolist()])
            if not loss.isfinite():
                raise InputError(f'the loss is {loss.item()}: give a smaller --lr')
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
            size = tuple(image['label'].shape)
            top, left, bottom, right = random_window(size, crop, self.generator)
            window = image['image'][:, top:bottom, left:right]
            crops.append(model.data_preprocessor(dict(inputs=[window]))['inputs'][0])
            labels.append(image['label'][top:bottom, left:right].to(crops[0].device))
        views = [View(crop[None]) for crop in crops]
        maps = encode_windows(views, model._encode, WindowCfg('whole'), model.window_batch)
        cosines = [each.fuse().whole() for each in maps]
        return segmentation_loss(
            cosines, labels, model.text_head.query_set.class_ids, model.rule.scoring.logit_scale
        )

    def save(self, path: Path) -> None:
        """Write the state; a reader sees the old file or the new one, never a part."""
        state = dict(
            weight=self.weight.detach().cpu(),
            optimizer=self.optimizer.state_dict(),
            epoch=self.epoch,
            rng=self.generator.get_state(),
            settings=self.settings,
        )
        write_atomically(state, path)

    def load(self, path: Path) -> None:
        """Read what :meth:`save` wrote.

        Raises:
            InputError: If the file cannot be read or belongs to another training.
        """
        useless = InputError(
            f'{path} cannot be resumed from, it is damaged or no checkpoint: leave out --resume'
        )
        try:
            state = torch.load(path, map_location='cpu', weights_only=True)
        except Exception as error:  # any, since it takes a file's bytes for instructions
            raise useless from error
        if not isinstance(state, dict) or 'settings' not in state:
            raise useless
        settings = state['settings']
        differing = [key for key, value in self.settings.items() if settings.get(key) != value]
        if differing:
            raise InputError(
                f'{path} belongs to a training with other {", ".join(differing)}: use the same '
                'ones, or leave out --resume'
            )
        self.weight.data.copy_(state['weight'])
        self.optimizer.load_state_dict(state['optimizer'])
        self.generator.set_state(state['rng'])
        self.epoch = state['epoch']


def write_atomically(content: dict, path: Path) -> None:
    """Save tensors and plain values to a file that is never seen half written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f'{path.name}.part')
    torch.save(content, part)
    os.replace(part, path)


def train(cfg: Config, args: argparse.Namespace) -> Path:
    """Train to the last epoch and return the path of the projection.

    Raises:
        InputError: If something given cannot be used.
    """
    out = output_path(args.out, cfg.model.image_encoder.method)
    checkpoint = out.with_name(f'{out.stem}.checkpoint{out.suffix}')
    generator = torch.Generator().manual_seed(args.seed)
    images = load_images(cfg, args.images, generator)
    training = Training(build_model(cfg), images, generator, args.lr, args.batch_size)
    if args.resume and checkpoint.is_file():
        training.load(checkpoint)
        if training.epoch > args.epochs:
            raise InputError(
                f'{checkpoint} has {training.epoch} epochs behind it, more than --epochs '
                f'{args.epochs}: leave out --resume to start anew'
            )
    steps = math.ceil(len(images) / args.batch_size)
    with tqdm(total=args.epochs * steps, initial=training.epoch * steps, desc='steps') as bar:
        while training.epoch < args.epochs:
            losses = []
            for loss in training.run_epoch():
                losses.append(loss)
                bar.update()
            training.save(checkpoint)
            bar.write(f'epoch {training.epoch}: loss {sum(losses) / len(losses):.4f}')
    write_atomically(dict(weight=training.weight.detach().cpu()), out)
    return out


def main(argv: Sequence[str] | None = None) -> None:
    """Learn a projection and write it."""
    args = parse_args(argv)
    with as_program(interrupted='go on with --resume'):
        cfg = load_config(args)
        init_default_scope(cfg.default_scope)
        print(f'Projection: {train(cfg, args)}')


if __name__ == '__main__':
    main()
