"""What a tower gives of its blocks, whatever stands in front of its patches."""

import pytest
import torch
from helpers import seeded_images, seeded_tower

from sclip_mmseg.models import LastTokens, View
from sclip_mmseg.models.methods import CLIP, NACLIP
from sclip_mmseg.registry import METHODS
from sclip_mmseg.towers import VisionTransformer

DEPTH = 4
GRID = (4, 6)
N = GRID[0] * GRID[1]
PARTS = ('input', 'normalised', 'q', 'k', 'v', 'weights', 'output')


@pytest.fixture(scope='module', params=[0, 3], ids='registers={}'.format)
def tower(request, device):
    """A CLIP's image tower, with register tokens besides the class token."""
    plain = seeded_tower(DEPTH, device=device)
    if not request.param:
        return plain
    options = dict(width=128, heads=2, depth=DEPTH, hidden=512, patch_size=16, positions=197)
    tower = VisionTransformer(output_dim=32, registers=request.param, **options).to(device).eval()
    state = dict(plain.state_dict(), registers=seeded_images(device, request.param, 128))
    tower.load_state_dict(state)
    return tower.requires_grad_(False)


@pytest.fixture
def images(device):
    return seeded_images(device, 2, 3, 16 * GRID[0], 16 * GRID[1] + 5)


def _by_hand(tower, images):
    """Inputs of all blocks, and the last one's output."""
    x, _ = tower.embed(images)
    states = [x]
    for block in tower.blocks:
        states.append(block(states[-1]))
    return states


