"""CLIP, OpenCLIP, DINO and DINOv2 repositories on a stand-in for the Hub."""

import io
import json
import logging

import pytest
import torch
from helpers import VOCABULARY, load_config, metrics, run_test, seeded_clip, seeded_dino
from hub_server import (
    CLIP_PREPROCESSOR,
    COMMIT,
    IMAGENET_PREPROCESSOR,
    hugging_face_clip,
    hugging_face_dino,
    to_safetensors,
)

from sclip_mmseg import InputError
from sclip_mmseg.evaluation.fingerprint import _flatten
from sclip_mmseg.models import CLIPImageEncoder, View
from sclip_mmseg.models.text_head import CLIPTextHead
from sclip_mmseg.towers import load_image_tower, load_text_tower
from sclip_mmseg.towers.proxy import ProxyTower

TOKENS = torch.tensor([[49406, 320, 2368, 49407]])
HALF = [0.5, 0.5, 0.5]


@pytest.fixture(scope='module')
def clip():
    return seeded_clip()


@pytest.fixture
def log(monkeypatch):
    """Level and text of what is said while towers are loaded."""
    lines = []

    def record(message, _, level=logging.INFO):
        lines.append((level, message))

    monkeypatch.setattr('sclip_mmseg.towers.checkpoint.print_log', record)
    return lines


def _tower_config(width, heads, activation, **more):
    return dict(hidden_size=width, num_attention_heads=heads, hidden_act=activation, **more)


def _config(activation='quick_gelu', heads=2, **more):
    """`config.json` of the seeded CLIP."""
    return dict(
        model_type='clip',
        vision_config=_tower_config(128, heads, activation),
        text_config=_tower_config(64, 1, activation, vocab_size=VOCABULARY),
        **more,
    )


def _open_clip_config(vision=None, text=None, preprocess=None, **model):
    """`open_clip_config.json` of the seeded CLIP."""
    return dict(
        model_cfg=dict(
            embed_dim=32,
            vision_cfg=dict(layers=3, width=128, patch_size=16, image_size=224, **(vision or {})),
            text_cfg={**dict(width=64, heads=1, layers=2, context_length=77), **(text or {})},
            **model,
        ),
        preprocess_cfg=preprocess
        or {'mean': CLIP_PREPROCESSOR['image_mean'], 'std': CLIP_PREPROCESSOR['image_std']},
    )


def _pickle(content):
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def _put_clip(hub, clip, config=None, preprocessor=CLIP_PREPROCESSOR, name='org/clip'):
    """Publish a CLIP of `transformers`."""
    hub.put(
        name,
        config__json=config or _config(),
        preprocessor_config__json=preprocessor,
        model__safetensors=to_safetensors(hugging_face_clip(clip)),
    )


def _put_open_clip(hub, clip, config=None, name='org/open_clip', **more):
    """Publish a CLIP of OpenCLIP."""
    hub.put(
        name,
        open_clip_config__json=config or _open_clip_config(),
        open_clip_model__safetensors=to_safetensors(clip),
        **more,
    )


def _outputs(clip, **options):
    """Outputs of both towers of a CLIP for an image and a prompt."""
    torch.manual_seed(0)
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        towers = load_image_tower(clip, **options)(image), load_text_tower(clip, **options)(TOKENS)
    return torch.cat([towers[0].flatten(), towers[1].flatten()])


def _by_path(tmp_path, state, **options):
    path = tmp_path / 'local.pt'
    torch.save(state, path)
    return _outputs(str(path), **options)


@pytest.mark.parametrize('activation, quick', [('quick_gelu', True), ('gelu', False)])
def test_hugging_face_s_clip(hub, clip, tmp_path, activation, quick):
    _put_clip(hub, clip, _config(activation))
    found = _outputs('hf:org/clip')
    state = hugging_face_clip(clip)
    assert found.equal(_by_path(tmp_path, state, quick_gelu=quick))
    assert not found.equal(_by_path(tmp_path, state, quick_gelu=not quick))
    expected = ['config.json', 'model.safetensors', 'preprocessor_config.json']
    assert sorted(hub.downloads()) == expected


