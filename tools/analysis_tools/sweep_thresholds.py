#!/usr/bin/env python
"""Evaluate many values of logit_scale, prob_thd and area_thd from one pass of the image tower.

All combinations of the values given are evaluated, and the config's own setting, each to the digits
of a run of tools/test.py. Interrupted at any moment, the same command goes on. What is kept of each
image (WORK_DIR/kept) serves further values, too, without the tower.
"""

import argparse
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Optional, Sequence

from mmengine.config import DictAction

#: Option → name in model.test_cfg.
SWEPT = ('logit_scale', 'prob_thd', 'area_thd', 'background')


def number_or_none(text: str) -> Optional[float]:
    """Read a number, or ``none``."""
    return None if text.lower() == 'none' else float(text)


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='as for tools/test.py')
    parser.add_argument('checkpoint', nargs='?', help='as for tools/test.py')
    values = dict(nargs='+', metavar='X')
    parser.add_argument('--logit-scale', type=float, **values, help='factor before the softmax')
    parser.add_argument(
        '--prob-thd', type=float, **values, help='score below which a pixel becomes background'
    )
    parser.add_argument(
        '--area-thd',
        type=number_or_none,
        **values,
        help='share of the foreground that a class must exceed; none for no such rule',
    )
    parser.add_argument(
        '--background', type=float, **values, help='constant score of a background (TCL)'
    )
    parser.add_argument(
        '--work-dir', help='folder for results and what is kept; default: work_dirs/sweep_CONFIG'
    )
    parser.add_argument(
        '--no-maps',
        dest='keep_maps',
        action='store_false',
        help='keep areas, not maps: less disk, but further values need the tower again',
    )
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='as for tools/test.py')
    parser.add_argument('--download-root', help='folder for downloaded CLIPs')
    # Of tools/test.py, whose config this is.
    parser.set_defaults(
        launcher='none', resume=False, out=None, tta=False, show=False, show_dir=None
    )
    args = parser.parse_intermixed_args(argv)
    if not any(getattr(args, name) for name in SWEPT):
        parser.error('give values: --logit-scale, --prob-thd, --area-thd or --background')
    args.work_dir = args.work_dir or f'./work_dirs/sweep_{Path(args.config).stem}'
    return args


def evaluation_tool() -> ModuleType:
    """``tools/test.py`` as a module, whose name alone would be the standard library's."""
    path = Path(__file__).resolve().parents[1] / 'test.py'
    spec = importlib.util.spec_from_file_location('sclip_test', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(args: argparse.Namespace) -> None:
    """Check, sweep, print, write and draw.

    Raises:
        InputError: If something given cannot be used.
    """
    from mmseg.registry import DATASETS

    from sclip_mmseg import InputError
    from sclip_mmseg.engine import EvaluationRunner
    from sclip_mmseg.sweep import grid
    from sclip_mmseg.utils.files import make_folder

    if int(os.environ.get('WORLD_SIZE', 1)) > 1:
        raise InputError('a sweep is one process: start it by python, without torchrun')
    tool = evaluation_tool()
    cfg = tool.load_config(args)
    tool.check(cfg)
    test_cfg = cfg.model.test_cfg
    values = {name: getattr(args, name) for name in SWEPT}
    dataset = DATASETS.build(dict(cfg.test_dataloader.dataset, lazy_init=True))
    grid.check_values(test_cfg, values, dataset.metainfo['classes'])
    settings = grid.make_grid(test_cfg, values)
    if args.logit_scale and not grid.scale_matters(settings):
        print(
            'warning: without a threshold or background, logit_scale changes no class: all '
            'settings give the same numbers',
            file=sys.stderr,
        )
    make_folder(Path(cfg.work_dir), 'choose another --work-dir')
    cfg.test_cfg = dict(
        type='ThresholdSweepLoop',
        settings=[list(setting) for setting in settings],
        keep_maps=args.keep_maps,
    )
    found = EvaluationRunner.from_cfg(cfg).test()
    report(found, grid.setting_of(test_cfg), args)


def report(found: list, own: tuple, args: argparse.Namespace) -> None:
    """Print the table, and write table and plot to the work directory."""
    from sclip_mmseg.sweep import results

    folder = Path(args.work_dir)
    results.write_csv(found, own, folder)
    results.draw(found, own, Path(args.config).stem, folder / 'sweep.png')
    best = results.best_of(found)
    print(f'\n{len(found)} settings:\n')
    print(results.to_text(found, own))
    if best.setting != own:
        print(f'\nthe best: --cfg-options {best.setting.options(own)}')
    print(f'\n{results.CAUTION}\n\n{folder.resolve()}/{{sweep.csv,classes.csv,sweep.png}}')


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Run the sweep; of wrong input, say in one line what is wrong."""
    args = parse_args(argv)
    if args.download_root:
        os.environ['SCLIP_DOWNLOAD_ROOT'] = args.download_root

    from sclip_mmseg.utils.program import as_program

    with as_program(interrupted='the same command goes on'):
        run(args)


if __name__ == '__main__':
    main()
