"""The page itself, laid out with Gradio."""

import traceback
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ..apis import is_trained, list_methods
from ..apis.own_config import BACKGROUND_THD
from ..old_names import keep_old_names
from ..registry import REGION_GENERATORS
from ..utils.errors import InputError, one_line
from ..zoo import TOY
from . import style
from .limits import bounded
from .session import LONGEST, Answer, Question, Session

keep_old_names(__name__, serve='web.serve')

INTERNAL = (
    'Internal error: the terminal that serves this page tells more. The page still works; please '
    'try something else.'
)
#: Working sizes of a picture.
SIZES = [('336 pixels, as published', ''), ('672 pixels', '672'), ('its own size', 'native')]
_HOUR = 3600  # seconds until files of a user are removed
_LONGEST_QUEUE = 50  # questions


def respond(
    session: Session,
    question: Question,
    folder: str,
    is_there: Callable[[], bool] = lambda: True,
) -> tuple[Any, str]:
    """Answer a question, whatever becomes of it.

    Args:
        session: What computes.
        question: What is asked for.
        folder: Where to write the pictures.
        is_there: Whether somebody waits for the answer.

    Returns:
        The answer and what is to be known of it; or None, and in one line what is wrong. Of a bug
        the traceback goes to the terminal.
    """
    try:
        with bounded(is_there):
            answer = session.answer(question, folder)
        return answer, answer.notice
    except InputError as error:
        message = one_line(error)
        if question.picture:  # known to its owner by its name, not by where the server keeps it
            message = message.replace(question.picture, Path(question.picture).name)
        return None, message
    except Exception:
        traceback.print_exc()
        return None, INTERNAL


def _path_of(payload: Any) -> Any:
    """The file as it is, readable or not: the session reads it, and says what is wrong."""
    return payload and payload.path


def describe(answer: Answer, session: Session) -> dict[str, Any]:
    """Data about an answer for programs, beside its files."""
    areas = [
        dict(name=area.name, color=list(area.color), share=area.shares[0]) for area in answer.areas
    ]
    notice = ' '.join(filter(None, (TOY if session.is_toy else '', answer.notice)))
    return dict(method=answer.methods[0], areas=areas, notice=notice or None)


