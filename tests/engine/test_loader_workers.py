import multiprocessing
import os
from contextlib import nullcontext

import pytest
import torch
from helpers import load_config, run_test
from mmengine.runner import Runner

from sclip_mmseg import InputError
from sclip_mmseg.datasets.checks import load_dataset
from sclip_mmseg.engine import loader_workers
from sclip_mmseg.engine.loader_workers import (
    check_dataloader,
    choose_num_workers,
    with_num_workers,
)


@pytest.mark.parametrize(
    'launcher, cores, environ, expected',
    [
        ('none', 1, {}, 1),
        ('none', 6, {'LOCAL_WORLD_SIZE': '3', 'SLURM_CPUS_PER_TASK': '1'}, 6),
        ('none', 64, {}, 8),
        ('pytorch', 12, {'LOCAL_WORLD_SIZE': '4'}, 3),
        ('pytorch', 2, {'LOCAL_WORLD_SIZE': '4'}, 1),
        ('mpi', 12, {'OMPI_COMM_WORLD_LOCAL_SIZE': '2'}, 6),
        ('slurm', 40, {'SLURM_CPUS_PER_TASK': '5'}, 5),
        ('slurm', 40, {}, 1),
    ],
)
def test_processes_share_the_cores(launcher, cores, environ, expected):
    assert choose_num_workers(launcher, cores, environ) == expected


@pytest.fixture
def config(clip_path, voc_root, tmp_path, monkeypatch):
    monkeypatch.setattr(loader_workers, 'count_cores', lambda: 2)
    small = {'model.test_cfg.crop_size': 64, 'model.test_cfg.stride': 64}
    cfg = load_config('sclip_vit-b16_voc21', clip_path, **small)
    cfg.test_dataloader.dataset.pipeline[1].scale = (128, 64)
    cfg.test_dataloader.dataset.data_root = str(voc_root / 'VOCdevkit/VOC2012')
    cfg.default_hooks.pop('visualization')
    cfg.work_dir = str(tmp_path / 'work')
    return cfg


@pytest.mark.parametrize('number', [None, 0, 1])
def test_workers_persist_and_the_config_may_set_their_number(config, number):
    if number is not None:
        config.test_dataloader.num_workers = number
    before = config.test_dataloader.to_dict()
    loader = Runner.build_dataloader(with_num_workers(config.test_dataloader, 'none'))
    assert loader.num_workers == (2 if number is None else number)
    assert loader.persistent_workers == (number != 0)
    assert config.test_dataloader == before


@pytest.mark.parametrize('broken', [False, True])
def test_workers_end_with_the_run(config, voc_root, broken):
    if broken:
        (voc_root / 'VOCdevkit/VOC2012/JPEGImages/image_1.jpg').write_bytes(b'no picture')
    runner = Runner.from_cfg(config)
    seen = []
    run_iter = runner.test_loop.run_iter
    runner.test_loop.run_iter = lambda *args: (
        seen.append(multiprocessing.active_children()),
        run_iter(*args),
    )
    for _ in range(2):
        with pytest.raises(InputError) if broken else nullcontext():
            runner.test()
        assert len(seen.pop()) == 2
        assert multiprocessing.active_children() == []


@pytest.mark.parametrize(
    'values, message',
    [
        (dict(batch_size=0), 'batch_size=0 must be an integer of at least 1'),
        (dict(batch_size=-2), 'batch_size=-2 must be'),
        (dict(batch_size='2'), "batch_size='2' must be"),
        (dict(batch_size=True), 'batch_size=True must be'),
        (dict(batch_size=None), 'batch_size=None must be'),
        (dict(num_workers=-1), 'num_workers=-1 must be an integer of at least 0'),
        (dict(num_workers=1.5), 'num_workers=1.5 must be'),
        (dict(num_workers='two'), "num_workers='two' must be"),
        (dict(num_workers=None), 'num_workers=None must be'),
        (
            dict(num_workers=1, prefetch_factor=0),
            'prefetch_factor=0 must be an integer of at least 1',
        ),
        (dict(num_workers=1, prefetch_factor='2'), "prefetch_factor='2' must be"),
        (
            dict(num_workers=0, prefetch_factor=2),
            'prefetch_factor=2 needs num_workers of at least 1',
        ),
        (
            dict(num_workers=0, persistent_workers=True),
            'persistent_workers=True needs num_workers of',
        ),
        (dict(persistent_workers='yes'), "persistent_workers='yes' must be True or False"),
    ],
)
def test_values_that_no_loader_takes(config, values, message):
    config.test_dataloader.update(values)
    for build in (with_num_workers, lambda loader, _: check_dataloader(loader)):
        with pytest.raises(InputError, match=rf'^test_dataloader\.{message}'):
            build(config.test_dataloader, 'none')


