"""Check a benchmark's files: counts, missing and unreadable pairs, sizes, label ids, classes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmengine.dataset import BaseDataset
from PIL import Image

from ...config import read_config
from ...rasters.reading import read_pixels
from ...registry import in_scope
from ...utils.errors import InputError
from ...utils.files import make_folder, open_atomically
from ...utils.processes import map_in_processes
from ...utils.shipped import configs_dir
from ...visualization import draw_overlay
from ..benchmarks import BENCHMARKS
from ..checks import label_loader, load_dataset
from ..folder import FolderDataset, find_problems
from ..remote_sensing import MaskDataset
from . import inspection

_SHOWN = 12  # images on a contact sheet
_LISTED = 10  # most problems that are printed


def check(
    name: str,
    dataset_cfg: dict | None = None,
    out: Path | None = None,
    limit: int | None = None,
    partial: bool = False,
    nproc: int = 1,
    classes: bool = False,
) -> bool:
    """Check a dataset's files and print what is found.

    Args:
        name: Name of a benchmark, path of a config, or name for ``dataset_cfg``.
        dataset_cfg: Config of the dataset; None for that of the benchmark or config.
        out: Folder for a contact sheet of overlays.
        limit: Number of images to check, evenly spaced over the split; None for all.
        partial: Whether to accept another number of images than published.
        nproc: Number of processes.
        classes: Whether to print the number and share of pixels of each class.

    Returns:
        Whether all checks passed.

    Raises:
        InputError: If the config does not exist, or ``out`` cannot be written to.
    """
    if out:
        make_folder(out, 'name another folder by --out')
    if dataset_cfg is None:
        shipped = str(configs_dir() / f'_base_/datasets/{name}.py')
        cfg = read_config(shipped if name in BENCHMARKS else name)
        dataset_cfg = cfg.test_dataloader.dataset
        name = name if name in BENCHMARKS else Path(name).stem
    try:
        with in_scope():
            dataset = load_dataset(dataset_cfg)
    except InputError as error:
        print(f'{name}: {error}')
        return False
    count = len(dataset)
    mistakes: list[str] = []
    if name in BENCHMARKS and (difference := BENCHMARKS[name].compare_count(count)):
        if partial:
            print(f'  note: {difference}')
        else:
            mistakes.append(f'{difference} (--partial accepts that)')
    if isinstance(dataset, (FolderDataset, MaskDataset)):
        if limit:
            dataset = dataset.get_subset(_spread(count, limit))
        return _check_folder(name, dataset, mistakes, out, nproc, classes)
    labels, found = inspection.match_labels(dataset)
    mistakes = [*found, *mistakes]
    print(f'{name}: {count} images, {labels} labels')
    infos = [dataset.get_data_info(index) for index in _spread(count, limit or count)]
    reports = map_in_processes(
        inspection.inspect_pair, infos, nproc, chunksize=4, desc=name, unit='image'
    )
    histogram = inspection.sum_histograms([report.histogram for report in reports])
    problems = [problem for report in reports for problem in report.problems]
    for info, report in zip(infos, reports):
        if outside := inspection.find_outside(report.histogram, dataset):
            problems.append(f'{info["seg_map_path"]} holds ids {outside[:5]} outside the classes')
    mistakes += inspection.name_mistakes(histogram, dataset)
    for problem in [*mistakes, *problems[:_LISTED]]:
        print(f'  wrong: {problem}')
    if len(problems) > _LISTED:
        print(f'  … and {len(problems) - _LISTED} more')
    pixels = inspection.class_histogram(histogram, dataset)
    _print_classes(dataset, pixels, classes)
    if out:
        readable = [info for info, report in zip(infos, reports) if not report.problems]
        _draw_sheet(readable, dataset, out / f'{name}.png')
    return not mistakes and not problems


def _check_folder(
    name: str,
    dataset: FolderDataset | MaskDataset,
    mistakes: list[str],
    out: Path | None,
    nproc: int,
    classes: bool,
) -> bool:
    """Check a dataset with a label reader, and print all problems."""
    print(f'{name}: {len(dataset)} images with labels')
    found = find_problems(dataset, nproc, name)
    problems = [*mistakes, *found.problems]
    for problem in problems:
        print(f'  wrong: {problem}')
    _print_classes(dataset, found.pixels.tolist(), classes)
    if out and not found.problems:
        infos = [dataset.get_data_info(index) for index in range(len(dataset))]
        _draw_sheet(infos, dataset, out / f'{name}.png')
    return not problems


def _print_classes(dataset: BaseDataset, pixels: Sequence[int], all_of_them: bool) -> None:
    print(f'  {np.count_nonzero(pixels)} of {len(pixels)} classes occur')
    if all_of_them:
        share = 100 / max(sum(pixels), 1)
        for name, number in zip(dataset.metainfo['classes'], pixels):
            print(f'  {number:>14,} {share * number:6.2f} %  {name}')


def _spread(count: int, most: int) -> list[int]:
    """At most ``most`` of ``count`` indices, evenly spaced."""
    return np.linspace(0, count - 1, min(count, most)).astype(int).tolist()


def _draw_sheet(infos: Sequence[dict], dataset: BaseDataset, target: Path) -> None:
    """Draw some images with overlays of their labels, as the dataset reads them."""
    if not infos:
        return
    load = label_loader(dataset)
    names = [*dataset.metainfo['classes'], 'ignored']
    palette = [*dataset.metainfo['palette'], [255, 255, 255]]
    chosen = _spread(len(infos), _SHOWN)
    columns = min(len(chosen), 3)
    sheet = Image.new('RGB', (640 * columns, 480 * -(-len(chosen) // columns)), 'white')
    for place, index in enumerate(chosen):
        image = read_pixels(infos[index]['img_path'], infos[index].get('map'))
        label = load(dict(infos[index], seg_fields=[]))['gt_seg_map']
        label = np.minimum(label.astype(int), len(names) - 1)
        tile = Image.fromarray(draw_overlay(image, label, names, palette))
        tile.thumbnail((640, 480))
        sheet.paste(tile, (640 * (place % columns), 480 * (place // columns)))
    with open_atomically(target) as file:
        sheet.save(file, 'PNG')
    print(f'  contact sheet: {target.resolve()}')
