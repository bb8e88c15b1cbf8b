#!/usr/bin/env python
"""Make region maps of a folder of pictures, or of the images of a config's benchmark.

A map is an .npz file with the integer array `instance_mask`, named as its picture. Interrupted at
any moment, the same command goes on; maps that are there are kept, unless they are damaged.
"""

if __name__ == '__main__':  # before all imports, which take seconds
    from sclip_mmseg.utils.interrupt import end_at_once_if_interrupted

    end_at_once_if_interrupted()

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import DictAction


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('input', help='folder of pictures, or config of a benchmark')
    parser.add_argument(
        '--out',
        type=Path,
        help='folder to write to, or a pattern as FOLDER/{folder}/{stem}.npz; default: where the '
        "config's model.region_masks points to",
    )
    parser.add_argument(
        '--generator',
        default='felzenszwalb',
        help='felzenszwalb (default), sam2 or sam; the latter two need pip install -e ".[sam]"',
    )
    parser.add_argument(
        '--options',
        nargs='+',
        action=DictAction,
        default={},
        metavar='KEY=VALUE',
        help='arguments of the generator, e.g. scale=200, or checkpoint=facebook/sam2.1-hiera-tiny',
    )
    parser.add_argument(
        '--nproc', type=int, help='processes; default: a process per CPU, for sam2 and sam one'
    )
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='as for tools/test.py')
    args = parser.parse_args(argv)
    if args.nproc is not None and args.nproc < 1:
        parser.error(f'--nproc {args.nproc} must be positive')
    return args


def run(args: argparse.Namespace) -> None:
    """Make the maps.

    Raises:
        InputError: If an argument or a picture cannot be used.
    """
    from sclip_mmseg import InputError
    from sclip_mmseg.apis.inputs import find_media, is_video
    from sclip_mmseg.apis.region_maps import make_region_maps
    from sclip_mmseg.regions import find_generator
    from sclip_mmseg.registry import REGION_GENERATORS

    pattern = None
    if Path(args.input).is_dir():
        images = [path for path in find_media([Path(args.input)]) if not is_video(path)]
    else:
        images, pattern = read_benchmark(args.input, args.cfg_options or {})
    if args.out is not None:
        pattern = str(args.out if '{stem}' in args.out.name else args.out / '{stem}.npz')
    if not isinstance(pattern, str):
        raise InputError(f'{args.input} does not say where region maps lie: name a folder by --out')
    config = find_generator(args.generator)
    check_options(config['type'], args.options)
    generator = REGION_GENERATORS.build({**config, **args.options})
    parallel = getattr(generator, 'parallel', False)
    nproc = args.nproc or (os.cpu_count() if parallel else 1)
    if nproc > 1 and not parallel:
        raise InputError(f'--generator {args.generator} runs in one process: leave --nproc out')
    made = make_region_maps(images, pattern, generator, nproc)
    print(f'{pattern}: {made} maps made, {len(images) - made} were there')


def read_benchmark(config: str, cfg_options: dict) -> tuple[list[Path], str | None]:
    """The images of a config's dataset, and where the config expects their maps.

    Raises:
        InputError: If the config or the dataset does not exist.
    """
    from mmengine.registry import init_default_scope

    from sclip_mmseg.config import read_config
    from sclip_mmseg.datasets.checks import load_dataset

    cfg = read_config(config)
    cfg.merge_from_dict(cfg_options)
    init_default_scope(cfg.default_scope)
    dataset = load_dataset(cfg.test_dataloader.dataset)
    images = [Path(dataset.get_data_info(index)['img_path']) for index in range(len(dataset))]
    return images, cfg.model.get('region_masks')


def check_options(name: str, options: dict) -> None:
    """Check that a generator takes some options.

    Raises:
        InputError: If it does not.
    """
    from sclip_mmseg import InputError
    from sclip_mmseg.registry import REGION_GENERATORS
    from sclip_mmseg.utils.errors import nearest
    from sclip_mmseg.utils.spelling import arguments

    known = arguments(REGION_GENERATORS.get(name))[0]
    for key in options:
        if key not in known:
            hint = nearest(key, known)
            raise InputError(f'--options {key}: {name} takes {", ".join(known)}{hint}')


def main(argv: Sequence[str] | None = None) -> None:
    """Make the maps, or say in one line what is wrong."""
    args = parse_args(argv)
    from sclip_mmseg.utils.program import as_program

    with as_program(interrupted='the same command goes on'):
        run(args)


if __name__ == '__main__':
    main()
