#!/usr/bin/env python
"""Train the small CLIP from scratch on captioned scenes of pictograms; see data/toy/README.md."""

import argparse
import math
import os
from pathlib import Path
from typing import Iterable, Optional, Tuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from pictograms import TRAIN_STYLES
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm
from training_data import Phase, SceneBatches

from sclip_mmseg.compat import openai_clip

MEAN, STD = (122.771, 116.746, 104.094), (68.501, 66.632, 70.323)
EASY = Phase(112, 49, 64, 400, 1, (70, 130), 0.7, 0.0, 0.0, strong=False, backgrounds=False)
PHASES = (
    EASY,
    EASY._replace(steps=800, late=0.75),
    Phase(112, 49, 64, 300, 2, (70, 150)),
    Phase(112, 49, 64, 1450, 2, (70, 150), 0.75, pooled=0.75, strong=False),
    Phase(224, 98, 64, 100, 4, (75, 190), 0.75, pooled=0.75, strong=False),
)


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('out', type=Path, help='.safetensors file to write')
    parser.add_argument('--pictograms', type=Path, required=True, help='folder of icon sets')
    parser.add_argument('--cache', type=Path, default=Path('work_dirs/toy'))
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--workers', type=int, default=1, help='processes that render scenes')
    parser.add_argument('--lr', type=float, default=6e-4)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--width', type=int, default=128)
    parser.add_argument('--layers', type=int, default=6)
    parser.add_argument('--scale', type=float, default=1.0, help='multiplies the number of steps')
    parser.add_argument('--resume', action='store_true', help='go on from OUT.resume.pt')
    return parser.parse_args()


def build_clip(width: int, layers: int) -> nn.Module:
    """Build openai-clip's CLIP, its image tower initialised as its text tower is."""
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
    std = width**-0.5
    for block in model.visual.transformer.resblocks:
        nn.init.normal_(block.attn.in_proj_weight, std=std)
        nn.init.normal_(block.attn.out_proj.weight, std=std * (2 * layers) ** -0.5)
        nn.init.normal_(block.mlp.c_fc.weight, std=(2 * width) ** -0.5)
        nn.init.normal_(block.mlp.c_proj.weight, std=std * (2 * layers) ** -0.5)
    return model


def encode_image(visual: nn.Module, images: Tensor, phase: Phase) -> Tensor:
    """Embed pictures, seeing a random part of their patches.

    By the class token as CLIP does, or in a share ``phase.pooled`` of the calls by the mean of the
    patches after a last block without attention, which aligns the patches' values with texts. In a
    share ``phase.late`` the class token sees the patches in the last block only.

    Args:
        visual: openai-clip's ``VisionTransformer``.
        images: ``[B, 3, H, W]``; smaller ones than the tower's lie anywhere on its grid.
        phase: Shares, and the number of patches seen.
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
    pooled, late = (float(torch.rand(())) < share for share in (phase.pooled, phase.late))
    mask = None
    if late:
        mask = x.new_zeros(x.shape[1], x.shape[1])
        mask[0, 1:] = -torch.inf
    *blocks, last = visual.transformer.resblocks
    x = run_blocks(blocks, visual.ln_pre(x), mask)
    if pooled:
        weight, bias = (
            tensor.chunk(3)[2] for tensor in (last.attn.in_proj_weight, last.attn.in_proj_bias)
        )
        x = x + last.attn.out_proj(F.linear(last.ln_1(x), weight, bias))
        x = visual.ln_post(x + last.mlp(last.ln_2(x)))[:, 1:].mean(1)
    else:
        x = visual.ln_post(run_blocks([last], x, None)[:, 0])
    return x @ visual.proj


def encode_text(model: nn.Module, tokens: Tensor) -> Tensor:
    """Embed captions ``[B, L]`` by their last token, as openai-clip does."""
    length = tokens.shape[1]
    x = model.token_embedding(tokens) + model.positional_embedding[:length]
    mask = torch.full((length, length), -torch.inf, device=x.device).triu(1)
    x = run_blocks(model.transformer.resblocks, x, mask)
    x = model.ln_final(x[torch.arange(len(x), device=x.device), tokens.argmax(1)])
    return x @ model.text_projection


def run_blocks(blocks: Iterable[nn.Module], x: Tensor, mask: Optional[Tensor]) -> Tensor:
    """Run residual attention blocks on ``[B, L, width]``; batch first, which is faster."""
    for block in blocks:
        own = block.attn
        qkv = F.linear(block.ln_1(x), own.in_proj_weight, own.in_proj_bias)
        q, k, v = qkv.unflatten(-1, (3, own.num_heads, -1)).permute(2, 0, 3, 1, 4)
        if mask is not None:
            mask = mask.to(q.dtype)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = x + own.out_proj(mixed.transpose(1, 2).flatten(2))
        x = x + block.mlp(block.ln_2(x))
    return x


def contrastive_loss(
    image: Tensor, text: Tensor, scale: Tensor, shown: Tensor, stated: Tensor
) -> Tensor:
    """CLIP's loss, where every caption that is true of a picture is a match.

    Args:
        image: Embeddings ``[B, D]``.
        text: Embeddings ``[B + E, D]`` of the pictures' captions and of E other texts.
        scale: Factor of the cosines.
        shown: Facts of the pictures, bool ``[B, F]``.
        stated: Facts that the texts state, bool ``[B + E, F]``.
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