@pytest.mark.parametrize('stated, quick', [({}, False), (dict(quick_gelu=True), True)])
def test_open_clip(hub, clip, tmp_path, stated, quick):
    _put_open_clip(hub, clip, _open_clip_config(**stated), README__md=b'#')
    found = _outputs('hf:org/open_clip')
    assert found.equal(_by_path(tmp_path, clip, quick_gelu=quick, round_weights=False))
    assert not found.equal(_by_path(tmp_path, clip, quick_gelu=not quick, round_weights=False))
    assert sorted(hub.downloads()) == ['open_clip_config.json', 'open_clip_model.safetensors']


def test_torch_files(hub, clip, tmp_path):
    hub.put('org/hf', config__json=_config(), pytorch_model__bin=_pickle(hugging_face_clip(clip)))
    training = {'epoch': 3, 'state_dict': {f'module.{key}': value for key, value in clip.items()}}
    hub.put(
        'org/open_clip',
        open_clip_config__json=_open_clip_config(quick_gelu=True),
        open_clip_pytorch_model__bin=_pickle(training),
    )
    expected = _by_path(tmp_path, clip, round_weights=False)
    assert _outputs('hf:org/open_clip').equal(expected)
    assert _outputs('hf:org/hf').equal(expected)


def test_a_repository_that_is_both_is_read_as_open_clip_s(hub, clip, tmp_path):
    other = hugging_face_clip(seeded_clip(1))
    hub.put(
        'org/both',
        open_clip_config__json=_open_clip_config(),
        open_clip_model__safetensors=to_safetensors(clip),
        config__json=_config('quick_gelu'),
        model__safetensors=to_safetensors(other),
    )
    expected = _by_path(tmp_path, clip, quick_gelu=False, round_weights=False)
    assert _outputs('hf:org/both').equal(expected)
    assert 'model.safetensors' not in hub.downloads()


def test_of_timm_s_two_configs_open_clip_s_is_read(hub, clip):
    _put_open_clip(hub, clip, config__json={'architecture': 'vit_base_patch16_clip_224'})
    assert load_image_tower('hf:org/open_clip').blocks[0].quick_gelu is False


@pytest.mark.parametrize('quick', [True, False])
def test_an_activation_that_contradicts_the_repository_is_refused(hub, clip, quick):
    _put_clip(hub, clip, _config('quick_gelu' if quick else 'gelu'))
    message = f'quick_gelu={not quick} contradicts config.json of hf:org/clip, which states {quick}'
    for load in (load_image_tower, load_text_tower):
        with pytest.raises(InputError, match=message):
            load('hf:org/clip', quick_gelu=not quick)
    assert load_image_tower('hf:org/clip', quick_gelu=quick).blocks[0].quick_gelu is quick


def test_what_transformers_takes_where_nothing_is_stated(hub, clip):
    config = dict(model_type='clip', vision_config=dict(hidden_size=128, num_attention_heads=2))
    config['text_config'] = dict(hidden_size=64)
    _put_clip(hub, clip, config)
    assert load_image_tower('hf:org/clip').blocks[0].quick_gelu is True
    assert load_text_tower('hf:org/clip').blocks[0].heads == 8


def test_heads_and_eps_are_those_stated(hub, clip):
    config = _config(heads=4)
    config['vision_config']['layer_norm_eps'] = 1e-6
    _put_clip(hub, clip, config)
    tower = load_image_tower('hf:org/clip')
    assert (tower.blocks[0].heads, tower.norm.eps, tower.blocks[2].norm1.eps) == (4, 1e-6, 1e-6)
    _put_open_clip(hub, clip, _open_clip_config(vision=dict(head_width=32), text=dict(heads=2)))
    assert load_image_tower('hf:org/open_clip').blocks[0].heads == 4
    assert load_text_tower('hf:org/open_clip').blocks[0].heads == 2


@pytest.mark.parametrize('name', ['org/clip', 'org/open_clip'])
def test_weights_from_the_hub_are_not_rounded(hub, clip, name):
    _put_clip(hub, clip)
    _put_open_clip(hub, clip, _open_clip_config(quick_gelu=True))
    weight = clip['visual.transformer.resblocks.1.attn.in_proj_weight']
    for options, expected in (({}, weight), (dict(round_weights=True), weight.half().float())):
        tower = load_image_tower(f'hf:{name}', **options)
        assert tower.blocks[1].qkv.weight.equal(expected)


