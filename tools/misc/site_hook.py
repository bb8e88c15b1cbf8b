"""Hook of mkdocs: pages outside ``docs``, API pages, and links to files of the repository."""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
#: Files of the repository → pages of the site.
PAGES = {
    'README.md': 'index.md',
    'CHANGELOG.md': 'changelog.md',
    'CONTRIBUTING.md': 'contributing.md',
    'LICENSE': 'license.md',
    'data/README.md': 'data.md',
    'data/toy/README.md': 'toy.md',
    'demo/README.md': 'demo.md',
    'tests/golden/README.md': 'golden.md',
}
#: Packages with an API page.
PACKAGES = (
    *('apis', 'datasets', 'engine', 'evaluation', 'export', 'memory', 'models', 'rasters'),
    *('regions', 'towers', 'utils', 'visualization'),
)
LINK = re.compile(r'(!?)\[((?:[^][]|\[[^]]*\])*)\]\(([^()\s:#]+)(#[^()\s]*)?\)')


def relink(markdown: str, source: str, page: str) -> str:
    """Rewrite the links in a file of the repository for a page of the site.

    Links to modules lead to their API page; links to other files outside the site become text.

    Args:
        markdown: Content of the file.
        source: Path of the file in the repository.
        page: Path of the page in the site.

    Raises:
        PluginError: If a link points to a file that does not exist.
    """

    def replace(match: re.Match[str]) -> str:
        image, text, target, anchor = match.groups()
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        if not (ROOT / path).exists():
            raise PluginError(f'{source} links to {path}, which does not exist')
        inside = PAGES.get(path) or (path[5:] if path.startswith('docs/') else None)
        if inside:
            link = posixpath.relpath(inside, posixpath.dirname(page) or '.')
            return f'{image}[{text}]({link}{anchor or ""})'
        parts = path.removesuffix('.py').removesuffix('/__init__').split('/')
        if parts[0] == 'sclip_mmseg' and parts[1:2] and parts[1] in PACKAGES:
            return f'[{text}][{".".join(parts)}]'
        return f'{text} (`{path}`)' if path not in text else text

    return LINK.sub(replace, markdown)


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are not in ``docs``."""
    for source, page in PAGES.items():
        text = (ROOT / source).read_text(encoding='utf-8')
        if source.endswith('.md'):
            text = relink(text, source, page)
        else:
            text = f'# License\n\n```none\n{text}```\n'
        files.append(File.generated(config, page, content=text))
    for package in PACKAGES:
        text = f'# sclip_mmseg.{package}\n\n::: sclip_mmseg.{package}\n'
        files.append(File.generated(config, f'api/{package}.md', content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Rewrite the links of a page in ``docs``."""
    uri = page.file.src_uri
    return markdown if page.file.generated_by else relink(markdown, f'docs/{uri}', uri)
