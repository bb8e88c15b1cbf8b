"""Your own labelled images as a dataset of mmseg."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from mmseg.datasets import BaseSegDataset
from mmseg.datasets.transforms import LoadAnnotations
from mmseg.registry import DATASETS

from ...rasters.detecting import is_map
from ...rasters.polygons import check_packages
from ...rasters.reading import Bands, Stretch
from ...utils.errors import InputError
from ..class_list import LARGEST_ID
from ..loading import replace_steps
from ..palette import distinct_palette
from ..query_set import Queries, load_queries
from ..split import check_split
from .coco import CocoFile, CocoImage, panoptic_folder, read_coco
from .color_table import Color, read_color_table
from .pairing import LABELS, has_files, list_images, pair_files
from .readers import ColorReader, IdReader, InstanceReader, LabelReader, PanopticReader
from .vectors import VECTORS, VectorReader

_BACKGROUND = 'background'
Ignored = int | str | Sequence[int | str] | None


class FolderLabelsLoader(LoadAnnotations):
    """mmseg's ``LoadAnnotations`` for all kinds of labels of :class:`FolderDataset`.

    Args:
        reader: Reader of the labels.
        ignore_index: Label of pixels where a map has no data.

    Raises:
        InputError: When called, if a label cannot be read or has values without a class.
    """

    def __init__(self, reader: LabelReader, ignore_index: int = 255):
        super().__init__()
        self.reader, self.ignore_index = reader, ignore_index

    def _load_seg_map(self, results: dict) -> None:
        reading = self.reader.read(results)
        if reading.unknown:
            raise InputError(name_unknown(results, reading.unknown))
        if (no_data := results.get('no_data')) is not None:
            reading.classes[no_data] = self.ignore_index
        results['gt_seg_map'] = reading.classes
        results['seg_fields'].append('gt_seg_map')


def read_labels_by(dataset: BaseSegDataset, reader: LabelReader) -> None:
    """Replace mmseg's label loader in a dataset's pipeline by a reader."""
    loader = FolderLabelsLoader(reader, dataset.ignore_index)
    dataset.pipeline.transforms = replace_steps(
        dataset.pipeline.transforms,
        lambda step: loader if type(step) is LoadAnnotations else step,
    )


@DATASETS.register_module()
class FolderDataset(BaseSegDataset):
    """Images and labels in folders, with classes of your own.

    The kind of labels is detected from the files: PNG or TIFF of ids with 8 or 16 bits, with or
    without a palette; RGB masks, with ``colors``; COCO's JSON of instances or panoptic segments as
    ``ann_file``; polygons on Earth (GeoPackage, FlatGeobuf, GeoJSON, Shapefile), one file per image
    or one for all as ``ann_file``. Pixels where a map has no data are ignored.

    Args:
        classes: K classes, see :func:`..query_set.load_queries`. Ids in label files are those of
            the list, otherwise 0 to K - 1. COCO categories and colours are matched by name, to any
            synonym of a class; with ids in the list, COCO categories are matched by id. None for
            all categories of a COCO file, or all names of a table of colours.
        background: Whether to add a background as class 0, with id 0 (in COCO, pixels without an
            instance; in tables of colours, the colour named ``background``).
        colors: File with a table of colours, see :func:`.color_table.read_color_table`.
        ignored: Ignored ids of label files, or names of colours or categories; one or a list. None
            for 255, unless it is the id of a class.
        ignore_index: Label of ignored pixels, as in other datasets of mmseg; None for 255, or 65535
            with more than 255 classes.
        data_root: Root folder of all other paths.
        data_prefix: ``img_path``, the folder of images, and ``seg_map_path``, the folder of labels.
        ann_file: A COCO file, a file of polygons, or a text file of the names to evaluate, relative
            to ``img_path`` and without extension; empty for all images.
        img_suffix, seg_map_suffix: Suffixes of file names; empty for any.
        labelled_only: Whether images without a label are skipped instead of reported.
        label_attribute: Attribute of polygons with names or ids of classes; None for ``class``.
        bands, stretch: Options for reading maps, see :class:`...rasters.reading.Raster`.
        **kwargs: See :class:`mmseg.datasets.BaseSegDataset`.

    Attributes:
        reader: Reader of the labels.
        problems: Sentences on files that do not match, after loading.

    Raises:
        InputError: If classes, colours and labels do not fit, or there are no files.
    """

    problems: list[str]

    def __init__(
        self,
        classes: Queries | None = None,
        background: bool = False,
        colors: str | None = None,
        ignored: Ignored = None,
        ignore_index: int | None = None,
        data_root: str | None = None,
        data_prefix: Mapping[str, str] | None = None,
        ann_file: str = '',
        img_suffix: str = '',
        seg_map_suffix: str = '',
        labelled_only: bool = False,
        label_attribute: str | None = None,
        bands: Bands | None = None,
        stretch: Stretch | None = None,
        metainfo: dict | None = None,
        **kwargs: Any,
    ):
        root, prefix = data_root or '', data_prefix or {}
        self._json = Path(root, ann_file) if ann_file.lower().endswith('.json') else None
        self._colors = None if colors is None else read_color_table(Path(colors).expanduser())
        coco = read_coco(self._json) if self._json else None
        self._maps = dict(bands=bands, stretch=stretch)
        self._one_for_all = ann_file.lower().endswith(tuple(VECTORS))
        labels = prefix.get('seg_map_path')
        self._vectors = self._one_for_all or bool(
            labels and has_files(Path(root, labels), VECTORS, without=LABELS)
        )
        words, meta = self._name_classes(classes, background, coco)
        count = len(meta['classes'])
        if ignore_index is None:
            ignore_index = 255 if count <= 255 else LARGEST_ID
        ids = meta['label_ids']
        items = [ignored] if isinstance(ignored, (int, str)) else list(ignored or ())
        if coco is not None:
            stated = ids if ids is None else dict(zip(ids[background:], range(background, count)))
            drawn = _find_categories(coco, words, stated, items, ignore_index)
            kind = PanopticReader if coco.panoptic else InstanceReader
            self.reader: LabelReader = kind(
                drawn, 0 if background else ignore_index, coco.categories
            )
        elif self._colors is not None:
            self.reader = _color_reader(self._colors, words, items, ignore_index)
        elif self._vectors:
            check_packages()
            values = {str(each): index for index, each in enumerate(ids or range(count))}
            unlabelled = 0 if background else ignore_index
            left_out = [str(item).lower() for item in items]
            self.reader = VectorReader(
                {**values, **_owners(words)}, left_out, unlabelled, ignore_index, label_attribute
            )
        else:
            self.reader = _id_reader(ids or range(count), words, ignored, items, ignore_index)
        self.problems, self.labelled_only = [], labelled_only
        super().__init__(
            data_root=data_root,
            data_prefix=dict(prefix),
            ann_file=ann_file,
            img_suffix=img_suffix,
            seg_map_suffix=seg_map_suffix,
            metainfo={**meta, **(metainfo or {})},
            ignore_index=ignore_index,
            reduce_zero_label=False,
            **kwargs,
        )
        read_labels_by(self, self.reader)

    def _name_classes(
        self, classes: Queries | None, background: bool, coco: CocoFile | None
    ) -> tuple[list[list[str]], dict]:
        """The synonyms of each class, and the dataset's metainfo."""
        if classes is None:
            named = list(coco.categories.values() if coco else self._colors or ())
            if not named:
                raise InputError(
                    'there are no classes: name them by --classes (classes=…), such as '
                    '"cat, kitten; dog"'
                )
            words = [[name] for name in named]
            stated = tuple(coco.categories) if coco else None
            if background:
                words = [each for each in words if each != [_BACKGROUND]]
        else:
            query_set = load_queries(classes, warn=False)
            words, stated = query_set.by_class, query_set.label_ids
            # The queries of a shipped list may lack the names of its classes.
            for number, name in enumerate(query_set.class_names):
                words[number] = [name, *words[number]]
        if background:
            words = [[_BACKGROUND], *words]
            stated = stated and (0, *stated)
        names = tuple(each[0] for each in words)
        palette = distinct_palette(names)
        return words, dict(classes=names, palette=palette, label_ids=stated)

    def load_data_list(self) -> list[dict]:
        """List images with labels, and set :attr:`problems` for the others.

        Raises:
            InputError: If a folder or file does not exist, or no image has a label.
        """
        images = self.data_prefix.get('img_path')
        labels = self.data_prefix.get('seg_map_path')
        for kind, path in (('images', images), ('labels', labels)):
            if path and not os.path.isdir(path):
                raise InputError(f'folder of {kind} {os.path.abspath(path)} does not exist')
        if not images or not (labels or self._json or self._vectors):
            raise InputError('FolderDataset needs data_prefix.img_path and seg_map_path')
        if self._one_for_all:
            files = list_images(Path(images))
            infos = [
                dict(img_path=path, seg_map_path=self.ann_file)
                for name in sorted(files)
                for path in files[name]
            ]
        elif self._json:
            infos, self.problems = self._list_coco(read_coco(Path(self.ann_file)), Path(images))
        else:
            names = None
            if self.ann_file:
                if not os.path.isfile(self.ann_file):
                    raise InputError(f'file of names {self.ann_file} does not exist')
                check_split(self.ann_file)
                with open(self.ann_file, encoding='utf-8') as file:
                    names = [line.strip() for line in file]
            options = names, self.img_suffix, self.seg_map_suffix, self.labelled_only
            suffixes = VECTORS if self._vectors else LABELS
            pairs, self.problems = pair_files(Path(images), Path(labels), *options, suffixes)
            infos = [dict(img_path=image, seg_map_path=label) for image, label in pairs]
        if not infos:
            first = f', such as: {self.problems[0]}' if self.problems else ''
            raise InputError(f'no image below {images} has a label{first}')
        fixed = dict(label_map=None, reduce_zero_label=False)
        asked = any(self._maps.values())
        for info in infos:
            if is_map(info['img_path'], asked):
                info['map'] = self._maps
        return [dict(info, seg_fields=[], **fixed) for info in infos]

    def _list_coco(self, coco: CocoFile, images: Path) -> tuple[list[dict], list[str]]:
        labels = self.data_prefix.get('seg_map_path')
        if coco.panoptic and not labels:
            labels = panoptic_folder(Path(self.ann_file))
        files = {path for paths in list_images(images).values() for path in paths}
        by_name: dict[str, list[str]] = {}
        for file in files:
            by_name.setdefault(os.path.basename(file), []).append(file)
        infos, problems, left = [], [], set(files)
        for image in coco.images:
            path = _find_image(image, images, files, by_name)
            left.discard(path)
            if path is None:
                problems.append(f'image {image.file_name} of {self.ann_file} is not below {images}')
                continue
            label = self.ann_file
            if coco.panoptic:
                label = os.path.join(labels, image.label)
                if not image.label or not os.path.isfile(label):
                    what = 'has no label' if not image.label else f'has no label: no file {label}'
                    problems.append(f'image {path} {what}')
                    continue
            info = dict(img_path=path, seg_map_path=label, label_size=image.size)
            infos.append(dict(info, segments=image.segments))
        problems += [f'image {path} has no label in {self.ann_file}' for path in sorted(left)]
        return infos, problems


