"""SAM 3's parts that the golden files do not reach."""

import copy
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import build_model, load_config, make_voc, metrics, run_test, seeded_sam3
from mmseg.apis import init_model
from safetensors.torch import save, save_file

from sclip_mmseg import InputError
from sclip_mmseg.apis import build_segmentor, segment
from sclip_mmseg.benchmark.pairs import find_pairs
from sclip_mmseg.models.trained import SAM3Encoder, SAM3TextHead
from sclip_mmseg.models.trained.sam3_layout import SAM3File
from sclip_mmseg.models.trained.sam3_rule import PromptRule, enlarge
from sclip_mmseg.models.view import View
from sclip_mmseg.towers import load_image_tower
from sclip_mmseg.towers.proxy import load_second_tower
from sclip_mmseg.visualization.attention import point_attention

pytest.importorskip('transformers')


@pytest.fixture(scope='module')
def tensors():
    return seeded_sam3()


@pytest.fixture(scope='module')
def folder(tensors, tmp_path_factory):
    """A folder of transformers, with a video model's names and a config with another epsilon."""
    folder = tmp_path_factory.mktemp('sam3')
    found = {f'detector_model.{name}': value for name, value in tensors.items()}
    found.update({f'tracker_{part}.weight': torch.ones(3) for part in ('model', 'neck')})
    save_file(found, folder / 'model.safetensors')
    stated = dict(vision_config=dict(backbone_config=dict(layer_norm_eps=0.1)))
    (folder / 'config.json').write_text(json.dumps(dict(detector_config=stated)))
    return str(folder)


@pytest.fixture(scope='module')
def encoder(folder):
    return SAM3Encoder(folder)


@pytest.fixture
def make(folder, device):
    def build(queries=('cat', 'dog'), name='sam3_voc20', **options):
        cfg = load_config(name, **options)
        cfg.model.image_encoder.checkpoint = folder
        cfg.model.text_head.queries = list(queries)
        return build_model(cfg, device)

    return build


def test_a_folder_of_transformers(encoder, tensors):
    backbone = encoder.model.vision_encoder.backbone
    norms = [module for module in backbone.modules() if isinstance(module, torch.nn.LayerNorm)]
    assert {norm.eps for norm in norms} == {1e-5}
    assert [layer.window_size for layer in backbone.layers] == [24, 0]
    assert not any(buffer.is_meta for buffer in encoder.buffers())
    assert encoder.embed_dim == 16 and encoder.prompt_batch() > 1
    found = encoder.model.state_dict()
    assert set(found) == {name for name in tensors if not name.startswith('text_')}
    assert all(value.equal(tensors[name]) for name, value in found.items())


def test_both_ways_give_the_same(make, device):
    """One prompt, many, in batches of unequal windows, and on an image of the same pixels."""
    images = torch.rand(1, 3, 40, 50, generator=torch.Generator().manual_seed(0)).to(device) * 2 - 1
    model = make(queries=[f'thing {number}' for number in range(5)])
    with torch.no_grad():
        all_at_once = model.image_encoder(View(images), model.text_head)
        model.image_encoder.prompt_batch = lambda: 2
        in_pairs = model.image_encoder(View(images), model.text_head)
    assert all_at_once.shape == (1, 5, 40, 50) and 0 <= all_at_once.min() < all_at_once.max() <= 1
    torch.testing.assert_close(in_pairs, all_at_once, rtol=0, atol=1e-5)
    [result] = model.predict(images)
    torch.testing.assert_close(result.seg_logits.data, all_at_once[0], rtol=0, atol=1e-5)


def test_bfloat16_and_features(make, device):
    model = make(**{'model.image_encoder.precision': 'bf16'})
    images = torch.zeros(1, 3, 20, 30, device=device)
    [result] = model.predict(images)
    assert result.seg_logits.data.dtype == torch.float32
    assert result.seg_logits.data.isfinite().all()
    features = model.extract_feat(images)
    assert features.shape == (1, 72, 72, 16) and features.dtype == torch.float32


def test_saved_weights(make):
    model = make()
    model.load_state_dict(model.state_dict())


