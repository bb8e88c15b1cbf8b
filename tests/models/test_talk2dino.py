"""Talk2DINO on small seeded weights: heads and where they come from, options, what is refused."""

import re
from unittest import mock

import pytest
import torch
from helpers import build_model, load_config, seeded_clip, seeded_dino
from hub_server import to_safetensors
from mmseg.structures import SegDataSample
from PIL import Image
from trained_weights import seeded_head, write_talk2dino

from sclip_mmseg import InputError
from sclip_mmseg.config import set_checkpoint
from sclip_mmseg.evaluation.fingerprint import describe_settings
from sclip_mmseg.evaluation.machine import describe_model
from sclip_mmseg.models import View
from sclip_mmseg.models.text_embeddings import save_embeddings
from sclip_mmseg.models.trained import talk2dino_text
from sclip_mmseg.models.trained.talk2dino_text import load_head
from sclip_mmseg.visualization.attention import point_attention

CONFIG = 'talk2dino_vit-b14_voc21'
QUERIES = {'model.text_head.queries': ['cat', 'dog', 'sea']}
HEAD, TOWER = 'model.image_encoder.head', 'model.image_encoder.tower.checkpoint'
CLIP = 'model.text_head.clip'


@pytest.fixture(scope='module')
def paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp('talk2dino')
    torch.save(seeded_clip(), folder / 'clip.pt')
    return {**write_talk2dino(folder), 'model.text_head.clip': str(folder / 'clip.pt')}


@pytest.fixture
def build(paths, device):
    def build(name=CONFIG, **options):
        return build_model(load_config(name, **{**paths, **QUERIES, **options}), device)

    return build


def _save(tensors, path):
    torch.save(tensors, path)
    return str(path)


@torch.no_grad()
def _map(model, *size):
    image = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    return model.image_encoder(View(image.to(model.class_ids.device)), model.text_head)


def test_maps_of_windows_of_any_size(build):
    plain, refined = build(), build('talk2dino-pamr_vit-b14_voc21')
    for size in ((448, 448), (9, 448), (30, 50)):
        found = _map(plain, *size)
        assert found.shape == (2, 3, 32, 32) and found.dtype == torch.float32
        assert 0.26 < found.min() and found.max() < 0.74
    assert _map(refined, 30, 50).shape == (2, 3, 30, 50)


def test_outer_cells_lie_at_the_corners_of_windows(build, device):
    model = build(**{'model.test_cfg.background': None})
    image = torch.randint(0, 256, (3, 100, 80), dtype=torch.uint8)
    sample = SegDataSample(metainfo=dict(ori_shape=(100, 80)))
    [result] = model.test_step(dict(inputs=[image], data_samples=[sample]))
    inputs = model.data_preprocessor(dict(inputs=[image]))['inputs']
    expected = model.encode_decode(inputs)[0]
    torch.testing.assert_close(result.seg_logits.data, expected, rtol=0, atol=1e-6)
    coarse = model.image_encoder(View(inputs), model.text_head)[0]
    torch.testing.assert_close(expected[:, 0, 0], coarse[:, 0, 0])


def test_cleaning_and_refinement_are_options(build):
    cleaned, plain = _map(build(), 448, 448), _map(build(**_cleaning(False)), 448, 448)
    assert not torch.allclose(cleaned, plain, atol=1e-3)
    assert build('talk2dino-pamr_vit-b14_voc21').image_encoder.refine.dilations[-1] == 24
    assert _map(build(**_cleaning(None)), 448, 448).equal(plain)


def test_images_that_guide_a_refinement_are_those_of_the_files(build):
    """A value that is off by rounding would weigh in even areas, which have small deviations."""
    model = build('talk2dino-pamr_vit-b14_voc21')
    image = torch.randint(0, 256, (3, 20, 448), dtype=torch.uint8)
    inputs = model.data_preprocessor(dict(inputs=[image]))['inputs']
    refine = model.image_encoder.refine
    with mock.patch.object(refine, 'forward', side_effect=lambda maps, _: maps) as called:
        model.encode_decode(inputs)
    guide = called.call_args.args[1][0].cpu()
    assert guide.dtype == torch.float32 and guide.equal(image.flip(0).float())


def _cleaning(value):
    return {'model.image_encoder.clean_background': value}


@pytest.mark.parametrize('precision', ['fp16', 'bf16'])
def test_half_precision(build, precision):
    full = _map(build(), 448, 448)
    half = _map(build(**{'model.image_encoder.precision': precision}), 448, 448)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, full, rtol=0, atol=0.02)


def test_attention_of_the_last_block(build, device):
    image = torch.randn(1, 3, 64, 96, device=device)
    maps = build().image_encoder.attention_map(View(image), None)
    assert maps.shape == (1, 32, 32, 32, 32)


