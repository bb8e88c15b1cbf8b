import multiprocessing
from contextlib import nullcontext

import pytest
from helpers import load_config
from mmengine.runner import Runner

from sclip_mmseg import InputError
from sclip_mmseg.engine import loader_workers
from sclip_mmseg.engine.loader_workers import choose_num_workers, with_num_workers


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
