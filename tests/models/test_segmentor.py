import copy

import mmcv
import numpy as np
import pytest
import torch
from helpers import build_model, load_config, load_images, seeded_clip
from mmengine.dataset import pseudo_collate
from mmseg.apis import MMSegInferencer, inference_model, init_model, show_result_pyplot
from mmseg.datasets import PascalVOCDataset
from mmseg.registry import MODELS

from sclip_mmseg import InputError
from sclip_mmseg.apis import segment
from sclip_mmseg.models.decision import apply_area_rule


@pytest.fixture
def images(voc_root):
    return sorted((voc_root / 'VOCdevkit/VOC2012/JPEGImages').iterdir())


def _config(clip_path, **options):
    defaults = {
        'model.test_cfg.crop_size': 112,
        'model.test_cfg.stride': 56,
        # Images of six windows or fewer, also where mmseg reads the data's pipeline.
        'test_pipeline.1.scale': (2048, 168),
        'test_dataloader.dataset.pipeline.1.scale': (2048, 168),
    }
    return load_config('sclip_vit-b16_voc21', clip_path, **{**defaults, **options})


def _predict(cfg, paths, device, model=None):
    model = model or build_model(cfg, device)
    return model.test_step(load_images(cfg, paths))


@pytest.mark.parametrize('mode', ['slide', 'whole'])
@pytest.mark.parametrize('refine', [None, dict(type='PAMR', num_steps=1)])
def test_batches_of_unequal_images_equal_single_images(clip_path, images, mode, refine, device):
    cfg = _config(clip_path, **{'model.test_cfg.mode': mode, 'model.refine': refine})
    model = build_model(cfg, device)
    together = _predict(cfg, images, device, model)
    for path, result in zip(images, together):
        [alone] = _predict(cfg, [path], device, model)
        torch.testing.assert_close(result.seg_logits.data, alone.seg_logits.data, rtol=0, atol=1e-5)
        same = result.pred_sem_seg.data == alone.pred_sem_seg.data
        assert same.float().mean() > 0.999
        assert result.pred_sem_seg.data.shape == (1, *result.ori_shape)
        assert result.seg_logits.data.shape == (21, *result.ori_shape)


@pytest.mark.parametrize('window_batch', [1, 2])
def test_windows_may_be_encoded_one_by_one(clip_path, images, window_batch, device):
    [together] = _predict(_config(clip_path), images[:1], device)
    cfg = _config(clip_path, **{'model.test_cfg.window_batch': window_batch})
    [apart] = _predict(cfg, images[:1], device)
    torch.testing.assert_close(apart.seg_logits.data, together.seg_logits.data, rtol=0, atol=1e-5)


def test_prediction_follows_from_the_scores(clip_path, images, device):
    cfg = _config(clip_path, **{'model.test_cfg.prob_thd': 0.1})
    [result] = _predict(cfg, images[:1], device)
    best, classes = result.seg_logits.data.max(0)
    expected = torch.where(best < 0.1, 0, classes)
    assert result.pred_sem_seg.data[0].equal(expected)


def test_scores_may_be_left_out(clip_path, images, device):
    [full] = _predict(_config(clip_path), images[:1], device)
    cfg = _config(clip_path, **{'model.test_cfg.seg_logits': False})
    [bare] = _predict(cfg, images[:1], device)
    assert 'seg_logits' not in bare
    assert bare.pred_sem_seg.data.equal(full.pred_sem_seg.data)


def test_an_image_smaller_than_a_crop(clip_path, device):
    model = build_model(_config(clip_path), device)
    [result] = model.predict(torch.randn(1, 3, 40, 300).to(device))
    assert result.pred_sem_seg.data.shape == (1, 40, 300)


def test_an_image_smaller_than_a_patch(clip_path):
    with pytest.raises(InputError, match=r'\(10, 300\) pixels.*smaller than a patch of 16×16'):
        build_model(_config(clip_path)).predict(torch.randn(1, 3, 10, 300))


