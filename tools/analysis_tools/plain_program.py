"""The published procedure, step by step, following the papers of SCLIP and PAMR."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.config import Config
from torch import Tensor, nn

from sclip_mmseg.models.text_embeddings import tokenize
from sclip_mmseg.models.windows import window_grid


def plain_csa(visual: nn.Module, crop: Tensor) -> Tensor:
    """SCLIP's L2-normalised patch features ``[h, w, D]`` of a crop ``[1, 3, H, W]``."""
    x = visual.conv1(crop)
    grid = x.shape[-2:]
    x = torch.cat([visual.class_embedding[None, None], x.flatten(2).transpose(1, 2)], 1)
    x = visual.ln_pre(x + visual.positional_embedding).transpose(0, 1)  # only for crops of 224
    *blocks, last = visual.transformer.resblocks
    for block in blocks:
        x = block(x)
    attn, x = last.attn, x.transpose(0, 1)
    qkv = F.linear(last.ln_1(x), attn.in_proj_weight, attn.in_proj_bias)
    q, k, v = (
        part.unflatten(-1, (attn.num_heads, -1)).transpose(1, 2) for part in qkv.chunk(3, -1)
    )
    scale = q.shape[-1] ** -0.5
    weights = sum((scale * a @ a.transpose(-1, -2)).softmax(-1) for a in (q, k))
    x = x + attn.out_proj((weights @ v).transpose(1, 2).flatten(2))
    x = x + last.mlp(last.ln_2(x))
    features = visual.ln_post(x) @ visual.proj
    return F.normalize(features[0, 1:].float(), dim=-1).unflatten(0, grid)


def plain_pamr(query_map: Tensor, image: Tensor, steps: int, dilations=(8, 16)) -> Tensor:
    """PAMR of a map ``[Q, H, W]`` with a guide ``[3, H, W]``, all neighbours in one tensor."""

    def around(x: Tensor, centre: bool) -> Tensor:
        height, width = x.shape[-2:]
        padded = F.pad(x[None], [max(dilations)] * 4, mode='replicate')[0]
        shifts = [
            (max(dilations) + y * d, max(dilations) + x * d)
            for d in dilations
            for y in (-1, 0, 1)
            for x in (-1, 0, 1)
            if centre or (y, x) != (0, 0)
        ]
        return torch.stack([padded[:, y : y + height, x : x + width] for y, x in shifts], 1)

    sigma = around(image, True).std(1, keepdim=True)
    distance = (around(image, False) - image[:, None]).abs() / (1e-8 + 0.1 * sigma)
    affinity = (-distance.mean(0)).softmax(0)
    for _ in range(steps):
        query_map = (around(query_map, False) * affinity).sum(1)
    return query_map


def plain_segment(
    visual: nn.Module,
    text: Tensor,
    class_ids: Sequence[int],
    image: Tensor,
    size: tuple[int, int],
    cfg: Config,
) -> tuple[Tensor, Tensor]:
    """Class scores ``[K, H, W]`` and classes ``[H, W]`` of a normalised image ``[3, h, w]``."""
    height, width = image.shape[-2:]
    total = image.new_zeros(len(text), height, width, dtype=torch.float32)
    count = image.new_zeros(height, width, dtype=torch.float32)
    test_cfg = cfg.model.test_cfg
    for top, left, bottom, right in window_grid(
        (height, width), test_cfg.crop_size, test_cfg.stride
    ):
        features = plain_csa(visual, image[None, :, top:bottom, left:right])
        cosines = (features @ text.T).permute(2, 0, 1)[None]
        fine = F.interpolate(cosines, (bottom - top, right - left), mode='bilinear')[0]
        total += F.pad(fine, (left, width - right, top, height - bottom))
        count[top:bottom, left:right] += 1
    query_map = F.interpolate((total / count)[None], size, mode='bilinear')[0]
    if cfg.model.get('refine'):
        guide = F.interpolate(image[None].float(), size, mode='bilinear')[0]
        query_map = plain_pamr(query_map, guide, cfg.model.refine.num_steps)
    scores = (query_map * test_cfg.logit_scale).softmax(0)
    if max(class_ids) + 1 < len(class_ids):  # synonyms
        ids = torch.tensor(class_ids, device=scores.device)
        scores = (F.one_hot(ids).T[:, :, None, None] * scores).amax(1)
    best, classes = scores.max(0)
    return scores, classes.masked_fill(best < test_cfg.get('prob_thd', 0), 0)


def plain_text(clip: nn.Module, queries: Sequence[str], templates: Sequence[str]) -> Tensor:
    """Embeddings ``[Q, D]`` of queries by openai-clip, one by one, with prompts of 77 tokens."""
    rows = []
    for query in queries:
        tokens = tokenize([template.format(query) for template in templates], 77)
        padded = torch.tensor([ids + [0] * (77 - len(ids)) for ids in tokens])
        device = clip.text_projection.device
        embeddings = F.normalize(clip.encode_text(padded.to(device)), dim=-1)
        rows.append(F.normalize(embeddings.mean(0), dim=-1))
    return torch.stack(rows)