def build_page(session: Session, folder: Path, listeners: Container[str]) -> Any:
    """Lay the page out.

    Args:
        session: What computes.
        folder: Where Gradio keeps uploads.
        listeners: Sessions of browsers that wait for answers.

    Returns:
        The ``gradio.Blocks``. It reads the files that it is asked about, wherever they are: it
        needs a :class:`.guard.Guard` in front.
    """
    import gradio as gr

    methods = list_methods()
    regions = [('as the method draws them', '')]
    regions += [(f'regions: {kind}', kind.lower()) for kind in REGION_GENERATORS.module_dict]

    with gr.Blocks(
        title='sclip_mmseg', analytics_enabled=False, delete_cache=(600, _HOUR), fill_width=True
    ) as page:
        if session.is_toy:
            gr.HTML(style.BANNER, padding=False, elem_id='banner')
        gr.HTML(style.HEADER, padding=False, elem_id='header')
        with gr.Row(elem_id='main'):
            with gr.Column(elem_id='inputs'):
                picture = gr.Image(
                    str(session.examples[0].picture) if session.examples else None,
                    label='Picture',
                    sources=['upload', 'clipboard'],
                    buttons=[],
                    height=280,
                    elem_id='picture',
                )
                picture.preprocess = _path_of  # type: ignore[method-assign] # no component does so
                examples = gr.Dataset(
                    label='Examples',
                    components=['image'],
                    samples=[[str(example.picture)] for example in session.examples],
                    type='index',
                    visible=bool(session.examples),
                    elem_id='examples',
                )
                classes = gr.Textbox(
                    session.classes,
                    lines=5,
                    max_lines=12,
                    max_length=LONGEST,
                    label='Classes',
                    elem_id='classes',
                )
                button = gr.Button('Segment', variant='primary', elem_id='segment')
            with gr.Column(elem_id='outputs'):
                message = gr.HTML(visible=False, padding=False, elem_id='message')
                with gr.Column(visible=False) as result:
                    slider = gr.ImageSlider(
                        show_label=False,
                        buttons=['fullscreen'],
                        max_height=620,
                        slider_position=35,
                        elem_id='slider',
                    )
                    areas = gr.HTML(padding=False, elem_id='areas')
                    with gr.Row():
                        overlay = gr.DownloadButton(
                            '↓ Overlay', size='md', min_width=120, elem_id='overlay'
                        )
                        labels = gr.DownloadButton(
                            '↓ Label map', size='md', min_width=120, elem_id='labels'
                        )
            with gr.Row(elem_id='options'):
                with gr.Column(scale=4, min_width=260), gr.Row():
                    method = gr.Dropdown(
                        methods,
                        value=session.method,
                        label='Method',
                        min_width=120,
                        elem_id='method',
                    )
                    other = gr.Dropdown(
                        [('the picture', ''), *((name, name) for name in methods)],
                        value='',
                        label='Compare with',
                        min_width=120,
                        elem_id='other',
                    )
                with gr.Column(scale=3, min_width=220):
                    outlines = gr.Dropdown(regions, value='', label='Outlines', elem_id='regions')
                    size = gr.Dropdown(SIZES, value='', label='Working size', elem_id='size')
                with gr.Column(scale=4, min_width=260), gr.Group():
                    background = gr.Checkbox(
                        label='Background',
                        info='a class of everything else',
                        elem_id='background',
                    )
                    words = gr.Textbox(
                        '',  # a value that programs may leave out
                        label='Background words',
                        placeholder='sky, wall, tree … (the published list)',
                        max_length=LONGEST,
                        visible=False,
                        elem_id='words',
                    )
                    threshold = gr.Slider(
                        *(0, 1, BACKGROUND_THD),
                        step=0.05,
                        label='Threshold: background where the best score is below',
                        visible=False,
                        elem_id='threshold',
                    )

        @contextmanager
        def answered(
            question: Question, request: gr.Request
        ) -> Iterator[tuple[Answer | None, str]]:
            # Gradio copies the files before the generator that has the answer is closed.
            with TemporaryDirectory(dir=folder.parent) as results:
                yield respond(session, question, results, lambda: request.session_hash in listeners)

        def show_details(wanted: bool, name: str) -> tuple[Any, Any]:
            # A trained system has a background and a threshold of its own.
            shown = wanted and not is_trained(name)
            return gr.Textbox(visible=shown), gr.Slider(visible=shown)

        def choose(index: int) -> tuple[str, str]:
            path, names = session.examples[index]
            return str(path), names

        def run(
            path: str | None,
            names: str | None,
            name: str,
            second: str,
            wanted: bool,
            others: str | None,
            score: float | None,
            kind: str,
            looked: str,
            request: gr.Request,
        ) -> Iterator[tuple]:
            score = BACKGROUND_THD if score is None else score
            lists = names or '', others or ''  # None of a box in which nothing was written
            asked = path, lists[0], name, second, wanted, lists[1], score, kind, looked
            question = Question(*asked)
            with answered(question, request) as (answer, said):
                if answer is None:
                    shown: list = [gr.Column(visible=False), None, '', None, None]
                else:
                    shown = [
                        gr.Column(visible=True),
                        (str(answer.left), str(answer.right)),
                        style.legend(answer.areas, answer.methods),
                        str(answer.overlay),
                        str(answer.labels),
                    ]
                yield (gr.HTML(style.alert(said) if said else '', visible=bool(said)), *shown)

        def segment(
            picture: str | None,
            classes: str,
            method: str,
            background: bool,
            words: str,
            threshold: float | None,
            regions: str,
            size: str,
            request: gr.Request,
        ) -> Iterator[tuple]:
            score = BACKGROUND_THD if threshold is None else threshold
            lists = classes or '', words or ''
            asked = picture, lists[0], method, '', background, lists[1], score, regions, size
            question = Question(*asked)
            with answered(question, request) as (answer, said):
                if answer is None:
                    raise gr.Error(said, print_exception=False)
                yield str(answer.overlay), str(answer.labels), describe(answer, session)

        # For programs: parameters have these names, and the values that the page begins with.
        gr.Button(visible=False).click(
            segment,
            [picture, classes, method, background, words, threshold, outlines, size],
            [overlay, labels, gr.JSON(visible=False)],
            api_name='segment',
            api_description='Segment a picture: overlay, label map (PNG of class ids) and areas.',
            concurrency_id='segment',
        )
        gr.on(
            [background.change, method.change],
            show_details,
            [background, method],
            [words, threshold],
            api_visibility='private',
        )
        examples.click(choose, examples, [picture, classes], api_visibility='private')
        gr.on(
            [
                *(page.load, picture.change, button.click, classes.submit, words.submit),
                *(method.change, other.change, outlines.change, size.change),
                *(background.change, threshold.release),
            ],
            run,
            [picture, classes, method, other, background, words, threshold, outlines, size],
            [message, result, slider, areas, overlay, labels],
            trigger_mode='always_last',
            concurrency_id='segment',  # one question at a time
            api_visibility='private',
        )
    page.queue(max_size=_LONGEST_QUEUE)
    return page
