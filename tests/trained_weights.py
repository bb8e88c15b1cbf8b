"""Small seeded checkpoints of trained systems, in the layouts of their published files."""

import torch
from helpers import VOCABULARY, seeded_clip, seeded_dino

WIDTH, TEXT_WIDTH, OUT = 64, 64, 32


def _seeded(shapes, seed):
    """Tensors of the given shapes: norms near one, biases near zero, variance kept by matrices."""
    rng = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, shape in shapes.items():
        values = torch.randn(shape, generator=rng)
        if len(shape) > 1:
            fan_in = 1 if 'token' in name or 'pos' in name else values[0].numel()
            tensors[name] = values * fan_in**-0.5
        else:
            near_one = name.endswith(('weight', 'running_var'))
            tensors[name] = near_one + 0.1 * values.abs()
    return tensors


def _linear(name, rows, columns):
    return {f'{name}.weight': (rows, columns), f'{name}.bias': (rows,)}


def _norm(name, width=WIDTH):
    return {f'{name}.weight': (width,), f'{name}.bias': (width,)}


def _mlp(name, width, hidden, out):
    return {**_linear(f'{name}.fc1', hidden, width), **_linear(f'{name}.fc2', out, hidden)}


def _groupvit_shapes(tokens=(8, 4), groups=(8, 4), depths=(2, 1, 1), hidden=48):
    """Names and shapes of the authors' file."""
    image = 'img_encoder.'
    shapes = {
        'logit_scale': (),
        'multi_label_logit_scale': (),
        f'{image}pos_embed': (1, 196, WIDTH),
        f'{image}patch_embed.proj.weight': (WIDTH, 3, 16, 16),
        f'{image}patch_embed.proj.bias': (WIDTH,),
        **_norm(f'{image}patch_embed.norm'),
        **_norm(f'{image}norm'),
    }
    for s, depth in enumerate(depths):
        stage = f'{image}layers.{s}.'
        for n in range(depth):
            block = f'{stage}blocks.{n}.'
            shapes.update(_norm(f'{block}norm1'))
            shapes.update(_norm(f'{block}norm2'))
            shapes.update(_linear(f'{block}attn.qkv', 3 * WIDTH, WIDTH))
            shapes.update(_linear(f'{block}attn.proj', WIDTH, WIDTH))
            shapes.update(_mlp(f'{block}mlp', WIDTH, 4 * WIDTH, WIDTH))
        if s < len(tokens):
            shapes[f'{stage}group_token'] = (1, tokens[s], WIDTH)
            down = f'{stage}downsample.'
            for name in ('norm_tokens', 'norm_post_tokens', 'norm_x', 'norm_new_x'):
                shapes.update(_norm(down + name))
            shapes.update(_mlp(f'{down}mlp_inter', tokens[s], WIDTH // 2, groups[s]))
            shapes.update(_mlp(f'{down}mlp_channels', WIDTH, 4 * WIDTH, WIDTH))
            for attention in ('pre_assign_attn.attn', 'assign'):
                for name in ('q_proj', 'k_proj', 'v_proj', 'proj'):
                    shapes.update(_linear(f'{down}{attention}.{name}', WIDTH, WIDTH))
            shapes.update(_norm(f'{down}pre_assign_attn.norm2'))
            shapes.update(_norm(f'{down}pre_assign_attn.norm_post'))
            shapes.update(_mlp(f'{down}pre_assign_attn.mlp', WIDTH, 4 * WIDTH, WIDTH))
        if 0 < s < len(tokens):
            shapes.update(_norm(f'{stage}group_projector.0'))
            shapes.update(_mlp(f'{stage}group_projector.1', tokens[s - 1], WIDTH // 2, tokens[s]))
    text = 'text_encoder.'
    shapes[f'{text}positional_embedding'] = (77, TEXT_WIDTH)
    shapes[f'{text}token_embedding.weight'] = (VOCABULARY, TEXT_WIDTH)
    shapes.update(_norm(f'{text}ln_final', TEXT_WIDTH))
    for n in range(2):
        block = f'{text}transformer.resblocks.{n}.'
        shapes[f'{block}attn.in_proj_weight'] = (3 * TEXT_WIDTH, TEXT_WIDTH)
        shapes[f'{block}attn.in_proj_bias'] = (3 * TEXT_WIDTH,)
        shapes.update(_linear(f'{block}attn.out_proj', TEXT_WIDTH, TEXT_WIDTH))
        shapes.update(_norm(f'{block}ln_1', TEXT_WIDTH))
        shapes.update(_norm(f'{block}ln_2', TEXT_WIDTH))
        shapes.update(_linear(f'{block}mlp.c_fc', 4 * TEXT_WIDTH, TEXT_WIDTH))
        shapes.update(_linear(f'{block}mlp.c_proj', TEXT_WIDTH, 4 * TEXT_WIDTH))
    for name, width in (('img_projector', WIDTH), ('text_projector', TEXT_WIDTH)):
        shapes[f'{name}.linear_hidden.0.weight'] = (hidden, width, 1)
        shapes[f'{name}.linear_hidden.0.bias'] = (hidden,)
        for part in ('weight', 'bias', 'running_mean', 'running_var'):
            shapes[f'{name}.linear_hidden.1.{part}'] = (hidden,)
        shapes[f'{name}.linear_hidden.1.num_batches_tracked'] = ()
        shapes[f'{name}.linear_out.weight'] = (OUT, hidden, 1)
        shapes[f'{name}.linear_out.bias'] = (OUT,)
    return shapes


def seeded_groupvit(seed=0):
    tensors = _seeded(_groupvit_shapes(), seed)
    tensors['logit_scale'] = torch.tensor(3.0)
    return tensors


# As transformers converts the released files; in this order.
_HUGGING_FACE = (
    ('img_encoder.pos_embed', 'vision_model.embeddings.position_embeddings'),
    ('img_encoder.patch_embed.proj', 'vision_model.embeddings.patch_embeddings.projection'),
    ('img_encoder.patch_embed.norm', 'vision_model.embeddings.layernorm'),
    ('img_encoder.layers', 'vision_model.encoder.stages'),
    ('img_encoder.norm', 'vision_model.layernorm'),
    ('pre_assign_attn.attn.proj', 'pre_assign_attn.attn.out_proj'),
    ('text_encoder.positional_embedding', 'text_model.embeddings.position_embedding.weight'),
    ('text_encoder.token_embedding', 'text_model.embeddings.token_embedding'),
    ('text_encoder.ln_final', 'text_model.final_layer_norm'),
    ('text_encoder.transformer.resblocks', 'text_model.encoder.layers'),
    ('img_projector.linear_hidden', 'visual_projection'),
    ('img_projector.linear_out', 'visual_projection.3'),
    ('text_projector.linear_hidden', 'text_projection'),
    ('text_projector.linear_out', 'text_projection.3'),
)
_HUGGING_FACE_BLOCK = (
    ('.blocks.', '.layers.'),
    ('.attn.proj', '.self_attn.out_proj'),
    ('.attn.out_proj', '.self_attn.out_proj'),
    ('.norm1', '.layer_norm1'),
    ('.norm2', '.layer_norm2'),
    ('.ln_1', '.layer_norm1'),
    ('.ln_2', '.layer_norm2'),
    ('.mlp.c_fc', '.mlp.fc1'),
    ('.mlp.c_proj', '.mlp.fc2'),
)


def hugging_face(tensors):
    """The same weights as a GroupViTModel of transformers names and cuts them."""
    found = {'text_model.embeddings.position_ids': torch.arange(77)[None]}
    for key, value in tensors.items():
        if key == 'multi_label_logit_scale':
            continue
        name = key
        if '.blocks.' in key or '.resblocks.' in key:
            for old, new in _HUGGING_FACE_BLOCK:
                name = name.replace(old, new)
        for old, new in _HUGGING_FACE:
            name = name.replace(old, new)
        if '_projection.' in name:
            value = value.squeeze(-1) if value.ndim == 3 else value
        if '.attn.qkv.' in name or '.attn.in_proj_' in name:
            stem, part = name.split('.attn.')[0], key.replace('_', '.').rpartition('.')[2]
            for letter, chunk in zip('qkv', value.chunk(3)):
                found[f'{stem}.self_attn.{letter}_proj.{part}'] = chunk.contiguous()
        else:
            found[name] = value.contiguous()
    return found


def seeded_tcl(clip, seed=0):
    """Tensors with the names of the released file, for a CLIP of three blocks."""
    width = len(clip['visual.proj'])
    prefix, net = 'masker.image_encoder.', 'masker.image_encoder.decoder.decoder.net.'
    shapes = {}
    for stage in range(2):
        for conv in ('conv', 'conv2'):
            shapes.update(_norm(f'{net}{stage}.{conv}.norm', width))
            shapes[f'{net}{stage}.{conv}.conv.weight'] = (width, width, 3, 3)
            shapes[f'{net}{stage}.{conv}.conv.bias'] = (width,)
    tensors = _seeded(shapes, seed)
    for stage in range(2):
        for conv in ('conv', 'conv2'):
            tensors[f'{net}{stage}.{conv}.gate.gate'] = torch.tensor(0.5)
    for key, value in clip.items():
        if key.startswith('visual.transformer.resblocks.2.'):
            tensors[f'{prefix}backbone.{key.removeprefix("visual.")}'] = value
    tensors[f'{prefix}decoder.image_proj.proj'] = clip['visual.proj']
    for part in ('weight', 'bias'):
        tensors[f'{prefix}decoder.image_proj.ln.{part}'] = clip[f'visual.ln_post.{part}']
    tensors['masker.sim2mask.w'], tensors['masker.sim2mask.b'] = torch.tensor([10.0, -1.0])
    return tensors


def seeded_head(text_width=32, width=128):
    """A head that maps texts to DINO's patches, with the names of Talk2DINO's files."""
    torch.manual_seed(0)
    return {
        'linear_layer.weight': torch.randn(width, text_width) * text_width**-0.5,
        'linear_layer.bias': torch.zeros(width),
        'hidden_layers.0.weight': torch.randn(width, width) * width**-0.5,
        'hidden_layers.0.bias': torch.zeros(width),
    }


def write_talk2dino(folder):
    """Write a small tower and head; the keys of a config that name them."""
    torch.save(seeded_dino(patch_size=14, registers=4, scale=True), folder / 'dino.pth')
    torch.save(seeded_head(), folder / 'head.pth')
    return {
        'model.image_encoder.tower.checkpoint': str(folder / 'dino.pth'),
        'model.image_encoder.head': str(folder / 'head.pth'),
    }


def write_trained(folder):
    """Write checkpoints; method → its checkpoint, and the options that it needs."""
    clip = seeded_clip()
    torch.save(clip, folder / 'clip.pt')
    torch.save(dict(model=seeded_tcl(clip)), folder / 'tcl.pth')
    torch.save(dict(model=seeded_groupvit()), folder / 'groupvit.pth')
    tcl = str(folder / 'tcl.pth'), {'model.image_encoder.clip': str(folder / 'clip.pt')}
    groupvit = str(folder / 'groupvit.pth'), {}
    talk2dino = str(folder / 'clip.pt'), write_talk2dino(folder)
    return {
        **dict.fromkeys(('tcl', 'tcl-pamr'), tcl),
        **dict.fromkeys(('groupvit', 'groupvit-unified'), groupvit),
        **dict.fromkeys(('talk2dino', 'talk2dino-pamr'), talk2dino),
    }
