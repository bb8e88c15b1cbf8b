#!/usr/bin/env python
"""Write a config's query embeddings to a file, so that a checkpoint without text tower will do."""

if __name__ == '__main__':  # before all imports, which take seconds
    from sclip_mmseg.utils.interrupt import end_at_once_if_interrupted

    end_at_once_if_interrupted()

import argparse
import os.path as osp
from collections.abc import Sequence

from mmengine.config import DictAction


def main(argv: Sequence[str] | None = None) -> None:
    """Build the config's text head and save what it holds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file with the queries, templates and CLIP')
    parser.add_argument('out', help='.npz file: queries [Q], class_ids [Q], embeddings [Q, D]')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, default={})
    args = parser.parse_args(argv)
    if not args.out.endswith('.npz'):
        parser.error(f'{args.out} must end in .npz')

    from mmengine.registry import init_default_scope

    from sclip_mmseg.config import read_config
    from sclip_mmseg.models.segmentor import build_text_head
    from sclip_mmseg.models.text_embeddings import save_embeddings
    from sclip_mmseg.utils.errors import InputError
    from sclip_mmseg.utils.program import as_program

    with as_program():
        folder = osp.dirname(osp.abspath(args.out))
        if not osp.isdir(folder):
            raise InputError(f'folder {folder} does not exist')
        cfg = read_config(args.config)
        cfg.merge_from_dict(args.cfg_options)
        init_default_scope(cfg.default_scope)
        head = build_text_head(cfg.model.image_encoder, cfg.model.text_head)
        save_embeddings(args.out, head.query_set, head.embeddings)
    print(f'{len(head.embeddings)} embeddings of {head.num_classes} classes: {args.out}')


if __name__ == '__main__':
    main()
