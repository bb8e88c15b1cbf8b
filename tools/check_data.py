#!/usr/bin/env python
"""Check a benchmark's files: counts, missing and unreadable pairs, sizes, label ids, classes."""

if __name__ == '__main__':  # before all imports, which take seconds
    import sclip_cli

    sclip_cli.end_at_once_if_interrupted()

import argparse
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
NAMES = sorted({path.stem for path in CONFIGS.glob('_base_/datasets/*.py')} - {'benchmark'})
_SHOWN = 12  # pictures on a contact sheet
_LISTED = 10  # problems printed one by one


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('benchmark', nargs='+', choices=[*NAMES, 'all'])
    parser.add_argument(
        '--data-root',
        help='folder to check (default: SCLIP_DATA_ROOT, else data/ of the clone or, without one, '
        'of the current folder)',
    )
    parser.add_argument('--out', type=Path, help='folder for a contact sheet of overlays')
    parser.add_argument('--limit', type=int, help='check this many images, spread over the split')
    parser.add_argument(
        '--partial', action='store_true', help='accept another number of images than published'
    )
    parser.add_argument('--nproc', type=int, default=4)
    parser.add_argument(
        '--classes', action='store_true', help='print the number and share of pixels of each class'
    )
    args = parser.parse_args(argv)
    for name in ('limit', 'nproc'):
        value = getattr(args, name)
        if value is not None and value < 1:
            parser.error(f'--{name} {value} must be positive')
    return args


def check(name: str, args: argparse.Namespace) -> bool:
    """Check one benchmark and print what is found.

    Returns:
        Whether nothing is wrong.
    """
    import numpy as np
    from mmengine.config import Config

    from sclip_mmseg import InputError
    from sclip_mmseg.datasets.checks import load_dataset
    from sclip_mmseg.datasets.preparation import inspection
    from sclip_mmseg.datasets.preparation.counts import compare_count
    from sclip_mmseg.utils.processes import map_in_processes

    cfg = Config.fromfile(CONFIGS / f'_base_/datasets/{name}.py').test_dataloader.dataset
    try:
        dataset = load_dataset(cfg)
    except InputError as error:
        print(f'{name}: {error}')
        return False
    count = len(dataset)
    labels, mistakes = inspection.match_labels(dataset)
    print(f'{name}: {count} images, {labels} labels')
    if difference := compare_count(name, count):
        if args.partial:
            print(f'  note: {difference}')
        else:
            mistakes.append(f'{difference} (--partial accepts that)')
    indices = np.linspace(0, count - 1, min(count, args.limit or count)).astype(int)
    infos = [dataset.get_data_info(int(index)) for index in indices]
    reports = map_in_processes(
        inspection.inspect_pair, infos, args.nproc, chunksize=4, desc=name, unit='image'
    )
    histogram = inspection.sum_histograms([report.histogram for report in reports])
    problems = [problem for report in reports for problem in report.problems]
    for info, report in zip(infos, reports):
        if outside := inspection.find_outside(report.histogram, dataset):
            problems.append(f'{info["seg_map_path"]} holds ids {outside[:5]}, which are no classes')
    mistakes += inspection.name_mistakes(histogram, dataset)
    for problem in [*mistakes, *problems[:_LISTED]]:
        print(f'  wrong: {problem}')
    if len(problems) > _LISTED:
        print(f'  … and {len(problems) - _LISTED} more')
    pixels = inspection.class_histogram(histogram, dataset)
    absent = [c for c, n in zip(dataset.metainfo['classes'], pixels) if n == 0]
    print(f'  {len(pixels) - len(absent)} of {len(pixels)} classes occur')
    if args.classes:
        share = 100 / max(sum(pixels), 1)
        for label, number in zip(dataset.metainfo['classes'], pixels):
            print(f'  {number:>14,} {share * number:6.2f} %  {label}')
    if args.out:
        readable = [info for info, report in zip(infos, reports) if not report.problems]
        draw_sheet(readable, dataset, args.out / f'{name}.png')
    return not mistakes and not problems


def draw_sheet(infos: list, dataset, target: Path) -> None:
    """Draw some images with their labels over them, as the dataset reads them."""
    import mmcv
    import numpy as np
    from PIL import Image

    from sclip_mmseg.apis import draw_overlay
    from sclip_mmseg.datasets.loading import StoredIdsLoader
    from sclip_mmseg.utils.files import write_atomically

    load = StoredIdsLoader(dataset.ignore_index)
    names = [*dataset.metainfo['classes'], 'ignored']
    palette = [*dataset.metainfo['palette'], [255, 255, 255]]
    tiles = []
    for index in np.linspace(0, len(infos) - 1, min(len(infos), _SHOWN)).astype(int):
        image = mmcv.imread(infos[index]['img_path'])[..., ::-1]
        label = load(dict(infos[index], seg_fields=[]))['gt_seg_map'].astype(int)
        label[label >= len(names) - 1] = len(names) - 1
        tile = Image.fromarray(draw_overlay(image, label, names, palette))
        tile.thumbnail((640, 480))
        tiles.append(tile)
    if not tiles:
        return
    columns = min(len(tiles), 3)
    rows = -(-len(tiles) // columns)
    sheet = Image.new('RGB', (640 * columns, 480 * rows), 'white')
    for index, tile in enumerate(tiles):
        sheet.paste(tile, (640 * (index % columns), 480 * (index // columns)))
    content = io.BytesIO()
    sheet.save(content, 'PNG')
    write_atomically(target, content.getvalue())
    print(f'  contact sheet: {target.resolve()}')


def main(argv: Sequence[str] | None = None) -> None:
    """Check all that is asked for; exit with 1 if anything is wrong."""
    args = parse_args(argv)
    if args.data_root:
        os.environ['SCLIP_DATA_ROOT'] = args.data_root  # which the configs read
    from mmengine.registry import init_default_scope

    from sclip_mmseg.utils.files import make_folder
    from sclip_mmseg.utils.program import as_program

    init_default_scope('mmseg')
    names = NAMES if 'all' in args.benchmark else args.benchmark
    with as_program():
        if args.out:
            make_folder(args.out, 'name another folder by --out')
        fine = [check(name, args) for name in names]
        sys.exit(not all(fine))


if __name__ == '__main__':
    main()
