"""The layout of the page, with Gradio."""

import traceback
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ..apis import is_trained, list_methods
from ..apis.own_config import BACKGROUND_THD
from ..old_names import keep_old_names
from ..registry import REGION_GENERATORS
from ..utils.errors import InputError, one_line
from ..utils.progress import Progress
from ..zoo import TOY
from . import style
from .limits import bounded
from .session import LONGEST, Answer, Question, Session

keep_old_names(__name__, serve='web.serve')

INTERNAL = (
    'Internal error: see the terminal that serves this page. The page still works; please try '
    'something else.'
)
#: Working sizes of images.
SIZES = [('336 pixels, as published', ''), ('672 pixels', '672'), ('its own size', 'native')]
_HOUR = 3600  # seconds until files of a user are removed
_LONGEST_QUEUE = 50  # requests


def respond(
    session: Session,
    question: Question,
    folder: str,
    is_connected: Callable[[], bool] = lambda: True,
    report: Callable[[Progress], None] = lambda progress: None,
) -> tuple[Any, str]:
    """Answer a request, without raising errors.

    Args:
        session: The session that computes the answer.
        question: The request.
        folder: Folder for the images.
        is_connected: Function that returns whether somebody waits for the answer.
        report: Function that shows the progress of methods that take long.

    Returns:
        The answer and its notice; or None and a one-line error message. The traceback of a bug is
        printed to the terminal.
    """
    try:
        with bounded(is_connected, report):
            answer = session.answer(question, folder)
        return answer, answer.notice
    except InputError as error:
        message = one_line(error)
        if question.image:  # users know the name of their file, not where the server keeps it
            message = message.replace(question.image, Path(question.image).name)
        return None, message
    except Exception:
        traceback.print_exc()
        return None, INTERNAL


def _path_of(payload: Any) -> Any:
    """The path of an upload. The session reads the file, and reports errors."""
    return payload and payload.path


def describe(answer: Answer, session: Session) -> dict[str, Any]:
    """The answer's data for programs, apart from its files."""
    areas = [
        dict(name=area.name, color=list(area.color), share=area.shares[0]) for area in answer.areas
    ]
    notice = ' '.join(filter(None, (TOY if session.is_toy else '', answer.notice)))
    return dict(method=answer.methods[0], areas=areas, notice=notice or None)


def build_page(session: Session, folder: Path, listeners: Container[str]) -> Any:
    """Build the page.

    Args:
        session: The session that computes answers.
        folder: Folder in which Gradio keeps uploads.
        listeners: Sessions of browsers that wait for answers.

    Returns:
        The ``gradio.Blocks``. It reads any file that a request names, so it must be served behind a
        :class:`.guard.Guard`.
    """
    import gradio as gr

    methods = list_methods()
    regions = [('of the method', '')]
    regions += [(f'regions: {kind}', kind.lower()) for kind in REGION_GENERATORS.module_dict]

    with gr.Blocks(
        title='sclip_mmseg', analytics_enabled=False, delete_cache=(600, _HOUR), fill_width=True
    ) as page:
        if session.is_toy:
            gr.HTML(style.BANNER, padding=False, elem_id='banner')
        gr.HTML(style.HEADER, padding=False, elem_id='header')
        with gr.Row(elem_id='main'):
            with gr.Column(elem_id='inputs'):
                image = gr.Image(
                    str(session.examples[0].image) if session.examples else None,
                    label='Image',
                    sources=['upload', 'clipboard'],
                    buttons=[],
                    height=280,
                    elem_id='image',
                )
                image.preprocess = _path_of  # type: ignore[method-assign] # no component does this
                examples = gr.Dataset(
                    label='Examples',
                    components=['image'],
                    samples=[[str(example.image)] for example in session.examples],
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
                status = gr.HTML(padding=False, elem_id='status')
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
                        [('the image', ''), *((name, name) for name in methods)],
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
                        info='a class for everything else',
                        elem_id='background',
                    )
                    words = gr.Textbox(
                        '',  # not None, so that programs can omit it
                        label='Background words',
                        placeholder='sky, wall, tree … (the published list)',
                        max_length=LONGEST,
                        visible=False,
                        elem_id='words',
                    )
                    threshold = gr.Slider(
                        *(0, 1, BACKGROUND_THD),
                        step=0.05,
                        label='Threshold: background if the best score is below',
                        visible=False,
                        elem_id='threshold',
                    )

        @contextmanager
        def answered(
            question: Question, request: gr.Request, progress: gr.Progress
        ) -> Iterator[tuple[Answer | None, str]]:
            def report(each: Progress) -> None:
                progress(each.share, desc=str(each))

            # Gradio copies the files before it closes the generator that yields the answer.
            with TemporaryDirectory(dir=folder.parent) as results:
                is_connected = partial(listeners.__contains__, request.session_hash)
                yield respond(session, question, results, is_connected, report)

        def show_details(wanted: bool, name: str) -> tuple[Any, Any]:
            # Trained systems have their own background and threshold.
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
            progress: gr.Progress = gr.Progress(),  # noqa: B008 # Gradio looks for it here
        ) -> Iterator[tuple]:
            score = BACKGROUND_THD if score is None else score
            lists = names or '', others or ''  # an untouched box gives None
            asked = path, lists[0], name, second, wanted, lists[1], score, kind, looked
            question = Question(*asked)
            with answered(question, request, progress) as (answer, said):
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
            picture: str | None,  # a parameter of the API, whose name programs may use
            classes: str,
            method: str,
            background: bool,
            words: str,
            threshold: float | None,
            regions: str,
            size: str,
            request: gr.Request,
            progress: gr.Progress = gr.Progress(),  # noqa: B008 # Gradio looks for it here
        ) -> Iterator[tuple]:
            score = BACKGROUND_THD if threshold is None else threshold
            lists = classes or '', words or ''
            asked = picture, lists[0], method, '', background, lists[1], score, regions, size
            question = Question(*asked)
            with answered(question, request, progress) as (answer, said):
                if answer is None:
                    raise gr.Error(said, print_exception=False)
                yield str(answer.overlay), str(answer.labels), describe(answer, session)

        # For programs: the API's parameters have the names of the function's, and the page's
        # initial values as defaults.
        gr.Button(visible=False).click(
            segment,
            [image, classes, method, background, words, threshold, outlines, size],
            [overlay, labels, gr.JSON(visible=False)],
            api_name='segment',
            api_description='Segment an image: overlay, label map (PNG of class ids) and areas.',
            concurrency_id='segment',
        )
        gr.on(
            [background.change, method.change],
            show_details,
            [background, method],
            [words, threshold],
            api_visibility='private',
        )
        examples.click(choose, examples, [image, classes], api_visibility='private')
        gr.on(
            [
                *(page.load, image.change, button.click, classes.submit, words.submit),
                *(method.change, other.change, outlines.change, size.change),
                *(background.change, threshold.release),
            ],
            run,
            [image, classes, method, other, background, words, threshold, outlines, size],
            [message, result, slider, areas, overlay, labels],
            show_progress_on=[status, slider],
            trigger_mode='always_last',
            concurrency_id='segment',  # one request at a time
            api_visibility='private',
        )
    page.queue(max_size=_LONGEST_QUEUE)
    return page