def test_images_of_another_normalisation(folder):
    cfg = load_config('sam3_voc20')
    cfg.model.image_encoder.checkpoint = folder
    cfg.model.data_preprocessor.mean = [0, 0, 0]
    with pytest.raises(InputError, match=r'must have mean=\[127.5, 127.5, 127.5\] and std=.*\]$'):
        build_model(cfg)


def test_evaluation(folder, tmp_path):
    arguments = '--work-dir', tmp_path / 'work', '--cfg-options'
    options = f'model.image_encoder.checkpoint={folder}', 'model.text_head.queries=plain_voc20'
    root = make_voc(tmp_path / 'data', sizes=[(30, 40)])
    output = run_test('sam3_voc20', *arguments, *options, data_root=root).stdout
    assert 0 <= metrics(output)['mIoU'] <= 100


def test_prompts_are_cut_and_encoded_once(folder, monkeypatch):
    long = ' '.join(['word'] * 40)
    head = SAM3TextHead(['cat', long], folder)
    assert head.valid.sum(1).tolist() == [3, 32] and head.embeddings.shape == (2, 32, 16)
    monkeypatch.setattr(SAM3TextHead, 'load_tower', None)  # all are known
    assert SAM3TextHead(['cat', long], folder).embeddings.equal(head.embeddings)
    assert SAM3TextHead([long], folder, share=head).embeddings.equal(head.embeddings[1:])


def test_the_rule():
    logits, presence, semantic = [2.0, -2.0, 1.0], 1.0, torch.tensor([[-1.0, 3.0], [0.0, 2.0]])
    masks = torch.tensor([[[5.0, -5.0], [1.0, 0.0]]] * 2 + [[[0.0, 4.0], [-4.0, 4.0]]])
    output = SimpleNamespace(
        pred_logits=torch.tensor([logits]),
        presence_logits=torch.tensor([[presence]]),
        pred_masks=masks[None],
        semantic_seg=semantic[None, None],
    )
    p = torch.tensor(presence).sigmoid()
    scores = torch.tensor(logits).sigmoid() * p  # 0.64, 0.09, 0.53
    kept = torch.stack([scores[n] * enlarge(masks, (4, 6))[n].sigmoid() for n in (0, 2)])
    fine = enlarge(semantic[None], (4, 6))[0].sigmoid()

    def maps(*parts, threshold=0.5):
        return PromptRule(threshold, *parts).maps(output, (4, 6))[0]

    torch.testing.assert_close(maps(True, True, True), p * torch.maximum(kept.amax(0), fine))
    torch.testing.assert_close(maps(True, False, True), p * kept.amax(0))
    torch.testing.assert_close(maps(False, True, True), p * fine)
    torch.testing.assert_close(maps(True, True, False), torch.maximum(kept.amax(0), fine))
    torch.testing.assert_close(maps(True, True, True, threshold=0.9), p * fine)
    assert not maps(True, False, True, threshold=0.9).any()


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(confidence_threshold=1.5), 'confidence_threshold=1.5 must be a number between 0'),
        (dict(confidence_threshold='much'), "confidence_threshold='much' must be a number"),
        (dict(use_transformer_decoder=False, use_sem_seg=False), 'neither instances nor'),
        (dict(use_sem_seg='no'), "use_sem_seg='no' must be True or False"),
        (dict(precision='int8'), "precision='int8' is not one of"),
    ],
)
def test_values_are_checked_before_files(options, message):
    with pytest.raises(InputError, match=message):
        SAM3Encoder('nowhere.pt', **options)


def test_what_is_not_sam3(tmp_path, tensors):
    for path in ('', 'nowhere', 'weights/sam3.pt', tmp_path / 'sam3.pt', 'ViT-B/16', 5, None):
        with pytest.raises(InputError, match=f"'{path}' is neither a file of Meta's .sam3.pt."):
            SAM3Encoder(path)
    torch.save(dict(weight=torch.ones(3)), tmp_path / 'x.pt')
    with pytest.raises(InputError, match="x.pt is not Meta's SAM 3.* but weight"):
        SAM3Encoder(str(tmp_path / 'x.pt'))