def test_older_files_and_packages_contain_the_same_head(build, hub, tmp_path):
    expected = build().text_head.embeddings
    older = {k.replace('hidden_layers.0', 'linear_layer2'): x for k, x in seeded_head().items()}
    package = {
        'model.norm.weight': torch.ones(3),
        'clip_model.ln_final.bias': torch.ones(3),
        **{f'proj.{key}': value for key, value in seeded_head().items()},
    }
    content = to_safetensors(package)
    (tmp_path / 'model.safetensors').write_bytes(content)
    program = dict(auto_map={'AutoModel': 'model.Talk2DINO'})
    hub.put(
        'lorebianchi98/Talk2DINO-ViTB',
        config__json=program,
        model__safetensors=content,
        model__py=b'raise SystemExit("run")',
    )
    heads = _save(older, tmp_path / 'older.pth'), str(tmp_path / 'model.safetensors')
    for head in (*heads, 'hf:lorebianchi98/Talk2DINO-ViTB'):
        assert build(**{HEAD: head}).text_head.embeddings.equal(expected), head
    assert set(hub.downloads()) == {'config.json', 'model.safetensors'}


def test_heads_are_known_by_the_names_of_their_files(monkeypatch, tmp_path, paths):
    asked = []

    def download(url, target, digest):
        asked.append((url, digest))
        return target

    monkeypatch.setattr('sclip_mmseg.towers.repository.download', download)
    monkeypatch.setenv('SCLIP_DOWNLOAD_ROOT', str(tmp_path))
    for name in ('vitb_mlp_infonce', 'dinov3_vitb_mlp_infonce'):
        assert talk2dino_text.find_head(name).weights == tmp_path / f'{name}.pth'
    for url, digest in asked:
        assert re.search('Talk2DINO/raw/.*/weights/(dinov3_)?vitb_mlp_infonce.pth$', url)
        assert re.fullmatch('[0-9a-f]{64}', digest)


def test_given_embeddings_need_no_head(build, tmp_path):
    model = build()
    path = tmp_path / 'texts.npz'
    save_embeddings(path, model.text_head.query_set, model.text_head.embeddings)
    options = {'model.text_head.embeddings': str(path), 'model.text_head.clip': 'nowhere.pt'}
    found = build(**options, **{HEAD: 'nowhere.pth'})
    torch.testing.assert_close(_map(found, 448, 448), _map(model, 448, 448))


def test_given_embeddings_are_all_that_a_fingerprint_has_of_texts(paths, tmp_path):
    (tmp_path / 'texts.npz').write_bytes(b'x')
    options = {'model.text_head.embeddings': str(tmp_path / 'texts.npz'), HEAD: 'nowhere.pth'}
    model = load_config(CONFIG, **{**paths, **options, 'model.text_head.clip': 'nowhere.pt'}).model
    keys = set(describe_settings(model=model))
    assert {TOWER, 'model.text_head.embeddings'} <= keys
    assert not {HEAD, 'model.text_head.clip'} & keys


def test_another_head_makes_other_embeddings(build, tmp_path):
    """Though CLIP's are remembered."""
    other = {key: value + 0.1 for key, value in seeded_head().items()}
    found = build(**{HEAD: _save(other, tmp_path / 'other.pth')}).text_head
    own = build().text_head
    assert not torch.allclose(found.embeddings, own.embeddings, atol=1e-2)
    assert found.source != own.source


def test_periods_that_a_file_rounds_are_not_taken(paths, tmp_path):
    state = seeded_dino(patch_size=16, registers=4, scale=True)
    state['storage_tokens'] = state.pop('register_tokens')
    del state['pos_embed']
    periods = (100 ** (torch.arange(16) / 16)).bfloat16()
    state['rope_embed.periods'] = periods
    rounded = _save(state, tmp_path / 'rounded.pth')
    state['rope_embed.periods'] = 100 ** (torch.arange(16) / 16)
    exact = _save(state, tmp_path / 'exact.pth')
    models = [
        build_model(load_config(CONFIG, **{**paths, **QUERIES, TOWER: path}))
        for path in (rounded, exact)
    ]
    maps = [_map(model, 448, 448) for model in models]
    assert maps[0].shape == (2, 3, 28, 28)
    assert maps[0].equal(maps[1])


def test_timm_s_dinov3(paths, hub, tmp_path):
    state = seeded_dino(patch_size=16, registers=4, scale=True)
    del state['pos_embed']
    timm = {k.replace('register_tokens', 'reg_token'): x for k, x in state.items()}
    timm = {re.sub(r'ls(\d).gamma', r'gamma_\1', k): x for k, x in timm.items()}
    timm = {k: x for k, x in timm.items() if not k.endswith('qkv.bias')}
    hub.put(
        'timm/vit_base_patch16_dinov3.lvd1689m',
        config__json=dict(architecture='vit_base_patch16_dinov3'),
        model__safetensors=to_safetensors(timm),
    )
    state['storage_tokens'] = state.pop('register_tokens')
    state['rope_embed.periods'] = 100 ** (torch.arange(16) / 16)
    state = {k: torch.zeros_like(x) if k.endswith('qkv.bias') else x for k, x in state.items()}
    towers = (
        _save(state, tmp_path / 'meta.pth'),
        _save(timm, tmp_path / 'timm.pth'),
        'hf:timm/vit_base_patch16_dinov3.lvd1689m',
    )
    maps = [
        _map(build_model(load_config(CONFIG, **{**paths, **QUERIES, TOWER: tower})), 448, 448)
        for tower in towers
    ]
    for found in maps[1:]:
        torch.testing.assert_close(found, maps[0])