def _owners(words: Sequence[Sequence[str]]) -> dict[str, int]:
    """Word in lower case → its class; the first one if several classes have it."""
    return {name.lower(): index for index, each in reversed([*enumerate(words)]) for name in each}


def _find_categories(
    coco: CocoFile,
    words: Sequence[Sequence[str]],
    stated: Mapping[int, int] | None,
    ignored: Sequence[int | str],
    ignore_index: int,
) -> dict[int, int]:
    """Map categories to classes or the ignore index, by ids if the list has them, else by names.

    Raises:
        InputError: If no category is a class, or an ignored category does not exist.
    """
    owners = _owners(words)
    found = {}
    for category, name in coco.categories.items():
        index = owners.get(name.lower()) if stated is None else stated.get(category)
        if index is not None:
            found[category] = index
    listed = ', '.join(f'{category}: {name}' for category, name in coco.categories.items())
    if not found:
        raise InputError(f'no category of the COCO file is one of the classes: it has {listed}')
    by_name = {name.lower(): category for category, name in coco.categories.items()}
    for item in ignored:
        known = by_name.get(str(item).lower())
        if isinstance(item, int) and item in coco.categories:
            known = item
        if known is not None:
            found[known] = ignore_index
        elif item != 255:  # 255 stands for pixels without an instance
            raise InputError(f'the COCO file has no category {item!r} to ignore: it has {listed}')
    return found


