"""Checks of a dataset, whose errors name the file."""

import os.path as osp
import warnings
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmengine.dataset import BaseDataset
from mmseg.datasets.transforms import LoadAnnotations
from mmseg.registry import DATASETS
from mmseg.structures import SegDataSample
from torch import Tensor

from ..registry import type_name
from ..utils.errors import InputError
from ..utils.images import UNREADABLE
from ..utils.shared_memory import share
from .background import Background
from .folder.checks import check_problems
from .folder.dataset import FolderDataset, FolderLabelsLoader
from .loading import StoredIdsLoader, with_checked_loaders
from .parts import for_each_part, is_on_disk, parts_of, steps_of
from .split import check_split, lists_names

_MASK = {0, 255}  # ids of a mask whose foreground is white
_SAMPLED_LABELS = 64  # read before a run; the others are checked when they are loaded


def load_dataset(cfg: dict) -> BaseDataset:
    """Check that the folders and the split file of a dataset exist, and build it.

    Args:
        cfg: The config's ``test_dataloader.dataset``.

    Raises:
        InputError: If a folder or the split file is missing, or the split is empty or fails
            :func:`.split.check_split`.
    """
    root, name = cfg.get('data_root') or '', type_name(cfg)
    if parts_of(cfg) != [cfg]:
        return _load_wrapper(cfg)
    if (cfg.get('backend_args') or {}).get('backend', 'local') != 'local' or '://' in root:
        return DATASETS.build(cfg)  # its files cannot be checked here
    if name == FolderDataset.__name__:
        return DATASETS.build(cfg)  # it checks its files itself
    hint = (
        'Prepare the data with sclip data prepare (docs/datasets.md), and set SCLIP_DATA_ROOT to '
        'the folder that contains all datasets (or set test_dataloader.dataset.data_root)'
    )
    paths = [root, *(osp.join(root, path) for path in cfg.get('data_prefix', {}).values())]
    for folder in filter(None, paths):
        if '://' not in folder and not osp.isdir(folder):
            raise InputError(f'{name}: folder {osp.abspath(folder)} does not exist. {hint}')
    if cfg.get('ann_file') and not osp.isfile(osp.join(root, cfg['ann_file'])):
        path = osp.abspath(osp.join(root, cfg['ann_file']))
        raise InputError(f'{name}: split file {path} does not exist. {hint}')
    dataset = DATASETS.build(dict(cfg, lazy_init=True))
    if lists_names(type(dataset)) and osp.isfile(dataset.ann_file):
        check_split(dataset.ann_file)
    if not dataset.load_data_list():
        path = osp.join(root, cfg.get('ann_file') or cfg['data_prefix']['img_path'])
        raise InputError(f'{name}: {osp.abspath(path)} lists no image. {hint}')
    dataset.full_init()
    return dataset


def _load_wrapper(cfg: dict) -> BaseDataset:
    """Load a wrapped dataset, and check each of its parts."""
    if cfg.get('datasets'):
        parts = dict(datasets=[load_dataset(part) for part in cfg['datasets']])
    else:
        parts = dict(dataset=load_dataset(cfg['dataset']))
    try:
        dataset = DATASETS.build({**cfg, **parts})
        dataset.full_init()
    except NotImplementedError as error:
        raise InputError(
            f'{type_name(cfg)} needs the classes of each image, which datasets of mmseg do not '
            f'provide: evaluate on its dataset itself ({error})'
        ) from error
    return dataset


@for_each_part
def check_files(dataset: BaseDataset) -> None:
    """Check that all images and labels of a dataset exist.

    Raises:
        InputError: If a file does not exist.
    """
    check_problems(getattr(dataset, 'problems', ()), 'sclip data check CONFIG lists all')
    if not is_on_disk(dataset):
        return
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        for key, kind in (('img_path', 'image'), ('seg_map_path', 'label')):
            if key in info and not osp.isfile(info[key]):
                other = f' for image {info["img_path"]}' if kind == 'label' else ''
                name = type(dataset).__name__
                lack = 'is not a file' if osp.exists(info[key]) else 'does not exist'
                raise InputError(f'{name}: {kind} {info[key]} {lack}{other}')


