"""The CLIP checkpoints of the golden outputs: made from a seed, OpenAI's names, small widths.

All numbers come from NumPy's legacy ``RandomState``, whose stream NumPy keeps for ever: one seed
gives the same weights on every machine. They mean nothing, but make two programs comparable
number by number.
"""

from pathlib import Path

import numpy as np
import torch

SHIFTS = Path(__file__).with_name('shifts_0.npz')
#: Ends of the names of what OpenAI's files hold in float16.
HALF = (
    *('conv1.weight', 'in_proj_weight', 'in_proj_bias', 'out_proj.weight', 'out_proj.bias'),
    *('c_fc.weight', 'c_fc.bias', 'c_proj.weight', 'c_proj.bias', 'text_projection', 'visual.proj'),
)


def seeded_clip(weights, common):
    """State dict of the CLIP of a golden case, by the case's `weights` and `common`.

    Two things are changed in what is drawn, which see: matrices are rounded to float16 and back, as
    OpenAI's are, and the biases of the two last LayerNorms are moved by ``shifts_0.npz``. The image
    tower's shift makes patches differ. The text tower's, times ``1 - common``, centres the
    embeddings of queries; with a larger `common` they have more in common and scores are flatter.
    Each case has the one with which the thresholds of its benchmark decide some of the pixels.
    """
    state = draw_clip()
    for name in state:
        if name.endswith(HALF):
            state[name] = state[name].half().float()
    shifts = np.load(SHIFTS)
    state['visual.ln_post.bias'] += torch.from_numpy(shifts[weights])
    state['ln_final.bias'] += torch.from_numpy(np.float32(1 - common) * shifts['text'])
    return state


def draw_clip(seed=0):
    """State dict of a ViT-B/16 of a sixth of the width, and of its text tower."""
    random = np.random.RandomState(seed)

    def normal(*shape, std):
        return torch.from_numpy((random.standard_normal(shape) * std).astype(np.float32))

    def near_one(size):
        return torch.from_numpy((1.0 + 0.1 * random.standard_normal(size)).astype(np.float32))

    state = {}

    def draw_block(prefix, width):
        state[prefix + 'attn.in_proj_weight'] = normal(3 * width, width, std=1.6 * width**-0.5)
        state[prefix + 'attn.in_proj_bias'] = normal(3 * width, std=0.1)
        state[prefix + 'attn.out_proj.weight'] = normal(width, width, std=0.7 * width**-0.5)
        state[prefix + 'attn.out_proj.bias'] = normal(width, std=0.02)
        state[prefix + 'ln_1.weight'] = near_one(width)
        state[prefix + 'ln_1.bias'] = normal(width, std=0.05)
        state[prefix + 'mlp.c_fc.weight'] = normal(4 * width, width, std=width**-0.5)
        state[prefix + 'mlp.c_fc.bias'] = normal(4 * width, std=0.02)
        state[prefix + 'mlp.c_proj.weight'] = normal(
            width, 4 * width, std=0.7 * (4 * width) ** -0.5
        )
        state[prefix + 'mlp.c_proj.bias'] = normal(width, std=0.02)
        state[prefix + 'ln_2.weight'] = near_one(width)
        state[prefix + 'ln_2.bias'] = normal(width, std=0.05)

    width, text_width, embedding = 128, 64, 64
    state['positional_embedding'] = normal(77, text_width, std=0.3)
    state['text_projection'] = normal(text_width, embedding, std=text_width**-0.5)
    state['logit_scale'] = torch.tensor(np.log(1 / 0.07), dtype=torch.float32)
    state['visual.class_embedding'] = normal(width, std=1.0)
    state['visual.positional_embedding'] = normal(14**2 + 1, width, std=0.5)
    state['visual.proj'] = normal(width, embedding, std=width**-0.5)
    state['visual.conv1.weight'] = normal(width, 3, 16, 16, std=(3 * 16**2) ** -0.5)
    for name in ('ln_pre', 'ln_post'):
        state[f'visual.{name}.weight'] = near_one(width)
        state[f'visual.{name}.bias'] = normal(width, std=0.05)
    for block in range(12):
        draw_block(f'visual.transformer.resblocks.{block}.', width)
    state['token_embedding.weight'] = normal(49408, text_width, std=1.0)
    for block in range(2):
        draw_block(f'transformer.resblocks.{block}.', text_width)
    state['ln_final.weight'] = near_one(text_width)
    state['ln_final.bias'] = normal(text_width, std=0.05)
    return state
