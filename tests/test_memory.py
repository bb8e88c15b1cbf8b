"""Peak memory of one process with ViT-B/16, PAMR on."""

import json
import sys

import numpy as np
import pytest
from helpers import config_path, load_config, run_tool, seeded_clip
from safetensors.torch import save_file

from sclip_mmseg.datasets import load_queries

PROGRAM = """
import gc, json, re, sys
import torch
import sclip_mmseg
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
init_default_scope('mmseg')
torch.manual_seed(0)
for config, clip, embeddings, image_size, ori_shape in json.loads(sys.argv[1]):
    cfg = Config.fromfile(config)
    cfg.model.image_encoder.clip, cfg.model.text_head.embeddings = clip, embeddings
    if 'refine' in cfg.model:
        cfg.model.refine.num_steps = 2  # of which the second has what all others have
    else:  # as tools/test.py does; class scores of all queries take what they take
        cfg.model.test_cfg.seg_logits = False
    model = MODELS.build(cfg.model).eval()
    image = torch.randint(0, 256, (3, *image_size), dtype=torch.uint8)
    sample = SegDataSample(metainfo=dict(ori_shape=ori_shape))
    [result] = model.test_step(dict(inputs=[image], data_samples=[sample]))
    assert result.pred_sem_seg.data.shape[1:] == tuple(ori_shape)
    del model, result
    # Not ru_maxrss, which begins with the peak of the process that started this one.
    status = open('/proc/self/status').read()
    print('peak', int(re.search(r'VmHWM:\\s+(\\d+) kB', status)[1]) * 1024)
gc.freeze()  # a second less at the end
"""
# Of images and of what they are resized to, in the order of their peaks.
SIZES = {
    'ade20k': ((336, 448), (512, 683)),
    'ade847': ((336, 448), (512, 683)),
    'coco_object': ((336, 448), (480, 640)),
    'cityscapes': ((560, 1120), (1024, 2048)),
}
LAYERS, ALL_LAYERS = 2, 12
LAYER = 12 * 768**2 * 4  # bytes of its matrices


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    """An image tower with the width of ViT-B/16 and few blocks, to save time."""
    path = tmp_path_factory.mktemp('b16') / 'visual.safetensors'
    clip = seeded_clip(layers=LAYERS, width=768, embed_dim=512)
    save_file({k: v.contiguous() for k, v in clip.items() if k.startswith('visual.')}, path)
    return str(path)


@pytest.fixture(scope='module')
def peaks(weights, tmp_path_factory):
    """Bytes by benchmark."""
    folder, cases = tmp_path_factory.mktemp('text'), []
    for benchmark, sizes in SIZES.items():
        query_set = load_queries(benchmark)
        method = 'sclip' if benchmark.startswith('ade') else 'sclip-pamr10'
        text = folder / f'{benchmark}.npz'
        np.savez(
            text,
            queries=np.array(query_set.queries),
            class_ids=np.array(query_set.class_ids),
            embeddings=np.random.default_rng(0).standard_normal((len(query_set.queries), 512)),
        )
        config = config_path(f'{method}_vit-b16_{benchmark}')
        cases.append([str(config), weights, str(text), *sizes])
    output = run_tool('-c', PROGRAM, json.dumps(cases)).stdout
    peaks = [int(line.split()[1]) for line in output.splitlines() if line.startswith('peak ')]
    # As read and as built, though no window is encoded by then.
    others = 2 * (ALL_LAYERS - LAYERS) * LAYER
    return {benchmark: peak + others for benchmark, peak in zip(SIZES, peaks)}


@pytest.mark.skipif(sys.platform != 'linux', reason='reads /proc')
def test_847_queries_need_no_more_memory_than_150(peaks):
    assert peaks['ade847'] - peaks['ade20k'] < 1e8


@pytest.mark.skipif(sys.platform != 'linux', reason='reads /proc')
@pytest.mark.parametrize('benchmark', ['coco_object', 'cityscapes'])
def test_peak_memory(peaks, benchmark):
    assert load_config(f'sclip-pamr10_vit-b16_{benchmark}').model.refine.num_steps == 10
    assert peaks[benchmark] < 4e9, f'{peaks[benchmark] / 1e9:.2f} GB'
    print(f'{benchmark}: {peaks[benchmark] / 1e9:.2f} GB')