def test_both_towers_are_of_one_commit(hub, clip):
    _put_clip(hub, clip)
    load_image_tower('hf:org/clip')
    commits = hub.repositories['org/clip']
    hub.commits['main'] = 'd' * 40
    commits['d' * 40] = {**commits[COMMIT], 'model.safetensors': b'changed'}
    assert load_text_tower('hf:org/clip').output_dim == 32


def _normalised(pixels, mean, std):
    mean, std = (torch.tensor(values)[:, None, None] for values in (mean, std))
    return (pixels - mean) / std


def test_images_are_renormalised_for_a_clip_trained_otherwise(hub, clip, tmp_path):
    """As for laion's ViT-L/14; features are those of images with the mean of its training."""
    _put_clip(hub, clip, preprocessor=dict(image_mean=HALF, image_std=HALF))
    path = tmp_path / 'local.pt'
    torch.save(hugging_face_clip(clip), path)
    method = dict(type='SCLIP')
    adapted, plain = CLIPImageEncoder('hf:org/clip', method), CLIPImageEncoder(str(path), method)
    pixels = torch.rand(1, 3, 64, 96)
    given = _normalised(pixels, CLIP_PREPROCESSOR['image_mean'], CLIP_PREPROCESSOR['image_std'])
    own = _normalised(pixels, HALF, HALF)
    found, expected, wrong = (
        encoder.features(View(images), None)
        for encoder, images in ((adapted, given), (plain, own), (plain, given))
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert not torch.allclose(found, wrong, atol=1e-2)


def test_normalisation_of_open_clip_and_of_newer_files(hub, clip):
    preprocess = dict(mean=HALF, std=HALF)
    _put_open_clip(hub, clip, _open_clip_config(preprocess=preprocess))
    nested = dict(image_processor=dict(image_mean=HALF, image_std=HALF))
    state = to_safetensors(hugging_face_clip(clip))
    hub.put(
        'org/new', config__json=_config(), processor_config__json=nested, model__safetensors=state
    )
    for name in ('org/open_clip', 'org/new'):
        tower = CLIPImageEncoder(f'hf:{name}', dict(type='SCLIP')).tower
        assert tower.patch_embed.bias is not None
    _put_clip(hub, clip)
    assert CLIPImageEncoder('hf:org/clip', dict(type='SCLIP')).tower.patch_embed.bias is None


def test_other_images_than_the_encoder_expects_are_refused(hub, clip):
    from mmseg.registry import MODELS

    _put_clip(hub, clip)
    cfg = load_config('sclip_vit-b16_voc20', 'hf:org/clip').model
    cfg.text_head.update(queries=['a', 'b'], templates=['{}'])
    MODELS.build(cfg)
    cfg.data_preprocessor.mean = [127.5, 127.5, 127.5]
    with pytest.raises(InputError, match=r'data_preprocessor must have mean=\[122.771, 116.746, '):
        MODELS.build(cfg)


OPEN_CLIP_PROBLEMS = [
    (dict(vision=dict(timm_model_name='x')), "vision_cfg.timm_model_name='x', which is not supp"),
    (dict(vision=dict(attentional_pool=True)), 'vision_cfg.attentional_pool=True'),
    (dict(vision=dict(width=64)), 'states a width of 64 and 1 heads, which do not match .* 128'),
    (dict(multimodal_cfg=dict(width=512)), 'model_cfg.multimodal_cfg'),
    (dict(quick_gelu='yes'), "quick_gelu='yes', neither true nor false"),
    (dict(preprocess=dict(mean=[1, 2], std=HALF)), r'mean=\[1, 2\], not three numbers'),
    (dict(preprocess=dict(mean=HALF, std=[0, 1, 1])), r'std=\[0, 1, 1\], not three positive'),
]


@pytest.mark.parametrize('changes, message', OPEN_CLIP_PROBLEMS)
def test_architectures_that_are_not_built_are_refused(hub, clip, changes, message):
    config = _open_clip_config()
    config['model_cfg']['vision_cfg'].update(changes.get('vision', {}))
    config['model_cfg'].update(
        {key: changes[key] for key in changes if key not in ('vision', 'preprocess')}
    )
    config['preprocess_cfg'].update(changes.get('preprocess', {}))
    _put_open_clip(hub, clip, config)
    with pytest.raises(InputError, match=message):
        load_image_tower('hf:org/open_clip')


def test_open_clip_s_resnets_are_refused_before_their_weights_are_fetched(hub, clip):
    config = _open_clip_config()
    config['model_cfg']['vision_cfg'].update(layers=[3, 4, 6, 3])
    _put_open_clip(hub, clip, config)
    with pytest.raises(InputError, match='ResNet CLIP'):
        load_image_tower('hf:org/open_clip')
    assert 'open_clip_model.safetensors' not in hub.downloads()


@pytest.mark.parametrize(
    'config, message',
    [
        (dict(model_type='siglip'), "model_type='siglip', and hf:org/clip has no open_clip_config"),
        (_config('gelu_new'), "vision_config.hidden_act='gelu_new', only quick_gelu and gelu"),
        (_config(heads='many'), "num_attention_heads='many', not a positive number"),
        (_config(heads=3), 'a width of 128 and 3 heads, which do not match'),
        (dict(model_type='clip', vision_config=[1]), r'vision_config=\[1\], not a section'),
        (b'{', 'config.json of hf:org/clip is not JSON'),
        (b'[]', 'config.json of hf:org/clip contains a list, not a config'),
    ],
)
def test_configs_that_cannot_be_used(hub, clip, config, message):
    _put_clip(hub, clip, config)
    with pytest.raises(InputError, match=message) as caught:
        load_image_tower('hf:org/clip')
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
    'files, message',
    [
        ({}, 'has no weights: none of model.safetensors, pytorch_model.bin'),
        ({'model__safetensors__index__json': {}}, 'are sharded into several files'),
        (
            {'model__safetensors': b'not tensors'},
            "model.safetensors is a text that begins with 'not tensors'",
        ),
        (
            {'pytorch_model__bin': b'not tensors'},
            "pytorch_model.bin is a text that begins with 'not tensors'",
        ),
    ],
)
def test_weights_that_cannot_be_used(hub, files, message):
    hub.put('org/clip', config__json=_config(), **files)
    with pytest.raises(InputError, match=message):
        load_image_tower('hf:org/clip')


