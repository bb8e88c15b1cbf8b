#!/usr/bin/env python
"""Write a config's query embeddings to a file, for checkpoints without a text tower."""

if __name__ == '__main__':  # before all imports, which take seconds
    from sclip_mmseg.utils.interrupt import end_at_once_if_interrupted

    end_at_once_if_interrupted()

import argparse
from collections.abc import Sequence

from sclip_mmseg.cli.arguments import add_cfg_options
from sclip_mmseg.utils.program import as_program


def main(argv: Sequence[str] | None = None) -> None:
    """Build the config's text head and save its embeddings."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file with the queries, templates and CLIP')
    parser.add_argument('out', help='.npz file: queries [Q], class_ids [Q], embeddings [Q, D]')
    add_cfg_options(parser)
    args = parser.parse_args(argv)
    if not args.out.endswith('.npz'):
        parser.error(f'{args.out} must end in .npz')

    with as_program():
        from sclip_mmseg.apis.embeddings import extract_embeddings

        head = extract_embeddings(args.config, args.out, args.cfg_options)
        print(f'{len(head.embeddings)} embeddings of {head.num_classes} classes: {args.out}')


if __name__ == '__main__':
    main()
