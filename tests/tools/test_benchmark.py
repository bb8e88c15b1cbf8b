"""`tools/benchmark.py` as a user runs it, and its tables."""

import csv
import json
import runpy
import signal
import socket
import subprocess
import sys
import time

import pytest
from helpers import ROOT, metrics, run_test, run_tool
from PIL import Image

from sclip_mmseg import InputError
from sclip_mmseg.apis.results import Result, to_markdown, write_results

TOOL = ROOT / 'tools/benchmark.py'


def _call(function, monkeypatch, *arguments):
    """Call a function of the tool with a command line."""
    monkeypatch.setattr(sys, 'argv', [str(TOOL), *map(str, arguments)])
    tool = runpy.run_path(str(TOOL))
    return tool[function](tool['parse_args']())


@pytest.fixture
def find_pairs(monkeypatch):
    def find(*arguments):
        pairs = _call('find_pairs', monkeypatch, *arguments)
        return {(pair.method, pair.benchmark): pair for pair in pairs}

    return find


def test_the_default_is_the_papers_table(find_pairs):
    pairs = find_pairs()
    assert len(pairs) == 8 * 8 + 3  # COCO-Stuff 10k has configs of three methods
    assert all(p.published for p in pairs.values() if p.benchmark != 'coco_stuff10k')
    assert pairs['sclip', 'voc21'].published == 59.63
    assert pairs['resclip-naclip', 'ade20k'].published == 18.0
    assert pairs['sclip', 'voc21'].config == 'configs/sclip/sclip_vit-b16_voc21.py'


def test_the_readme_has_the_published_numbers_of_the_model_index(find_pairs):
    columns = 'voc21 context60 coco_object voc20 context59 coco_stuff164k cityscapes ade20k'.split()
    rows = {
        'clip': 'CLIP (SCLIP paper)',
        'maskclip': 'MaskCLIP (SCLIP paper)',
        'sclip': 'SCLIP (released configuration)',
        'clearclip': 'ClearCLIP (ResCLIP paper)',
        'naclip': 'NACLIP (ResCLIP paper)',
        'resclip-sclip': 'SCLIP + ResCLIP (paper)',
        'resclip-clearclip': 'ClearCLIP + ResCLIP (paper)',
        'resclip-naclip': 'NACLIP + ResCLIP (paper)',
    }
    lines = (ROOT / 'README.md').read_text().splitlines()
    pairs = find_pairs()
    for method, title in rows.items():
        [line] = [line for line in lines if line.startswith(f'| {title} |')]
        printed = [float(cell) for cell in line.strip('|').split('|')[1:-1]]
        assert printed == [pairs[method, benchmark].published for benchmark in columns]


def test_toy_has_all_methods_of_its_configs(find_pairs):
    methods = {method for method, benchmark in find_pairs('--toy') if benchmark == 'voc20'}
    assert methods == {p.name.split('_')[0] for p in ROOT.glob('configs/toy/*_toy_voc20.py')}


def test_unknown_names_are_refused(find_pairs):
    with pytest.raises(InputError, match="no config of method 'slcip': use .*, sclip,"):
        find_pairs('--methods', 'sclip,slcip')
    with pytest.raises(InputError, match="no config of benchmark 'voc': use .*, voc20"):
        find_pairs('--benchmarks', 'voc')
    with pytest.raises(InputError, match="no config of backbone 'vit-b32': use vit-b16 or"):
        find_pairs('--backbone', 'vit-b32')


def test_another_backbone_has_the_methods_with_its_configs(find_pairs):
    pairs = find_pairs('--backbone', 'vit-l14')
    resclip = {f'resclip-{base}' for base in ('sclip', 'clearclip', 'naclip')}
    assert {method for method, _ in pairs} == {'sclip', 'clearclip', 'naclip', *resclip}
    assert all('vit-l14' in pair.config for pair in pairs.values())


RESULTS = [
    Result('clip', 'voc20', 'a.py', published=49.4, images=3, peak_memory=10**9),
    Result('sclip', 'voc20', 'b.py', 'done', mIoU=80.0, published=81.54, images=3),
    Result('sclip', 'ade20k', 'c.py', 'missing', 'no folder', published=16.45),
    Result('clip', 'ade20k', 'd.py', 'failed', 'exit status 1'),
]
RESULTS[1].peak_memory, RESULTS[1].seconds_per_image = 2 * 10**9, 0.25
RESULTS[1].circumstances = {'processes': 3}