def test_a_repository_without_a_config(hub):
    hub.put('org/clip', model__safetensors=b'')
    with pytest.raises(InputError, match='no open_clip_config.json or config.json'):
        load_image_tower('hf:org/clip')


class _Evil:
    def __reduce__(self):
        return pytest.fail, ('a checkpoint ran code',)


@pytest.mark.filterwarnings('ignore::DeprecationWarning')
def test_nothing_from_the_hub_is_run(hub):
    hub.put('org/pickle', config__json=_config(), pytorch_model__bin=_pickle(_Evil()))
    with pytest.raises(InputError, match='contains an object of .*Fail., not a state dict'):
        load_image_tower('hf:org/pickle')
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Identity()), buffer)
    hub.put('org/script', config__json=_config(), pytorch_model__bin=buffer.getvalue())
    with pytest.raises(InputError, match='contains no tensors'):
        load_image_tower('hf:org/script')


@pytest.mark.parametrize(
    'name, config',
    [
        ('org/clip', {**_config(), 'text_config': dict(vocab_size=32000)}),
        ('org/open_clip', _open_clip_config(text=dict(hf_tokenizer_name='bert'))),
        ('org/open_clip', _open_clip_config(text=dict(vocab_size=32000))),
    ],
)
def test_text_towers_of_another_tokenizer_are_refused(hub, clip, name, config):
    (_put_clip if name == 'org/clip' else _put_open_clip)(hub, clip, config)
    assert load_image_tower(f'hf:{name}').output_dim == 32
    with pytest.raises(InputError, match='(vocab_size=32000|hf_tokenizer).*text_head.embeddings='):
        load_text_tower(f'hf:{name}')


