"""GroupViT and TCL on small seeded weights: layouts, decisions, batches, and what is refused."""

import urllib.request

import numpy as np
import pytest
import torch
from helpers import build_model, load_config, run_test, seeded_clip
from mmengine.fileio import load
from mmseg.registry import DATASETS
from mmseg.structures import SegDataSample
from safetensors.torch import save_file
from trained_weights import hugging_face, seeded_groupvit, seeded_tcl

from sclip_mmseg import InputError
from sclip_mmseg.config import set_checkpoint
from sclip_mmseg.datasets import load_queries
from sclip_mmseg.datasets.background import Background
from sclip_mmseg.datasets.benchmarks import usual_benchmarks
from sclip_mmseg.datasets.checks import check_classes, load_dataset
from sclip_mmseg.evaluation.fingerprint import describe_settings
from sclip_mmseg.models import View
from sclip_mmseg.models.decision import build_rule, segment
from sclip_mmseg.models.fusion import DenseMap
from sclip_mmseg.models.trained import TRAINED, find_trained
from sclip_mmseg.models.trained.groupvit import group_affinity, paint, prepend_background
from sclip_mmseg.models.trained.tcl import TCLEncoder, pad_to_patches


@pytest.fixture(scope='module')
def paths(tmp_path_factory):
    """Config key → checkpoint, by system."""
    folder = tmp_path_factory.mktemp('trained')
    clip = seeded_clip()
    torch.save(clip, folder / 'clip.pt')
    torch.save(dict(model=seeded_tcl(clip)), folder / 'tcl.pth')
    torch.save(dict(model=seeded_groupvit(), epoch=30), folder / 'groupvit.pth')
    return {
        'tcl': {
            'model.image_encoder.clip': str(folder / 'clip.pt'),
            'model.image_encoder.checkpoint': str(folder / 'tcl.pth'),
        },
        'groupvit': {'model.image_encoder.checkpoint': str(folder / 'groupvit.pth')},
    }


@pytest.fixture
def build(paths, device):
    """Build a shipped config's model on small weights."""

    def build(name, **options):
        cfg = load_config(name, **{**paths[name.split('_')[0].split('-')[0]], **options})
        return build_model(cfg, device)

    return build


CONFIGS = ['groupvit_vit-s16_voc21', 'tcl_vit-b16_voc21', 'tcl-pamr_vit-b16_voc21']


def _images(*sizes):
    rng = np.random.default_rng(0)
    return [torch.from_numpy(rng.integers(0, 256, (3, *size), dtype=np.uint8)) for size in sizes]


def _predict(model, images):
    samples = [SegDataSample(metainfo=dict(ori_shape=tuple(i.shape[-2:]))) for i in images]
    return model.test_step(dict(inputs=images, data_samples=samples))


@pytest.mark.parametrize('suffix', ['.safetensors', '.bin'])
def test_hugging_face_s_file_gives_the_authors_numbers(build, tmp_path, suffix):
    path, tensors = tmp_path / f'model{suffix}', hugging_face(seeded_groupvit())
    save_file(tensors, path) if suffix == '.safetensors' else torch.save(tensors, path)
    models = [
        build(CONFIGS[0]),
        build(CONFIGS[0], **{'model.image_encoder.checkpoint': str(path)}),
    ]
    assert models[0].text_head.embeddings.equal(models[1].text_head.embeddings)
    results = [_predict(model, _images((64, 96)))[0] for model in models]
    assert results[0].seg_logits.data.equal(results[1].seg_logits.data)
    assert results[0].pred_sem_seg.data.unique().numel() > 1


@pytest.mark.parametrize('config', CONFIGS)
def test_batches_and_sides_that_are_not_multiples_of_16(build, config):
    options = {'model.test_cfg.crop_size': 96, 'model.test_cfg.stride': 48}
    model = build(config, **options, **{'model.test_cfg.window_batch': 1000})
    images = _images((100, 150), (77, 90), (100, 150), (96, 40), (17, 200))
    together = _predict(model, list(images))
    model = build(config, **options, **{'model.test_cfg.window_batch': 1})
    for image, result in zip(images, together):
        [alone] = _predict(model, [image])
        assert result.seg_logits.data.shape == (21, *image.shape[-2:])
        torch.testing.assert_close(result.seg_logits.data, alone.seg_logits.data)
        same = result.pred_sem_seg.data == alone.pred_sem_seg.data
        assert same.float().mean() >= 0.999