def test_checkpoint_names_the_clip_of_the_texts(paths, build, tmp_path):
    cfg = load_config(CONFIG)
    set_checkpoint(cfg, 'x.pt')
    assert cfg.model.text_head.clip == 'x.pt' and 'clip' not in cfg.model.image_encoder
    model, before = build(), build().text_head.embeddings
    model.read_checkpoint(_save(seeded_clip(seed=1), tmp_path / 'other.pt'))
    assert not torch.allclose(model.text_head.embeddings, before, atol=1e-2)


@pytest.mark.parametrize(
    'change, message',
    [
        (
            lambda t: t.pop('linear_layer.bias'),
            "a complete checkpoint: it lacks 'linear_layer.bias'",
        ),
        (lambda t: t.pop('linear_layer.weight'), 'not a head of Talk2DINO.*linear_layer.bias'),
        (
            lambda t: t.update({'hidden_layers.1.weight': torch.ones(1)}),
            'not of a known family: it has 1 unexpected',
        ),
        (lambda t: t.update({'hidden_layers.0.bias': torch.ones(3)}), r'is \(3,\), expected'),
        (lambda t: t['linear_layer.bias'].fill_(torch.nan), 'NaN or infinity'),
    ],
)
def test_broken_heads(tmp_path, change, message):
    tensors = seeded_head()
    change(tensors)
    path = _save(tensors, tmp_path / 'broken.pth')
    with pytest.raises(InputError, match=f'head=.*broken.pth.*{message}'):
        load_head(path)


@pytest.mark.parametrize(
    'options, message',
    [
        ({HEAD: 'no.pth'}, "head='no.pth' is neither a file nor one of vitb_mlp_infonce"),
        ({HEAD: ''}, "model.image_encoder.head='' is neither a file nor one of vitb_mlp_infonce"),
        ({HEAD: None}, 'model.image_encoder.head is needed'),
        ({TOWER: ''}, "model.image_encoder.tower.checkpoint='' is neither a file"),
        ({TOWER: 'no.pth'}, "model.image_encoder.tower.checkpoint='no.pth' is neither a file"),
        ({'model.image_encoder.tower': dict(name='x')}, 'tower has one key'),
        ({'model.image_encoder.tower': None}, 'tower has one key'),
        ({'model.image_encoder.clean_background': 'no'}, "'no' must be True or False"),
        ({'model.image_encoder.refine': 'PAMR'}, r"refine='PAMR' is not .* dict.type='PAMR'."),
        ({'model.image_encoder.precision': 'fp8'}, "precision='fp8' is not one of"),
    ],
)
def test_bad_values(build, options, message):
    with pytest.raises(InputError, match=message):
        build(**options)


def test_missing_files_before_a_tower_is_downloaded(paths, tmp_path, monkeypatch):
    monkeypatch.setenv('SCLIP_DOWNLOAD_ROOT', str(tmp_path))
    monkeypatch.setattr('sclip_mmseg.towers.repository.download', None)
    for key, message in ((HEAD, "head='no.pt' is neither"), (CLIP, "clip='no.pt' is neither")):
        options = {**paths, **QUERIES, TOWER: 'dinov2_vitb14_reg', key: 'no.pt'}
        with pytest.raises(InputError, match=message):
            build_model(load_config(CONFIG, **options))


def test_attention_maps_of_an_image_of_any_shape(paths, tmp_path):
    pixels = torch.randint(0, 256, (90, 120, 3), generator=torch.Generator().manual_seed(0))
    Image.fromarray(pixels.byte().numpy()).save(tmp_path / 'x.png')
    cfg = load_config(CONFIG, **{**paths, **QUERIES})
    [corner, centre] = point_attention(cfg, str(tmp_path / 'x.png'), [(119, 89), (60, 45)], 96)
    assert corner.shape == (90, 120) and 0 <= corner.min() < corner.max() < 1
    assert not corner.equal(centre)


def test_parts_that_do_not_fit(build, tmp_path):
    wide = _save(seeded_head(width=64), tmp_path / 'wide.pth')
    with pytest.raises(InputError, match='128 dimensions but .* 64: model.image_encoder.head'):
        build(**{HEAD: wide})
    other = _save(seeded_head(text_width=16), tmp_path / 'other.pth')
    with pytest.raises(InputError, match='takes embeddings of 16 dimensions, those .* have 32'):
        build(**{HEAD: other})
    with pytest.raises(InputError, match='not a supported DINO'):
        build(**{TOWER: _save(seeded_clip(), tmp_path / 'clip.pt')})
    for scale in (False, True):  # DINO, and DINOv2 without registers
        plain = _save(seeded_dino(patch_size=16, scale=scale), tmp_path / 'plain.pth')
        with pytest.raises(InputError, match='not a DINO with registers: .* dinov2_vitb14_reg,'):
            build(**{TOWER: plain})


def test_a_result_says_which_tower_it_is_of():
    model = load_config(CONFIG).model
    assert describe_model(model)['weights'] == 'dinov2_vitb14_reg'