def test_earlier_segment_anything_models(tmp_path):
    """They are not mistaken for saved segmentors, which also have ``image_encoder``."""
    for part in ('mask_decoder', 'sam_mask_decoder'):
        names = 'image_encoder.trunk.pos_embed', f'{part}.iou_token.weight'
        path = tmp_path / f'{part}.pt'
        torch.save(dict(model={name: torch.ones(3) for name in names}), path)
        with pytest.raises(InputError, match=f"{part}.pt is not Meta's SAM 3 .* but image_encoder"):
            build_segmentor('cat; dog', method='sam3', clip=str(path))


def test_programs_of_openmmlab_take_its_files(folder, tensors, tmp_path, hub):
    """The config's own checkpoint is gated, but is replaced before it is needed."""
    hub.put('facebook/sam3', config__json={}, model__safetensors=save(tensors))
    hub.gated.add('facebook/sam3')
    file = tmp_path / 'sam3.pt'
    torch.save({f'detector_model.{name}': value for name, value in tensors.items()}, file)
    cfg = load_config('sam3_voc20', **{'model.text_head.queries': ['cat', 'dog']})
    for checkpoint in (folder, str(file)):
        model = init_model(copy.deepcopy(cfg), checkpoint, device='cpu')
        assert model.image_encoder.embed_dim == 16
    with pytest.raises(InputError, match='facebook/sam3 is gated'):
        init_model(copy.deepcopy(cfg), device='cpu').extract_feat(torch.zeros(1, 3, 9, 9))


def test_sam3_in_place_of_others(folder):
    for load in (load_image_tower, load_second_tower):
        with pytest.raises(InputError, match=r'not a (CLIP|supported DINO).*, …$'):
            load(folder)


@pytest.mark.parametrize(
    'name, value, message',
    [
        ('geometry_encoder.final_proj.weight', None, 'not a whole SAM 3: .*it lacks geom.*weight'),
        ('vision_encoder.', None, "not a whole SAM 3: 'vision_encoder.*'"),
        ('mask_decoder.instance_projection.weight', torch.tensor(1.0), 'not a whole SAM 3: .*dim'),
        ('detr_decoder.query_embed.weight', torch.ones(0, 16), r'is \(0, 16\), expected elements'),
        ('detr_encoder.layers.9999.norm', torch.ones(1), "'detr_encoder.layers.1.…', but has .*99"),
        (
            'detr_decoder.box_rpb_embed_x.layer2.weight',
            torch.ones(3, 16),
            'its geometry_encoder is 16 wide, which does not divide into 3 heads',
        ),
        (
            'vision_encoder.backbone.layer_norm.weight',
            torch.ones(72),
            'not a whole SAM 3: its image tower is 72 wide, .* does not divide into heads of 64',
        ),
    ],
)
def test_what_is_not_whole(tmp_path, tensors, name, value, message):
    found = {k: v for k, v in tensors.items() if not k.startswith(name)}
    save_file(found if value is None else {**found, name: value}, tmp_path / 'x.safetensors')
    with pytest.raises(InputError, match=message):
        SAM3Encoder(str(tmp_path / 'x.safetensors'))


def test_without_transformers(monkeypatch):
    monkeypatch.setitem(sys.modules, 'transformers', None)
    message = 'SAM 3 needs transformers 5.9 or later: pip install -U "transformers>=5.9"'
    with pytest.raises(InputError, match=message):
        SAM3Encoder('facebook/sam3')
    monkeypatch.undo()
    for version in ('4.57.6', '5.8.1', '5.0.0rc0'):
        monkeypatch.setattr('transformers.__version__', version)
        with pytest.raises(InputError, match=rf'{message} \(it is {version}\)$'):
            SAM3Encoder('facebook/sam3')