def test_cached_embeddings_know_the_activation(hub, clip):
    """Two repositories of the same weights, which differ in the config alone."""
    found = []
    for activation in ('quick_gelu', 'gelu'):
        _put_clip(hub, clip, _config(activation), name=f'org/{activation}')
        head = CLIPTextHead(['cat', 'dog'], ['{}'], clip=f'hf:org/{activation}')
        found.append(head.embeddings)
    assert not found[0].equal(found[1])


def test_a_run_is_not_resumed_with_another_config(hub, clip):
    settings = []
    for activation in ('quick_gelu', 'gelu'):
        _put_clip(hub, clip, _config(activation), name=f'org/{activation}')
        part = {'image_encoder': {'clip': f'hf:org/{activation}'}}
        settings.append(dict(_flatten(part)))
    assert settings[0] != settings[1]
    json.dumps(settings)


def _download(folder, clip, config, weights='model.safetensors', **more):
    """A folder with a repository's files; dicts as JSON. Returns the path of the weights."""
    folder.mkdir(exist_ok=True)
    open_clip = weights.startswith('open_clip')
    state = clip if open_clip else hugging_face_clip(clip)
    content = to_safetensors(state) if weights.endswith('safetensors') else _pickle(state)
    (folder / weights).write_bytes(content)
    name = 'open_clip_config.json' if open_clip else 'config.json'
    for key, value in {name: config, **more}.items():
        (folder / key).write_bytes(
            value if isinstance(value, bytes) else json.dumps(value).encode()
        )
    return str(folder / weights)


@pytest.mark.parametrize(
    'weights, config, quick',
    [
        ('model.safetensors', _config('gelu'), False),
        ('pytorch_model.bin', _config('gelu'), False),
        ('pytorch_model.bin', _config('quick_gelu'), True),
        ('open_clip_model.safetensors', _open_clip_config(), False),
        ('open_clip_pytorch_model.bin', _open_clip_config(quick_gelu=True), True),
    ],
)
def test_a_path_follows_the_config_beside_it(clip, tmp_path, log, weights, config, quick):
    path = _download(tmp_path / 'repository', clip, config, weights)
    found = _outputs(path)
    options = dict(round_weights=False)
    assert found.equal(_by_path(tmp_path, clip, quick_gelu=quick, **options))
    assert not found.equal(_by_path(tmp_path, clip, quick_gelu=not quick, **options))
    [words] = [words for _, words in log if path in words]
    assert f"onfig.json beside clip='{path}' is used: {{" in words
    assert f"'quick_gelu': {quick}" in words


def test_what_the_user_sets_wins_over_a_config_beside_a_path(clip, tmp_path, log):
    half = dict(image_mean=HALF, image_std=HALF)
    config = _config('gelu', heads=4)
    path = _download(tmp_path / 'a', clip, config, **{'preprocessor_config.json': half})
    encoder = CLIPImageEncoder(path, dict(type='SCLIP'), quick_gelu=True)
    block = encoder.tower.blocks[0]
    assert (block.quick_gelu, block.heads) == (True, 2)
    assert encoder.normalisation is None and encoder.tower.patch_embed.bias is None
    assert log[-1][1].endswith('is ignored because quick_gelu=True is set')
    encoder = CLIPImageEncoder(path, dict(type='SCLIP'))
    block = encoder.tower.blocks[0]
    assert (block.quick_gelu, block.heads) == (False, 4)
    assert encoder.normalisation and encoder.tower.patch_embed.bias is not None
    weights = _download(tmp_path / 'b', clip, _open_clip_config(), 'open_clip_model.safetensors')
    rounded = load_image_tower(weights, round_weights=True).blocks[1].qkv.weight
    assert rounded.equal(rounded.half().float())