def _color_reader(
    table: Mapping[str, Color],
    words: Sequence[Sequence[str]],
    ignored: Sequence[int | str],
    ignore_index: int,
) -> ColorReader:
    """Make a reader of RGB masks from a table of colours.

    Raises:
        InputError: If no name is a class, or an ignored name does not exist.
    """
    owners = _owners(words)
    by_name = {name.lower(): color for name, color in table.items()}
    classes = {color: owners[name] for name, color in by_name.items() if name in owners}
    listed = ', '.join(table)
    if not classes:
        raise InputError(f'no name in the table of colours is one of the classes: it has {listed}')
    names = [str(item).lower() for item in ignored if item != 255]
    for name in names:
        if name not in by_name:
            raise InputError(f"the table of colours has no '{name}' to ignore: it has {listed}")
        classes.pop(by_name[name], None)
    ignored_colors = [by_name[name] for name in names]
    return ColorReader(
        classes, ignored_colors, ignore_index, {color: name for name, color in table.items()}
    )


def _id_reader(
    ids: Sequence[int],
    words: Sequence[Sequence[str]],
    given: Ignored,
    ignored: Sequence[int | str],
    ignore_index: int,
) -> IdReader:
    """Make a reader of files of ids.

    Raises:
        InputError: If an ignored value is the id of a class, or not an id.
    """
    numbers = []
    for item in {255}.difference(ids) if given is None else ignored:
        if not isinstance(item, int):
            raise InputError(f'ignored={item!r} is not an id: names are for colours and COCO files')
        if item in ids:
            name = words[ids.index(item)][0]
            raise InputError(f"id {item} is to be ignored, but it is that of the class '{name}'")
        numbers.append(item)
    return IdReader(dict(zip(ids, range(len(ids)))), tuple(numbers), ignore_index)


def _find_image(
    image: CocoImage, folder: Path, files: set[str], by_name: Mapping[str, list[str]]
) -> str | None:
    """Find an image of a COCO file: at its path, or as the only file with its name."""
    path = os.path.normpath(os.path.join(folder, image.file_name))
    if path in files:
        return path
    found = by_name.get(PurePosixPath(image.file_name.replace('\\', '/')).name, [])
    return found[0] if len(found) == 1 else None


def name_unknown(info: Mapping[str, Any], unknown: Sequence[str]) -> str:
    """Describe the ids, colours or categories of a label that have no class."""
    label = info['seg_map_path']
    where = f'{label} ({info["img_path"]})' if 'segments' in info else label
    found = ', '.join(unknown)
    return f'label {where} has {found} without a class: add it to the classes or to --ignore'