def _close(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_a_whole_run_is_the_tower_s(tower, images):
    tokens, prefix = tower.run(images), tower.num_prefix_tokens
    expected = _by_hand(tower, images)[-1]
    assert tokens.grid == GRID
    assert tokens.blocks == tokens.sums == {}
    assert not hasattr(tokens, 'copies')
    _close(tokens.x, expected)
    assert tokens.prefix.equal(tokens.x[:, :prefix])
    assert tokens.patches.equal(tokens.x[:, prefix:])
    _close(tower.read_out(tokens.patches), tower(images)[:, prefix:])


def test_what_is_asked_of_blocks(tower, images):
    states = _by_hand(tower, images)
    tokens = tower.run(images, {2: PARTS, 4: ['q', 'output']})
    assert list(tokens.blocks) == [2, 4]
    two, four = tokens.blocks.values()
    _close(two.input, states[1])
    _close(two.normalised, tower.blocks[1].norm1(states[1]))
    for found, expected in zip((two.q, two.k, two.v), tower.blocks[1].project(two.normalised)):
        _close(found, expected)
    count = tower.num_prefix_tokens + N
    assert two.weights.shape == (2, 2, count, count)
    _close(two.weights.sum(-1), torch.ones_like(two.weights[..., 0]))
    _close(tower.blocks[1].residual_mlp(two.input, two.weights @ two.v), two.output)
    _close(two.output, states[2])
    _close(four.output, states[4])
    _close(tokens.x, states[4])
    assert four.q is not None
    assert not any(hasattr(four, name) for name in ('k', 'v', 'input', 'weights'))


@pytest.mark.parametrize('wanted', ['input', 'normalised', 'q', 'weights'])
def test_no_more_is_run_than_is_asked_for(tower, images, wanted, monkeypatch):
    states, run = _by_hand(tower, images), []
    for number, block in enumerate(tower.blocks, 1):
        finish = block.residual_mlp
        monkeypatch.setattr(
            block, 'residual_mlp', lambda *args, n=number, f=finish: (run.append(n), f(*args))[1]
        )
    tokens = tower.run(images, {3: [wanted]})
    assert run == [1, 2]
    _close(tokens.x, states[2])
    assert getattr(tokens.blocks[3], wanted) is not None


def test_sums_over_blocks(tower, images):
    states = _by_hand(tower, images)
    tokens = tower.run(images, {4: ['input']}, sums={'output': range(1, 4), 'weights': [2, 3]})
    assert list(tokens.blocks) == [4]
    _close(tokens.sums['output'], states[1] + states[2] + states[3])
    rows = tokens.sums['weights'].sum(-1)
    _close(rows, torch.full_like(rows, 2))
    assert tower.run(images, {4: ['input']}, sums={'weights': ()}).sums == {}


def test_a_sum_leaves_what_is_kept_as_it_is(tower, images):
    alone = tower.run(images, {1: ['output']}).blocks[1].output
    tokens = tower.run(images, {1: ['output']}, sums={'output': [1, 2, 3, 4]})
    assert tokens.blocks[1].output.equal(alone)


def test_blocks_may_be_used_as_they_run(tower, images):
    kept, seen = tower.run(images, {1: ['q'], 3: ['q']}), {}
    tokens = tower.run(images, {1: ['q'], 3: ['q']}, each=seen.__setitem__)
    assert tokens.blocks == {}
    assert list(seen) == [1, 3]
    assert all(seen[number].q.equal(kept.blocks[number].q) for number in seen)


def test_copies_of_the_class_token_see_what_they_may(tower, images, device):
    scope = torch.zeros(2, 3, N, dtype=torch.bool, device=device)
    scope[:, 0] = True
    scope[0, 1, :5] = True
    tokens = tower.run(images, scope=scope)
    assert tokens.copies.shape == (2, 3, 128)
    alone = tower.run(images)
    _close(tokens.x, alone.x)  # nobody sees the copies
    _close(tokens.copies[:, 0], alone.prefix[:, 0])  # one that sees all is the class token
    assert tokens.copies.isfinite().all()  # nor is one lost that sees no patch
    _close(tokens.copies[1, 1], tokens.copies[1, 2])
    # The second one of the first image by hand.
    states, prefix = _by_hand(tower, images[:1]), tower.num_prefix_tokens
    copy = states[0][:, :1]
    for block, x in zip(tower.blocks, states):
        q, _, _ = block.project(block.norm1(copy))
        _, k, v = block.project(block.norm1(x[:, : prefix + 5]))
        copy = block.residual_mlp(copy, (q @ k.transpose(-1, -2) * 64**-0.5).softmax(-1) @ v)
    _close(tokens.copies[0, 1], copy[0, 0])


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_low_precision(dtype, images, device):
    asked = dict(keep={4: PARTS}, sums={'output': [1, 2]})
    exact = seeded_tower(DEPTH, device=device).run(images, **asked)
    tower = seeded_tower(DEPTH, dtype, device)
    scope = torch.ones(2, 1, N, dtype=torch.bool, device=device)
    rough = tower.run(images, **asked, scope=scope)
    assert rough.sums['output'].dtype == torch.float32
    assert {getattr(rough.blocks[4], name).dtype for name in PARTS} == {dtype}
    for found, expected in ((rough.x, exact.x), (rough.sums['output'], exact.sums['output'])):
        error = (found.float() - expected).abs().max() / expected.abs().max()
        assert error < {torch.float16: 5e-3, torch.bfloat16: 5e-2}[dtype]


# Methods, whatever stands in front of the patches


def _method(name):
    needed = {
        'RandomCSA': {},
        'SingleCSA': dict(projection='k'),
        'LearnedCSA': dict(width=128),
        'EarlierBlock': dict(block=2),
        'SCCLIP': dict(neighbours=4),
        'SFP': dict(similarity_block=2, edge_block=1, level_blocks=(1, 2)),
        'GEM': dict(depth=3),
        'SegEarth': dict(class_weight=0),
        'ResCLIP': dict(base=dict(type='NACLIP'), rcs=dict(blocks=(1, 2))),
    }
    return METHODS.build(dict(type=name, **needed.get(name, {})))


def _names():
    ours = METHODS.module_dict.items()
    ours = [(name, cls) for name, cls in ours if cls.__module__.startswith('sclip_mmseg')]
    return [name for name, cls in ours if not cls.needs_proxy and not cls.sees_whole_image]


@pytest.mark.parametrize('name', _names())
def test_a_method_runs_on_any_prefix(tower, images, name):
    method, view = _method(name).to(images.device), View(images)
    method.check(tower)
    features = method(tower, view, None)
    assert features.shape == (2, *GRID, 32)
    assert features.isfinite().all()
    assert method.attention_map(tower, view, None).shape == (2, *GRID, *GRID)


def test_clip_with_registers_is_the_tower_itself(tower, images):
    expected = tower(images)[:, tower.num_prefix_tokens :].unflatten(1, GRID)
    _close(CLIP()(tower, View(images), None), expected)


def test_registers_get_no_bias(device):
    q, k, v = seeded_images(device, 3, 1, 2, 5 + N, 8)
    tokens = LastTokens(q, k, v, q, GRID)
    bias = NACLIP().bias(tokens)
    assert bias.shape == (5 + N, 5 + N)
    assert bias[:5].abs().sum() == bias[:, :5].abs().sum() == 0
    assert (bias[5:, 5:].diagonal() == 1).all()
    assert tokens.patches_of(v).equal(v[:, :, 5:])
    assert tokens.prefix_of(v).equal(v[:, :, :5])
    assert tokens.map_of(bias).equal(bias[5:, 5:])
