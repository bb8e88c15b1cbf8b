#!/usr/bin/env python
"""Measure how often the toy CLIP retrieves a correct caption of a new scene, and vice versa."""

if __name__ == '__main__':  # before all imports, which take seconds
    from sclip_mmseg.utils.interrupt import end_at_once_if_interrupted

    end_at_once_if_interrupted()

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from pictograms import TRAIN_STYLES, VAL_STYLES
from train_toy_clip import MEAN, STD
from training_data import Phase, SceneBatches

from sclip_mmseg.towers import load_image_tower, load_text_tower
from sclip_mmseg.utils.program import as_program

_PHASE = Phase(1, 224, 100, (1, 3), (56, 140), 196, late=0, pooled=0, backgrounds=True)
_BATCHES = 5
_SEED = 2012  # not used in training


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('clip', help='checkpoint')
    parser.add_argument('--pictograms', type=Path, required=True, help='folder of icon sets')
    parser.add_argument('--cache', type=Path, default=Path('work_dirs/toy'))
    return parser.parse_args()


@torch.no_grad()
def retrieve(clip: str, batches: SceneBatches) -> tuple[float, float]:
    """Rank the captions of each batch for its scenes, and the scenes for its captions.

    Returns:
        Recall at 1: share of the scenes whose first caption is true, and of the captions whose
        first scene fits.
    """
    image_tower, text_tower = load_image_tower(clip), load_text_tower(clip)
    mean, std = (torch.tensor(values).view(3, 1, 1) / 255 for values in (MEAN, STD))
    totals = torch.zeros(2)
    for step in range(_BATCHES):
        batch = batches.make(step, _PHASE)
        count = len(batch.images)
        image = image_tower((batch.images - mean) / std)[:, 0]  # the class token
        tokens, stated = batch.tokens[:count], batch.stated[:count]
        text = text_tower(tokens)
        cosines = F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T
        # Captions like 'a pattern' state no facts and do not count as true.
        true = ((~batch.shown).float() @ stated.float().T == 0) & stated.any(1)
        totals[0] += true.gather(1, cosines.argmax(1, keepdim=True)).float().mean()
        totals[1] += true.gather(0, cosines.argmax(0, keepdim=True)).float().mean()
    return tuple((totals / _BATCHES).tolist())


def main() -> None:
    """Print the recall with the styles of training and of validation."""
    args = parse_args()
    for title, styles in (('training styles', TRAIN_STYLES), ('unseen style', VAL_STYLES)):
        batches = SceneBatches(args.pictograms, args.cache, styles, False, _SEED, 'cpu')
        scores = ' '.join(f'{100 * score:.1f}' for score in retrieve(args.clip, batches))
        print(f'{title}: scene → caption, caption → scene R@1 {scores} %')


if __name__ == '__main__':
    with as_program():
        main()
