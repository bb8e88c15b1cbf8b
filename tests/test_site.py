"""The documentation site: rewritten links, and failure on dead ones."""

import sys

import pytest
from helpers import ROOT

pytest.importorskip('mkdocs')
sys.path.insert(0, str(ROOT / 'tools/misc'))

from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.exceptions import Abort, PluginError
from site_hook import relink


@pytest.mark.parametrize(
    'markdown, source, expected',
    [
        ('[a](docs/speed.md#on-a-gpu)', 'README.md', '[a](speed.md#on-a-gpu)'),
        ('[a](../../README.md)', 'docs/methods/clip.md', '[a](../index.md)'),
        ('![a](../images/coffee.jpg)', 'docs/methods/clip.md', '![a](../images/coffee.jpg)'),
        ('[`a`](../sclip_mmseg/models/view.py)', 'docs/speed.md', '[`a`][sclip_mmseg.models.view]'),
        ('[a](../sclip_mmseg/towers/)', 'docs/speed.md', '[a][sclip_mmseg.towers]'),
        ('[a](configs/protocols.yml)', 'README.md', 'a (`configs/protocols.yml`)'),
        ('[configs/protocols.yml](configs/protocols.yml)', 'README.md', 'configs/protocols.yml'),
        ('[a](https://a.org/b_(c)) [b](#here)', 'README.md', '[a](https://a.org/b_(c)) [b](#here)'),
    ],
)
def test_links(markdown, source, expected):
    page = 'index.md' if source == 'README.md' else source.removeprefix('docs/')
    assert relink(markdown, source, page) == expected


def test_a_link_to_no_file_is_named():
    with pytest.raises(
        PluginError, match=r'README\.md links to docs/none\.md, which does not exist'
    ):
        relink('[a](docs/none.md)', 'README.md', 'index.md')


@pytest.mark.parametrize(
    'text, said',
    [
        ('[a](#here) [b](b.md#there)', None),
        ('[a](c.md)', "'c.md', but the target is not found"),
        ('[a](b.md#nowhere)', "does not contain an anchor '#nowhere'"),
        ('[a][sclip_mmseg.nothing]', "cross-reference target 'sclip_mmseg.nothing'"),
    ],
)
def test_dead_links_anchors_and_references_fail(tmp_path, caplog, text, said):
    """The settings of mkdocs.yml are applied to two small pages."""
    (tmp_path / 'docs').mkdir()
    (tmp_path / 'docs/index.md').write_text(f'# Here\n\n{text}\n')
    (tmp_path / 'docs/b.md').write_text('# There\n')
    settings = tmp_path / 'mkdocs.yml'
    settings.write_text(
        f'INHERIT: {ROOT}/mkdocs.yml\nhooks: []\nnav: [index.md, b.md]\nsite_dir: site\n'
    )
    config = load_config(str(settings))
    if said:
        with pytest.raises(Abort):
            build(config)
        assert said in caplog.text
    else:
        build(config)
        assert (tmp_path / 'site/b.html').is_file()