def make_optimizer(model: nn.Module, lr: float) -> torch.optim.Optimizer:
    """AdamW; weight decay on the matrices of blocks only."""
    decayed = [p for name, p in model.named_parameters() if 'resblocks' in name and p.ndim == 2]
    ids = {id(p) for p in decayed}
    others = [p for p in model.parameters() if id(p) not in ids]
    groups = [dict(params=decayed, weight_decay=0.05), dict(params=others, weight_decay=0.0)]
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98), eps=1e-6, fused=True)


def learning_rate(step: int, total: int, peak: float) -> float:
    """Linear warm-up over 200 steps, then a cosine down to a hundredth."""
    cosine = 0.5 * (1 + math.cos(math.pi * min(step / total, 1)))
    return peak * min((step + 1) / 200, 1) * (0.01 + 0.99 * cosine)


def train_step(model: nn.Module, batch: Tuple[Tensor, ...], phase: Phase) -> Tuple[Tensor, float]:
    """Loss of a batch, and the part of its pictures whose best caption is true."""
    images, tokens, shown, stated = batch
    device = model.visual.proj.device
    mean, std = (torch.tensor(v, device=device).view(3, 1, 1) for v in (MEAN, STD))
    images = (images.to(device).permute(0, 3, 1, 2).float() - mean) / std
    with torch.autocast(device.type, dtype=torch.bfloat16):
        image = encode_image(model.visual, images, phase)
        text = encode_text(model, tokens.to(device))
    shown, stated = shown.to(device), stated.to(device)
    scale = model.logit_scale.clamp(max=math.log(50)).exp()
    loss = contrastive_loss(image, text, scale, shown, stated)
    best = (F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T).argmax(1)
    right = ((stated[best] & ~shown).sum(1) == 0).float().mean()
    return loss, float(right)


def save(model: nn.Module, path: Path) -> None:
    """Write the weights in float16, in OpenAI's layout."""
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = {key: value.detach().cpu().half() for key, value in model.state_dict().items()}
    save_file(weights, path)


def average_gradients(model: nn.Module) -> None:
    """Average gradients over the processes."""
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    flat = torch.cat([grad.flatten() for grad in grads])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for grad, mean in zip(grads, flat.split([grad.numel() for grad in grads])):
        grad.copy_(mean.view_as(grad))


def main() -> None:
    """Train phase by phase, saving every 200 steps."""
    args = parse_args()
    rank, parallel = int(os.environ.get('RANK', 0)), 'RANK' in os.environ
    if parallel:
        dist.init_process_group('gloo')
    torch.manual_seed(args.seed)
    phases = [p._replace(steps=max(round(p.steps * args.scale), 1)) for p in PHASES]
    total = sum(phase.steps for phase in phases)
    model = build_clip(args.width, args.layers).to(args.device)
    optimizer = make_optimizer(model, args.lr)
    state_path, done = args.out.with_suffix('.resume.pt'), 0
    if args.resume and state_path.is_file():
        state = torch.load(state_path, map_location=args.device, weights_only=True)
        model.load_state_dict(state['model'])
        optimizer.load_state_dict(state['optimizer'])
        done = state['step']
    bar = tqdm(total=total, initial=done, unit='step', disable=rank > 0, mininterval=2)
    first = 0
    for phase in phases:
        start, first = max(first, done), first + phase.steps
        if start >= first:
            continue
        seed = args.seed, rank
        batches = SceneBatches(args.pictograms, args.cache, TRAIN_STYLES, phase, seed, start)
        loader = DataLoader(batches, batch_size=None, num_workers=args.workers, prefetch_factor=4)
        right = 0.0
        for step, batch in zip(range(start, first), loader):
            for group in optimizer.param_groups:
                group['lr'] = learning_rate(step, total, args.lr)
            torch.manual_seed(args.seed * 1_000_003 + 2 * step + rank)
            loss, accuracy = train_step(model, batch, phase)
            optimizer.zero_grad()
            loss.backward()
            if parallel:
                average_gradients(model)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            right += 0.02 * (accuracy - right)
            bar.update()
            bar.set_postfix(crop=phase.crop, loss=f'{loss:.3f}', right=f'{right:.3f}')
            if rank == 0 and ((step + 1) % 200 == 0 or step + 1 == total):
                save(model, args.out)
                state = dict(
                    model=model.state_dict(), optimizer=optimizer.state_dict(), step=step + 1
                )
                torch.save(state, state_path)


if __name__ == '__main__':
    main()
