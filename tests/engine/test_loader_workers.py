import pytest
from helpers import load_config
from mmengine.runner import Runner

from sclip_mmseg.engine import loader_workers
from sclip_mmseg.engine.loader_workers import choose_num_workers


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
def build_loader(clip_path, voc_root, tmp_path, monkeypatch):
    monkeypatch.setattr(loader_workers, 'count_cores', lambda: 3)

    def build(**options):
        cfg = load_config('sclip_vit-b16_voc21', clip_path, **options)
        cfg.test_dataloader.dataset.data_root = str(voc_root / 'VOCdevkit/VOC2012')
        cfg.work_dir = str(tmp_path)
        runner = Runner.from_cfg(cfg)
        loader = runner.build_test_loop(runner.cfg.test_cfg).dataloader
        assert runner.cfg.test_dataloader == cfg.test_dataloader
        return loader

    return build


def test_workers_are_chosen_and_persist(build_loader):
    loader = build_loader()
    assert loader.num_workers == 3 and loader.persistent_workers


@pytest.mark.parametrize('number', [0, 1])
def test_the_config_decides_where_it_says(build_loader, number):
    loader = build_loader(**{'test_dataloader.num_workers': number})
    assert loader.num_workers == number and loader.persistent_workers == bool(number)
