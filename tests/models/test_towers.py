"""The Vision Transformer against openai-clip's, DINO's and DINOv2's."""

import copy
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import needs, seeded_clip

from sclip_mmseg import InputError
from sclip_mmseg.models import CLIPImageEncoder, View
from sclip_mmseg.towers import Resampling, load_image_tower
from sclip_mmseg.towers.positions import resample_positions
from sclip_mmseg.towers.proxy import ProxyTower
from sclip_mmseg.towers.vit import attention_logits
from sclip_mmseg.utils.compat import openai_clip


class Text:
    """Classifies features of 32 dimensions into two queries."""

    class_ids = torch.tensor([0, 1])

    def __call__(self, features):
        """See the text head."""
        weights = torch.eye(2, features.shape[-1], device=features.device)
        return torch.einsum('bhwd,qd->bqhw', F.normalize(features.float(), dim=-1), weights)


def _encoder(clip, device, method='SCLIP', **options):
    return CLIPImageEncoder(clip, dict(type=method), **options).to(device)


def _features(encoder, images):
    return encoder.features(View(images), Text())


@pytest.fixture(scope='module')
def clip(clip_path, device):
    """openai-clip's own model of the same weights."""
    return openai_clip('model').build_model(torch.load(clip_path)).float().to(device)


def test_clip_s_own_tokens(clip, clip_path, device):
    images = torch.randn(2, 3, 224, 224).to(device)
    tokens = []
    clip.visual.transformer.register_forward_hook(lambda *args: tokens.append(args[2]))
    clip.encode_image(images)
    expected = clip.visual.ln_post(tokens[0].transpose(0, 1)) @ clip.visual.proj
    tower = load_image_tower(clip_path).to(device)
    torch.testing.assert_close(tower(images), expected, rtol=0, atol=1e-5)
    patches = F.normalize(expected[:, 1:], dim=-1).reshape(2, 14, 14, -1)
    found = _features(_encoder(clip_path, device, 'CLIP'), images)
    torch.testing.assert_close(found, patches, rtol=0, atol=1e-5)


def test_openai_s_model_of_another_width_of_patches(tmp_path, device):
    clip = seeded_clip(patch_size=14, resolution=56)
    path = tmp_path / 'l14.pt'
    torch.save(clip, path)
    encoder = _encoder(str(path), device)
    assert encoder.patch_size == 14
    assert _features(encoder, torch.randn(1, 3, 70, 56).to(device)).shape[1:3] == (5, 4)


def test_a_method_without_residual_returns_the_attention_s_output(clip_path, device):
    images = torch.randn(1, 3, 224, 224).to(device)
    encoder = _encoder(clip_path, device)
    kept = _features(encoder, images)
    encoder.method.keep_residual = False
    assert not _features(encoder, images).allclose(kept)