@pytest.mark.parametrize(
    'config, problem',
    [
        ({'architecture': 'vit_base_patch16_clip_224'}, 'states model_type=None'),
        (dict(_config('gelu'), model_type='siglip'), "states model_type='siglip'"),
        (b'{"hidden_act": ', 'is not JSON'),
        (b'[]', 'contains a list, not a config'),
        (_config('gelu', heads=3), 'a width of 128 and 3 heads, which do not match'),
        (
            dict(model_type='clip', vision_config=_tower_config(1024, 16, 'gelu')),
            'a width of 1024 and 16 heads, which do not match the width of its weights, 128',
        ),
    ],
)
def test_a_config_that_does_not_belong_is_named_and_left(clip, tmp_path, log, config, problem):
    path = _download(tmp_path / 'repository', clip, config)
    assert _outputs(path).equal(_by_path(tmp_path, hugging_face_clip(clip), quick_gelu=True))
    [(level, words)] = [line for line in log if 'is ignored' in line[1]]
    assert level == logging.WARNING and '\n' not in words
    assert problem in words and 'set quick_gelu' in words and 'delete' not in words


def test_which_config_beside_a_path_is_read(clip, tmp_path):
    """The weights' own library's first; none for weights that are named as no library does."""
    both = {'config.json': _config('gelu'), 'open_clip_config.json': _open_clip_config()}
    both['open_clip_config.json']['model_cfg']['quick_gelu'] = True
    for weights, quick in (('model.safetensors', False), ('open_clip_model.safetensors', True)):
        path = _download(tmp_path / weights, clip, {}, weights, **both)
        assert load_image_tower(path).blocks[0].quick_gelu is quick
    path = _download(tmp_path / 'a', clip, {}, 'open_clip_model.safetensors')
    (tmp_path / 'a/open_clip_config.json').unlink()
    (tmp_path / 'a/config.json').write_text(json.dumps(_config('gelu')))
    assert load_image_tower(path).blocks[0].quick_gelu is False
    path = _download(tmp_path / 'b', clip, _config('gelu'), 'my.safetensors')
    assert load_image_tower(path).blocks[0].quick_gelu is True


def test_a_config_beside_a_path_counts_for_caches_and_for_resuming(clip, tmp_path):
    found = []
    for activation in ('quick_gelu', 'gelu'):
        path = _download(tmp_path / activation, clip, _config(activation))
        head = CLIPTextHead(['cat', 'dog'], ['{}'], clip=path)
        [setting] = dict(_flatten({'image_encoder': {'clip': path}})).values()
        found.append((setting, head.embeddings))
    assert found[0][0] != found[1][0]
    assert not found[0][1].equal(found[1][1])


DINOS = {
    'vit': dict(),
    'dinov2': dict(patch_size=14, scale=True),
    'dinov2_with_registers': dict(patch_size=14, scale=True, registers=4),
}


def _put_dino(hub, kind, preprocessor=IMAGENET_PREPROCESSOR, **config):
    state = seeded_dino(**DINOS[kind])
    stated = dict(model_type=kind, hidden_size=128, num_attention_heads=2, layer_norm_eps=1e-6)
    hub.put(
        'org/dino',
        config__json={**stated, 'hidden_act': 'gelu', **config},
        preprocessor_config__json=preprocessor,
        model__safetensors=to_safetensors(hugging_face_dino(state)),
    )
    return state


@pytest.mark.parametrize('kind', DINOS)
def test_hugging_face_s_dino(hub, tmp_path, kind):
    path = tmp_path / 'meta.pth'
    torch.save(_put_dino(hub, kind), path)
    images = torch.randn(2, 3, 70, 98)
    found, expected = ProxyTower('hf:org/dino'), ProxyTower(str(path))
    assert found(images).equal(expected(images))
    assert found.queries_and_keys(images).equal(expected.queries_and_keys(images))
    local = tmp_path / 'hf.safetensors'
    local.write_bytes(to_safetensors(hugging_face_dino(seeded_dino(**DINOS[kind]))))
    assert ProxyTower(str(local))(images).equal(expected(images))


def test_what_a_dino_s_config_states(hub):
    _put_dino(hub, 'vit', num_attention_heads=4, layer_norm_eps=1e-12)
    tower = ProxyTower('hf:org/dino').tower
    assert (tower.blocks[0].heads, tower.norm.eps) == (4, 1e-12)