@pytest.mark.parametrize(
    'direction, axes', [('horizontal', [-1]), ('vertical', [-2]), ('diagonal', [-2, -1])]
)
def test_flipped_views_come_back_unflipped(clip_path, images, direction, axes, device):
    cfg = _config(clip_path, **{'model.test_cfg.mode': 'whole'})
    model = build_model(cfg, device)
    data = load_images(cfg, images[:1])
    [sample] = data['data_samples']
    sample.set_metainfo(dict(flip=True, flip_direction=direction))
    [flipped] = model.test_step(data)
    [plain] = _predict(cfg, images[:1], device, model)
    torch.testing.assert_close(flipped.seg_logits.data, plain.seg_logits.data.flip(axes))


def test_test_time_augmentation_averages_the_views(clip_path, images, device):
    cfg = _config(clip_path)
    model = MODELS.build(dict(cfg.tta_model, module=cfg.model)).to(device).eval()
    [plain] = data = load_images(cfg, images[:1])['data_samples']
    data = load_images(cfg, images[:1])
    mirrored = load_images(cfg, images[:1])
    mirrored['inputs'][0] = mirrored['inputs'][0].flip(-1)
    mirrored['data_samples'][0].set_metainfo(dict(flip=True, flip_direction='horizontal'))
    views = dict(
        inputs=[data['inputs'], mirrored['inputs']],
        data_samples=[data['data_samples'], mirrored['data_samples']],
    )
    [merged] = model.test_step(views)
    scores = [
        model.module.test_step(dict(inputs=view[0], data_samples=view[1]))[0].seg_logits.data
        for view in zip(
            [load_images(cfg, images[:1])['inputs'], mirrored['inputs']],
            [load_images(cfg, images[:1])['data_samples'], mirrored['data_samples']],
        )
    ]
    expected = apply_area_rule(sum(scores) / 2, area_thd=0.1)
    torch.testing.assert_close(merged.seg_logits.data, expected, atol=1e-3, rtol=0)
    assert merged.img_path == plain.img_path


def test_loss_says_that_training_is_not_supported(clip_path, images):
    model = build_model(_config(clip_path))
    with pytest.raises(NotImplementedError, match='training-free'):
        model(torch.randn(1, 3, 32, 32), mode='loss')


def test_tensor_mode_and_encode_decode(clip_path, device):
    model = build_model(_config(clip_path), device)
    inputs = torch.randn(2, 3, 64, 50).to(device)
    assert model(inputs).shape == (2, 56, 4, 3)
    assert model.encode_decode(inputs).shape == (2, 56, 64, 50)


def test_nothing_is_trainable_and_the_text_tower_is_gone(clip_path):
    model = build_model(_config(clip_path))
    assert not [p for p in model.parameters() if p.requires_grad]
    parts = {'.'.join(name.split('.')[:2]) for name in model.state_dict()}
    assert parts == {'image_encoder.tower', 'text_head.embeddings'}


@pytest.mark.parametrize('kind', [str, np.array])
def test_inference_model_and_image(clip_path, images, tmp_path, kind, device):
    cfg = _config(clip_path)
    model = init_model(cfg, device=str(device))
    image = str(images[0])
    if kind is np.array:
        image = mmcv.imread(image)
    result = inference_model(model, image)
    [expected] = _predict(_config(clip_path), images[:1], device, model)
    assert result.pred_sem_seg.data.equal(expected.pred_sem_seg.data)
    out = tmp_path / 'out.png'
    show_result_pyplot(model, str(images[0]), result, show=False, out_file=str(out))
    assert out.stat().st_size > 0
    assert model.dataset_meta['classes'][0] == 'background'


def test_segment_and_inference_model_in_any_order(clip_path, images, device):
    cfg = _config(clip_path)
    model = init_model(cfg, device=str(device))
    path, array = str(images[0]), mmcv.imread(str(images[0]))
    [expected] = _predict(_config(clip_path), images[:1], device, model)
    for image in (array, path, array):
        found = [inference_model(model, image).pred_sem_seg.data[0].cpu().numpy()]
        channels = None if image is path else 'bgr'
        found += [segment(model, image, channels=channels).labels]
        for labels in found:
            assert (labels == expected.pred_sem_seg.data[0].cpu().numpy()).all()


def test_a_copied_and_a_saved_segmentor_give_the_same(clip_path, images, tmp_path, device):
    cfg = _config(clip_path)
    model = init_model(cfg, device=str(device))
    expected = inference_model(model, str(images[0])).seg_logits.data
    torch.save(model, tmp_path / 'model.pt')
    for other in (copy.deepcopy(model), torch.load(tmp_path / 'model.pt', weights_only=False)):
        assert inference_model(other, str(images[0])).seg_logits.data.equal(expected)


