"""`tools/benchmark.py` as a user runs it, and its tables."""

import csv
import hashlib
import json
import multiprocessing
import os
import signal
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from helpers import ROOT, call_tool, fork_tool, metrics, run_test, run_tool
from PIL import Image
from sleeping import work_asleep

from sclip_mmseg import InputError
from sclip_mmseg.benchmark import pairs, results, suite
from sclip_mmseg.benchmark.results import Pair, to_markdown, write_results
from sclip_mmseg.benchmark.suite import Options, evaluate_pairs
from sclip_mmseg.cli.benchmark import parse_args
from sclip_mmseg.evaluation import Result, machine

TOOL = ROOT / 'tools/benchmark.py'


def _run(*arguments):
    """Run what the tool calls in this process; whether nothing failed."""
    options = vars(parse_args(list(map(str, arguments))))
    found = suite.run_suite(**options)
    return all(pair.status != 'failed' for pair in found)


def find_pairs(*arguments, **kwargs):
    return {(pair.method, pair.benchmark): pair for pair in pairs.find_pairs(*arguments, **kwargs)}


def test_the_default_is_the_papers_table():
    pairs = find_pairs()
    assert len(pairs) == 8 * 8 + 3  # COCO-Stuff 10k has configs of three methods
    assert all(p.published for p in pairs.values() if p.benchmark != 'coco_stuff10k')
    assert pairs['sclip', 'voc21'].published == 59.63
    assert pairs['resclip-naclip', 'ade20k'].published == 18.0
    assert pairs['sclip', 'voc21'].config == 'configs/sclip/sclip_vit-b16_voc21.py'


def test_toy_has_all_methods_of_its_configs():
    methods = {method for method, benchmark in find_pairs(backbone='toy') if benchmark == 'voc20'}
    assert methods == {p.name.split('_')[0] for p in ROOT.glob('configs/toy/*_toy_voc20.py')}


def test_unknown_names_are_refused():
    with pytest.raises(InputError, match=r"no config of method 'slcip' \(did you mean 'sclip'\?\)"):
        find_pairs(['sclip', 'slcip'])
    with pytest.raises(InputError, match=r"no config of benchmark 'voc': use one of voc21, voc20"):
        find_pairs(benchmarks=['voc'])
    with pytest.raises(
        InputError, match=r"method 'proxyclip': use one of proxyclip-dino-b16, proxyclip-dino-b8, "
    ):
        find_pairs(['proxyclip'])
    with pytest.raises(InputError, match="'xyz': sclip data check --help lists the names"):
        find_pairs(benchmarks=['xyz'])
    with pytest.raises(
        InputError, match="no config of backbone 'vit-b32': use one of vit-b16, vit-l14"
    ):
        find_pairs(backbone='vit-b32')


def test_groupvit_goes_with_the_others():
    pairs = find_pairs(['sclip', 'groupvit-unified', 'tcl'], ['voc20']).values()
    found = [(pair.method, pair.backbone, pair.published) for pair in pairs]
    assert found == [
        ('sclip', 'vit-b16', 81.54),
        ('groupvit-unified', 'vit-s16', 79.7),
        ('tcl', 'vit-b16', 77.5),
    ]


def test_another_backbone_is_another_checkpoint(tmp_path, clip_path, monkeypatch, voc_root):
    found = find_pairs(['sclip', 'naclip'], ['voc20'], 'vit-l14')
    assert [pair.name for pair in found.values()] == ['sclip_vit-l14_voc20', 'naclip_vit-l14_voc20']
    assert found['sclip', 'voc20'].config == 'configs/sclip/sclip_vit-b16_voc20.py'
    assert found['sclip', 'voc20'].published is None  # which is ViT-B/16's

    called = []
    monkeypatch.setattr(suite, 'run_in_processes', lambda *a: called.append(a) or 'no')
    monkeypatch.setitem(pairs.CHECKPOINTS, 'vit-l14', clip_path)
    monkeypatch.setenv('SCLIP_DATA_ROOT', str(voc_root))
    arguments = ['--backbone', 'vit-l14', '--methods', 'sclip', '--benchmarks', 'voc20']
    assert not _run(*arguments, '--work-dir', tmp_path)
    [(folder, _, arguments)] = called
    assert arguments['config'] == ROOT / 'configs/sclip/sclip_vit-b16_voc20.py'
    assert arguments['checkpoint'] == clip_path
    assert folder == tmp_path / 'sclip_vit-l14_voc20'


def test_configs_of_another_backbone_keep_their_checkpoints(tmp_path):
    for name, checkpoint in (('sclip', 'ViT-L/14'), ('talk2dino', None)):
        [pair] = find_pairs([name], ['voc21'], 'vit-l14').values()
        assert pair.name == f'{name}_vit-l14_voc21'
        assert suite._arguments(pair, Options(tmp_path, 'ViT-L/14'))['checkpoint'] == checkpoint
        assert suite._arguments(pair, Options(tmp_path, 'x.pt'))['checkpoint'] == 'x.pt'
    assert pair.config == 'configs/talk2dino/talk2dino_vit-l14_voc21.py'
    assert pair.published == 60.1


