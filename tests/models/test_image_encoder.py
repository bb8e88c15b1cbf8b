import pytest
import torch
import torch.nn.functional as F
from helpers import seeded_clip

from sclip_mmseg import InputError
from sclip_mmseg.models import CLIPImageEncoder
from sclip_mmseg.models.image_encoder import resample_positions
from sclip_mmseg.utils.compat import openai_clip


@pytest.fixture(scope='module')
def clip(clip_path):
    """openai-clip's own model of the same weights."""
    return openai_clip('model').build_model(torch.load(clip_path)).float()


def test_vanilla_attention_gives_clip_s_own_tokens(clip, clip_path):
    encoder = CLIPImageEncoder(clip_path, dict(type='CLIPAttention'))
    images = torch.randn(2, 3, 224, 224)
    tokens = []
    clip.visual.transformer.register_forward_hook(lambda *args: tokens.append(args[2]))
    clip.encode_image(images)
    patches = clip.visual.ln_post(tokens[0].transpose(0, 1)[:, 1:]) @ clip.visual.proj
    expected = F.normalize(patches, dim=-1).reshape(2, 14, 14, -1)
    torch.testing.assert_close(encoder(images), expected, rtol=0, atol=1e-5)


def test_a_method_without_residual_returns_the_attention_s_output(clip_path):
    images = torch.randn(1, 3, 224, 224)
    encoder = CLIPImageEncoder(clip_path, dict(type='CSA'))
    kept = encoder(images)
    encoder.attention.keep_residual = False
    assert not encoder(images).allclose(kept)


@pytest.mark.parametrize('size', [(224, 160), (100, 90), (336, 448), (230, 17)])
def test_any_image_size(clip_path, size):
    encoder = CLIPImageEncoder(clip_path, dict(type='CSA'))
    features = encoder(torch.randn(2, 3, *size))
    assert features.shape == (2, size[0] // 16, size[1] // 16, 32)
    torch.testing.assert_close(features.norm(dim=-1), torch.ones(features.shape[:-1]))


@pytest.mark.parametrize('precision, tolerance', [('bf16', 0.1), ('fp16', 0.02)])
def test_lower_precision_stays_close(clip_path, precision, tolerance):
    images = torch.randn(1, 3, 96, 96)
    exact = CLIPImageEncoder(clip_path, dict(type='CSA'))(images)
    rough = CLIPImageEncoder(clip_path, dict(type='CSA'), precision=precision)(images)
    assert rough.dtype == torch.float32
    assert (rough - exact).abs().max() < tolerance


def test_exact_gelu(clip_path):
    images = torch.randn(1, 3, 96, 96)
    quick = CLIPImageEncoder(clip_path, dict(type='CSA'))
    exact = CLIPImageEncoder(clip_path, dict(type='CSA'), quick_gelu=False)
    assert not quick(images).allclose(exact(images), atol=1e-4)


def test_unknown_precision(clip_path):
    with pytest.raises(InputError, match="precision='half'"):
        CLIPImageEncoder(clip_path, dict(type='CSA'), precision='half')


def test_positions_stay_where_the_number_of_patches_is_the_checkpoint_s():
    positions = torch.randn(1 + 196, 4)
    assert resample_positions(positions, (14, 14)) is positions
    assert resample_positions(positions, (7, 28)) is positions


def test_positions_keep_the_class_token_and_a_constant():
    positions = torch.cat([torch.full((1, 4), 7.0), torch.ones(196, 4)])
    resampled = resample_positions(positions, (21, 28))
    assert resampled.shape == (1 + 21 * 28, 4)
    torch.testing.assert_close(resampled[0], positions[0])
    torch.testing.assert_close(resampled[1:], torch.ones(21 * 28, 4))


def test_other_patch_sizes(tmp_path):
    path = tmp_path / 'l14.pt'
    torch.save(seeded_clip(patch_size=14, resolution=56), path)
    encoder = CLIPImageEncoder(str(path), dict(type='CSA'))
    assert encoder.patch_size == 14
    assert encoder(torch.randn(1, 3, 70, 56)).shape[1:3] == (5, 4)
