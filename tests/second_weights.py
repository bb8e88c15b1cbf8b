"""Small second towers of seeded weights, in files as their authors publish them."""

import math

import torch

WIDTH, DEPTH, HIDDEN = 128, 2, 256


def draw(shapes):
    """Tensors of these shapes: norms and scales around 1, everything else around 0."""
    generator, state = torch.Generator().manual_seed(0), {}
    for name, shape in shapes.items():
        drawn = torch.randn(*shape, generator=generator)
        fan = math.prod(shape[1:]) if len(shape) > 1 and 'token' not in name else 4
        one = len(shape) == 1 and name.endswith(('weight', 'gamma'))
        state[name] = 1 + 0.1 * drawn if one else drawn * fan**-0.5
    return state


def blocks_of(start, gated=False, scales=False):
    shapes = {}
    for number in range(DEPTH):
        block = start.format(number)
        for norm in ('norm1', 'norm2'):
            shapes.update({f'{block}{norm}.weight': (WIDTH,), f'{block}{norm}.bias': (WIDTH,)})
        for layer, out, into in (
            ('attn.qkv', 3 * WIDTH, WIDTH),
            ('attn.proj', WIDTH, WIDTH),
            *([('mlp.w1', HIDDEN, WIDTH)] if gated else []),
            ('mlp.w2' if gated else 'mlp.fc1', HIDDEN, WIDTH),
            ('mlp.w3' if gated else 'mlp.fc2', WIDTH, HIDDEN),
        ):
            shapes.update({f'{block}{layer}.weight': (out, into), f'{block}{layer}.bias': (out,)})
        if scales:
            shapes.update({f'{block}ls{branch}.gamma': (WIDTH,) for branch in (1, 2)})
    return shapes


def seeded_dinov3(gated=False, hidden_bias=float('nan')):
    """In Meta's layout, whose biases of keys are masked and may have any value."""
    state = draw(
        {
            'cls_token': (1, 1, WIDTH),
            'storage_tokens': (1, 4, WIDTH),
            'patch_embed.proj.weight': (WIDTH, 3, 16, 16),
            'patch_embed.proj.bias': (WIDTH,),
            **blocks_of('blocks.{}.', gated, scales=True),
            'norm.weight': (WIDTH,),
            'norm.bias': (WIDTH,),
        }
    )
    state['mask_token'] = torch.zeros(1, WIDTH)
    state['rope_embed.periods'] = 100 ** (torch.arange(16) / 16)
    for number in range(DEPTH):
        mask = torch.ones(3 * WIDTH)
        mask[WIDTH : 2 * WIDTH] = 0
        state[f'blocks.{number}.attn.qkv.bias_mask'] = mask
        state[f'blocks.{number}.attn.qkv.bias'][WIDTH : 2 * WIDTH] = hidden_bias
    return state


def seeded_radio(norm=False):
    start = 'base_model.'
    state = draw(
        {
            f'{start}patch_generator.pos_embed': (1, 64, WIDTH),
            f'{start}patch_generator.embedder.weight': (WIDTH, 768),
            f'{start}patch_generator.cls_token.token': (8, WIDTH),
            **blocks_of('base_model.blocks.{}.'),
            **({f'{start}norm.weight': (WIDTH,), f'{start}norm.bias': (WIDTH,)} if norm else {}),
        }
    )
    state['input_conditioner.norm_mean'] = torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1)
    state['input_conditioner.norm_std'] = torch.tensor([0.2, 0.25, 0.3]).view(3, 1, 1)
    return state


def seeded_pe(class_token=True):
    names = {
        'norm1': 'ln_1',
        'attn.qkv.': 'attn.in_proj_',
        'attn.proj': 'attn.out_proj',
        'norm2': 'ln_2',
        'mlp.fc1': 'mlp.c_fc',
        'mlp.fc2': 'mlp.c_proj',
    }
    blocks = {}
    for key, shape in blocks_of('transformer.resblocks.{}.').items():
        for ours, theirs in names.items():
            key = key.replace(ours, theirs)
        blocks[key] = shape
    return draw(
        {
            **({'class_embedding': (WIDTH,)} if class_token else {}),
            'positional_embedding': (64 + class_token, WIDTH),
            'conv1.weight': (WIDTH, 3, 14, 14),
            'ln_pre.weight': (WIDTH,),
            'ln_pre.bias': (WIDTH,),
            **blocks,
        }
    )