@pytest.mark.parametrize('precision', ['fp16', 'bf16'])
@pytest.mark.parametrize('config', CONFIGS)
def test_half_precision(build, config, precision):
    full, half = (
        _predict(build(config, **{'model.image_encoder.precision': p}), _images((64, 90)))[0]
        for p in ('fp32', precision)
    )
    assert half.seg_logits.data.dtype == torch.float32
    assert half.seg_logits.data.isfinite().all()
    if config.startswith('tcl'):  # GroupViT's hard decisions may all turn
        assert (half.seg_logits.data - full.seg_logits.data).abs().max() < 0.05


def test_tcl_s_background_is_a_constant(build):
    model = build('tcl_vit-b16_voc21', **{'model.test_cfg.background': 0.35})
    [result] = _predict(model, _images((64, 96)))
    scores, classes = result.seg_logits.data, result.pred_sem_seg.data[0]
    assert scores[0].unique().tolist() == pytest.approx([0.35])
    assert 0 < classes.eq(0).sum() < classes.numel()
    assert classes.eq(0).equal(scores[1:].amax(0) <= 0.35)
    assert classes.equal(scores.argmax(0))
    assert model.num_classes == 21
    assert model.dataset_meta['classes'][:2] == ('background', 'aeroplane')
    assert model.dataset_meta['palette'][0] == [0, 0, 0]
    model = build(
        'tcl_vit-b16_voc21',
        **{'model.test_cfg.background': 0.35, 'model.test_cfg.seg_logits': False},
    )
    [result] = _predict(model, _images((64, 96)))
    assert result.pred_sem_seg.data[0].equal(classes)


@pytest.mark.parametrize('activation', ['sigmoid', 'softmax', None])
@pytest.mark.parametrize('background', [None, 0.4])
def test_decisions_with_and_without_scores_agree(activation, background, device):
    query_map = torch.rand(5, 6, 4, generator=torch.Generator().manual_seed(0)).to(device)
    ids = torch.tensor([0, 1, 1, 2], device=device)
    rules = dict(activation=activation, background=background, logit_scale=3.0)
    rules['logit_bias'] = -1.5 if activation == 'sigmoid' else 0.0
    whole, rule = DenseMap(query_map.permute(2, 0, 1)), build_rule(rules)
    scores, classes = segment(whole, ids, rule, keep_scores=True)
    none, at_once = segment(whole, ids, rule, keep_scores=False)
    expected = {
        'sigmoid': torch.sigmoid(3 * query_map - 1.5),
        'softmax': torch.softmax(3 * query_map, -1),
        None: query_map,
    }[activation]
    expected = torch.stack([expected[..., 0], expected[..., 1:3].amax(-1), expected[..., 3]])
    if background is not None:
        expected = torch.cat([torch.full((1, 5, 6), background, device=device), expected])
        assert 0 < classes.eq(0).sum() < 30
    torch.testing.assert_close(scores, expected)
    assert none is None and classes.equal(at_once) and classes.equal(expected.argmax(0))


def test_groupvit_s_background_is_the_map_s_first_channel(build):
    model = build(CONFIGS[0], **{'model.image_encoder.background': 1.0})
    [image] = _images((64, 96))
    [result] = _predict(model, [image])
    scores, classes = result.seg_logits.data, result.pred_sem_seg.data[0]
    assert scores.shape[0] == model.num_classes == 21
    assert set(scores[0].unique().tolist()) <= {0.0, 1.0}
    assert classes.equal(scores.argmax(0))
    best = scores[1:].amax(0)
    assert classes[best == best.max()].ne(0).all() or scores[0].eq(1).all()
    assert model.dataset_meta['classes'][0] == 'background'
    with pytest.raises(InputError, match='two backgrounds'):
        build(CONFIGS[0], **{'model.test_cfg.background': 0.5})


def test_queries_with_synonyms_keep_their_classes(build):
    queries = [['cat', 'kitten'], 'dog']
    model = build(CONFIGS[0], **{'model.text_head.queries': queries})
    assert model.class_ids.tolist() == [0, 1, 1, 2]
    assert model.dataset_meta['classes'] == ('background', 'cat', 'dog')
    assert len({tuple(colour) for colour in model.dataset_meta['palette']}) == 3
    [result] = _predict(model, _images((64, 96)))
    assert result.seg_logits.data.shape[0] == 3
    plain = build('groupvit-unified_vit-s16_voc20', **{'model.text_head.queries': queries})
    assert plain.class_ids.tolist() == [0, 0, 1]
    assert plain.dataset_meta['classes'] == ('cat', 'dog')


