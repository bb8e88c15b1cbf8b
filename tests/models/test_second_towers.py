"""DINOv3, RADIO and PE-Spatial: positions, files of every kind, and methods that use them."""

import argparse
import io
import math

import pytest
import torch
import torch.nn.functional as F
from helpers import needs, seeded_clip, seeded_images
from hub_server import IMAGENET_PREPROCESSOR, to_safetensors
from second_weights import (
    DEPTH,
    WIDTH,
    blocks_of,
    draw,
    seeded_dinov3,
    seeded_pe,
    seeded_radio,
)

from sclip_mmseg import InputError
from sclip_mmseg.models import CLIPImageEncoder, View
from sclip_mmseg.towers import Resampling, Rotary
from sclip_mmseg.towers.layouts import (
    DINOV3,
    HUGGING_FACE_DINOV3,
    HUGGING_FACE_RADIO,
    RADIO,
    RADIO_OF_THE_HUB,
    join_projections,
)
from sclip_mmseg.towers.normalisation import CLIP, IMAGENET
from sclip_mmseg.towers.positions import make_rope, resample_positions
from sclip_mmseg.towers.proxy import ProxyTower

PATCH = dict(dinov3=16, radio=16, pe=14)


MADE = dict(dinov3=seeded_dinov3, radio=seeded_radio, pe=seeded_pe)


def _renamed(state, start, ours, theirs):
    """A file of one layout with the names of another, projections apart where that one has them."""
    state = join_projections(state)
    renamed = {}
    for name in _names(start, state):
        value, key = state[start.name_of(name)], theirs.name_of(name)
        if '.qkv_proj.' in key:
            for part, chunk in zip('qkv', value.chunk(3)):
                if not (part == 'k' and key.endswith('bias') and ours == 'dinov3'):
                    renamed[key.replace('qkv_proj', f'{part}_proj')] = chunk.clone()
        else:
            renamed[key] = value
    return renamed


def _names(layout, state):
    """Our names of what a file has."""
    for stem in (
        *layout.names,
        *(f'blocks.{n}.{part}' for n in range(DEPTH) for part in layout.parts),
    ):
        for name in (stem, f'{stem}.weight', f'{stem}.bias'):
            if layout.has(name, state) and name != 'periods':
                yield name


@pytest.fixture
def load(tmp_path, device):
    """Load a second tower from what a file holds."""

    def build(content, name='tower.pth', dtype=torch.float32):
        if name.endswith('safetensors'):
            (tmp_path / name).write_bytes(to_safetensors(content))
        else:
            torch.save(content, tmp_path / name)
        proxy = ProxyTower(str(tmp_path / name))
        proxy.tower.set_precision(dtype)
        return proxy.to(device)

    return build


# Positions