@for_each_part
def check_labels(dataset: BaseDataset, ignored: Collection[int] = ()) -> None:
    """Read some labels, evenly spaced over a dataset, and check their ids.

    If they contain no pixel that could be evaluated, all labels are read.

    Args:
        dataset: The dataset.
        ignored: See :class:`CheckedPipeline`.

    Raises:
        InputError: If a label cannot be read or has ids outside the dataset's classes, if all
            pixels are ignored, or if there are only background and the ignored 255.

    Warns:
        UserWarning: If there are only class 0 and the ignored 255.
    """
    classes = dataset.metainfo['classes']
    ignored = ignored or (dataset.ignore_index,)
    load = label_loader(dataset)
    ids: set[int] = set()
    count = min(len(dataset), _SAMPLED_LABELS)
    first = np.linspace(0, len(dataset) - 1, count).astype(int).tolist()
    for number, index in enumerate([*first, *set(range(len(dataset))).difference(first)]):
        if number >= count and not (ids <= {*ignored} or ids == _MASK):
            return
        info = dataset.get_data_info(index)
        if 'seg_map_path' not in info:  # a test set without labels
            return
        try:
            label = load(info)['gt_seg_map']
        except InputError:
            raise
        except UNREADABLE as error:
            raise InputError(
                f'{info["seg_map_path"]} cannot be read as a label: {error}'
            ) from error
        ids |= _check_ids(label, dataset, info['seg_map_path'], ignored)
    name, labels = type(dataset).__name__, f'the {len(dataset)} labels'
    if ids <= {*ignored}:
        raise InputError(
            f'{name}: no pixel is left to evaluate, {labels} hold nothing but ignored pixels '
            f'({_join(ids)}), such as {info["seg_map_path"]}'
        )
    if ids == _MASK and not dataset.reduce_zero_label:
        words = (
            f'{name}: {labels} hold nothing but 0 ({classes[0]}) and the ignored 255, such as '
            f'{info["seg_map_path"]}: of masks with 255 for the foreground, make label maps with '
            f'its class, 1 to {len(classes) - 1}'
        )
        if 'background' in classes[0].lower():
            raise InputError(words)
        warnings.warn(words, stacklevel=2)


@for_each_part
def check_ignored(dataset: BaseDataset, ignored: Collection[int]) -> None:
    """Check that the ignored id is not that of a class.

    Args:
        dataset: The dataset.
        ignored: See :class:`CheckedPipeline`.

    Raises:
        InputError: If class 255 would be ignored.
    """
    count = len(dataset.metainfo['classes'])
    if count > 255 and (255 in {dataset.ignore_index, *ignored} or dataset.label_map):
        raise InputError(
            f'{type(dataset).__name__} has {count} classes, and class 255 would be ignored: set '
            'test_dataloader.dataset.ignore_index and test_evaluator.ignore_index to an id that no '
            'class has, such as 65535 (for classes of your own choice, mmseg can only ignore 255)'
        )


def _check_ids(
    label: np.ndarray, dataset: BaseDataset, path: str | None, ignored: Collection[int]
) -> set[int]:
    """Find the ids of a label map, integers of any shape; all must be classes or ignored."""
    num_classes = len(dataset.metainfo['classes'])
    if label.size and 0 <= label.min() and label.max() < 1 << 16:
        found = np.flatnonzero(np.bincount(label.ravel()))  # np.unique would sort
    else:
        found = np.unique(label)
    ids = set(found.tolist())
    strange = [
        i for i in sorted(ids) if not (0 <= i < num_classes or all(i == each for each in ignored))
    ]
    if strange:
        raise InputError(
            f'{path} has label ids {strange[:5]} outside the {num_classes} classes of '
            f'{type(dataset).__name__} (reduce_zero_label={dataset.reduce_zero_label}, ignored: '
            f'{_join(ignored)}): these may be raw ids instead of train '
            'ids, or labels that start at another number'
        )
    return ids


def _join(ids: Iterable[int]) -> str:
    return ', '.join(map(str, sorted({*ids})))


class CheckedPipeline:
    """Wraps a dataset's pipeline to name files that cannot be read, and to check label ids.

    Its loaders are replaced by those of :mod:`.loading`.

    Args:
        dataset: The dataset whose pipeline is wrapped.
        ignored: Ids ignored by the metrics; labels may contain only one that all metrics ignore.
            Empty for the dataset's ``ignore_index``.
        reads_again: Whether image files are read again, for region maps or overlays.

    Raises:
        InputError: When called, if a file cannot be read, if a label has ids outside the classes,
            or if there is not enough shared memory for the sample. Other exceptions of the pipeline
            are passed on.
    """

    def __init__(
        self, dataset: BaseDataset, ignored: Collection[int] = (), reads_again: bool = False
    ):
        self.dataset, self.original = dataset, dataset.pipeline
        self.ignored = ignored or (dataset.ignore_index,)
        self.pipeline = with_checked_loaders(dataset.pipeline, dataset.ignore_index, reads_again)

    def __call__(self, info: dict) -> dict:
        """Run the pipeline on one sample."""
        image, label = info['img_path'], info.get('seg_map_path')
        try:
            results = self.pipeline(info)
        except InputError:
            raise
        except Exception:
            is_folder = isinstance(self.dataset, FolderDataset)  # its reader names the label
            is_map = 'map' in info  # its reader names it, too
            _check_readable(self.dataset, None if is_map else image, None if is_folder else label)
            raise
        for sample in _samples(results['data_samples']):
            if 'gt_sem_seg' in sample:
                sizes = tuple(sample.gt_sem_seg.shape), tuple(sample.ori_shape)
                if sizes[0] != sizes[1]:
                    if _resizes_labels(self.dataset):
                        raise InputError(
                            f'label {label} was resized to {sizes[0]} pixels with its image, whose '
                            f'file has {sizes[1]}: in test_pipeline, put LoadAnnotations after '
                            'Resize'
                        )
                    raise InputError(
                        f'{label} is {sizes[0]} pixels, its image {image} is {sizes[1]}: is it '
                        'another image, or rotated by its EXIF data, or is the label coloured?'
                    )
                _check_ids(sample.gt_sem_seg.data.numpy(), self.dataset, label, self.ignored)
            if 'map' in info:  # for what reads the file again
                sample.set_metainfo(dict(map=info['map']))
        share(_tensors(results))
        return results


