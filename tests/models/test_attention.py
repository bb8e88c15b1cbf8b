import pytest
import torch

from sclip_mmseg.models import CSA, CLIPAttention, MaskCLIPAttention


@pytest.fixture
def qkv():
    torch.manual_seed(0)
    return torch.randn(3, 2, 4, 10, 8).unbind()


def _weights(a, b):
    return (a @ b.transpose(-1, -2) * 8**-0.5).softmax(-1)


def test_clip(qkv):
    q, k, v = qkv
    torch.testing.assert_close(CLIPAttention()(q, k, v), _weights(q, k) @ v)


def test_csa_is_the_sum_of_two_maps(qkv):
    q, k, v = qkv
    expected = (_weights(q, q) + _weights(k, k)) @ v
    torch.testing.assert_close(CSA()(q, k, v), expected)


def test_weights_of_csa_sum_to_two(qkv):
    q, k, _ = qkv
    torch.testing.assert_close(CSA()(q, k, torch.ones_like(q)), torch.full_like(q, 2.0))


def test_maskclip_keeps_every_token_to_itself(qkv):
    q, k, v = qkv
    assert MaskCLIPAttention()(q, k, v).equal(v)