RESULTS = [
    Pair('clip', 'voc20', 'a.py', published=49.4, images=3, peak_memory=10**9),
    Pair('sclip', 'voc20', 'b.py', status='done', mIoU=80.0, published=81.54, images=3),
    Pair('sclip', 'ade20k', 'c.py', status='missing', reason='no folder', published=16.45),
    Pair('clip', 'ade20k', 'd.py', status='failed', reason='exit status 1'),
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
    drawn = []
    monkeypatch.setattr(results, 'draw_results', lambda *_: drawn.append(1))
    arguments = ['--methods', 'sclip,clip', '--benchmarks', 'voc20,ade20k', '--work-dir', tmp_path]
    assert _run(*arguments, '--checkpoint', clip_path)
    assert len(drawn) == 1  # drawing takes longer than finding that nothing can be run
    output = capsys.readouterr().out
    assert f'- voc20: PascalVOC20Dataset: folder {tmp_path}/VOCdevkit/VOC2012 does not' in output
    assert '- ade20k: ADE20KDataset: folder' in output
    assert '| sclip | – (81.54) | – (16.45) |' in output


@pytest.fixture
def offline(monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError('no network')

    monkeypatch.setattr(urllib.request.OpenerDirector, 'open', refuse)


@pytest.mark.parametrize(
    ('backbone', 'method', 'arguments', 'message'),
    [
        ('vit-b16', 'proxyclip-dino-b8', ['--checkpoint', 'CLIP'], 'save it as .*dino_vitbase8'),
        ('vit-s16', 'groupvit-unified', [], 'save it as .*group_vit_gcc_redcap'),
        ('vit-s16', 'groupvit-unified', ['--checkpoint', 'no.pth'], "'no.pth' is neither a file"),
        ('vit-b16', 'tcl', ['--cfg-options', 'ITS_CLIP'], 'save it as .*tcl.pth'),
        ('vit-b16', 'sclip', ['--checkpoint', 'no.pt'], "'no.pt' is neither"),
        (
            *('vit-b16', 'corrclip', ['--checkpoint', 'CLIP', '--cfg-options', 'PROXY']),
            '3 of 3 region maps do not exist.*unpack .*tools/make_region_masks.py',
        ),
    ],
)
def test_missing_files_are_reported_before_any_work(
    tmp_path,
    voc_root,
    clip_path,
    dino_path,
    offline,
    monkeypatch,
    backbone,
    method,
    arguments,
    message,
):
    monkeypatch.setattr(suite, 'run_in_processes', lambda *_: pytest.fail('work began'))
    monkeypatch.setenv('SCLIP_DATA_ROOT', str(voc_root))
    monkeypatch.setenv('SCLIP_DOWNLOAD_ROOT', str(tmp_path / 'weights'))
    (tmp_path / 'weights').mkdir()
    values = {
        'CLIP': clip_path,
        'ITS_CLIP': f'model.image_encoder.clip={clip_path}',
        'PROXY': f'model.image_encoder.proxy.checkpoint={dino_path}',
    }
    arguments = [values.get(word, word) for word in arguments]
    pair = ['--backbone', backbone, '--methods', method, '--benchmarks', 'voc20']
    with pytest.raises(InputError, match=message) as caught:
        _run('--work-dir', tmp_path / 'work', *pair, *arguments)
    assert str(caught.value).startswith(f'{method}_{backbone}_voc20: ')
    assert '\n' not in str(caught.value)
    assert not (tmp_path / 'work').exists()


def test_a_trained_system_s_checkpoint(tmp_path, voc_root, monkeypatch):
    checkpoint = tmp_path / 'groupvit.pth'
    checkpoint.write_bytes(b'weights')
    called = []
    monkeypatch.setattr(suite, 'run_in_processes', lambda *a: called.append(a) or 'no')
    monkeypatch.setenv('SCLIP_DATA_ROOT', str(voc_root))
    [result] = pairs.find_pairs(['groupvit-unified'], ['voc20'], 'vit-s16')
    evaluate_pairs([result], Options(tmp_path / 'work', str(checkpoint)))
    assert result.weights == hashlib.sha256(b'weights').hexdigest()
    [(_, _, arguments)] = called
    assert arguments['checkpoint'] == str(checkpoint)


TOY = ('--toy', '--methods', 'sclip', '--benchmarks', 'voc20', '--limit', 2)


def test_a_failed_pair_of_two_processes_says_why(tmp_path):
    options = ['--cfg-options', 'model.test_cfg.mode=hole']
    arguments = [*TOY, '--nproc-per-node', 2, '--work-dir', tmp_path]
    result = call_tool(TOOL, *arguments, *options, check=False)
    assert result.returncode == 1
    [line] = [line for line in result.stdout.splitlines() if line.startswith('- sclip, voc20: ')]
    assert line.startswith("- sclip, voc20: test_cfg.mode='hole' ")
    log = (tmp_path / 'sclip_toy_voc20/console.log').read_text()
    assert 'Traceback' in log and 'hole' in log


@pytest.mark.usefixtures('forked_pairs')
def test_any_folder_and_what_is_broken_in_it(tmp_path):
    """A name with a space, and files of a suite that were cut off when the machine stopped."""
    work = tmp_path / "the user's own"
    arguments = [*TOY, '--work-dir', work]
    output = call_tool(TOOL, *arguments).stdout
    path = work / 'sclip_toy_voc20/result.npz'
    expected = Result.load(path)
    assert f'| sclip | {expected.mIoU:.2f} |' in output
    path.write_bytes(path.read_bytes()[:200])
    call_tool(TOOL, *arguments)
    assert (Result.load(path).confusion() == expected.confusion()).all()
    path.unlink()
    (path.parent / 'result.json').write_text('{"report":')
    output = call_tool(TOOL, *arguments, check=False).stdout.splitlines()
    assert output[-1] == (
        f'error: {path.parent}/result.json was written by an earlier version: name another '
        '--work-dir, or remove the folder to run it again'
    )


def test_torchrun_is_refused(tmp_path):
    """The first process prints the error, and all end."""
    results = [
        run(
            *(TOOL, '--toy', '--work-dir', tmp_path / 'work'),
            check=False,
            env=dict(WORLD_SIZE='2', RANK=rank, LOCAL_RANK=rank),
        )
        for rank, run in (('0', run_tool), ('1', call_tool))
    ]
    assert [result.returncode for result in results] == [1, 0]
    assert [result.stdout.splitlines() for result in results] == [
        [
            'error: start benchmark.py with --processes 2, not by torchrun: it starts the '
            'processes itself'
        ],
        [],
    ]
    assert not (tmp_path / 'work').exists()


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(machine.torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(machine.torch.cuda, 'device_count', lambda: 2)
    machine.check_processes(2)
    with pytest.raises(InputError, match='--processes 3: use 1 to 2, the number of GPUs'):
        machine.check_processes(3)


def _children(pid):
    """Process numbers of all that a process has started."""
    found = []
    for path in Path('/proc').glob('[0-9]*/stat'):
        try:
            fields = path.read_text().rpartition(')')[2].split()
        except OSError:  # it ended
            continue
        if int(fields[1]) == pid:
            child = int(path.parent.name)
            found += [child, *_children(child)]
    return found


def _wait_for(condition):
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def _sleeping(tmp_path, processes):
    """Start processes that sleep, in one that ends them."""
    context = multiprocessing.get_context('fork')
    parent = context.Process(target=_sleep_in_processes, args=(tmp_path / 'pair', processes))
    parent.start()
    log = tmp_path / 'pair/console.log'
    _wait_for(lambda: log.exists() and log.read_text().count('asleep') == processes)
    return parent


def _sleep_in_processes(folder, processes):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    suite.work = work_asleep
    suite.run_in_processes(folder, processes, dict())


@pytest.mark.skipif(sys.platform != 'linux', reason='asks Linux for it')
@pytest.mark.parametrize('processes, number', [(1, signal.SIGTERM), (2, signal.SIGKILL)])
def test_processes_end_with_the_one_that_started_them(tmp_path, processes, number):
    parent = _sleeping(tmp_path, processes)
    children = _children(parent.pid)
    assert len(children) >= processes
    os.kill(parent.pid, number)
    parent.join()
    assert parent.exitcode in (-number, 128 + number)
    _wait_for(lambda: not [pid for pid in children if Path(f'/proc/{pid}/exe').exists()])


@pytest.mark.usefixtures('forked_pairs')
def test_killed_and_resumed_in_two_processes(tmp_path):
    arguments = [
        *('--toy', '--methods', 'clip,sclip', '--benchmarks', 'voc20', '--limit', 2),
        *('--work-dir', tmp_path / 'all'),
        # Workers would notice within five seconds only that their parent is killed.
        *('--cfg-options', 'test_dataloader.num_workers=0'),
    ]
    first, last = (tmp_path / f'all/{method}_toy_voc20' for method in ('clip', 'sclip'))
    killed = fork_tool(TOOL, *arguments, log=tmp_path / 'log')
    _wait_for(lambda: any('Resumed: 0 of' in p.read_text() for p in last.glob('*/*.log')))
    children = _children(killed.pid)
    os.kill(killed.pid, signal.SIGKILL)
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    _wait_for(lambda: not [pid for pid in children if Path(f'/proc/{pid}/exe').exists()])
    assert (first / 'result.npz').exists() and not (last / 'result.npz').exists()
    runs = sorted(first.iterdir())

    output = call_tool(TOOL, *arguments, '--nproc-per-node', 2).stdout
    assert sorted(first.iterdir()) == runs  # not run again
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
    with pytest.raises(InputError, match='result.npz was made with other settings, images was'):
        _run(*arguments)