def _tensors(results: dict) -> Iterator[Tensor]:
    """Images and labels of a sample, or of its views."""
    inputs = results.get('inputs', [])
    yield from inputs if isinstance(inputs, (list, tuple)) else [inputs]
    for sample in _samples(results['data_samples']):
        if 'gt_sem_seg' in sample:
            yield sample.gt_sem_seg.data


def _check_readable(dataset: BaseDataset, image: str | None, label: str | None) -> None:
    """Raise an ``InputError`` if a sample failed because one of its files cannot be read."""
    sample: dict = dict(img_path=image, seg_map_path=label, seg_fields=[])
    sample['reduce_zero_label'] = False
    for path, loader in ((image, LoadImageFromFile), (label, LoadAnnotations)):
        try:
            if path:
                loader(**_decoding(dataset, loader))(dict(sample))
        except UNREADABLE as error:
            raise InputError(f'cannot load {path}: {error}') from error


def _decoding(dataset: BaseDataset, loader: type) -> dict[str, Any]:
    """Options with which a dataset's pipeline reads files by a loader of mmcv or mmseg."""
    for step in steps_of(dataset):
        if isinstance(step, loader):
            return {key: getattr(step, key) for key in ('imdecode_backend', 'backend_args')}
    return {}


def label_loader(dataset: BaseDataset) -> LoadAnnotations:
    """The transform that reads a dataset's labels."""
    own = [step for step in steps_of(dataset) if isinstance(step, FolderLabelsLoader)]
    decoding = _decoding(dataset, LoadAnnotations)
    return own[0] if own else StoredIdsLoader(dataset.ignore_index, **decoding)


def _resizes_labels(dataset: BaseDataset) -> bool:
    """Whether labels are loaded before the image is resized, and therefore resized with it."""
    names = [type(step).__name__ for step in steps_of(dataset)]
    loads = [place for place, name in enumerate(names) if name == LoadAnnotations.__name__]
    return any('Resize' in name for place in loads[:1] for name in names[place:])


def _samples(data_samples: Any) -> Sequence[SegDataSample]:
    """The sample, or the views of test-time augmentation, as a sequence."""
    return data_samples if isinstance(data_samples, (list, tuple)) else [data_samples]


@for_each_part
def check_classes(
    dataset: BaseDataset, num_classes: int, background: Background, source: str = 'text_head'
) -> None:
    """Check that a segmentor has the classes of a dataset.

    Args:
        dataset: The dataset to evaluate on.
        num_classes: Number of the segmentor's classes, including a background without query.
        background: Role of class 0 in the segmentor.
        source: Name of the segmentor's classes in error messages.

    Raises:
        InputError: If the numbers differ, or class 0 must be a background but is not.
    """
    classes: list[str] = dataset.metainfo['classes']
    name = type(dataset).__name__
    without_query = background is Background.NO_QUERY
    if without_query and classes[0] != 'background':
        raise InputError(
            f"the model has a background without a query, but class 0 of {name} is '{classes[0]}': "
            'set model.test_cfg.background=None (GroupViT: model.image_encoder.background=None)'
        )
    if num_classes != len(classes):
        besides = ' and a background without one' if without_query else ''
        raise InputError(
            f'{source} has queries for {num_classes - without_query} classes{besides}, {name} has '
            f'{len(classes)}: set model.text_head.queries (or embeddings) to a list for this '
            'dataset'
        )
    if background is Background.QUERIES and classes[0] != 'background':
        raise InputError(
            f'test_cfg.prob_thd and area_thd treat class 0 as background, but class 0 of {name} is '
            f"'{classes[0]}': set model.test_cfg.prob_thd=0 and area_thd=None"
        )
