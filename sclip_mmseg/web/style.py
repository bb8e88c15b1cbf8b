"""Colours, fonts and HTML of the page. Nothing is loaded from the internet."""

from collections.abc import Sequence
from html import escape

from .. import zoo
from .session import Area

TITLE = 'Segment an image into your own classes'
HELP = (
    'Choose an image and list what is in it: one class per line, synonyms separated by commas. '
    'Every pixel gets the class that fits best.'
)
TOY_COMMAND = 'sclip web --clip ViT-B/16'
TOY_HINT = f'For photographs, start: {TOY_COMMAND}'
TOY_NOTICE = f'{zoo.TOY} {TOY_HINT}'
BANNER = (
    '<div role="alert" class="banner">'
    f'{TOY_NOTICE.removesuffix(TOY_COMMAND)}<span>{TOY_COMMAND}</span></div>'
)
HEADER = f'<h1>{TITLE}</h1><p>{HELP}</p>'

CSS = """
.gradio-container .main.app { max-width: 1320px !important; padding: 16px 32px !important; }
.html-container { padding: 0 !important; }
.banner { background: #b00020; color: white; font-size: 1.15em; font-weight: 700;
  padding: .7em 1em; border-radius: 8px; }
.banner span { white-space: nowrap; }  /* else browsers break lines after -- */
#header h1 { font-size: 1.7em; font-weight: 700; margin: 0 0 .15em; }
#header p { margin: 0; opacity: .8; }
#main { display: grid; gap: 16px; grid-template-columns: 5fr 7fr;
  grid-template-areas: 'inputs outputs' 'options options'; }
#inputs { grid-area: inputs; }
#outputs { grid-area: outputs; }
#options { grid-area: options; }
#inputs, #outputs, #options { min-width: 0 !important; }
@media (max-width: 760px) {
  #main { grid-template-columns: 100%; grid-template-areas: 'inputs' 'outputs' 'options'; }
}
.message { padding: .7em 1em; border-radius: 8px; border-left: 5px solid #d97706;
  background: #fef3c7; color: #78350f; overflow-wrap: anywhere; }
.sides { display: flex; justify-content: space-between; opacity: .75; margin: 0 .2em .4em; }
#status:has(.wrap:not(.hide)) { min-height: 90px; }
#examples img { object-fit: cover; width: 88px; height: 62px; }
.areas { width: 100%; border-collapse: collapse; }
.areas, .areas tr, .areas th, .areas td { border: 0 !important; }
.areas th, .areas td { padding: .25em .2em .25em 1em; text-align: right; white-space: nowrap;
  font-variant-numeric: tabular-nums; }
.areas th { font-weight: 400; opacity: .75; }
.areas td:nth-child(1) { text-align: left; white-space: normal; overflow-wrap: anywhere;
  padding-left: .2em; }
.areas td.bar { width: 45%; }
.areas i { display: block; height: .7em; border-radius: 4px; min-width: 2px; }
.areas b { display: inline-block; width: .95em; height: .95em; border-radius: 3px;
  margin-right: .6em; vertical-align: -.1em; border: 1px solid rgb(128 128 128 / .6); }
"""


def alert(message: str) -> str:
    """A highlighted message."""
    return f'<div role="alert" class="message">{escape(message)}</div>'


def _percent(share: float) -> str:
    return '< 0.1%' if 0 < share < 0.0005 else f'{share:.1%}'


def legend(areas: Sequence[Area], methods: Sequence[str]) -> str:
    """Captions of the two sides of the slider, and the classes found with their shares."""
    left = methods[1] if len(methods) > 1 else 'image'
    sides = f'<div class="sides"><span>◀ {left}</span><span>{methods[0]} ▶</span></div>'
    rows = []
    for area in areas:
        color = 'rgb({}, {}, {})'.format(*area.color) if any(area.color) else 'transparent'
        shares = ''.join(f'<td>{_percent(share)}</td>' for share in reversed(area.shares))
        bar = f'<i style="background: {color}; width: {100 * area.shares[0]:.1f}%"></i>'
        rows.append(
            f'<tr><td><b style="background: {color}"></b>{escape(area.name)}</td>'
            f'<td class="bar">{bar}</td>{shares}</tr>'
        )
    if len(methods) > 1:
        names = ''.join(f'<th>{name}</th>' for name in reversed(methods))
        rows.insert(0, f'<tr><td></td><td></td>{names}</tr>')
    return f'{sides}<table class="areas">{"".join(rows)}</table>'
