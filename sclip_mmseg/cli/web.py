"""Serve a local web page that segments images into your own classes. It needs no internet."""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec

from ..utils.program import as_program
from .arguments import add_cfg_options

LARGEST = 50_000_000  # pixels of an image, see sclip_mmseg.web.session


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--method',
        help='initial method, e.g. sam3; default: scclip, or sclip with the toy CLIP',
    )
    parser.add_argument(
        '--clip',
        help='CLIP by name or path, or the checkpoint of a trained system (--method); default: the '
        "toy CLIP of a clone, else ViT-B/16, or the system's published one",
    )
    add_cfg_options(parser, 'settings of the config of --method, as in sclip segment')
    parser.add_argument('--device', help='default: the accelerator if there is one')
    parser.add_argument(
        '--host', default='127.0.0.1', help='0.0.0.0 for access from other machines'
    )
    parser.add_argument('--port', type=int, default=7860, help='0 for any free port')
    parser.add_argument(
        '--allow-host',
        action='append',
        default=[],
        metavar='NAME',
        help='additional host name of the page, such as that of a reverse proxy; may be repeated',
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Serve, or say in one line what is wrong."""
    args = parse_args(argv)
    if find_spec('gradio') is None:
        sys.exit('error: Gradio is not installed: pip install "sclip_mmseg[web]"')
    # OpenCV's own limit, read on import, in case it reads a header differently than Pillow.
    os.environ['OPENCV_IO_MAX_IMAGE_PIXELS'] = str(LARGEST)
    with as_program():
        from .. import web
        from ..web.style import TOY_HINT

        host = args.host.strip('[]')
        bound = web.listen(host, args.port)
        address, port = bound.getsockname()[:2]
        host = f'[{host}]' if ':' in host else host
        hosts = web.Hosts(address, [host, *args.allow_host])
        session = web.Session(args.clip, args.device, args.method, args.cfg_options)
        if session.is_toy:
            print(TOY_HINT)
        web.serve(session, bound, hosts, f'http://{host}:{port}')
