#!/usr/bin/env python
"""Compose the toy benchmark, or with --styles a similar validation set, in VOC's layout."""

if __name__ == '__main__':  # before all imports, which take seconds
    from sclip_mmseg.utils.interrupt import end_at_once_if_interrupted

    end_at_once_if_interrupted()

import argparse
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from concepts import VOC_PICTOGRAMS
from pictograms import Pictogram, load_styles, read_folder
from PIL import Image
from scenes import compose
from textures import KINDS, make_texture

from sclip_mmseg.datasets import voc_palette
from sclip_mmseg.utils.program import as_program

TOY = Path(__file__).resolve().parents[2] / 'data/toy'
SIZES = (70, 150)
OBJECTS = (4, 6)


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--out', type=Path, default=TOY, help='folder that gets VOCdevkit/')
    parser.add_argument('--images', type=int, default=64)
    parser.add_argument('--seed', type=int, default=2012)
    parser.add_argument('--pictograms', type=Path, default=TOY / 'pictograms')
    parser.add_argument('--styles', nargs='+', help='names of icon sets in --pictograms')
    parser.add_argument('--cache', type=Path, default=Path('work_dirs/toy'))
    return parser.parse_args()


def make_benchmark(pictograms: Sequence[Pictogram], out: Path, images: int, seed: int) -> None:
    """Write images, label maps and the split file.

    Args:
        pictograms: Pictograms; those that show none of VOC's classes are ignored.
        out: Folder that gets ``VOCdevkit``.
        images: Number of images.
        seed: Seed; image i depends only on the seed and i.
    """
    root = out / 'VOCdevkit/VOC2012'
    folders = [root / name for name in ('JPEGImages', 'SegmentationClass')]
    lists = root / 'ImageSets/Segmentation'
    for folder in (*folders, lists):
        folder.mkdir(parents=True, exist_ok=True)
    groups = group_by_class(pictograms)
    names = []
    for index in range(images):
        name = f'toy_{index:06d}'
        image, labels = make_image(np.random.default_rng([seed, index]), groups)
        Image.fromarray(image).save(folders[0] / f'{name}.jpg', quality=85)
        label_map = Image.fromarray(labels, mode='P')
        label_map.putpalette(np.array(voc_palette(256), dtype=np.uint8).tobytes())
        label_map.save(folders[1] / f'{name}.png', optimize=True)
        names.append(name)
    (lists / 'val.txt').write_text('\n'.join(names) + '\n')


def group_by_class(pictograms: Sequence[Pictogram]) -> list[tuple[int, list[Pictogram]]]:
    """List the VOC classes, 1 to 20, that have pictograms, with these pictograms."""
    groups = []
    for label, shown in enumerate(VOC_PICTOGRAMS.values(), start=1):
        group = [pictogram for pictogram in pictograms if pictogram.name in shown]
        if group:
            groups.append((label, group))
    return groups


def make_image(
    rng: np.random.Generator, groups: Sequence[tuple[int, list[Pictogram]]]
) -> tuple[np.ndarray, np.ndarray]:
    """Compose an image of different classes.

    Returns:
        RGB image, uint8 ``[H, W, 3]``, and VOC labels, uint8 ``[H, W]``, 0 for background.
    """
    width, height = (500, 375) if rng.random() < 0.8 else (375, 500)
    kind = KINDS[int(rng.integers(len(KINDS)))]
    background = make_texture(rng, kind, height, width)
    count = int(rng.integers(OBJECTS[0], OBJECTS[1] + 1))
    chosen = [groups[index] for index in rng.permutation(len(groups))[:count]]
    sprites = [group[int(rng.integers(len(group)))].pixels for _, group in chosen]
    image, instances = compose(rng, background, sprites, SIZES)
    labels = np.array([0, *(label for label, _ in chosen)], np.uint8)
    return image, labels[instances]


def write_checksums(folder: Path) -> None:
    """Write ``SHA256SUMS`` of all images, labels, lists and pictograms in a folder."""
    files = sorted(
        path
        for part in ('VOCdevkit', 'pictograms')
        for path in (folder / part).rglob('*')
        if path.is_file()
    )
    lines = [
        f'{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}'
        for path in files
    ]
    (folder / 'SHA256SUMS').write_text('\n'.join(lines) + '\n')


def main() -> None:
    """Write the images and their checksums."""
    args = parse_args()
    if args.styles:
        pictograms = load_styles(args.pictograms, args.styles, args.cache)
    else:
        pictograms = read_folder(args.pictograms)
    make_benchmark(pictograms, args.out, args.images, args.seed)
    write_checksums(args.out)


if __name__ == '__main__':
    with as_program():
        main()
