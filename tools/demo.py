#!/usr/bin/env python
"""Segment pictures into classes of your own: overlay with a legend, label map, areas."""

import argparse
import os.path as osp
import sys
from pathlib import Path

from mmengine.config import DictAction

PICTURES = {'.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff'}


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('images', nargs='+', type=Path, help='pictures, or folders of pictures')
    parser.add_argument(
        '--classes',
        required=True,
        help='classes separated by semicolons, synonyms by commas: "cat, kitten; dog; grass"; '
        'or a file with a class per line',
    )
    parser.add_argument(
        '--background',
        nargs='?',
        const=True,
        help='add a background class, of these words separated by commas, by default of the 26 '
        'words of the published list',
    )
    parser.add_argument('--method', default='sclip', help='e.g. sclip, sclip-pamr10, naclip, clip')
    parser.add_argument('--clip', help='CLIP by name or path; default: ViT-B/16')
    parser.add_argument('--out', type=Path, default=Path('segmented'), help='folder to write to')
    parser.add_argument('--device', help='default: the accelerator where there is one')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    return parser.parse_args()


def list_pictures(paths):
    """Pictures among files and below folders, in order.

    Raises:
        InputError: If a path does not exist, or there is no picture.
    """
    from sclip_mmseg import InputError

    found = []
    for path in paths:
        if not path.exists():
            raise InputError(f'picture {path} does not exist')
        inside = sorted(
            p
            for p in path.rglob('*')
            if p.suffix.lower() in PICTURES and not p.stem.endswith(('_overlay', '_labels'))
        )
        found += inside if path.is_dir() else [path]
    if not found:
        raise InputError(f'no picture below {", ".join(map(str, paths))}')
    return found


def output_names(pictures, roots):
    """Where each picture's results go below the output folder, laid out as the pictures are.

    Raises:
        InputError: If two pictures would write the same files.
    """
    from sclip_mmseg import InputError

    names = []
    for path in pictures:
        root = next((r for r in roots if r.is_dir() and r in path.parents), path.parent)
        name = path.relative_to(root).with_suffix('')
        if name in names:
            raise InputError(f'{path} and another picture are both called {name}: rename one')
        names.append(name)
    return names


def read_classes(text):
    """The text of ``--classes``: a file, or classes separated by semicolons.

    Raises:
        InputError: If it looks like a file that does not exist.
    """
    from sclip_mmseg import InputError

    if osp.isfile(text):
        return text
    if text.endswith('.txt') or '/' in text:
        raise InputError(f'file of classes {text} does not exist')
    return text.split(';')


def run(args: argparse.Namespace) -> None:
    """Segment and write.

    Raises:
        InputError: If an argument or a picture cannot be used.
    """
    import numpy as np
    from PIL import Image

    from sclip_mmseg import apis

    pictures = list_pictures(args.images)
    classes = read_classes(args.classes)
    background = args.background
    if isinstance(background, str):
        background = [word.strip() for word in background.split(',')]
    model = apis.build_segmentor(
        classes, background, args.method, args.clip, args.device, args.cfg_options
    )
    for path, stem in zip(pictures, output_names(pictures, args.images)):
        image = apis.read_picture(path)
        result = apis.segment(model, image)
        stem = args.out / stem
        stem.parent.mkdir(parents=True, exist_ok=True)
        overlay = apis.draw_overlay(
            image[..., ::-1], result.labels, result.class_names, result.palette
        )
        Image.fromarray(overlay).save(f'{stem}_overlay.png')
        labels = result.labels.astype(np.uint8 if len(result.class_names) <= 256 else np.uint16)
        Image.fromarray(labels).save(f'{stem}_labels.png')
        areas = sorted(result.areas.items(), key=lambda item: -item[1])
        shares = ', '.join(f'{name} {share:.1%}' for name, share in areas if share)
        print(f'{path}: {shares}')
    print(f'written to {args.out.resolve()}')


def main() -> None:
    """Run, or say in one line what is wrong."""
    args = parse_args()
    from sclip_mmseg import InputError

    try:
        run(args)
    except InputError as error:
        sys.exit(f'error: {error}')


if __name__ == '__main__':
    main()
