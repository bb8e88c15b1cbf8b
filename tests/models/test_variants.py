"""Many rules of decision at once give what each gives alone."""

from itertools import product

import pytest
import torch
from helpers import build_model, load_config, load_images

from sclip_mmseg.models.decision import build_rule, segment, segment_variants
from sclip_mmseg.models.fusion import DenseMap

SMALL = {'model.test_cfg.crop_size': 64, 'model.test_cfg.stride': 32}
PAMR = dict(type='PAMR', num_steps=2)
REGIONS = {
    'model.region_masks': dict(type='Felzenszwalb'),
    'model.postprocess': dict(type='RegionMajority'),
}


def _rules(base, scales=(5.0, 30.0), thresholds=(0.0, 0.25, 0.35)):
    """Rules whose thresholds turn some but not all pixels into background."""
    return [
        build_rule({**base, **dict(logit_scale=scale, prob_thd=prob_thd, area_thd=area_thd)})
        for scale, prob_thd, area_thd in product(scales, thresholds, (None, 0.1, 0.4))
    ]


@pytest.mark.parametrize('activation', ['softmax', 'sigmoid', None])
@pytest.mark.parametrize('background', [None, 0.3])
def test_each_rule_gives_what_it_gives_alone(activation, background):
    rng = torch.Generator().manual_seed(0)
    query_map = 0.4 * torch.rand(5, 40, 50, generator=rng)
    query_map *= torch.tensor([0.8, 0.8, 1.0, 0.7, 0.7])[:, None, None]  # unequal areas
    class_ids = torch.tensor([0, 0, 1, 2, 2])
    bias = -2.0 if activation == 'sigmoid' else 0.0
    base = dict(activation=activation, logit_bias=bias, background=background)
    scales = (40.0,) if activation is None else (5.0, 30.0)
    rules, query_map = _rules(base, scales), DenseMap(query_map)
    found = dict(segment_variants(query_map, class_ids, rules[::-1]))
    assert len(found) == len(rules)
    for rule in rules:
        _, expected = segment(query_map, class_ids, rule, keep_scores=False)
        assert torch.equal(found[rule], expected)
    assert len({tuple(classes.flatten().tolist()) for classes in found.values()}) > 2


@pytest.mark.parametrize('options', [{}, {'model.refine': PAMR}, REGIONS], ids=str)
def test_a_segmentor_decides_as_it_predicts(clip_path, voc_root, options):
    cfg = load_config('sclip_vit-b16_voc21', clip_path, **SMALL, **options)
    for step in cfg.test_pipeline:
        if step['type'] == 'Resize':
            step['scale'] = (160, 96)
    paths = sorted(voc_root.glob('VOCdevkit/VOC2012/JPEGImages/*.jpg'))[:2]
    model = build_model(cfg)
    data = model.data_preprocessor(load_images(cfg, paths), False)
    inputs, samples = data['inputs'], data['data_samples']
    assert samples[0].img_shape != samples[1].img_shape  # so that one of them is padded
    rules = _rules({}, (30.0, 65.0), (0.0, 0.1))
    for image, sample, maps in zip(inputs, samples, model.encode_images(inputs, samples)):
        found = dict(model.decide_variants(maps, image, sample, rules))
        assert len(found) == len(rules)
        for model.rule in rules:
            [expected] = model.predict(image[None], [sample.clone()])
            assert torch.equal(found[model.rule], expected.pred_sem_seg.data[0])
