#!/usr/bin/env python
"""Compare methods on the toy benchmark: a table of mIoU, and pictures side by side."""

import argparse
from pathlib import Path
from typing import Dict, List

import numpy as np
from concepts import VOC_PICTOGRAMS
from make_benchmark import TOY
from mmengine.config import Config
from mmengine.runner import Runner
from PIL import Image, ImageDraw

from sclip_mmseg.apis import draw_legend
from sclip_mmseg.datasets import voc_palette

CONFIGS = Path(__file__).resolve().parents[2] / 'configs/toy'
#: Title → config name up to the benchmark's.
METHODS = {'CLIP': 'clip_toy', 'MaskCLIP': 'maskclip_toy', 'SCLIP': 'sclip_toy'}
BENCHMARKS = {'VOC20': 'voc20', 'VOC21': 'voc21'}
DRAWN = 'VOC20'
_LEGEND = 110


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--out', type=Path, default=Path('work_dirs/toy_demo'))
    parser.add_argument('--pictures', type=int, default=8, help='number of pictures drawn')
    return parser.parse_args()


def evaluate(config: Path, out: Path) -> float:
    """Evaluate a config as tools/test.py does, and keep its label maps in ``out/labels``.

    Returns:
        mIoU in percent.
    """
    cfg = Config.fromfile(config)
    cfg.work_dir = str(out)
    cfg.log_level = 'ERROR'
    # mmengine keeps an instance of each by name, and several runs share this process.
    cfg.experiment_name = cfg.visualizer.name = config.stem
    cfg.test_evaluator.output_dir = str(out / 'labels')
    cfg.default_hooks.pop('visualization')
    return Runner.from_cfg(cfg).test()['mIoU']


def draw(name: str, results: Dict[str, Path], target: Path) -> None:
    """Draw a picture, its truth and the methods' results in a row, with the classes' colours.

    Args:
        name: Of the picture.
        results: Title → folder of label maps; labels outside the evaluated region are faded.
        target: File to write.
    """
    root = TOY / 'VOCdevkit/VOC2012'
    image = Image.open(root / 'JPEGImages' / f'{name}.jpg').convert('RGB')
    truth = np.asarray(Image.open(root / 'SegmentationClass' / f'{name}.png'))
    panels = {'picture': image, 'truth': _paint(image, truth, truth)}
    labels = [truth]
    for title, folder in results.items():
        labels.append(np.asarray(Image.open(folder / f'{name}.png')))
        panels[title] = _paint(image, labels[-1], truth)
    width, height = image.size
    sheet = Image.new('RGB', ((width + 6) * len(panels) + _LEGEND, height + 18), 'white')
    pen = ImageDraw.Draw(sheet)
    for column, (title, panel) in enumerate(panels.items()):
        sheet.paste(panel, (column * (width + 6), 18))
        pen.text((column * (width + 6) + 4, 3), title, fill='black')
    classes, colors = list(VOC_PICTOGRAMS), np.array(voc_palette(256))
    shown = np.unique(np.concatenate([label[truth > 0] for label in labels]))
    shown = shown[shown > 0]
    legend = draw_legend([classes[label - 1] for label in shown], colors[shown])
    sheet.paste(Image.fromarray(legend), (sheet.width - _LEGEND, 18))
    sheet.save(target)


def _paint(image: Image.Image, labels: np.ndarray, truth: np.ndarray) -> Image.Image:
    colors = np.array(voc_palette(256))[labels]
    strength = np.where(truth > 0, 0.85, np.where(labels > 0, 0.2, 0.0))[..., None]
    return Image.fromarray((np.asarray(image) * (1 - strength) + colors * strength).astype('uint8'))


def format_table(scores: Dict[str, List[float]]) -> str:
    """Format method → mIoU per benchmark as text."""
    rows = [['mIoU', *BENCHMARKS]]
    rows += [[title, *(f'{score:.2f}' for score in row)] for title, row in scores.items()]
    return '\n'.join(f'{row[0]:<12}' + ''.join(f'{cell:>8}' for cell in row[1:]) for row in rows)


def main() -> None:
    """Evaluate, draw and print."""
    args = parse_args()
    scores: Dict[str, List[float]] = {}
    for title, config in METHODS.items():
        scores[title] = [
            evaluate(CONFIGS / f'{config}_{name}.py', args.out / f'{config}_{name}')
            for name in BENCHMARKS.values()
        ]
    folders = {
        title: args.out / f'{config}_{BENCHMARKS[DRAWN]}' / 'labels'
        for title, config in METHODS.items()
    }
    pictures = args.out / 'pictures'
    pictures.mkdir(parents=True, exist_ok=True)
    for path in sorted(next(iter(folders.values())).glob('*.png'))[: args.pictures]:
        draw(path.stem, folders, pictures / path.name)
    print(format_table(scores))
    print(f'pictures: {pictures.resolve()}')


if __name__ == '__main__':
    main()
