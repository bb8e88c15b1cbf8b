#!/usr/bin/env python
"""Compare methods on the toy benchmark: a table of mIoU, and overlays side by side."""

if __name__ == '__main__':  # before all imports, which take seconds
    from sclip_mmseg.utils.interrupt import end_at_once_if_interrupted

    end_at_once_if_interrupted()

import argparse
from pathlib import Path

import cv2
import numpy as np
from concepts import VOC_PICTOGRAMS
from make_benchmark import TOY
from PIL import Image

from sclip_mmseg.datasets import bright_palette
from sclip_mmseg.evaluation import evaluate
from sclip_mmseg.utils.program import as_program
from sclip_mmseg.visualization import draw_classes, stack, titled, with_legend
from sclip_mmseg.visualization.painting import BACKGROUND

CONFIGS = Path(__file__).resolve().parents[2] / 'configs/toy'
#: Title → prefix of the config's name, before the benchmark.
METHODS = {'CLIP': 'clip_toy', 'MaskCLIP': 'maskclip_toy', 'SCLIP': 'sclip_toy'}
BENCHMARKS = {'VOC20': 'voc20', 'VOC21': 'voc21'}
DRAWN = 'VOC20'
PALETTE = [[0, 0, 0], *bright_palette(len(VOC_PICTOGRAMS))]
WIDTH = 328  # of each image in pixels
SAVED = dict(quality=92, subsampling=0)


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--out', type=Path, default=Path('work_dirs/toy_demo'))
    parser.add_argument('--images', type=int, default=8, help='number of images to draw')
    parser.add_argument(
        '--pictures', type=int, dest='images', default=argparse.SUPPRESS, help=argparse.SUPPRESS
    )  # the earlier name
    return parser.parse_args()


def draw(name: str, results: dict[str, Path], target: Path) -> None:
    """Draw an image and its ground truth with a legend, and the methods' results below.

    Args:
        name: Name of the image.
        results: Title → folder of label maps; labels of pixels that are not evaluated are faded.
        target: Output file.
    """
    root = TOY / 'VOCdevkit/VOC2012'
    image = np.asarray(Image.open(root / 'JPEGImages' / f'{name}.jpg').convert('RGB'))
    truth = np.asarray(Image.open(root / 'SegmentationClass' / f'{name}.png'))
    maps = {'truth': truth}
    for title, folder in results.items():
        maps[title] = np.asarray(Image.open(folder / f'{name}.png'))
    classes = [BACKGROUND, *VOC_PICTOGRAMS]
    shown = np.unique(np.concatenate([labels[truth > 0] for labels in maps.values()]))
    size = WIDTH, round(WIDTH * image.shape[0] / image.shape[1])
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    maps = {
        title: cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST)
        for title, labels in maps.items()
    }
    evaluated = maps['truth'][..., None] > 0
    panels = {}
    for title, labels in maps.items():
        painted = draw_classes(image, labels, classes, PALETTE, alpha=0.7, names=False)
        faded = cv2.addWeighted(image, 0.75, painted, 0.25, 0)
        panels[title] = np.where(evaluated, painted, faded)
    first = titled({'image': image, 'truth': panels.pop('truth')})
    rows = [with_legend(first, shown[shown > 0].tolist(), classes, PALETTE), titled(panels)]
    Image.fromarray(stack(rows)).save(target, **SAVED)


def format_table(scores: dict[str, list[float]]) -> str:
    """Format a table of mIoU by method and benchmark."""
    rows = [['mIoU', *BENCHMARKS]]
    rows += [[title, *(f'{score:.2f}' for score in row)] for title, row in scores.items()]
    return '\n'.join(f'{row[0]:<12}' + ''.join(f'{cell:>8}' for cell in row[1:]) for row in rows)


def main() -> None:
    """Evaluate, draw and print."""
    args = parse_args()
    scores: dict[str, list[float]] = {}
    for title, config in METHODS.items():
        scores[title] = []
        for benchmark, name in BENCHMARKS.items():
            print(f'{title} on the drawn {benchmark}', flush=True)
            out = args.out / f'{config}_{name}'
            options = dict(work_dir=out, out=out / 'labels', quiet=True)
            try:
                result = evaluate(CONFIGS / f'{config}_{name}.py', **options)
            except KeyboardInterrupt:  # whose words name an option that this program lacks
                raise KeyboardInterrupt from None
            scores[title].append(result.metrics()['mIoU'])
    folders = {
        title: args.out / f'{config}_{BENCHMARKS[DRAWN]}' / 'labels'
        for title, config in METHODS.items()
    }
    drawn = args.out / 'images'
    drawn.mkdir(parents=True, exist_ok=True)
    for path in sorted(next(iter(folders.values())).glob('*.png'))[: args.images]:
        draw(path.stem, folders, drawn / f'{path.stem}.jpg')
    print(format_table(scores))
    print(f'images: {drawn.resolve()}')


if __name__ == '__main__':
    with as_program():
        main()