def test_images_are_renormalised_for_a_dino_trained_otherwise(hub):
    _put_dino(hub, 'dinov2', dict(image_mean=HALF, image_std=HALF))
    pixels = torch.rand(1, 3, 56, 56)
    given = _normalised(pixels, CLIP_PREPROCESSOR['image_mean'], CLIP_PREPROCESSOR['image_std'])
    found = ProxyTower('hf:org/dino').normalise(given)
    torch.testing.assert_close(found, _normalised(pixels, HALF, HALF))


@pytest.mark.parametrize(
    'config, message',
    [
        (dict(model_type='clip'), "model_type='clip', which is not a DINO, DINOv2"),
        (dict(use_swiglu_ffn=True), 'use_swiglu_ffn'),
        (dict(hidden_act='relu'), "hidden_act='relu', only 'gelu'"),
        (dict(hidden_size=384), 'a width of 384 .* do not match'),
    ],
)
def test_other_second_towers_are_refused(hub, config, message):
    _put_dino(hub, 'dinov2', **config)
    with pytest.raises(InputError, match=message):
        ProxyTower('hf:org/dino')


def test_an_evaluation_by_names(hub, clip, voc_root, tmp_path):
    """`tools/test.py CONFIG hf:ORG/NAME` with a second tower by name gives what paths give."""
    _put_clip(hub, clip, _config('gelu'))
    state = _put_dino(hub, 'vit')
    (tmp_path / 'clip.safetensors').write_bytes(to_safetensors(hugging_face_clip(clip)))
    torch.save(state, tmp_path / 'dino.pth')
    small = (
        *('model.test_cfg.crop_size=112', 'model.test_cfg.stride=112'),
        *('model.text_head.templates=[{}]', 'test_dataloader.dataset.indices=1'),
    )
    found = []
    for checkpoint, proxy, *more in (
        ('hf:org/clip', 'hf:org/dino'),
        (
            tmp_path / 'clip.safetensors',
            tmp_path / 'dino.pth',
            'model.image_encoder.quick_gelu=False',
        ),
    ):
        output = run_test(
            'proxyclip-dino-b8_vit-b16_voc21',
            *(checkpoint, '--work-dir', tmp_path / f'work_{len(found)}', '--cfg-options'),
            *(*small, f'model.image_encoder.proxy.checkpoint={proxy}', *more),
            data_root=voc_root,
        ).stdout
        found.append(metrics(output))
    assert found[0] == found[1]
    output = run_test('sclip_vit-b16_voc21', 'hf:org/absent', data_root=voc_root, check=False)
    assert output.returncode == 1
    assert output.stdout.strip().splitlines()[-1].startswith('error: hf:org/absent: ')


@pytest.mark.parametrize('kind', ['metaclip_2', 'chinese_clip'])
def test_clips_with_another_text_tower(hub, clip, kind):
    _put_clip(hub, clip)
    expected = load_image_tower('hf:org/clip')
    config = {**_config(), 'model_type': kind}
    _put_clip(hub, clip, config, name='org/other')
    images = torch.randn(1, 3, 64, 96)
    assert load_image_tower('hf:org/other')(images).equal(expected(images))
    with pytest.raises(InputError, match=f"model_type='{kind}': its text tower is not supported"):
        load_text_tower('hf:org/other')


@pytest.mark.parametrize(
    'name, message',
    [
        ('vision_model.head.probe', 'is a SigLIP, whose attention pooling is not supported'),
        ('visual.blocks.0.attn.q_proj.weight', 'is an EVA-CLIP, which is not supported'),
        ('visual.attn_pool.probe', 'or PE-Core with attention pooling, which is not supported'),
        ('visual.layer1.0.conv1.weight', 'is a ResNet CLIP, which has no patch tokens'),
    ],
)
def test_clips_that_are_not_built_are_refused_in_one_line(tmp_path, clip, name, message):
    torch.save({**clip, name: torch.ones(2)}, tmp_path / 'x.pt')
    with pytest.raises(InputError, match=f'x.pt.* {message}.*: use a ViT CLIP') as caught:
        load_image_tower(str(tmp_path / 'x.pt'))
    assert '\n' not in str(caught.value)