def test_affinity_lets_five_queries_pass(device):
    cosines = torch.tensor([[[0.9, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6]]], device=device)
    mean = torch.tensor([[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.0]], device=device)
    affinity = group_affinity(cosines, mean, 2.0)[0, 0]
    soft = (2 * cosines[0, 0]).softmax(0)
    kept = (2 * cosines[0, 0, 1:6]).softmax(0)
    expected = torch.tensor([0.0, *(soft[1:6] * kept).tolist(), 0.0], device=device)
    torch.testing.assert_close(affinity, expected)
    few = group_affinity(cosines[..., :3], mean[:, :3], 2.0)
    torch.testing.assert_close(few, (2 * cosines[..., :3]).softmax(-1) ** 2)


@pytest.mark.parametrize(
    'threshold, expected', [(0.95, [0, 1, 1]), (0.5, [0, 0, 1]), (0.0, [0, 0, 0])]
)
def test_the_best_segment_is_never_background(threshold, expected, device):
    affinity = torch.tensor([[[0.7, 0.1], [0.2, 0.5], [0.1, 0.4]]], device=device)
    assert prepend_background(affinity, threshold)[0, :, 0].tolist() == expected
    assert prepend_background(affinity, threshold)[..., 1:].equal(affinity)


def test_segments_are_chosen_after_the_resizing(device):
    membership = torch.tensor([[[[0.9, 0.4]], [[0.1, 0.6]]]], device=device)
    table = torch.tensor([[[1.0, 0.0, 0.2], [0.0, 1.0, 0.3]]], device=device)
    painted = paint(membership, table, (1, 8))
    # From 0.9 to 0.4 the middle is passed after the sixth of eight pixels.
    assert painted[0, 0, 0].tolist() == [1, 1, 1, 1, 1, 0, 0, 0]
    assert painted.shape == (1, 3, 1, 8)


def test_padding_is_halved(device):
    images, padding = pad_to_patches(torch.ones(1, 3, 17, 30, device=device), 16)
    assert padding == (1, 1, 7, 8)
    assert images.shape[-2:] == (32, 32)
    assert images.sum() == 3 * 17 * 30
    same = torch.ones(1, 3, 16, 32, device=device)
    assert pad_to_patches(same, 16)[0] is same


def test_tcl_s_own_knowledge(build, device):
    """kp_w mixes the decoder's masks, refined, with CLIP's."""
    image = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0)).to(device)

    def masks(kp_w, name='tcl'):
        model = build(f'{name}_vit-b16_voc20', **{'model.image_encoder.kp_w': kp_w})
        with torch.no_grad():
            return model.image_encoder(View(image), model.text_head)

    for name in ('tcl', 'tcl-pamr'):
        torch.testing.assert_close(
            masks(0.3, name), 0.7 * masks(0.0, name) + 0.3 * masks(1.0, name)
        )
    torch.testing.assert_close(masks(1.0), masks(1.0, 'tcl-pamr'))
    assert not torch.allclose(masks(0.0), masks(0.0, 'tcl-pamr'), atol=1e-3)


def test_what_a_training_saves_besides_is_ignored(build, paths, tmp_path):
    clip = seeded_clip()
    more = {
        'clip_text_encoder.weight': torch.zeros(1),
        'clip_image_encoder.clip_visual.proj': torch.zeros(1),
        'tcli_loss.logit_scale': torch.zeros(()),
    }
    torch.save(dict(model={**seeded_tcl(clip), **more}), tmp_path / 'more.pth')
    models = [
        build(CONFIGS[1]),
        build(CONFIGS[1], **{'model.image_encoder.checkpoint': str(tmp_path / 'more.pth')}),
    ]
    results = [_predict(model, _images((64, 96)))[0].seg_logits.data for model in models]
    assert results[0].equal(results[1])


@pytest.mark.parametrize(
    'config, change, message',
    [
        (CONFIGS[0], lambda t: t.pop('logit_scale'), "lacks 'logit_scale'"),
        (CONFIGS[0], lambda t: t.pop('img_encoder.norm.bias'), "lacks 'img_encoder.norm.bias'"),
        (
            CONFIGS[0],
            lambda t: t.update({'img_encoder.more': torch.zeros(1)}),
            'unexpected tensors.*img_encoder.more',
        ),
        (
            CONFIGS[0],
            lambda t: t.pop('img_encoder.layers.0.group_token'),
            "not a GroupViT checkpoint: it has no 'img_encoder.layers.0.group_token'",
        ),
        (CONFIGS[0], lambda t: t.pop('text_encoder.token_embedding.weight'), 'has no text tower'),
        (CONFIGS[1], lambda t: t.clear(), 'contains no tensors'),
        (CONFIGS[1], lambda t: t.pop('masker.sim2mask.w'), "lacks 'masker.sim2mask.w'"),
        (
            CONFIGS[1],
            lambda t: t.update({'masker.more': torch.zeros(1)}),
            'unexpected tensors.*masker.more',
        ),
    ],
)
def test_broken_files(build, tmp_path, config, change, message):
    tensors = seeded_groupvit() if config == CONFIGS[0] else seeded_tcl(seeded_clip())
    change(tensors)
    torch.save(dict(model=tensors), tmp_path / 'broken.pth')
    with pytest.raises(InputError, match=f'broken.pth.*({message})'):
        build(config, **{'model.image_encoder.checkpoint': str(tmp_path / 'broken.pth')})


