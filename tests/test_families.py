"""The table of families in the command `sclip methods --compare` and in the docs."""

import pytest
from helpers import ROOT, call_tool, read_tables
from mmengine.config import Config

from sclip_mmseg.families import compare
from sclip_mmseg.utils.shipped import read_yaml
from sclip_mmseg.zoo import METHODS

CLI = ROOT / 'sclip_mmseg/cli/__main__.py'
FACTS = read_yaml('families.yml')


def test_each_method_is_in_one_family():
    names = [name for family in FACTS['families'] for name in family['methods']]
    assert sorted(names) == sorted(METHODS)
    for family in FACTS['families']:
        assert family['shown'] in family['methods'] and family['cannot'] and family['published']
        assert set(family['downloads']) <= set(FACTS['downloads'])


def test_the_page_and_the_command_have_the_table():
    lines = list(compare())
    page = (ROOT / 'docs/which_method.md').read_text(encoding='utf-8')
    assert '\n'.join(lines) in page, 'write what `sclip methods --compare` prints into the page'
    assert call_tool(CLI, 'methods', '--compare').stdout == '\n'.join(lines) + '\n'
    wrong = call_tool(CLI, 'methods', '--compare', 'sclip', check=False)
    assert wrong.returncode and '--compare compares all methods' in wrong.stdout


def test_the_second_tower_is_the_one_that_the_config_loads():
    names = {'dino_vitb8': 'DINO ViT-B/8', 'dino_vitb16': 'DINO ViT-B/16'}
    for family in FACTS['families']:
        path = sorted(ROOT.glob('configs/' + METHODS[family['shown']].format('*')))[0]
        proxy = Config.fromfile(path).model.image_encoder.get('proxy')
        needs = {FACTS['downloads'][key]['what'] for key in family['downloads']}
        assert needs & {*names.values()} == ({names[proxy.checkpoint]} if proxy else set())


def test_measured_numbers_are_those_of_the_notes():
    [table] = [t for t in read_tables('docs/notes/photographs.md') if t[0][0] == 'method']
    head, _, *lines = table
    for family in FACTS['families']:
        if measured := family.get('measured'):
            [line] = [line for line in lines if line[0] == measured['method']]
            cells = dict(zip(head, line))
            for name, value in measured['values'].items():
                assert cells[name].strip('*') == str(value)


@pytest.mark.parametrize('family', FACTS['families'], ids=lambda family: family['shown'])
def test_what_was_measured(family):
    assert ('memory' in family) == ('seconds' in family)
    assert set(family.get('seconds', {20: 1, 150: 1})) <= {20, 150}