@pytest.mark.parametrize('grid', [(3, 5), (1, 1), (4, 2)])
@pytest.mark.parametrize('relative', [True, False])
def test_rotary_positions_by_their_definition(grid, relative, device):
    base, d, prefix = 50.0, 16, 2
    x = seeded_images(device, 1, 2, prefix + grid[0] * grid[1], d)
    turned = make_rope(Rotary(base, relative), grid, prefix, d, device)(x)
    assert turned[:, :, :prefix].equal(x[:, :, :prefix])
    periods = [base ** (4 * j / d) for j in range(d // 4)]
    for index in range(grid[0] * grid[1]):
        row, column = divmod(index, grid[1])
        if relative:  # pairs are half a head apart
            y, x_ = (2 * (at + 0.5) / n - 1 for at, n in zip((row, column), grid))
            angles = [2 * math.pi * place / p for place in (y, x_) for p in periods]
            pairs = [(i, i + d // 2) for i in range(d // 2)]
        else:  # pairs are neighbours
            angles = [(place + 1) / p for place in (column, row) for p in periods]
            pairs = [(2 * i, 2 * i + 1) for i in range(d // 2)]
        before, after = x[0, 1, prefix + index].cpu(), turned[0, 1, prefix + index].cpu()
        for angle, (a, b) in zip(angles, pairs):
            cos, sin = math.cos(angle), math.sin(angle)
            expected = [before[a] * cos - before[b] * sin, before[a] * sin + before[b] * cos]
            torch.testing.assert_close(after[[a, b]], torch.stack(expected), rtol=0, atol=1e-5)


def test_rotary_positions_keep_a_low_precision(device):
    x = seeded_images(device, 1, 1, 7, 16).half()
    rope = make_rope(Rotary(100.0), (2, 3), 1, 16, device)
    found = rope(x)
    assert found.dtype == torch.float16
    torch.testing.assert_close(found.float(), rope(x.float()), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize('grid', [(8, 8), (8, 5), (3, 12), (20, 20)])
def test_cropped_positions_keep_the_aspect(grid, device):
    positions = seeded_images(device, 64, 4)
    rule = Resampling(offset=None, mode='bilinear', crop=True)
    side = max(grid)
    square = F.interpolate(
        positions.T.unflatten(1, (8, 8))[None], (side, side), mode='bilinear', align_corners=False
    )
    expected = square[0, :, : grid[0], : grid[1]].flatten(1).T
    found = resample_positions(positions, grid, rule, prefix=0)
    torch.testing.assert_close(found, expected)


# Files


def test_a_tower_s_parts(load):
    dinov3, radio, pe = (load(MADE[name]()).tower for name in MADE)
    assert [t.num_prefix_tokens for t in (dinov3, radio, pe)] == [5, 8, 1]
    assert [t.blocks[0].norm1.eps for t in (dinov3, radio, pe)] == [1e-5, 1e-6, 1e-5]
    assert [t.heads for t in (dinov3, radio, pe)] == [2, 2, 2]
    assert dinov3.positions is None
    assert radio.registers is pe.registers is radio.rotary is None
    assert isinstance(dinov3.norm, torch.nn.LayerNorm)
    assert isinstance(radio.norm, torch.nn.Identity) and isinstance(pe.norm, torch.nn.Identity)


def _features(proxy, device, size=(70, 100)):
    return proxy(seeded_images(device, 2, 3, *size)), proxy.queries_and_keys(
        seeded_images(device, 2, 3, *size)
    )


def _below_model(key):
    return f'model.{key}' if key.startswith('layer.') else key


def _files(name):
    """The same weights in other files: content, file name."""
    state = MADE[name]()
    if name == 'dinov3':
        yield {'model': {f'module.{key}': value for key, value in state.items()}}, 'x.pth'
        yield {**state, 'local_cls_norm.weight': torch.ones(WIDTH)}, 'x.pth'
        yield seeded_dinov3(hidden_bias=3.0), 'x.pth'
        plain = _renamed(state, DINOV3, name, HUGGING_FACE_DINOV3)
        yield plain, 'model.safetensors'
        yield {_below_model(key): value for key, value in plain.items()}, 'x.bin'
        yield {**plain, 'embeddings.mask_token': torch.zeros(1, 1, WIDTH)}, 'x.bin'
    if name == 'radio':
        other = {key: value + 1 for key, value in state.items()}
        args = argparse.Namespace(model='vit_large_patch16_224')
        yield {'state_dict': other, 'state_dict_ema': state, 'args': args}, 'x.pth.tar'
        yield {**state, '_heads.siglip.0.weight': torch.ones(2, 2)}, 'x.pth'
        hub = _renamed(state, RADIO, name, RADIO_OF_THE_HUB)
        yield {**hub, 'radio_model.summary_idxs': torch.tensor([0, 1])}, 'model.safetensors'
        plain = _renamed(state, RADIO, name, HUGGING_FACE_RADIO)
        yield plain, 'model.safetensors'
        ones = {
            f'encoder.layer.{n}.layer_scale{b}.lambda1': torch.ones(WIDTH)
            for n in range(DEPTH)
            for b in (1, 2)
        }
        yield {**plain, **ones}, 'model.safetensors'
    if name == 'pe':
        yield {'weights': {f'visual.{key}': value for key, value in state.items()}}, 'x.pt'
        yield {'state_dict': {f'module.{key}': value for key, value in state.items()}}, 'x.pt'


@pytest.mark.parametrize('name', MADE)
def test_files_of_every_kind_give_the_same(load, name, device):
    expected = _features(load(MADE[name]()), device)
    assert expected[0].shape == (2, 70 // PATCH[name], 100 // PATCH[name], WIDTH)
    files = list(_files(name))
    assert len(files) > 1
    for content, file in files:
        found = _features(load(content, file), device)
        assert found[0].equal(expected[0]) and found[1].equal(expected[1])


def test_gated_mlps(load, device):
    state = seeded_dinov3(gated=True)
    block = load(state).tower.blocks[1]
    x = seeded_images(device, 1, 3, WIDTH)
    n, weights = block.norm2(x), {key: value.to(device) for key, value in state.items()}

    def layer(which, x):
        name = f'blocks.1.mlp.{which}.'
        return F.linear(x, weights[f'{name}weight'], weights[f'{name}bias'])

    hidden = F.silu(layer('w1', n)) * layer('w2', n)
    expected = x + layer('w3', hidden) * weights['blocks.1.ls2.gamma']
    torch.testing.assert_close(block.add_mlp(x), expected)


def test_gated_mlps_of_dinov2_in_one_matrix(load, device):
    state = draw(
        {
            'cls_token': (1, 1, WIDTH),
            'pos_embed': (1, 17, WIDTH),
            'patch_embed.proj.weight': (WIDTH, 3, 14, 14),
            'patch_embed.proj.bias': (WIDTH,),
            **blocks_of('blocks.{}.', gated=True, scales=True),
            'norm.weight': (WIDTH,),
            'norm.bias': (WIDTH,),
        }
    )
    expected = _features(load(state), device)
    joined = dict(state)
    for number in range(DEPTH):
        for part in ('weight', 'bias'):
            pair = [joined.pop(f'blocks.{number}.mlp.{name}.{part}') for name in ('w1', 'w2')]
            joined[f'blocks.{number}.mlp.w12.{part}'] = torch.cat(pair)
    assert _features(load(joined), device)[0].equal(expected[0])


def test_a_final_norm_is_run_where_the_file_has_one(load, device):
    plain, normed = load(seeded_radio()), load(seeded_radio(norm=True))
    state = seeded_radio(norm=True)
    weight, bias = (state[f'base_model.norm.{part}'].to(device) for part in ('weight', 'bias'))
    x, _ = _features(plain, device)
    expected = F.layer_norm(x, (WIDTH,), weight, bias, 1e-6)
    torch.testing.assert_close(_features(normed, device)[0], expected)


def test_a_tower_without_class_token(load, device):
    tower = load(seeded_pe(class_token=False)).tower
    tokens = tower.run(seeded_images(device, 2, 3, 56, 70))
    assert tower.num_prefix_tokens == 0
    assert tokens.prefix.shape == (2, 0, WIDTH)
    assert tokens.patches.equal(tokens.x)


def test_own_periods_are_followed(load, device):
    state = seeded_dinov3()
    expected, _ = _features(load(state), device)
    state['rope_embed.periods'] = 20 ** (torch.arange(16) / 16)
    assert not _features(load(state), device)[0].allclose(expected, atol=1e-2)
    state['rope_embed.periods'] = torch.arange(8) + 1.0  # heads of 32
    assert load(state).tower.heads == 4


@pytest.mark.parametrize('name', MADE)
def test_what_each_sees_is_normalised_its_way(load, name, device):
    mean, std = {'dinov3': IMAGENET, 'pe': ((0.5,) * 3, (0.5,) * 3)}.get(
        name, ((0.4, 0.5, 0.6), (0.2, 0.25, 0.3))
    )
    pixels = torch.rand(1, 3, 32, 32)

    def normalised(values):
        mean, std = (torch.tensor(each)[:, None, None] for each in values)
        return ((pixels - mean) / std).to(device)

    found = load(MADE[name]()).normalise(normalised(CLIP))
    torch.testing.assert_close(found, normalised((mean, std)), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    'name, change, message',
    [
        ('radio', {'_feature_normalizer.mean': torch.zeros(WIDTH)}, r'_feature_normalizer\.mean'),
        (
            'radio',
            {'base_model.patch_generator.pos_embed': torch.zeros(1, 60, WIDTH)},
            'not a square',
        ),
        ('radio', {'input_conditioner.norm_std': torch.zeros(3)}, 'norm_std'),
        ('radio', {'base_model.blocks.0.attn.qkv.weight': None}, "lacks 'base_model.blocks.0.attn"),
        ('dinov3', {'blocks.1.attn.qkv.bias': None}, "lacks 'blocks.1.attn.qkv.bias'"),
        ('dinov3', {'rope_embed.periods': torch.ones(5)}, 'is not divisible by 64'),
        ('dinov3', {'extra.weight': torch.ones(1)}, 'unexpected tensors, such as extra.weight'),
        ('pe', {'ln_post.weight': torch.ones(WIDTH)}, 'unexpected tensors, such as ln_post'),
        ('pe', {'ln_pre.weight': None}, 'is not a supported DINO, DINOv2, DINOv3, RADIO or'),
    ],
)
def test_what_is_not_built_is_refused_in_one_line(load, name, change, message):
    state = {**MADE[name](), **change}
    with pytest.raises(InputError, match=message) as caught:
        load({key: value for key, value in state.items() if value is not None})
    assert '\n' not in str(caught.value)


# Devices, precisions, methods


@pytest.mark.parametrize('name', MADE)
def test_low_precision_and_batches(load, name, precision, device):
    dtype = dict(fp32=torch.float32, fp16=torch.float16, bf16=torch.bfloat16)[precision]
    images = seeded_images(device, 3, 3, 64, 96)
    exact, proxy = load(MADE[name]())(images), load(MADE[name](), dtype=dtype)
    together = proxy(images)
    assert together.dtype == dtype
    least = dict(fp32=0.99999, fp16=0.999, bf16=0.99)[precision]
    assert F.cosine_similarity(together.float(), exact, dim=-1).min() > least
    for image, features in zip(images, together):
        alone = proxy(image[None])[0]
        tolerance = dict(fp32=1e-5, fp16=2e-2, bf16=0.15)[precision]
        torch.testing.assert_close(
            features, alone, rtol=0, atol=tolerance * float(exact.abs().max())
        )


@pytest.mark.parametrize('name', MADE)
def test_they_can_be_exported(load, name, device):
    needs(device, 'tracing')
    tower, images = load(MADE[name]()).tower, seeded_images(device, 1, 3, 64, 96)
    exported = torch.export.export(tower, (images,)).module()
    torch.testing.assert_close(exported(images), tower(images), rtol=0, atol=1e-5)


@pytest.mark.parametrize('name', MADE)
@pytest.mark.parametrize(
    'method',
    [dict(type='ProxyCLIP'), dict(type='CorrCLIP', blocks=(2,))],
    ids=['ProxyCLIP', 'CorrCLIP'],
)
def test_methods_with_each_as_second_tower(tmp_path, name, method, device):
    torch.save(seeded_clip(), tmp_path / 'clip.pt')
    torch.save(MADE[name](), tmp_path / 'second.pth')
    proxy = dict(checkpoint=str(tmp_path / 'second.pth'))
    encoder = CLIPImageEncoder(str(tmp_path / 'clip.pt'), method, proxy).to(device)
    assert encoder.patch_size == 16
    regions = torch.arange(6, device=device).view(2, 3).repeat_interleave(48, 0)
    regions = regions.repeat_interleave(48, 1)[None, :96, :128].expand(2, -1, -1)
    view = View(seeded_images(device, 2, 3, 96, 128), regions.contiguous())
    features = encoder.features(view, None)
    assert features.shape == (2, 96 // PATCH[name], 128 // PATCH[name], 32)
    for index in range(2):
        alone = View(view.images[index : index + 1], view.regions[index : index + 1])
        torch.testing.assert_close(
            features[index], encoder.features(alone, None)[0], rtol=0, atol=1e-4
        )


# By name


def _put(hub, name, **config):
    state = MADE[name]()
    if name == 'dinov3':
        stated = dict(model_type='dinov3_vit', hidden_size=WIDTH, num_attention_heads=2)
        files = dict(
            preprocessor_config__json=IMAGENET_PREPROCESSOR,
            model__safetensors=to_safetensors(_renamed(state, DINOV3, name, HUGGING_FACE_DINOV3)),
        )
    else:
        stated = dict(architectures=['RADIOModel'], version='c-radio_v3-l', patch_size=16)
        files = dict(
            preprocessor_config__json=dict(do_normalize=False),
            model__safetensors=to_safetensors(_renamed(state, RADIO, name, RADIO_OF_THE_HUB)),
        )
    hub.put('org/second', config__json={**stated, **config}, **files)


@pytest.mark.parametrize(
    'name, config',
    [
        ('dinov3', {}),
        ('radio', {}),
        (
            'radio',
            dict(
                model_type='radio',
                hidden_size=WIDTH,
                num_attention_heads=2,
                architectures=['RadioModel'],
            ),
        ),
    ],
)
def test_by_name_from_the_hub(hub, load, name, config, device):
    _put(hub, name, **config)
    expected = _features(load(MADE[name]()), device)
    found = ProxyTower('hf:org/second').to(device)
    assert _features(found, device)[0].equal(expected[0])
    images = seeded_images(device, 1, 3, 32, 32)
    assert found.normalise(images).allclose(load(MADE[name]()).normalise(images))


def test_the_base_of_rotary_positions_is_the_config_s(hub):
    _put(hub, 'dinov3', rope_theta=20.0)
    assert ProxyTower('hf:org/second').tower.rotary.base == 20.0


def test_pe_by_name(hub, load, device):
    buffer = io.BytesIO()
    torch.save(seeded_pe(), buffer)
    hub.put('org/PE-Spatial-L14-448', **{'PE-Spatial-L14-448__pt': buffer.getvalue()})
    found = _features(ProxyTower('hf:org/PE-Spatial-L14-448').to(device), device)
    assert found[0].equal(_features(load(seeded_pe()), device)[0])


@pytest.mark.parametrize(
    'name, config, message',
    [
        ('radio', dict(feature_normalizer_config={'name': 'x'}), 'feature_normalizer_config='),
        ('radio', dict(vitdet_window_size=16), 'vitdet_window_size=16'),
        ('radio', dict(architectures=None), 'model_type=None, which is not a DINO'),
        ('dinov3', dict(use_gated_mlp=True, hidden_act='silu'), 'use_swiglu_ffn or use_gat'),
        ('dinov3', dict(use_gated_mlp=True, hidden_act='gelu'), "hidden_act='gelu', only 'silu'"),
        ('dinov3', dict(rope_theta='x'), "rope_theta='x'"),
        ('dinov3', dict(hidden_size=384), 'a width of 384'),
    ],
)
def test_configs_that_state_what_is_not_built(hub, name, config, message):
    _put(hub, name, **config)
    with pytest.raises(InputError, match=message):
        ProxyTower('hf:org/second')
