#!/usr/bin/env python
"""Train the toy CLIP from scratch on captioned scenes of pictograms; see data/toy/README.md."""

if __name__ == '__main__':  # before all imports, which take seconds
    from sclip_mmseg.utils.interrupt import end_at_once_if_interrupted

    end_at_once_if_interrupted()

import argparse
import math
from collections.abc import Iterable
from pathlib import Path

import torch
import torch.nn.functional as F
from pictograms import TRAIN_STYLES
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm
from training_data import Batch, Phase, SceneBatches

from sclip_mmseg.utils.compat import openai_clip
from sclip_mmseg.utils.program import as_program

MEAN, STD = (122.771, 116.746, 104.094), (68.501, 66.632, 70.323)
PHASES = (
    Phase(2500, 64, 192, (1, 1), (50, 110), 16, late=0.75, pooled=0.5),
    Phase(2500, 96, 128, (1, 2), (50, 120), 36, late=0.75, pooled=0.5),
    Phase(1400, 160, 48, (2, 4), (52, 130), 100, late=0.75, pooled=0.5, backgrounds=True),
    Phase(1750, 224, 48, (3, 6), (56, 140), 98, late=0.75, pooled=0.5, backgrounds=True),
)
DECAY = 0.35  # final share of the steps, in which the learning rate falls to zero


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('out', type=Path, help='output .safetensors file')
    parser.add_argument('--pictograms', type=Path, required=True, help='folder of icon sets')
    parser.add_argument('--cache', type=Path, default=Path('work_dirs/toy'))
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--lr', type=float, default=2e-3, help='of blocks; half of it elsewhere')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--width', type=int, default=256)
    parser.add_argument('--layers', type=int, default=8)
    parser.add_argument('--scale', type=float, default=1.0, help='multiplies the number of steps')
    parser.add_argument('--init', type=Path, help='.safetensors file to start from')
    parser.add_argument('--resume', action='store_true', help='resume from OUT.resume.pt')
    return parser.parse_args()


def build_clip(width: int, layers: int) -> nn.Module:
    """Build openai-clip's CLIP, with an image tower whose tokens initially attend to similar ones.

    Applies to all blocks except the last, see :func:`init_attention`; positions are sinusoids.
    """
    model = openai_clip('model').CLIP(
        embed_dim=128,
        image_resolution=224,
        vision_layers=layers,
        vision_width=width,
        vision_patch_size=16,
        context_length=77,
        vocab_size=49408,
        transformer_width=64,
        transformer_heads=1,
        transformer_layers=3,
    )
    *blocks, last = model.visual.transformer.resblocks
    for block in blocks:
        init_attention(block.attn)
    nn.init.normal_(last.attn.in_proj_weight, std=width**-0.5)
    side = 224 // 16
    with torch.no_grad():
        model.visual.positional_embedding[1:] = 0.5 * sinusoids(side, width)
    return model


def init_attention(attention: nn.MultiheadAttention) -> None:
    """Initialise attention to similar tokens, which a ViT learns slowly from few images.

    W_q^T W_k of each head is close to the identity, and W_o W_v close to its negative, plus noise
    ("Mimetic Initialization of Self-Attention Layers", ICML 2023, section 4).
    """
    width = attention.embed_dim
    noise = torch.randn(attention.num_heads + 1, width, width) * width**-0.5
    size = attention.head_dim
    u, s, vh = torch.linalg.svd(0.7 * (noise[:-1] + torch.eye(width)))
    root = s[:, :size, None].sqrt()
    query, key = u[..., :size].transpose(1, 2) * root, vh[:, :size] * root
    u, s, vh = torch.linalg.svd(0.4 * (noise[-1] - torch.eye(width)))
    with torch.no_grad():
        value = vh * s[:, None].sqrt()
        attention.in_proj_weight.copy_(torch.cat([query.flatten(0, 1), key.flatten(0, 1), value]))
        attention.out_proj.weight.copy_(u * s.sqrt())