def test_blocks_that_see_all_patches(tmp_path):
    """They are recognised by the rotary positions in Meta's file, which are complex numbers."""
    content = {'detector.transformer.decoder.query_embed.weight': torch.ones(4, 16)}
    for number, count in enumerate((576, 5184, 576)):
        name = f'detector.backbone.vision_backbone.trunk.blocks.{number}.attn.freqs_cis'
        content[name] = torch.ones(count, 32, dtype=torch.complex64)
    torch.save(dict(model=content), tmp_path / 'sam3.pt')
    file = SAM3File(tmp_path / 'sam3.pt')
    assert file.global_blocks == {1} and set(file.found) == {'detr_decoder.query_embed.weight'}


def test_by_name(hub, tensors, monkeypatch):
    hub.put('facebook/sam3', config__json={}, model__safetensors=save(tensors))
    hub.gated.add('facebook/sam3')
    message = f'facebook/sam3 is gated: request access at {hub.url}/facebook/sam3, then log in'
    with pytest.raises(InputError, match=message):
        build_segmentor('cat; dog', method='sam3')
    assert hub.downloads() == []
    monkeypatch.setenv('HF_TOKEN', 'hf_secret')
    assert SAM3Encoder('facebook/sam3').embed_dim == 16


def test_evaluation_by_name(hub, tensors, tmp_path):
    hub.put('facebook/sam3', config__json={}, model__safetensors=save(tensors))
    arguments = '--work-dir', tmp_path / 'work', '--cfg-options'
    root = make_voc(tmp_path / 'data', sizes=[(30, 40)])
    queries = 'model.text_head.queries=plain_voc20'
    output = run_test('sam3_voc20', *arguments, queries, data_root=root).stdout
    assert 0 <= metrics(output)['mIoU'] <= 100
    missing = 'model.image_encoder.checkpoint=nowhere.pt'
    output = run_test('sam3_voc20', *arguments, missing, data_root=root, check=False).stdout
    assert "checkpoint='nowhere.pt' is neither a file of Meta's (sam3.pt)" in output


def test_own_classes(folder):
    options = {'model.image_encoder.confidence_threshold': 0.3}
    model = build_segmentor('cat; dog', True, 'sam3', folder, cfg_options=options, device='cpu')
    assert model.text_head.query_set.by_class == [['background'], ['cat'], ['dog']]
    assert model.rule.value == 0.4 and model.image_encoder.rule.confidence_threshold == 0.3
    image = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    found = segment(model, image, channels='rgb')
    assert found.labels.shape == (30, 40) and found.scores.shape == (3, 30, 40)


def test_the_one_protocol():
    [pair] = find_pairs(['sam3'], ['voc21'], names=['plain'], protocols=['one'])
    assert pair.row == 'sam3, plain names, one protocol' and pair.published is None
    own = 'images at their original size, no windows, own decision rule'
    assert pair.note == own
    assert pair.options == {'model.text_head.queries': 'plain_voc21', **_left(pair)}
    [own] = find_pairs(['sam3'], ['voc21'])
    assert own.published == 79.8 and own.name == 'sam3_voc21'


def _left(pair):
    """Options that change no number of a system with a decision of its own."""
    return {key: value for key, value in pair.options.items() if key.startswith('model.test_cfg.')}


@pytest.mark.parametrize('name', ['sam3_voc20', 'talk2dino_vit-b14_voc20', 'tcl_vit-b16_voc20'])
def test_no_banks(name):
    memory = {'model.memory.bank': 'nowhere', 'model.region_masks.type': 'Felzenszwalb'}
    with pytest.raises(InputError, match='model.memory .--bank. needs a method that runs on CLIP'):
        build_model(load_config(name, **memory))


def test_no_attention_maps():
    cfg = load_config('sam3_voc20', **{'model.image_encoder.checkpoint': 'nowhere'})
    with pytest.raises(InputError, match='SAM3Encoder has no attention weights to draw'):
        point_attention(cfg, 'nowhere.png', [(0, 0)], 96)


def test_another_text_head(folder, clip_path):
    cfg = load_config('sam3_voc20')
    cfg.model.image_encoder.checkpoint = folder
    cfg.model.text_head = dict(type='CLIPTextHead', clip=clip_path, queries=['cat', 'dog'])
    with pytest.raises(InputError, match='SAM3TextHead|dimensions'):
        build_model(cfg).predict(torch.zeros(1, 3, 20, 20))