@pytest.mark.parametrize(
    'values',
    [
        dict(num_workers=0, persistent_workers=False, prefetch_factor=None),
        dict(num_workers=1, persistent_workers=False, prefetch_factor=3),
        dict(persistent_workers=True, prefetch_factor=1),
    ],
)
def test_values_that_a_loader_takes(config, values):
    config.test_dataloader.update(values)
    Runner.build_dataloader(with_num_workers(config.test_dataloader, 'none'))


def test_bad_values_are_one_line_before_any_work(clip_path, voc_root):
    flags = ('--work-dir', voc_root / 'work', '--cfg-options', 'test_dataloader.batch_size=0')
    output = run_test(
        'sclip_vit-b16_voc21', clip_path, *flags, data_root=voc_root, check=False
    ).stdout
    assert output.startswith('error: test_dataloader.batch_size=0 must be')


# Images of 130 × 100 pixels take 143 kB with their label.
@pytest.mark.parametrize(
    'free, values, processes, expected',
    [
        (10**9, {}, 1, 2),
        (10**6, {}, 1, 2),
        (600_000, {}, 1, 1),
        (400_000, {}, 1, 0),
        (10**6, {}, 2, 1),
        (10**6, dict(batch_size=2), 1, 1),
        (10**6, dict(prefetch_factor=4), 1, 1),
        (400_000, dict(prefetch_factor=4, persistent_workers=True), 1, 0),
        (0, {}, 1, 0),
        (None, {}, 1, 2),
        (0, dict(num_workers=2), 1, 2),
    ],
)
def test_workers_fit_the_shared_memory(config, monkeypatch, free, values, processes, expected):
    monkeypatch.setattr(loader_workers, 'free_shared_memory', lambda: free)
    monkeypatch.setattr(loader_workers, 'count_cores', lambda: 2 * processes)
    monkeypatch.setenv('LOCAL_WORLD_SIZE', str(processes))
    loader = dict(config.test_dataloader, dataset=load_dataset(config.test_dataloader.dataset))
    loader.update(values)
    built = Runner.build_dataloader(
        with_num_workers(loader, 'pytorch' if processes > 1 else 'none')
    )
    assert built.num_workers == expected


def test_shared_memory_that_is_full_ends_the_run(config, monkeypatch):
    def refuse(tensor):
        raise RuntimeError('unable to allocate shared memory(shm) for file <x>: No space left (28)')

    monkeypatch.setattr(torch.Tensor, 'share_memory_', refuse)  # the workers are forked
    config.test_dataloader.num_workers = 1
    with pytest.raises(InputError, match=r'/dev/shm is too small .*num_workers=0, .*--shm-size'):
        Runner.from_cfg(config).test()
    config.test_dataloader.num_workers = 0
    Runner.from_cfg(config).test()


def test_tensors_are_shared_before_they_are_sent(config):
    config.test_dataloader.num_workers = 1
    runner = Runner.from_cfg(config)
    seen = []
    run_iter = runner.test_loop.run_iter

    def look(index, batch):
        seen.append(batch['inputs'][0].is_shared())
        run_iter(index, batch)

    runner.test_loop.run_iter = look
    runner.test()
    assert seen == [True] * 3


def test_a_worker_that_is_killed_ends_the_run(config, monkeypatch):
    monkeypatch.setattr('sclip_mmseg.datasets.checks.share', lambda tensors: os._exit(9))
    config.test_dataloader.num_workers = 1
    with pytest.raises(InputError, match=r'a data loader worker was killed .*0 of 3 images'):
        Runner.from_cfg(config).test()