def sinusoids(side: int, width: int) -> Tensor:
    """Sines and cosines of rows and columns, ``[side², width]``."""
    frequencies = 100.0 ** -(torch.arange(width // 4) * 4 / width)
    waves = torch.arange(side)[:, None] * frequencies
    waves = torch.cat([waves.sin(), waves.cos()], dim=1)
    rows = waves[:, None].expand(-1, side, -1)
    columns = waves[None].expand(side, -1, -1)
    return torch.cat([columns, rows], dim=2).flatten(0, 1)


def encode_image(visual: nn.Module, images: Tensor, phase: Phase) -> Tensor:
    """Embed images from a random subset of their patches.

    The embedding is CLIP's class token or, with probability ``phase.pooled``, the mean of the
    patches after a last block without attention, which aligns the values of patches with text. The
    values are used alone or are added to the patches of another image before the MLP, so that the
    content comes from the values rather than the residual. With probability ``phase.late``, the
    class token attends to the patches only in the last block.

    Args:
        visual: openai-clip's ``VisionTransformer``.
        images: Images ``[B, 3, H, W]``; smaller images have a random position on the tower's grid.
        phase: Probabilities, and the number of patches kept.
    """
    x = visual.conv1(images)
    rows, columns = x.shape[-2:]
    side = visual.input_resolution // 16
    top, left = (int(torch.randint(side - n + 1, ())) for n in (rows, columns))
    positions = visual.positional_embedding[1:].unflatten(0, (side, side))
    positions = positions[top : top + rows, left : left + columns].flatten(0, 1)
    x = x.flatten(2).transpose(1, 2) + positions
    if phase.keep < x.shape[1]:
        chosen = torch.rand(x.shape[:2], device=x.device).argsort(1)[:, : phase.keep]
        x = x.gather(1, chosen[..., None].expand(-1, -1, x.shape[2]))
    start = visual.class_embedding + visual.positional_embedding[0]
    x = torch.cat([start.expand(len(x), 1, -1), x], dim=1)
    choice, late = float(torch.rand(())), float(torch.rand(())) < phase.late
    mask = None
    if late:
        mask = x.new_zeros(x.shape[1], x.shape[1])
        mask[0, 1:] = -torch.inf
    *blocks, last = visual.transformer.resblocks
    x = run_blocks(blocks, visual.ln_pre(x), mask)
    if choice < phase.pooled:
        weight, bias = (
            tensor.chunk(3)[2] for tensor in (last.attn.in_proj_weight, last.attn.in_proj_bias)
        )
        values = last.attn.out_proj(F.linear(last.ln_1(x), weight, bias))
        x = values if choice < phase.pooled / 2 else run_mlp(last, x.roll(1, 0) + values)
        x = visual.ln_post(x)[:, 1:].mean(1)
    else:
        x = visual.ln_post(run_blocks([last], x, None)[:, 0])
    return x @ visual.proj


def encode_text(model: nn.Module, tokens: Tensor) -> Tensor:
    """Embed captions ``[B, L]`` by their last token, like openai-clip."""
    length = tokens.shape[1]
    x = model.token_embedding(tokens) + model.positional_embedding[:length]
    mask = torch.full((length, length), -torch.inf, device=x.device).triu(1)
    x = run_blocks(model.transformer.resblocks, x, mask)
    x = model.ln_final(x[torch.arange(len(x), device=x.device), tokens.argmax(1)])
    return x @ model.text_projection


def run_blocks(blocks: Iterable[nn.Module], x: Tensor, mask: Tensor | None) -> Tensor:
    """Run residual attention blocks on ``[B, L, width]``.

    Uses plain matrix products: with so few tokens, the backward pass of
    ``scaled_dot_product_attention`` takes 40 % of a step on a CPU.
    """
    for block in blocks:
        own = block.attn
        qkv = F.linear(_norm(block.ln_1, x), own.in_proj_weight, own.in_proj_bias)
        q, k, v = qkv.unflatten(-1, (3, own.num_heads, -1)).permute(2, 0, 3, 1, 4)
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
        if mask is not None:
            scores = scores + mask.to(scores.dtype)
        mixed = scores.softmax(-1).to(v.dtype) @ v
        x = run_mlp(block, x + own.out_proj(mixed.transpose(1, 2).flatten(2)))
    return x


def run_mlp(block: nn.Module, x: Tensor) -> Tensor:
    """Run the second half of a residual attention block."""
    # F.silu(1.702 x) / 1.702 is QuickGELU in one pass.
    hidden = F.silu(1.702 * block.mlp.c_fc(_norm(block.ln_2, x))) / 1.702
    return x + block.mlp.c_proj(hidden)


def _norm(norm: nn.LayerNorm, x: Tensor) -> Tensor:
    return F.layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps)


def contrastive_loss(
    image: Tensor, text: Tensor, scale: Tensor, shown: Tensor, stated: Tensor
) -> Tensor:
    """CLIP's loss, with every caption that is true of an image as a match.

    Args:
        image: Image embeddings ``[B, D]``.
        text: Embeddings ``[B + E, D]`` of the images' captions and E other texts.
        scale: Factor on the cosines.
        shown: Facts shown in the images, bool ``[B, F]``.
        stated: Facts stated by the texts, bool ``[B + E, F]``.
    """
    image, text = F.normalize(image.float(), dim=-1), F.normalize(text.float(), dim=-1)
    logits = scale * image @ text.T
    wrong = (~shown).float() @ stated.float().T
    matches = (wrong == 0) & stated.any(1)
    matches = (matches | torch.eye(*matches.shape, dtype=torch.bool, device=image.device)).float()
    loss = 0
    for scores, targets in ((logits, matches), (logits.T, matches.T)):
        matched = targets.any(1)
        targets = targets[matched] / targets[matched].sum(1, keepdim=True)
        loss = loss - (targets * scores[matched].log_softmax(1)).sum(1).mean() / 2
    return loss


def make_optimizers(model: nn.Module, lr: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of blocks, AdamW without weight decay for all other parameters."""
    matrices = [p for name, p in model.named_parameters() if 'resblocks' in name and p.ndim == 2]
    ids = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in ids]
    return [
        torch.optim.Muon(matrices, lr=lr, weight_decay=0.05, adjust_lr_fn='match_rms_adamw'),
        torch.optim.AdamW(others, lr=lr / 2, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
    ]


def learning_rate(step: int, total: int) -> float:
    """Factor of the learning rate: linear warm-up over 200 steps, constant, linear decay to 0."""
    return min((step + 1) / 200, 1, (total - step) / (DECAY * total))


def train_step(model: nn.Module, batch: Batch, phase: Phase) -> tuple[Tensor, float]:
    """Loss of a batch, and the share of its images whose best text is true."""
    mean, std = (
        torch.tensor(v, device=batch.images.device).view(3, 1, 1) / 255 for v in (MEAN, STD)
    )
    with torch.autocast(batch.images.device.type, dtype=torch.bfloat16):
        image = encode_image(model.visual, (batch.images - mean) / std, phase)
        text = encode_text(model, batch.tokens)
    scale = model.logit_scale.clamp(max=math.log(50)).exp()
    loss = contrastive_loss(image, text, scale, batch.shown, batch.stated)
    best = (F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T).argmax(1)
    right = ((batch.stated[best] & ~batch.shown).sum(1) == 0).float().mean()
    return loss, float(right)


def save(model: nn.Module, path: Path) -> None:
    """Write the weights in float16, in OpenAI's layout."""
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = {key: value.detach().cpu().half() for key, value in model.state_dict().items()}
    save_file(weights, path)


def main() -> None:
    """Train phase by phase, saving every 200 steps."""
    args = parse_args()
    torch.manual_seed(args.seed)
    phases = [p._replace(steps=max(round(p.steps * args.scale), 1)) for p in PHASES]
    schedule = [phase for phase in phases for _ in range(phase.steps)]
    model = build_clip(args.width, args.layers).to(args.device)
    if args.init:
        model.load_state_dict(load_file(args.init))
    optimizers = make_optimizers(model, args.lr)
    peaks = [optimizer.param_groups[0]['lr'] for optimizer in optimizers]
    state_path, done = args.out.with_suffix('.resume.pt'), 0
    if args.resume and state_path.is_file():
        state = torch.load(state_path, map_location=args.device, weights_only=True)
        model.load_state_dict(state['model'])
        for optimizer, content in zip(optimizers, state['optimizers']):
            optimizer.load_state_dict(content)
        done = state['step']
    batches = SceneBatches(args.pictograms, args.cache, TRAIN_STYLES, True, args.seed, args.device)
    right = 0.0
    bar = tqdm(range(done, len(schedule)), initial=done, total=len(schedule), mininterval=2)
    for step in bar:
        for optimizer, peak in zip(optimizers, peaks):
            optimizer.param_groups[0]['lr'] = peak * learning_rate(step, len(schedule))
            optimizer.zero_grad()
        batch = batches.make(step, schedule[step])
        loss, accuracy = train_step(model, batch, schedule[step])
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
        right += 0.02 * (accuracy - right)
        bar.set_postfix(loss=f'{loss.item():.3f}', right=f'{right:.3f}', refresh=False)
        if (step + 1) % 200 == 0 or step + 1 == len(schedule):
            save(model, args.out)
            state = dict(model=model.state_dict(), step=step + 1)
            state['optimizers'] = [optimizer.state_dict() for optimizer in optimizers]
            torch.save(state, state_path)


if __name__ == '__main__':
    with as_program():
        main()