@pytest.mark.parametrize('options', [dict(layers=4), dict(embed_dim=16), dict(width=64)])
def test_a_clip_that_tcl_was_not_trained_on(build, tmp_path, options):
    torch.save(seeded_clip(**options), tmp_path / 'other.pt')
    with pytest.raises(InputError, match='trained on another CLIP than model.image_encoder.clip'):
        build(CONFIGS[1], **{'model.image_encoder.clip': str(tmp_path / 'other.pt')})


@pytest.mark.parametrize(
    'config, key, value, message',
    [
        (CONFIGS[0], 'background', 1.5, 'background=1.5 must lie between 0 and 1'),
        (CONFIGS[0], 'precision', 'fp8', "precision='fp8' is not one of"),
        (CONFIGS[1], 'kp_w', -0.1, 'kp_w=-0.1 must lie between 0 and 1'),
        (CONFIGS[1], 'checkpoint', 'no.pth', "checkpoint='no.pth' is neither a file nor one of"),
        (CONFIGS[0], 'checkpoint', 'no.pth', 'groupvit_gcc_yfcc, groupvit_gcc_redcap, tcl'),
    ],
)
def test_bad_values(build, config, key, value, message):
    with pytest.raises(InputError, match=message):
        build(config, **{f'model.image_encoder.{key}': value})


@pytest.mark.parametrize('name', TRAINED)
def test_a_file_that_cannot_be_fetched(monkeypatch, name):
    def refuse(*args, **kwargs):
        raise OSError('no network')

    monkeypatch.setattr(urllib.request.OpenerDirector, 'open', refuse)
    with pytest.raises(
        InputError, match=f'{TRAINED[name].url}: no network.*save it as .*pth'
    ) as caught:
        find_trained(name)
    assert '\n' not in str(caught.value)


def test_a_fetched_file_is_found_by_name_and_counts_by_its_content(monkeypatch, tmp_path):
    monkeypatch.setenv('SCLIP_DOWNLOAD_ROOT', str(tmp_path))
    path = tmp_path / 'tcl.pth'
    path.write_bytes(b'one')
    assert find_trained('tcl').weights == path

    def describe(checkpoint, kind='TCLEncoder'):
        settings = describe_settings(encoder=dict(type=kind, checkpoint=checkpoint))
        return settings['encoder.checkpoint']

    digest = describe('tcl')
    assert digest.startswith('SHA-256 ') and digest == describe(str(path), TCLEncoder)
    path.write_bytes(b'another')
    assert describe('tcl') != digest
    assert describe('tcl', 'IdentityEncoder') == 'tcl'  # which finds its own


def test_the_argument_of_tools_test():
    groupvit, clip = load_config(CONFIGS[0]), load_config('sclip_vit-b16_voc21')
    for cfg in (groupvit, clip):
        set_checkpoint(cfg, 'x.pth')
    assert groupvit.model.image_encoder.checkpoint == clip.model.image_encoder.clip == 'x.pth'
    assert 'clip' not in groupvit.model.image_encoder


def test_text_features_may_be_averaged_as_they_are(build):
    options = {'model.text_head.queries': ['cat', 'dog'], 'model.test_cfg.background': None}
    mean = build(CONFIGS[1], **options).text_head
    each = build(CONFIGS[1], **options, **{'model.text_head.normalize_prompts': True}).text_head
    assert not mean.embeddings.equal(each.embeddings)
    torch.testing.assert_close(mean.embeddings.norm(dim=1).cpu(), torch.ones(2))


EIGHT = [name for name in usual_benchmarks() if name != 'coco_stuff10k']


