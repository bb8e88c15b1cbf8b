#!/usr/bin/env python
"""Serve a local page that segments pictures into classes of your own. It needs no internet."""

import argparse
import sys
from importlib.util import find_spec
from typing import Optional, Sequence


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--clip', help='CLIP by name or path; default: the toy CLIP of a clone, else ViT-B/16'
    )
    parser.add_argument('--device', help='default: the accelerator where there is one')
    parser.add_argument('--host', default='127.0.0.1', help='0.0.0.0: reachable by other machines')
    parser.add_argument('--port', type=int, default=7860)
    return parser.parse_args(argv)


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Serve, or say in one line what is wrong."""
    args = parse_args(argv)
    if find_spec('gradio') is None:
        sys.exit('error: Gradio is not installed: pip install -e ".[web]"')
    from sclip_mmseg import web
    from sclip_mmseg.utils.program import as_program
    from sclip_mmseg.web.style import TOY_NOTICE

    with as_program():
        session = web.Session(args.clip, args.device)
    try:
        page = web.serve(session, args.host, args.port)
    except OSError as error:
        sys.exit(f'error: cannot serve on {args.host}, port {args.port}: {error}')
    if session.is_toy:
        print(TOY_NOTICE)
    print(f'http://{args.host}:{args.port}', flush=True)
    page.block_thread()


if __name__ == '__main__':
    main()
