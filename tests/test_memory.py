"""Peak memory of one process with ViT-B/16, PAMR on."""

import json
import sys

import numpy as np
import pytest
from helpers import ROOT, load_config, run_tool, seeded_clip
from safetensors.torch import save_file

PROGRAM = """
import json, resource, sys
import torch
import sclip_mmseg
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
config, clip, embeddings, image_size, ori_shape = json.loads(sys.argv[1])
init_default_scope('mmseg')
cfg = Config.fromfile(config)
cfg.merge_from_dict({'model.image_encoder.clip': clip, 'model.text_head.embeddings': embeddings})
model = MODELS.build(cfg.model).eval()
torch.manual_seed(0)
image = torch.randint(0, 256, (3, *image_size), dtype=torch.uint8)
sample = SegDataSample(metainfo=dict(ori_shape=ori_shape))
[result] = model.test_step(dict(inputs=[image], data_samples=[sample]))
assert result.pred_sem_seg.data.shape[1:] == tuple(ori_shape)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


LAYERS, ALL_LAYERS = 2, 12
LAYER = 12 * 768**2 * 4  # bytes of its matrices


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    """An image tower of ViT-B/16's size but for its depth, which costs time, and weights alone."""
    path = tmp_path_factory.mktemp('b16') / 'visual.safetensors'
    clip = seeded_clip(layers=LAYERS, width=768, embed_dim=512)
    save_file({k: v.contiguous() for k, v in clip.items() if k.startswith('visual.')}, path)
    return str(path)


@pytest.mark.skipif(sys.platform != 'linux', reason='ru_maxrss has other units elsewhere')
@pytest.mark.parametrize(
    'benchmark, image_size, ori_shape',
    [('coco_object', (336, 448), (480, 640)), ('cityscapes', (560, 1120), (1024, 2048))],
)
def test_peak_memory(weights, tmp_path, benchmark, image_size, ori_shape):
    from sclip_mmseg.datasets import load_queries

    query_set = load_queries(benchmark)
    text = tmp_path / 'text.npz'
    np.savez(
        text,
        queries=np.array(query_set.queries),
        class_ids=np.array(query_set.class_ids),
        embeddings=np.random.default_rng(0).standard_normal((len(query_set.queries), 512)),
    )
    config = ROOT / f'configs/sclip/sclip-pamr10_vit-b16_{benchmark}.py'
    arguments = json.dumps([str(config), weights, str(text), image_size, ori_shape])
    output = run_tool('-c', PROGRAM, arguments).stdout
    # As read and as built, though no window is encoded by then.
    others = 2 * (ALL_LAYERS - LAYERS) * LAYER
    peak = int(output.strip().splitlines()[-1]) + others
    assert load_config(config.stem).model.refine.num_steps == 10
    assert peak < 4e9, f'{peak / 1e9:.2f} GB'
    print(f'{benchmark}: {peak / 1e9:.2f} GB')
