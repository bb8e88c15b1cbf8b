"""An evaluation killed at any moment and resumed gives the result of an uninterrupted one."""

import json
import multiprocessing
import os
import random
import shutil
import signal
import socket
import time
from datetime import timedelta

import numpy as np
import pytest
import torch
from helpers import ROOT, call_tool, config_path, fork_tool, load_config, make_voc, seeded_clip
from mmengine.fileio import load
from mmengine.runner import Runner
from mmseg.datasets import PascalVOCDataset
from mmseg.evaluation import IoUMetric

from sclip_mmseg import InputError
from sclip_mmseg.datasets.checks import load_dataset
from sclip_mmseg.engine.joining import join_processes
from sclip_mmseg.evaluation import (
    ConfusionMetric,
    Result,
    ResumableTestLoop,
    list_changes,
    make_fingerprint,
)
from sclip_mmseg.utils import files

IMAGES = 13
CONFIG = 'sclip_vit-b16_voc21'
SMALL = {'model.test_cfg.crop_size': 64, 'model.test_cfg.stride': 64}
RESTARTS = {}  # by rank, as torchrun counts them
fork = multiprocessing.get_context('fork')


def _config(root, clip_path, work_dir):
    """A config of tiny images that saves after each."""
    cfg = load_config(CONFIG, clip_path, **SMALL)
    cfg.test_dataloader.dataset.pipeline[1].scale = (128, 64)
    cfg.test_dataloader.num_workers = 0
    cfg.test_dataloader.dataset.data_root = str(root / 'VOCdevkit/VOC2012')
    cfg.default_hooks.pop('visualization')
    cfg.work_dir = str(work_dir)
    cfg.experiment_name = f'test_{time.time_ns()}'  # by which mmengine keeps loggers
    cfg.test_cfg.save_interval = 0
    return cfg


def _make_data(folder):
    return make_voc(folder, sizes=[(40, 60), (60, 40), (64, 64)] * 4 + [(80, 90)])


@pytest.fixture
def root(tmp_path):
    return _make_data(tmp_path / 'data')


@pytest.fixture
def config(root, clip_path, tmp_path):
    return _config(root, clip_path, tmp_path / 'work')


@pytest.fixture(scope='module')
def expected(clip_path, tmp_path_factory):
    """Areas of all images of an uninterrupted run on one process."""
    # In this process, so that those forked from it find all modules imported.
    folder = tmp_path_factory.mktemp('whole')
    cfg = _config(_make_data(folder / 'data'), clip_path, folder / 'work')
    compute = IoUMetric.compute_metrics
    results = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            IoUMetric, 'compute_metrics', lambda *args: results.extend(args[1]) or compute(*args)
        )
        Runner.from_cfg(cfg).test()
    assert len(results) == IMAGES
    assert not (folder / 'work/partial_results').exists()
    return [[area.tolist() for area in areas] for areas in results]


def _free_port():
    with socket.socket() as server:
        server.bind(('127.0.0.1', 0))
        return server.getsockname()[1]