def test_table():
    lines = to_markdown(RESULTS, {'checkpoint': 'clip.pt'}).splitlines()
    for line in (
        '|  | voc20 | ade20k |',
        '| clip | – (49.4) | – |',
        '| sclip | 80.00 (81.54, -1.54) | – (16.45) |',
        '| sclip, voc20 | 3 | 0.250 | 2.00 |',
        '- ade20k: no folder',
        '- clip, ade20k: exit status 1',
        '- clip, voc20',
        '- checkpoint: clip.pt',
        '- processes: 3',
    ):
        assert line in lines


def test_files(tmp_path):
    write_results(tmp_path, RESULTS, {'checkpoint': 'clip.pt'})
    content = json.loads((tmp_path / 'results.json').read_text())
    assert content['about'] == {'checkpoint': 'clip.pt'}
    assert [row['difference'] for row in content['results']] == [None, -1.54, None, None]
    with open(tmp_path / 'results.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    assert [row['mIoU'] for row in rows] == ['', '80.0', '', '']
    assert [row['processes'] for row in rows] == ['', '3', '', '']
    assert 'circumstances' not in rows[0]
    assert Image.open(tmp_path / 'results.png').size[0] > 100


def test_missing_datasets_are_listed(tmp_path, clip_path, monkeypatch, capsys):
    monkeypatch.setenv('SCLIP_DATA_ROOT', str(tmp_path))
    arguments = ['--methods', 'sclip,clip', '--benchmarks', 'voc20,ade20k', '--work-dir', tmp_path]
    assert _call('lead', monkeypatch, *arguments, '--checkpoint', clip_path)
    output = capsys.readouterr().out
    assert f'- voc20: PascalVOC20Dataset: folder {tmp_path}/VOCdevkit/VOC2012 does not' in output
    assert '- ade20k: ADE20KDataset: folder' in output
    assert '| sclip | – (81.54) | – (16.45) |' in output


@pytest.mark.parametrize(
    ('number', 'status'),
    [(signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGKILL, -signal.SIGKILL)],
)
def test_ended_and_gone_on_with_by_torchrun(tmp_path, monkeypatch, number, status):
    arguments = [
        *('--toy', '--methods', 'clip,sclip', '--benchmarks', 'voc20', '--limit', 2),
        *('--work-dir', tmp_path / 'all'),
    ]
    first, last = (tmp_path / f'all/{method}_toy_voc20' for method in ('clip', 'sclip'))
    command = [sys.executable, TOOL, *arguments]
    ended = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL)
    while not (last / 'console.log').exists() and ended.poll() is None:
        time.sleep(0.05)
    ended.send_signal(number)
    assert ended.wait() == status
    assert (first / 'result.json').exists() and not (last / 'result.json').exists()
    log = (first / 'console.log').read_text()

    with socket.socket() as server:
        server.bind(('127.0.0.1', 0))
        port = server.getsockname()[1]
    launcher = ['-m', 'torch.distributed.run', '--nproc_per_node=2', f'--master_port={port}']
    output = run_tool(*launcher, TOOL, *arguments).stdout
    assert (first / 'console.log').read_text() == log  # not run again
    assert '- processes: 1 | 2' in output

    rows = {
        row['method']: row
        for row in json.loads((tmp_path / 'all/results.json').read_text())['results']
    }
    plain = run_test(
        'sclip_toy_voc20',
        *('--work-dir', tmp_path / 'one'),
        *('--cfg-options', 'test_dataloader.dataset.indices=2'),
    ).stdout
    assert {key: rows['sclip'][key] for key in ('aAcc', 'mIoU', 'mAcc')} == metrics(plain)
    with open(tmp_path / 'all/per_class/sclip_toy_voc20.csv', newline='') as file:
        classes = {row['class']: row['IoU'] for row in csv.DictReader(file)}
    assert len(classes) == 20
    printed = [line.split('|') for line in plain.splitlines() if line.startswith('| ')]
    for _, name, iou, _, _ in printed[1:]:
        assert float(classes[name.strip()] or 'nan') == pytest.approx(
            float(iou), abs=0.0051, nan_ok=True
        )

    arguments[arguments.index('--limit') + 1] = 1
    with pytest.raises(InputError, match='result.json was made with other settings, images was'):
        _call('lead', monkeypatch, *arguments)