@pytest.mark.parametrize('benchmark', EIGHT)
@pytest.mark.parametrize('name', ['tcl_vit-b16', 'tcl-pamr_vit-b16', 'groupvit-unified_vit-s16'])
def test_configs(name, benchmark):
    cfg = load_config(f'{name}_{benchmark}')
    encoder, test_cfg = cfg.model.image_encoder, cfg.model.test_cfg
    assert (
        cfg.test_pipeline[1].scale == cfg.test_dataloader.dataset.pipeline[1].scale == (2048, 448)
    )
    assert cfg.tta_pipeline[1].transforms[0][0].scale == (2048, 448)
    assert test_cfg.crop_size == (448, 448) and test_cfg.stride == (224, 224)
    assert cfg.model.data_preprocessor.mean == [123.675, 116.28, 103.53]
    has_background = benchmark in ('voc21', 'context60', 'coco_object')
    pamr = {'tcl_vit-b16': 0.5, 'tcl-pamr_vit-b16': 0.4}
    if name in pamr:
        assert test_cfg.get('background') == (pamr[name] if has_background else None)
        assert encoder.kp_w == 0.3
        steps = dict(type='PAMR', num_steps=10, dilations=(1, 2, 4, 8, 12, 24))
        assert encoder.get('refine') == (steps if 'pamr' in name else None)
    else:
        thresholds = dict(voc21=0.95, context60=0.35, coco_object=0.95)
        assert encoder.get('background') == thresholds.get(benchmark)
        assert encoder.checkpoint == 'groupvit_gcc_redcap'
    queries = load_queries(cfg.model.text_head.queries)
    names = DATASETS.get(cfg.test_dataloader.dataset.type).METAINFO['classes']
    assert queries.queries == tuple(names)[has_background:]


def test_lists_of_groupvit():
    changed = {}
    for own, plain in (('groupvit_voc20', 'plain_voc20'), ('groupvit_context59', 'context59')):
        pairs = zip(load_queries(own).queries, load_queries(plain).queries)
        changed[own] = {theirs: ours for ours, theirs in pairs if ours != theirs}
    assert changed == {
        'groupvit_voc20': dict(diningtable='table', pottedplant='plant', tvmonitor='monitor'),
        'groupvit_context59': dict(aeroplane='airplane', pottedplant='plant', tvmonitor='monitor'),
    }


def test_every_config_has_a_published_number(in_root):
    for folder in ('tcl', 'groupvit'):
        for model in load(f'configs/{folder}/metafile.yml')['Models']:
            [result] = model['Results']
            if model['Name'] == 'groupvit-unified_vit-s16_coco_object':
                continue  # TCL's table is not known to have it
            assert isinstance(result['Metrics']['mIoU'], float), model['Name']


@pytest.mark.parametrize('config', CONFIGS[:2])
def test_evaluation(paths, voc_root, tmp_path, config):
    given = dict(paths[config.split('_')[0]])
    checkpoint = given.pop('model.image_encoder.checkpoint')
    given.update({'model.test_cfg.crop_size': 64, 'model.test_cfg.stride': 64})
    options = ('--cfg-options', *(f'{key}={value}' for key, value in given.items()))
    output = run_test(config, checkpoint, '--work-dir', tmp_path, *options, data_root=voc_root)
    assert 'mIoU' in output.stdout and 'background' in output.stdout


@pytest.mark.parametrize(
    'config, queried, message',
    [
        ('tcl_vit-b16_voc21', 20, None),
        ('tcl_vit-b16_voc21', 150, 'queries for 150 classes and a background without one.* has 21'),
        ('tcl_vit-b16_voc20', 20, "class 0 of PascalVOC20Dataset is 'aeroplane'.*background=None"),
    ],
)
def test_classes_and_backgrounds_that_do_not_fit(voc_root, monkeypatch, config, queried, message):
    monkeypatch.setenv('SCLIP_DATA_ROOT', str(voc_root))
    dataset = load_dataset(load_config(config).test_dataloader.dataset)
    if message is None:
        return check_classes(dataset, queried + 1, Background.NO_QUERY)
    with pytest.raises(InputError, match=message):
        check_classes(dataset, queried + 1, Background.NO_QUERY)


@pytest.mark.parametrize('name', CONFIGS)
def test_gradients_reach_images_and_weights(build, name, device):
    model = build(name)
    encoder = model.image_encoder.requires_grad_(True)
    images = torch.randn(2, 3, 64, 96).to(device)
    images[:, :, :32] = 0.5  # an even area, in which no colour deviates
    encoder(View(images.requires_grad_()), model.text_head).square().sum().backward()
    assert images.grad.isfinite().all() and images.grad.any()
    assert next(encoder.matrices()).grad.any()


@pytest.mark.parametrize('name', CONFIGS[:2])
def test_a_cast_model_is_one_of_that_precision(build, name, device):
    images = _images((64, 96))
    [found] = _predict(build(name).half(), images)
    [expected] = _predict(build(name, **{'model.image_encoder.precision': 'fp16'}), images)
    assert found.seg_logits.data.equal(expected.seg_logits.data)
