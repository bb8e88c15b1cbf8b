"""mmseg's own ``tools/test.py`` from its wheel, on a config of this package."""

from pathlib import Path

import mmseg
import pytest
import torch
from helpers import build_model, call_tool, config_path, load_config, metrics, run_test, seeded_clip
from mmengine.runner import Runner

from sclip_mmseg.config import set_checkpoint

CONFIG = 'sclip_vit-b16_voc21'
PROGRAM = """
import runpy
import sys


def main(argv):
    sys.argv = ['test.py', *argv]
    runpy.run_path({path!r}, run_name='__main__')
"""


@pytest.fixture
def run_mmseg(clip_path, voc_root, tmp_path):
    """Run mmseg's program with a CHECKPOINT, on a config whose CLIP is that of ``clip_path``."""
    path = Path(mmseg.__file__).with_name('.mim') / 'tools/test.py'
    program = tmp_path / 'mmseg_test.py'
    program.write_text(PROGRAM.format(path=str(path)))

    def run(checkpoint, check=True):
        options = ['--work-dir', tmp_path / 'mmseg']
        options += ['--cfg-options', f'model.image_encoder.clip={clip_path}']
        env = {'SCLIP_DATA_ROOT': str(voc_root)}
        config = config_path(CONFIG)
        return call_tool(program, config, checkpoint, *options, check=check, env=env).stdout

    return run


def _expected(clip, voc_root):
    result = run_test(CONFIG, clip, '--work-dir', voc_root / 'work', data_root=voc_root)
    return metrics(result.stdout)


def test_checkpoint_is_a_clip_or_none_for_the_configs_own(run_mmseg, clip_path, voc_root, tmp_path):
    other = tmp_path / 'other.pt'
    torch.save(seeded_clip(1), other)
    own, others = _expected(clip_path, voc_root), _expected(other, voc_root)
    assert own != others
    assert metrics(run_mmseg('none')) == own
    assert metrics(run_mmseg(other)) == others


def test_a_missing_checkpoint_is_one_line(run_mmseg):
    output = run_mmseg('ViT-Z', check=False)
    assert "clip='ViT-Z' is neither a file nor a CLIP by name" in output.strip().splitlines()[-1]


def test_none_is_the_configs_own_for_this_packages_program():
    cfg = load_config(CONFIG)
    set_checkpoint(cfg, 'none')
    assert cfg.model.image_encoder.clip == 'ViT-B/16'


def test_weights_of_the_whole_model_are_loaded_by_mmengine(clip_path, voc_root, tmp_path):
    cfg = load_config(CONFIG, clip_path, work_dir=str(tmp_path))
    cfg.test_dataloader.dataset.data_root = str(voc_root / 'VOCdevkit/VOC2012')
    weights = build_model(cfg).state_dict()
    weights = {key: value + 1 for key, value in weights.items()}
    cfg.load_from = str(tmp_path / 'whole.pth')
    torch.save(weights, cfg.load_from)
    runner = Runner.from_cfg(cfg)
    runner.call_hook('before_run')
    runner.load_or_resume()
    found = runner.model.state_dict()
    assert all(torch.equal(found[key], value) for key, value in weights.items())