@pytest.mark.parametrize('size', [(224, 160), (100, 90), (336, 448), (230, 17)])
def test_any_image_size(clip_path, size, device):
    features = _features(_encoder(clip_path, device), torch.randn(2, 3, *size).to(device))
    assert features.shape == (2, size[0] // 16, size[1] // 16, 32)
    lengths = features.norm(dim=-1)
    torch.testing.assert_close(lengths, torch.ones_like(lengths))


def test_lower_precision_stays_close(clip_path, precision, device):
    tolerance = dict(fp32=1e-5, fp16=0.02, bf16=0.1)[precision]
    images = torch.randn(1, 3, 96, 96).to(device)
    exact = _features(_encoder(clip_path, device), images)
    rough = _features(_encoder(clip_path, device, precision=precision), images)
    assert rough.dtype == torch.float32
    assert (rough - exact).abs().max() < tolerance


def test_logits_that_would_overflow_float16_before_they_are_scaled(device):
    q = torch.full((1, 1, 2, 64), 40.0, dtype=torch.float16, device=device)
    assert (q @ q.transpose(-1, -2)).isinf().all()
    assert (attention_logits(q, q) == 64 * 40 * 40 / 8).all()


def test_exact_gelu(clip_path, device):
    images = torch.randn(1, 3, 96, 96).to(device)
    quick, exact = (
        _features(_encoder(clip_path, device, quick_gelu=on), images) for on in (True, False)
    )
    assert not quick.allclose(exact, atol=1e-4)


@pytest.mark.parametrize(
    'arguments, message',
    [
        (dict(method=dict(type='SCLIP'), precision='half'), "precision='half'"),
        (dict(), r"needs a method: write method=dict\(type='SCLIP'\)"),
        (dict(method=dict(type='SCLIP'), proxy=dict(checkpoint='x')), 'SCLIP does not use'),
    ],
)
def test_bad_arguments(clip_path, arguments, message):
    with pytest.raises(InputError, match=message):
        CLIPImageEncoder(clip_path, **arguments)


def test_positions_stay_where_the_number_of_patches_is_the_checkpoint_s(device):
    positions = torch.randn(1 + 196, 4).to(device)
    for grid in ((14, 14), (7, 28)):
        assert resample_positions(positions, grid, Resampling()).equal(positions)


@pytest.mark.parametrize('offset', [0.1, None])
@pytest.mark.parametrize('antialias', [True, False])
def test_positions_keep_the_class_token_and_a_constant(offset, antialias, device):
    positions = torch.cat([torch.full((1, 4), 7.0), torch.ones(196, 4)]).to(device)
    resampled = resample_positions(positions, (21, 28), Resampling(offset, antialias))
    assert resampled.shape == (1 + 21 * 28, 4)
    torch.testing.assert_close(resampled[0], positions[0])
    torch.testing.assert_close(resampled[1:], torch.ones(21 * 28, 4, device=device))


# Ordinary modules


def test_a_copy_and_a_saved_encoder_give_the_same(clip_path, tmp_path, device):
    encoder, images = _encoder(clip_path, device), torch.randn(1, 3, 64, 96).to(device)
    expected = _features(encoder, images)
    assert _features(copy.deepcopy(encoder), images).equal(expected)
    torch.save(encoder, tmp_path / 'encoder.pt')
    loaded = torch.load(tmp_path / 'encoder.pt', weights_only=False)
    assert _features(loaded, images).equal(expected)


def test_the_tower_can_be_exported(clip_path, device):
    needs(device, 'tracing')
    tower, images = load_image_tower(clip_path).to(device), torch.randn(1, 3, 64, 96).to(device)
    exported = torch.export.export(tower, (images,)).module()
    torch.testing.assert_close(exported(images), tower(images), rtol=0, atol=1e-5)


class Network(torch.nn.Module):
    """An encoder, with two queries."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, images, regions=None):
        """Images and regions to cosines."""
        return self.encoder(View(images, regions), Text())


RESCLIP = dict(base=dict(type='NACLIP'), rcs=dict(blocks=(1, 2)))
RESCLIP['sfr'] = dict(tau=1.0, lam=0.5, temp_thd=0.6)


@pytest.mark.parametrize(
    'method', [dict(type='SCLIP'), dict(type='NACLIP'), dict(RESCLIP, type='ResCLIP')]
)
def test_the_encoder_can_be_exported_for_any_batch(clip_path, method, device):
    needs(device, 'tracing')
    network = Network(CLIPImageEncoder(clip_path, method).to(device))
    images, more = (torch.randn(count, 3, 64, 96).to(device) for count in (2, 5))
    batch = dict(images={0: torch.export.Dim('batch', max=8)})
    exported = torch.export.export(network, (images,), dynamic_shapes=batch).module()
    torch.testing.assert_close(exported(more), network(more), rtol=0, atol=1e-5)


def test_a_method_of_regions_cannot_be_exported(clip_path, dino_path):
    method = dict(type='CorrCLIP', blocks=(1, 2))
    network = Network(CLIPImageEncoder(clip_path, method, dict(checkpoint=dino_path)))
    view = torch.randn(1, 3, 64, 96), torch.ones(1, 64, 96, dtype=torch.int64)
    assert network(*view).isfinite().all()
    with pytest.raises(InputError, match='CorrCLIP cannot be exported: its tensor shapes'):
        torch.export.export(network, view)


@pytest.mark.parametrize('method', ['SCLIP', 'NACLIP'])
def test_the_encoder_can_be_compiled(clip_path, method, device):
    needs(device, 'tracing')
    encoder, images = _encoder(clip_path, device, method), torch.randn(1, 3, 64, 96).to(device)
    expected = encoder(View(images), Text())
    compiled = torch.compile(encoder, backend='aot_eager')(View(images), Text())
    torch.testing.assert_close(compiled, expected, rtol=0, atol=1e-5)


# DINO and DINOv2

PROXIES = {
    'dino_b8': ('tiny_dino_state_dict', dict(patch_size=8)),
    'dino_b16': ('tiny_dino_state_dict', dict(patch_size=16)),
    'dinov2': ('tiny_dinov2_state_dict', dict(registers=0)),
    'dinov2_reg': ('tiny_dinov2_state_dict', dict(registers=4)),
}


@pytest.mark.golden
@pytest.mark.parametrize('name', PROXIES)
def test_dino_s_features_are_the_original_s(shared, tmp_path, name, device):
    from helpers import load_config, load_images

    sys.path.insert(0, str(shared / 'later'))
    import tiny_dino

    function, arguments = PROXIES[name]
    torch.save(getattr(tiny_dino, function)(0, **arguments), tmp_path / 'dino.pt')
    golden = np.load(shared / f'later/golden/proxyclip-{name}_2007_004189.npz')
    cfg = load_config('clip_vit-b16_voc20')
    photo = shared / 'data/VOCdevkit/VOC2012/JPEGImages/2007_004189.jpg'
    from mmseg.registry import MODELS

    preprocessor = MODELS.build(cfg.model.data_preprocessor).to(device)
    inputs = preprocessor(load_images(cfg, [photo]))['inputs'][..., :336, :336]
    proxy = ProxyTower(str(tmp_path / 'dino.pt')).to(device)
    features = proxy(inputs)[0].flatten(0, 1)[::16].cpu()
    expected = torch.from_numpy(golden['voc20_win0_proxy'])
    torch.testing.assert_close(features, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize('registers', [0, 4])
def test_a_vit_of_no_known_family_is_refused(tmp_path, registers):
    torch.save({'patch_embed.proj.weight': torch.zeros(8, 3, 2, 2)}, tmp_path / 'x.pt')
    with pytest.raises(InputError, match="x.pt.*lacks 'pos_embed'|x.pt.*lacks 'blocks.0"):
        ProxyTower(str(tmp_path / 'x.pt'))