def test_tf32_is_refused(clip_path, device):
    model = build_model(_config(clip_path), device)
    image = torch.randn(1, 3, 40, 300).to(device)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision('high')
        with pytest.raises(InputError, match="float32 products as .*precision='bf16'"):
            model.predict(image)
    finally:
        torch.set_float32_matmul_precision(before)
    model.predict(image)


def test_inferencer(clip_path, images, device):
    inferencer = MMSegInferencer(
        _config(clip_path), device=str(device), **PascalVOCDataset.METAINFO
    )
    results = inferencer([str(path) for path in images], batch_size=2)
    [expected] = _predict(_config(clip_path), images[:1], device)
    assert len(results['predictions']) == 3
    assert (results['predictions'][0] == expected.pred_sem_seg.data[0].cpu().numpy()).all()


def test_own_classes(clip_path, images, device):
    cfg = _config(clip_path)
    cfg.model.text_head.queries = [['sky', 'cloud'], ['cat'], 'dog, puppy']
    model = build_model(cfg, device)
    [result] = _predict(cfg, images[:1], device, model)
    assert result.seg_logits.data.shape[0] == 3
    assert model.dataset_meta['classes'] == ('sky', 'cat', 'dog')


def test_no_metadata_at_all(clip_path, device):
    model = build_model(_config(clip_path), device)
    data = pseudo_collate([dict(inputs=torch.zeros(3, 64, 64))])
    [result] = model.predict(model.data_preprocessor(dict(data, data_samples=[]))['inputs'])
    assert result.pred_sem_seg.data.shape == (1, 64, 64)


@pytest.mark.parametrize(
    'option, message',
    [
        ({'mode': 'tiles'}, "mode='tiles'"),
        ({'crop_size': (8, 8), 'stride': (8, 8)}, 'smaller than a patch of 16×16'),
        ({'crop_size': (112, 112), 'stride': (113, 112)}, 'stride=.*larger than crop_size'),
        ({'crop_size': 0}, 'crop_size=0'),
        ({'crop_size': 224.0}, 'crop_size=224.0'),
        ({'crop_size': (224, -1)}, r'crop_size=\(224, -1\)'),
        ({'crop_size': 'big'}, "crop_size='big'"),
        ({'stride': (112,)}, 'stride'),
        ({'logit_scale': 0}, 'logit_scale=0'),
        ({'prob_thd': 2}, 'prob_thd=2'),
        ({'prob_thd': None}, 'prob_thd=None'),
        ({'area_thd': -1}, 'area_thd=-1'),
        ({'window_batch': 0}, 'window_batch=0'),
        ({'seg_logits': 1}, 'seg_logits=1'),
        ({'window': 3}, "has no 'window'"),
    ],
)
def test_bad_settings(clip_path, option, message):
    cfg = load_config('sclip_vit-b16_voc21', clip_path)
    cfg.model.test_cfg.update(option)
    with pytest.raises(InputError, match=message):
        build_model(cfg)


def test_settings_are_checked_before_weights_are_read():
    cfg = load_config('sclip_vit-b16_voc21', 'no such file')
    cfg.model.test_cfg.prob_thd = 2
    with pytest.raises(InputError, match='prob_thd'):
        build_model(cfg)


def test_text_of_another_clip(clip_path, tmp_path):
    path = tmp_path / 'other.pt'
    torch.save(seeded_clip(embed_dim=64), path)
    cfg = _config(clip_path)
    cfg.model.text_head.clip = str(path)
    with pytest.raises(InputError, match='32 dimensions but text embeddings 64'):
        build_model(cfg)
    own = dict(queries=np.array(['cat']), class_ids=np.zeros(1, np.int64))
    np.savez(tmp_path / 'own.npz', embeddings=np.ones((1, 8), '>f4'), **own)
    cfg.model.text_head.embeddings = str(tmp_path / 'own.npz')
    with pytest.raises(InputError, match=r'32 dimensions but text embeddings of .*own\.npz 8'):
        build_model(cfg)
