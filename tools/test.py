#!/usr/bin/env python
"""Evaluate a config on its benchmark; the flags are those of MMSegmentation's ``tools/test.py``."""

import argparse
import os
import os.path as osp
from typing import Optional, Sequence

from mmengine.config import Config, DictAction


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description='Evaluate a training-free segmentor')
    parser.add_argument(
        'config', help='config file, or a shipped one as sclip_mmseg::sclip/NAME.py'
    )
    parser.add_argument(
        'checkpoint',
        nargs='?',
        help='CLIP by name (ViT-B/16, hf:ORG/NAME, ...) or path, or for GroupViT and TCL their own '
        'file; without it, or as the word none: the one of the config',
    )
    parser.add_argument('--work-dir', help='folder for logs and results')
    parser.add_argument(
        '--resume',
        action='store_true',
        help='go on with an interrupted run in the same work directory',
    )
    parser.add_argument('--out', help='folder for the predicted label maps')
    parser.add_argument('--show', action='store_true', help='show predictions in a window')
    parser.add_argument('--show-dir', help='folder for painted images')
    parser.add_argument('--wait-time', type=float, default=2, help='seconds per shown image')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='override settings of the config, as key=value; a list as key="[a,b]" or key=a,b, '
        'nested ones as key="[(a,b),(c,d)]"',
    )
    parser.add_argument('--download-root', help='folder for downloaded CLIPs')
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='job launcher',
    )
    parser.add_argument('--tta', action='store_true', help='test-time augmentation')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    args = parser.parse_intermixed_args(argv)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def load_config(args: argparse.Namespace) -> Config:
    """Read the config and apply the command line to it.

    Raises:
        InputError: If there is no such config, or a key in it is unknown.
    """
    from sclip_mmseg import InputError
    from sclip_mmseg.config import read_config, set_checkpoint
    from sclip_mmseg.models import PLAIN_DICTS
    from sclip_mmseg.utils.spelling import check_config

    cfg = read_config(args.config)
    if args.checkpoint:
        set_checkpoint(cfg, args.checkpoint)
    try:
        cfg.merge_from_dict(args.cfg_options or {})
    except (KeyError, TypeError, IndexError) as error:  # what it finds has no such place
        raise InputError(f'--cfg-options do not fit {args.config}: {error}') from error
    check_config(cfg, PLAIN_DICTS)
    cfg.launcher = args.launcher
    if args.work_dir or not cfg.get('work_dir'):
        name = osp.splitext(osp.basename(args.config))[0]
        cfg.work_dir = args.work_dir or osp.join('./work_dirs', name)
    if args.resume:
        cfg.test_cfg.resume = True
    if args.out:
        cfg.test_evaluator.output_dir = args.out
    if not args.tta:  # mmseg's metrics and hooks read no class scores
        cfg.model.test_cfg.setdefault('seg_logits', False)
    draw_predictions(cfg, args)
    return cfg


def draw_predictions(cfg: Config, args: argparse.Namespace) -> None:
    """Switch drawing on or, so that mmseg does not warn about an idle hook, leave the hook out."""
    hook = cfg.setdefault('default_hooks', {}).get('visualization')
    if args.show or args.show_dir:
        if hook is None:
            from sclip_mmseg import InputError

            raise InputError(
                '--show and --show-dir need default_hooks.visualization, which the config lacks'
            )
        hook.update(draw=True, show=args.show, wait_time=args.wait_time)
        if args.show_dir:
            cfg.visualizer.save_dir = args.show_dir
    elif hook is not None and not hook.get('draw'):
        cfg.default_hooks.pop('visualization')


def check_folders(args: argparse.Namespace, cfg: Config) -> None:
    """Make the folders that are written to, and see that they can be.

    Raises:
        InputError: If one cannot.
    """
    from pathlib import Path

    from sclip_mmseg.utils.files import make_folder

    folders = {'--work-dir': cfg.work_dir, '--out': args.out, '--show-dir': args.show_dir}
    for flag, folder in folders.items():
        if folder:
            make_folder(Path(folder), f'name another folder by {flag}')


def check(cfg: Config) -> None:
    """Look for mistakes in data and settings before any weight is read or GPU is touched.

    Raises:
        InputError: If something cannot be used.
    """
    from mmengine.registry import init_default_scope

    from sclip_mmseg.datasets.background import Background
    from sclip_mmseg.datasets.checks import (
        check_classes,
        check_files,
        check_ignored,
        check_labels,
        load_dataset,
    )
    from sclip_mmseg.models.decision import find_background
    from sclip_mmseg.models.segmentor import build_text_head
    from sclip_mmseg.models.test_cfg import read_test_cfg
    from sclip_mmseg.regions import RegionFiles
    from sclip_mmseg.towers.proxy import resolve_proxy

    init_default_scope(cfg.default_scope)
    rule = read_test_cfg(cfg.model.test_cfg).rule
    background = find_background(cfg.model.image_encoder, rule.background)
    dataset = load_dataset(cfg.test_dataloader.dataset)
    check_files(dataset)
    head = build_text_head(cfg.model.image_encoder, cfg.model.text_head)  # reads no weights
    num_classes = head.num_classes + (background is Background.NO_QUERY)
    check_classes(dataset, num_classes, background)
    metrics = cfg.test_evaluator if isinstance(cfg.test_evaluator, list) else [cfg.test_evaluator]
    ignored = {metric.get('ignore_index', 255) for metric in metrics}
    check_ignored(dataset, ignored)
    check_labels(dataset, ignored)
    if isinstance(cfg.model.get('region_masks'), str):  # else they are made as it goes
        images = [dataset.get_data_info(index)['img_path'] for index in range(len(dataset))]
        RegionFiles(cfg.model.region_masks).check(images)
    if cfg.model.image_encoder.get('proxy'):
        resolve_proxy(cfg.model.image_encoder.proxy.get('checkpoint'))


def run(args: argparse.Namespace) -> None:
    """Check, and evaluate.

    Raises:
        InputError: If something given cannot be used.
    """
    from sclip_mmseg import InputError
    from sclip_mmseg.engine import EvaluationRunner
    from sclip_mmseg.engine.joining import join_processes
    from sclip_mmseg.utils.files import explain_full_disk

    cfg = load_config(args)
    check_folders(args, cfg)
    check(cfg)
    if args.tta:
        cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline
        cfg.tta_model.module = cfg.model
        cfg.model = cfg.tta_model
    join_processes(args.launcher, cfg.get('env_cfg', {}).get('dist_cfg', {}))
    try:
        EvaluationRunner.from_cfg(cfg).test()
    except OSError as error:
        if place := explain_full_disk(error, [cfg.work_dir]):
            raise InputError(f'{place}: make room there') from error
        raise


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Run the evaluation; of wrong input, say in one line what is wrong."""
    args = parse_args(argv)
    if args.download_root:
        os.environ['SCLIP_DOWNLOAD_ROOT'] = args.download_root

    from sclip_mmseg.utils.program import as_program

    with as_program():
        run(args)


if __name__ == '__main__':
    main()
