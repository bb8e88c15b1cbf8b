import pytest
import torch
import torch.nn.functional as F

from sclip_mmseg import InputError
from sclip_mmseg.models import LastTokens
from sclip_mmseg.models.methods.base import gaussian_window, patch_distance, patch_offsets
from sclip_mmseg.registry import METHODS

GRID = (2, 3)
N = 1 + GRID[0] * GRID[1]


@pytest.fixture
def tokens(device):
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2, 4, N, 8).to(device).unbind()
    earlier = torch.rand(2, 4, N, N).softmax(-1).to(device)
    return LastTokens(q, k, v, torch.randn(2, N, 32).to(device), GRID, earlier)


def _attend(type, tokens, **kwargs):
    return METHODS.build(dict(type=type, **kwargs)).to(tokens.v.device).mix(tokens)


def _weights(a, b, bias=0):
    return (a @ b.transpose(-1, -2) * 8**-0.5 + bias).softmax(-1)


def test_clip(tokens):
    expected = _weights(tokens.q, tokens.k) @ tokens.v
    torch.testing.assert_close(_attend('CLIP', tokens), expected)


def test_sharpened_clip(tokens):
    expected = _weights(2 * tokens.q, tokens.k) @ tokens.v
    torch.testing.assert_close(_attend('SharpenedCLIP', tokens, sharpness=2), expected)


def test_csa_is_the_sum_of_two_maps(tokens):
    q, k = tokens.q, tokens.k
    expected = (_weights(q, q) + _weights(k, k)) @ tokens.v
    torch.testing.assert_close(_attend('SCLIP', tokens), expected)


def test_weights_of_csa_sum_to_two(tokens):
    tokens.v = torch.ones_like(tokens.v)
    torch.testing.assert_close(_attend('SCLIP', tokens), torch.full_like(tokens.v, 2.0))


@pytest.mark.parametrize('name', ['q', 'k'])
def test_csa_of_one_projection(tokens, name):
    feature = getattr(tokens, name)
    expected = _weights(feature, feature) @ tokens.v
    torch.testing.assert_close(_attend('SingleCSA', tokens, projection=name), expected)


def test_maskclip_is_the_identity_as_attention(tokens):
    expected = torch.eye(N, device=tokens.v.device) @ tokens.v
    torch.testing.assert_close(_attend('MaskCLIP', tokens), expected, rtol=0, atol=1e-6)


def test_clearclip_drops_residual_and_mlp(tokens):
    method = METHODS.build(dict(type='ClearCLIP'))
    expected = _weights(tokens.q, tokens.q) @ tokens.v
    torch.testing.assert_close(method.mix(tokens), expected)
    assert not method.keep_residual


def test_naclip(tokens):
    method = METHODS.build(dict(type='NACLIP'))
    window = gaussian_window(GRID, 5.0, torch.float32, tokens.k.device)
    expected = _weights(tokens.k, tokens.k, F.pad(window, (1, 0, 1, 0))) @ tokens.v
    torch.testing.assert_close(method.mix(tokens), expected)
    assert not method.keep_residual


def test_gaussian_window(device):
    window = gaussian_window(GRID, 5.0, torch.float32, device)
    assert (window.diagonal() == 1).all()
    # From the first patch to the last: one row down, two columns right.
    expected = torch.tensor(-(1 + 4) / 50, device=device).exp()
    torch.testing.assert_close(window[0, -1], expected)


def test_patch_offsets(device):
    dy, dx = patch_offsets(GRID, device)
    assert dy[1].tolist() == [0, 0, 0, 1, 1, 1]
    assert dx[1].tolist() == [-1, 0, 1, -1, 0, 1]
    assert patch_distance(GRID, device)[0].tolist() == [0, 1, 2, 1, 1, 2]


def test_local_window(tokens):
    bias = torch.zeros(N, N, device=tokens.q.device)
    # In a 2 x 3 grid only the patches of the outer columns are more than one patch apart.
    for i in (1, 4):
        for j in (3, 6):
            bias[i, j] = bias[j, i] = float('-inf')
    expected = _weights(tokens.q, tokens.k, bias) @ tokens.v
    torch.testing.assert_close(_attend('LocalCLIP', tokens, window=3), expected)


def test_earlier_block(tokens):
    method = METHODS.build(dict(type='EarlierBlock', block=3))
    assert method.earlier_blocks == (3,)
    torch.testing.assert_close(method.mix(tokens), tokens.earlier @ tokens.v)


def test_identity_projection(tokens):
    weights = (tokens.x @ tokens.x.transpose(1, 2) * 32**-0.5).softmax(-1)
    expected = weights[:, None] @ tokens.v
    torch.testing.assert_close(_attend('IdentityCSA', tokens), expected)


def test_random_projections(tokens):
    one = _attend('RandomCSA', tokens, num_projections=1, seed=3)
    two = _attend('RandomCSA', tokens, num_projections=2, seed=3)
    assert one.equal(_attend('RandomCSA', tokens, num_projections=1, seed=3))
    assert not one.allclose(_attend('RandomCSA', tokens, num_projections=1, seed=4))
    tokens.v = torch.ones_like(tokens.v)
    full = _attend('RandomCSA', tokens, num_projections=2, seed=3)
    torch.testing.assert_close(full, torch.full_like(full, 2.0))
    assert not two.allclose(one)


def test_learned_projection(tokens, tmp_path):
    weight = torch.randn(32, 32)
    torch.save(dict(weight=weight), tmp_path / 'w.pt')
    x = (tokens.x @ weight.to(tokens.x.device)).unflatten(-1, (4, 8)).transpose(1, 2)
    loaded = _attend('LearnedCSA', tokens, projection=str(tmp_path / 'w.pt'))
    torch.testing.assert_close(loaded, _weights(x, x) @ tokens.v)
    x = tokens.x.unflatten(-1, (4, 8)).transpose(1, 2)
    fresh = _attend('LearnedCSA', tokens, width=32)
    torch.testing.assert_close(fresh, _weights(x, x) @ tokens.v)


@pytest.mark.parametrize(
    'cfg, message',
    [
        (dict(type='SingleCSA', projection='v'), 'projection'),
        (dict(type='LocalCLIP', window=2), 'window=2'),
        (dict(type='RandomCSA', num_projections=0), 'num_projections=0'),
        (dict(type='LearnedCSA', projection='absent.pt'), 'absent.pt'),
        (dict(type='LearnedCSA'), 'projection=None'),
        (dict(type='SharpenedCLIP', sharpness=0), 'sharpness=0'),
        (dict(type='NACLIP', std=0), 'std=0'),
        (dict(type='ResCLIP', base=dict(type='SCLIP'), rcs=dict(blocks=())), 'blocks='),
        (dict(type='ResCLIP', base=dict(type='SCLIP'), rcs=dict(blocks=6)), 'blocks=6'),
        (dict(type='ResCLIP', base=dict(type='SCLIP'), rcs=dict(tau=0)), 'RCS: tau=0'),
        (
            dict(type='ResCLIP', base=dict(type='SCLIP'), sfr=dict(tau=1, lam=2, temp_thd=0)),
            'SFR: .*lam=2',
        ),
        (
            dict(type='ResCLIP', base=dict(type='SCLIP'), sfr=dict(tau=1, lam=1, temp_thd=50)),
            'SFR: temp_thd=50',
        ),
    ],
)
def test_bad_arguments(cfg, message):
    with pytest.raises(InputError, match=message):
        METHODS.build(cfg)
