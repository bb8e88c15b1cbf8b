#!/usr/bin/env python
"""Serve a local page that segments pictures into classes of your own. It needs no internet."""

import argparse
import os
import sys
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Dict, Optional, Sequence, Tuple

import numpy as np
from mmengine.config import Config

TOY = Path(__file__).resolve().parents[1] / 'configs/toy'
HELP = (
    'Upload a picture and write classes, one per line or separated by semicolons, synonyms '
    'separated by commas. The overlay follows whenever you leave a box or change a choice.'
)
TOY_NOTICE = (
    'This is the toy CLIP. It only knows drawings: what it says of photographs is wrong. '
    'For photographs, start: python tools/web_demo.py --clip ViT-B/16'
)
BANNER = (
    '<div role="alert" style="background: #b00020; color: white; font-size: 1.4em; '
    f'font-weight: bold; padding: 0.8em; border-radius: 8px">{TOY_NOTICE}</div>'
)
CLASSES, METHOD, THRESHOLD = 'dog\ncat, kitten\ncar', 'scclip', 0.1
Result = Tuple[Optional[np.ndarray], Dict[str, float], str]


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--clip', help='CLIP by name or path; default: the toy CLIP of data/toy')
    parser.add_argument('--device', help='default: the accelerator where there is one')
    parser.add_argument('--host', default='127.0.0.1', help='0.0.0.0: reachable by other machines')
    parser.add_argument('--port', type=int, default=7860)
    return parser.parse_args(argv)


class Demo:
    """What the page computes. The last model used is kept.

    Args:
        clip: CLIP by name or path; None for the toy CLIP.
            Trained systems read their published checkpoints.
        device: None for the accelerator where there is one.

    Attributes:
        is_toy: Whether the toy CLIP is used because none was named.

    Raises:
        InputError: If the CLIP cannot be used.
    """

    def __init__(self, clip: Optional[str] = None, device: Optional[str] = None):
        from sclip_mmseg import InputError

        self.clip, self.device, self.is_toy = clip, device, clip is None
        self.resclip_options = {}
        if self.is_toy:
            config = Config.fromfile(TOY / 'resclip-naclip_toy_voc20.py').model.image_encoder
            self.clip = config.clip
            key = 'model.image_encoder.method.rcs.blocks'
            self.resclip_options = {key: config.method.rcs.blocks}
            if not Path(self.clip).is_file():
                raise InputError(f'there is no toy CLIP {self.clip}: give --clip, e.g. ViT-B/16')
        self._model = lru_cache(maxsize=1)(self._build)
        self._model(METHOD, CLASSES, False, '', THRESHOLD)

    def _build(self, method: str, classes: str, background: bool, words: str, threshold: float):
        from sclip_mmseg import apis

        options = {'model.test_cfg.seg_logits': False}
        if method.startswith('resclip'):
            options.update(self.resclip_options)
        clip = None if apis.is_trained(method) else self.clip
        if background and clip:  # trained systems have a threshold of their own
            options['model.test_cfg.prob_thd'] = threshold
        names = words.split(',') if background and words.strip() else background
        return apis.build_segmentor(
            apis.parse_classes(classes), names, method, clip, self.device, options
        )

    def segment(
        self,
        picture: Optional[str],
        classes: str,
        background: bool,
        words: str,
        threshold: float,
        method: str,
    ) -> Result:
        """Segment a picture as the page's inputs say.

        Args:
            picture: File; None before one is uploaded.
            classes: See :func:`sclip_mmseg.apis.parse_classes`.
            background: Whether there is a class of everything else.
            words: Its words, separated by commas; empty for the published ones.
            threshold: Score below which a pixel is background, 0 to 1.
            method: One of :func:`sclip_mmseg.apis.list_methods`.

        Returns:
            The overlay (RGB, uint8 ``[H, W, 3]``), share of each class, and no message; or no
            overlay, no shares, and what is missing or wrong.
        """
        from sclip_mmseg import InputError, apis

        if not picture:
            return None, {}, 'Upload a picture.'
        try:
            model = self._model(method, classes, background, words, threshold)
            image = apis.read_picture(picture)
            result = apis.segment(model, image)
        except InputError as error:
            # The page knows the file by its name, not by where the server keeps it.
            return None, {}, f'Error: {error}'.replace(str(picture), Path(picture).name)
        overlay = apis.draw_overlay(
            image[..., ::-1], result.labels, result.class_names, result.palette
        )
        return overlay, result.areas, ''


def build_page(demo: Demo):
    """Lay the page out.

    Returns:
        The ``gradio.Blocks``.
    """
    import gradio as gr

    from sclip_mmseg.apis import list_methods

    with gr.Blocks(title='sclip_mmseg', analytics_enabled=False, delete_cache=(600, 3600)) as page:
        if demo.is_toy:
            gr.HTML(BANNER, elem_id='banner')
        gr.Markdown(f'## Segment a picture into classes of your own\n{HELP}')
        with gr.Row():
            with gr.Column():
                picture = gr.Image(
                    label='Picture', sources=['upload', 'clipboard'], buttons=[], elem_id='picture'
                )
                # The file as it is, readable or not: Demo.segment reads it, and says what is wrong.
                picture.preprocess = lambda payload: payload and payload.path
                classes = gr.Textbox(CLASSES, lines=4, label='Classes', elem_id='classes')
                method = gr.Dropdown(list_methods(), value=METHOD, label='Method', elem_id='method')
                background = gr.Checkbox(label='Background: a class of everything else')
                words = gr.Textbox(
                    label='Background words', placeholder='the words of the published list'
                )
                threshold = gr.Slider(0, 1, THRESHOLD, step=0.05, label='Background threshold')
            with gr.Column():
                message = gr.Textbox(label='Message', elem_id='message')
                overlay = gr.Image(show_label=False, buttons=[], format='png', elem_id='overlay')
                areas = gr.Label(label='Areas', show_heading=False, elem_id='areas')
        events = [picture.change, method.change, background.change, threshold.release]
        events += [event for box in (classes, words) for event in (box.blur, box.submit)]
        gr.on(
            events,
            demo.segment,
            [picture, classes, background, words, threshold, method],
            [overlay, areas, message],
            trigger_mode='always_last',
            concurrency_limit=1,
            api_visibility='private',
        )
    return page


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Serve, or say in one line what is wrong."""
    args = parse_args(argv)
    if find_spec('gradio') is None:
        sys.exit('error: Gradio is not installed: pip install -e ".[web]"')
    os.environ['GRADIO_ANALYTICS_ENABLED'] = 'False'
    from sclip_mmseg import InputError

    try:
        demo = Demo(args.clip, args.device)
        page = build_page(demo)
    except InputError as error:
        sys.exit(f'error: {error}')
    try:
        page.launch(
            server_name=args.host,
            server_port=args.port,
            share=False,
            show_error=True,
            footer_links=[],
            run_history=False,
            ssr_mode=False,
            quiet=True,
            prevent_thread_lock=True,
        )
    except OSError as error:
        sys.exit(f'error: cannot serve on {args.host}, port {args.port}: {error}')
    if demo.is_toy:
        print(TOY_NOTICE)
    print(f'http://{args.host}:{args.port}', flush=True)
    page.block_thread()


if __name__ == '__main__':
    main()