def _work(cfg, rank, world, port, killed_at, moment, victim, report):
    """Evaluate in a process that kills itself at an image, or waits there to be killed."""
    torch.set_num_threads(1)
    os.environ['TORCHELASTIC_RESTART_COUNT'] = str(RESTARTS.get(rank, 0))
    if world > 1:
        os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world))
        os.environ.update(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
        cfg.launcher = 'pytorch'
        join_processes(cfg.launcher, cfg.env_cfg.dist_cfg)
        group = torch.distributed.group.WORLD._get_backend(torch.device('cpu'))
        assert group.options._timeout == timedelta(days=7)  # else a process alone waits too short
    done = []

    def die():
        if len(done) == killed_at:
            if rank == victim:
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(60)

    process, fsync = ConfusionMetric.process, os.fsync

    def process_and_die(self, data_batch, data_samples):
        process(self, data_batch, data_samples)
        done.extend(sample['img_path'] for sample in data_samples)
        if moment == 'evaluating':
            die()

    def sync_and_die(descriptor):
        fsync(descriptor)
        if moment == 'writing':
            die()

    restore, compute = ResumableTestLoop._restore, IoUMetric.compute_metrics

    def restore_and_tell(self):
        restore(self)
        report.with_suffix('.begun').touch()

    def compute_and_report(self, results):
        if moment == 'computing':
            os.kill(os.getpid(), signal.SIGKILL)
        metrics = compute(self, results)
        report.write_text(json.dumps([[area.tolist() for area in r] for r in results]))
        return metrics

    ResumableTestLoop._restore = restore_and_tell
    ConfusionMetric.process, IoUMetric.compute_metrics = process_and_die, compute_and_report
    files.os.fsync = sync_and_die
    Runner.from_cfg(cfg).test()
    report.with_suffix(f'.{rank}').write_text(json.dumps([os.path.basename(path) for path in done]))


def evaluate(cfg, report, world=1, killed_at=-1, moment='evaluating', victim=0, after=None):
    """Evaluate on `world` processes; one may kill itself, then the others are, as by torchrun.

    Or the victim is killed some seconds after the evaluation begins.

    Returns:
        The results of all images and the files evaluated in this run; None where it was killed.
    """
    port = _free_port()
    report.with_suffix('.begun').unlink(missing_ok=True)
    work = [
        fork.Process(
            target=_work,
            args=(cfg, rank, world, port, killed_at, moment, victim, report),
        )
        for rank in range(world)
    ]
    for process in work:
        process.start()
    begun = report.with_suffix('.begun')
    while any(process.is_alive() for process in work):
        if after is not None and begun.exists():
            time.sleep(after)
            work[victim].kill()
            after = None
        if any(process.exitcode for process in work):
            for process in work:
                process.kill()
        time.sleep(0.01)
    codes = [process.exitcode for process in work]
    if any(codes):
        assert codes[victim] == -signal.SIGKILL
        return None
    names = [json.loads(report.with_suffix(f'.{rank}').read_text()) for rank in range(world)]
    return json.loads(report.read_text()), [name for share in names for name in share]


@pytest.mark.parametrize('worlds', [[1], [2], [1, 2]], ids=str)
def test_killed_at_random_points(config, expected, tmp_path, worlds):
    choose = random.Random(sum(worlds))
    for number in range(3):
        world = worlds[number % len(worlds)]
        kill = dict(
            killed_at=choose.randint(2, 3),
            moment=choose.choice(['evaluating', 'writing']),
            victim=choose.randrange(world),
        )
        assert evaluate(config, tmp_path / 'killed', world, **kill) is None
        config.test_cfg.resume = True
    results, evaluated = evaluate(config, tmp_path / 'resumed', worlds[-1])
    assert results == expected
    assert 0 < len(evaluated) < IMAGES
    assert not (tmp_path / 'work/partial_results').exists()


@pytest.mark.slow
@pytest.mark.parametrize('world, kills', [(1, 60), (2, 40)])
def test_killed_a_hundred_times(config, expected, tmp_path, world, kills):
    evaluate(config, tmp_path / 'first', world)  # encodes the class names
    assert evaluate(config, tmp_path / 'whole', world)[0] == expected
    duration = time.time() - (tmp_path / 'whole.begun').stat().st_mtime
    choose = random.Random(world)
    config.test_cfg.resume = True
    found, killed, finished = None, 0, 0
    while killed < kills or found is None:
        after = choose.uniform(0, duration) if killed < kills else None
        victim = choose.randrange(world)
        found = evaluate(config, tmp_path / 'killed', world, after=after, victim=victim)
        if found is None:
            killed += 1
        else:
            finished += 1
            assert found[0] == expected
            shutil.rmtree(tmp_path / 'work')  # else the next one has its result
        print(f'{killed} kills within {duration:.1f} s, {finished} evaluations finished')


@pytest.mark.parametrize('world', [1, 2])
def test_killed_when_all_images_are_done(config, expected, tmp_path, monkeypatch, world):
    (tmp_path / 'here').mkdir()
    monkeypatch.chdir(tmp_path / 'here')
    assert evaluate(config, tmp_path / 'killed', world, moment='computing') is None
    config.test_cfg.resume = True
    assert evaluate(config, tmp_path / 'resumed', world) == (expected, [])
    assert not list((tmp_path / 'here').iterdir())  # nothing is shared where the command was given


def test_a_process_without_a_share_waits_for_the_other(config, expected, tmp_path):
    assert evaluate(config, tmp_path / 'killed', moment='computing') is None
    records = {}
    for path in (tmp_path / 'work/partial_results').glob('*.pt'):
        content = torch.load(path)
        records.update(content['records'])
        path.unlink()
    assert len(records) == IMAGES
    content['records'] = {i: records[i] for i in range(0, IMAGES, 2)}
    torch.save(content, path)
    config.test_cfg.resume = True
    results, evaluated = evaluate(config, tmp_path / 'resumed', world=2)
    assert results == expected
    assert json.loads((tmp_path / 'resumed.0').read_text()) == []
    assert evaluated == [f'image_{i}.jpg' for i in range(1, IMAGES, 2)]


def test_batches_are_done_again_as_a_whole(config, tmp_path):
    config.test_dataloader.batch_size = 4
    expected, _ = evaluate(config, tmp_path / 'whole')
    assert evaluate(config, tmp_path / 'killed', killed_at=8) is None
    config.test_cfg.resume = True
    results, evaluated = evaluate(config, tmp_path / 'resumed')
    assert results == expected
    assert len(evaluated) == IMAGES - 4


def test_a_run_restarted_by_its_launcher_resumes(config, expected, tmp_path, monkeypatch):
    assert evaluate(config, tmp_path / 'killed', killed_at=4) is None
    # An agent of torchrun that restarts because of another one does not increase its count.
    monkeypatch.setitem(RESTARTS, 1, 1)
    results, evaluated = evaluate(config, tmp_path / 'restarted', world=2)
    assert results == expected
    assert len(evaluated) == IMAGES - 3


@pytest.mark.usefixtures('expected')  # imports
def test_a_fresh_run_sets_partial_results_aside(config, tmp_path):
    assert evaluate(config, tmp_path / 'killed', killed_at=3) is None
    _, evaluated = evaluate(config, tmp_path / 'fresh')
    assert len(evaluated) == IMAGES
    [aside] = (tmp_path / 'work').glob('partial_results_*')
    assert len(list(aside.glob('*.pt'))) == 2


def test_without_partial_results_resume_starts_at_the_first_image(config, tmp_path):
    config.test_cfg.resume = True
    assert len(evaluate(config, tmp_path / 'run')[1]) == IMAGES


def test_nothing_is_written_before_the_interval(config, tmp_path):
    config.test_cfg.save_interval = 60
    assert evaluate(config, tmp_path / 'killed', killed_at=IMAGES - 1) is None
    assert not (tmp_path / 'work/partial_results').exists()


def test_an_error_keeps_what_is_done(config, root, tmp_path):
    config.test_cfg.save_interval = 60
    image = root / 'VOCdevkit/VOC2012/JPEGImages/image_5.jpg'
    content = image.read_bytes()
    image.write_bytes(bytes(len(content)))
    with pytest.raises(InputError, match='image_5.jpg'):
        Runner.from_cfg(config).test()
    image.write_bytes(content)
    config.test_cfg.resume = True
    _, evaluated = evaluate(config, tmp_path / 'resumed')
    assert evaluated[0] == 'image_5.jpg'


def test_a_second_test_of_one_runner_evaluates_again(config):
    runner = Runner.from_cfg(config)
    first = runner.test()
    with torch.no_grad():
        runner.model.text_head.embeddings.neg_()
    assert runner.test() != first
    with torch.no_grad():
        runner.model.text_head.embeddings.neg_()
    assert runner.test() == first


def test_half_precision_of_everything_is_refused(config):
    config.test_cfg.fp16 = True
    with pytest.raises(InputError, match='image_encoder.precision'):
        Runner.from_cfg(config).test()


def _settings(cfg):
    return make_fingerprint(cfg, load_dataset(cfg.test_dataloader.dataset))


def _changes(old, cfg):
    severe, slight = list_changes(old, _settings(cfg))
    assert not slight
    return severe


def test_changes_of_the_config_are_named(config):
    classes = list(PascalVOCDataset.METAINFO['classes'])
    config.model.text_head.queries = classes
    old = _settings(config)
    assert _changes(old, config) == []
    config.model.test_cfg.logit_scale = 50
    config.test_evaluator.output_dir = 'out'
    config.test_dataloader.dataset.pipeline[1].scale = (128, 32)
    config.model.text_head.queries = [*classes[:15], 'person, man', *classes[16:]]
    assert _changes(old, config) == [
        'model.test_cfg.logit_scale was 65.0, is 50',
        "model.text_head.queries.15 was ['person'], is ['person', 'man']",
        'test_dataloader.dataset.pipeline.1.scale was [128, 64], is [128, 32]',
        "test_evaluator.output_dir was not set, is 'out'",
    ]


def test_files_count_by_content(config, root, clip_path, tmp_path):
    text = tmp_path / 'text.npz'
    np.savez(text, queries=list('ab'), class_ids=[0, 1], embeddings=np.eye(2, 32))
    config.model.text_head.update(embeddings=str(text), queries=None)
    old = _settings(config)
    copy = tmp_path / 'copy.pt'
    copy.write_bytes(open(clip_path, 'rb').read())
    config.model.image_encoder.clip = str(copy)
    moved = root.rename(root.with_name('moved'))
    config.test_dataloader.dataset.data_root = str(moved / 'VOCdevkit/VOC2012')
    assert _changes(old, config) == []

    torch.save(seeded_clip(1), copy)
    np.savez(text, queries=list('ab'), class_ids=[0, 1], embeddings=-np.eye(2, 32))
    split = moved / 'VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt'
    split.write_text('\n'.join(split.read_text().split()[:-1]))
    changes = _changes(old, config)
    assert [change.split()[0] for change in changes] == [
        'images',
        'model.image_encoder.clip',
        'model.text_head.embeddings',
    ]
    assert "was '13 images" in changes[0] and "is '12 images" in changes[0]


def test_another_device_or_less_memory_may_resume(config):
    old = _settings(config)
    severe, slight = list_changes(dict(old, **{'environment.device': 'another'}), old)
    assert severe == [] and slight == ["environment.device was 'another', is 'cpu'"]
    config.model.test_cfg.update(window_batch=2, seg_logits=False)
    severe, slight = list_changes(old, _settings(config))
    assert severe == [] and slight == ['model.test_cfg.window_batch was not set, is 2']


def test_a_damaged_file_costs_its_images(config, tmp_path, expected):
    assert evaluate(config, tmp_path / 'killed', killed_at=5) is None
    damaged = sorted((tmp_path / 'work/partial_results').glob('*.pt'))
    damaged[0].write_bytes(b'')
    damaged[2].write_bytes(damaged[2].read_bytes()[:-99])
    config.test_cfg.resume = True
    results, evaluated = evaluate(config, tmp_path / 'resumed')
    assert results == expected
    assert evaluated == ['image_0.jpg', 'image_2.jpg', *(f'image_{i}.jpg' for i in range(4, 13))]


def test_partial_results_of_earlier_versions_are_refused(config, tmp_path):
    (tmp_path / 'work/partial_results').mkdir(parents=True)
    old = tmp_path / 'work/partial_results/process_0.npz'
    np.savez(old, settings='{}', indices=[0], areas=np.zeros((1, 4, 21)))
    config.test_cfg.resume = True
    with pytest.raises(InputError, match=f'^{old} was written by an earlier version: start over'):
        Runner.from_cfg(config).test()
    config.test_cfg.resume = False
    Runner.from_cfg(config).test()
    assert list((tmp_path / 'work').glob('partial_results_*/process_0.npz'))


def test_several_metrics_are_resumed_alike(config, tmp_path, caplog):
    """Metrics that store areas of an image, and one that stores something else."""
    config.test_evaluator = [
        dict(type='ConfusionMetric'),
        dict(type='IoUMetric', iou_metrics=['mDice', 'mFscore'], prefix='other'),
        dict(type='DumpResults', out_file_path=str(tmp_path / 'dumped.pkl')),
    ]
    work = tmp_path / 'work'
    expected = Runner.from_cfg(config).test()
    assert {'mIoU', 'other/mDice', 'other/mFscore'} <= expected.keys()
    dumped, kept = load(tmp_path / 'dumped.pkl'), Result.load(work / 'result.npz')
    (work / 'result.npz').unlink()
    assert evaluate(config, tmp_path / 'killed', killed_at=3) is None
    config.test_cfg.resume = True
    runner = Runner.from_cfg(config)
    assert runner.test() == expected
    assert len(runner.test_loop._pending) == IMAGES - 2
    for first, second in zip(dumped, load(tmp_path / 'dumped.pkl')):
        assert first['img_path'] == second['img_path']
        for key in ('gt_sem_seg', 'pred_sem_seg'):
            assert torch.equal(first[key]['data'], second[key]['data'])
    again = Result.load(work / 'result.npz')
    assert (again.confusion() == kept.confusion()).all() and again.images == kept.images


class Odd(IoUMetric):
    """Keeps objects that cannot be saved, or not one item per image."""

    def __init__(self, kind):
        super().__init__(prefix='odd')
        self.kind = kind

    def process(self, data_batch, data_samples):
        super().process(data_batch, data_samples)
        if self.kind == 'object':
            self.results[-1] = (*self.results[-1], Odd)
        else:
            self.results.append(self.results[-1])

    def compute_metrics(self, results):
        assert len(results) == IMAGES
        return super().compute_metrics([result[:4] for result in results])


@pytest.mark.parametrize('kind', ['object', 'two'])
def test_a_metric_that_cannot_be_resumed_is_evaluated(config, tmp_path, kind):
    runner = Runner.from_cfg(config)
    runner._test_evaluator = [dict(type='ConfusionMetric'), Odd(kind)]
    assert {'mIoU', 'odd/mIoU'} <= runner.test().keys()
    [log] = (tmp_path / 'work').glob('*/*.log')
    assert log.read_text().count('This run cannot be resumed if it is interrupted') == 1
    assert not (tmp_path / 'work/partial_results').exists()


def test_other_batches_cannot_be_resumed(config):
    config.test_dataloader.drop_last = True
    config.test_cfg.resume = True
    with pytest.raises(InputError, match='--resume needs a test_dataloader without'):
        Runner.from_cfg(config).test()


def test_a_finished_run_is_read_and_not_overwritten(config, tmp_path, expected):
    work = tmp_path / 'work'
    evaluate(config, tmp_path / 'first')
    first = Result.load(work / 'result.npz')
    assert first.images == [f'image_{i}.jpg' for i in range(IMAGES)]
    assert first.areas().tolist() == expected
    assert (first.meta['method'], first.meta['queries']) == ('SCLIP', 'voc21')
    assert first.meta['processes'] == 1 and first.meta['seconds_per_image'] > 0
    config.test_cfg.resume = True
    assert evaluate(config, tmp_path / 'again', world=2) == (expected, [])
    config.model.test_cfg.prob_thd = 0.3
    with pytest.raises(InputError, match='prob_thd was 0.1, is 0.3: start over'):
        Runner.from_cfg(config).test()
    config.test_cfg.resume = False
    Runner.from_cfg(config).test()
    assert Result.load(work / 'result.npz').fingerprint['model.test_cfg.prob_thd'] == 0.3
    [aside] = work.glob('result_*.npz')
    assert (Result.load(aside).confusion() == first.confusion()).all()


def test_a_damaged_result_is_replaced(config, tmp_path):
    (tmp_path / 'work').mkdir()
    (tmp_path / 'work/result.npz').write_bytes(b'')
    config.test_cfg.resume = True
    Runner.from_cfg(config).test()
    assert Result.load(tmp_path / 'work/result.npz').images


def test_the_tool_is_killed_and_resumed(expected, root, clip_path, tmp_path):
    tool, env = ROOT / 'tools/test.py', {'SCLIP_DATA_ROOT': str(root)}
    arguments = [config_path(CONFIG), clip_path, '--work-dir', tmp_path / 'tool', '--resume']
    options = [f'{key}={value}' for key, value in SMALL.items()]
    options += ['test_cfg.save_interval=0']
    options += ['test_dataloader.dataset.pipeline.1.scale=(128,64)']
    killed = fork_tool(
        tool, *arguments, '--cfg-options', *options, log=tmp_path / 'killed', env=env
    )
    partial = tmp_path / 'tool/partial_results'
    while not list(partial.glob('*.pt')) and killed.is_alive():
        time.sleep(0.01)
    os.killpg(killed.pid, signal.SIGKILL)  # its loader's workers, too
    killed.join()
    assert killed.exitcode == -signal.SIGKILL

    changed = [*arguments, '--cfg-options', *options, 'model.test_cfg.prob_thd=0.2']
    result = call_tool(tool, *changed, check=False, env=env)
    assert result.returncode == 1
    assert 'model.test_cfg.prob_thd was 0.1, is 0.2' in result.stdout.splitlines()[-1]

    arguments += ['--launcher', 'pytorch', '--cfg-options', *options]
    env.update(WORLD_SIZE='2', MASTER_ADDR='127.0.0.1', MASTER_PORT=str(_free_port()))
    ranks = [
        fork_tool(
            tool,
            *arguments,
            log=tmp_path / rank,
            env={**env, 'RANK': rank, 'LOCAL_RANK': rank},
        )
        for rank in '01'
    ]
    for process in ranks:
        process.join()
    output = (tmp_path / '0').read_text()
    assert [process.exitcode for process in ranks] == [0, 0], output
    assert 'images are done' in output
    areas = [torch.tensor(area) for area in zip(*expected)]
    iou = IoUMetric.total_area_to_metrics(*(area.sum(0) for area in areas))['IoU']
    assert f'mIoU: {np.round(np.nanmean(iou) * 100, 2):.4f}' in output
