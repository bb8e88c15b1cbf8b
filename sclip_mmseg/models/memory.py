"""Scores for an image's regions from a memory bank of unlabelled images."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor, nn

from ..memory import MemoryCfg, check_models, describe_models, find_neighbours, open_bank
from ..old_names import keep_old_names
from ..registry import find_type
from ..towers.proxy import ProxyTower, find_proxy
from ..utils.errors import InputError
from ..utils.files import sha256_of
from .encoder import ImageEncoder
from .fusion import RegionCells, WindowMaps
from .image_encoder import CLIPImageEncoder
from .keys import BlockKeys, TowerKeys, features_as_maps
from .pixel_features import pool_regions
from .text_head import CLIPTextHead
from .windowed_image import WindowedImage
from .windows import Size

keep_old_names(__name__, pool_picture='pool_image')


class Memory(nn.Module):
    """Gives each region of an image the mean score of its neighbours in a bank.

    The scores are mixed with the image's own before the map is resized to the size of the file. A
    region without neighbours keeps the image's own scores.

    Args:
        cfg: The bank, and how it is used.
        encoder_cfg: Config of the image encoder.
        encoder: The image encoder.
        heads: Text head of the encoder's CLIP, then that of a second CLIP if there is one.

    Raises:
        InputError: If the bank does not fit the encoder.
    """

    second: Tensor

    def __init__(
        self,
        cfg: MemoryCfg,
        encoder_cfg: Mapping[str, Any],
        encoder: ImageEncoder,
        heads: list[CLIPTextHead],
    ):
        super().__init__()
        self.cfg = cfg
        proxy = getattr(encoder, 'proxy', None)
        dims = [head.embeddings.shape[1] for head in heads]
        self.bank = open_bank(cfg, dims, proxy.family if proxy else '')
        self.index = self.bank.index  # a submodule, so that it moves with the model
        keys = self.bank.made_by.get('keys', {'tower': None})
        if self.bank.made_by:
            keys = {**keys, 'tower': cfg.proxy or _find_tower(keys, proxy)}
            second = {} if cfg.clip else {'second': self.bank.made_by.get('second')}
            found = describe_models(encoder_cfg, keys['tower'], keys.get('block'), cfg.clip)
            found |= second  # the bank's second CLIP may be left unused
            check_models(self.bank.made_by, found, cfg.bank)
        self.keys, own = find_keys(encoder, keys)
        self.tower = own  # a submodule, unless it is the encoder's
        if self.index.width != self.keys.width:
            raise InputError(
                f'the keys of {cfg.bank} have {self.index.width} dimensions, those of the model '
                f'{self.keys.width}: set model.image_encoder.proxy to the tower that made the bank'
            )
        embeddings = [head.embeddings for head in heads[1:]]
        self.register_buffer('second', torch.cat(embeddings) if embeddings else None, False)

    def encode(self, encoder: ImageEncoder, image: WindowedImage, text: CLIPTextHead) -> WindowMaps:
        """Return the image's maps, with the scores of its regions' neighbours."""
        maps, coarse = self.keys.read(image, lambda: encoder.encode_image(image, text))
        ranks = image.regions
        queries = F.normalize(self.keys.pool(coarse, ranks), dim=-1)
        texts = [text.embeddings, *([] if self.second is None else [self.second])]
        chosen = self.cfg.neighbours, self.cfg.centred
        scores = find_neighbours(self.bank, queries, texts, *chosen)
        weight = self.cfg.weight * scores.isfinite().all(1, keepdim=True)
        added = torch.where(weight > 0, scores * weight, 0)
        maps.support = RegionCells(ranks, torch.cat([added, weight], 1))
        return maps


def _find_tower(keys: Mapping[str, Any], proxy: ProxyTower | None) -> str | None:
    """Return the tower that made the keys: the encoder's if it is that one, else the bank's."""
    if 'sha256' not in keys:
        return None
    if proxy is not None and sha256_of(find_proxy(proxy.checkpoint).weights) == keys['sha256']:
        return proxy.checkpoint
    try:
        find_proxy(keys['tower'])
    except InputError as error:
        raise InputError(
            f"the second tower of the bank is no longer at '{keys['tower']}': set "
            f'model.memory.proxy to its file ({error})'
        ) from error
    return keys['tower']


def check_encoder(encoder_cfg: Mapping[str, Any]) -> None:
    """Check that an image encoder runs on CLIP, before its weights are read.

    Args:
        encoder_cfg: Config of the image encoder.

    Raises:
        InputError: If it does not.
    """
    kind = find_type(MODELS, encoder_cfg['type'])
    if kind is not None and not issubclass(kind, CLIPImageEncoder):
        raise _not_on_clip()


def _not_on_clip() -> InputError:
    return InputError(
        'model.memory (--bank) needs a method that runs on CLIP, not a trained system: leave it out'
    )


def find_keys(
    encoder: ImageEncoder, keys: Mapping[str, Any]
) -> tuple[TowerKeys | BlockKeys, ProxyTower | None]:
    """Find what makes the keys.

    Args:
        encoder: The image encoder.
        keys: ``tower``, checkpoint of a second tower, None for the encoder's; or ``block``.

    Returns:
        The maker of keys, and its tower if that is not the encoder's.

    Raises:
        InputError: If the encoder has no such tower or block.
    """
    if not isinstance(encoder, CLIPImageEncoder):
        raise _not_on_clip()
    if keys.get('block'):
        return BlockKeys(encoder.tower, keys['block']), None
    own = encoder.proxy
    if own is not None and keys['tower'] in (None, own.checkpoint):
        return TowerKeys(own), None
    if keys['tower'] is None:
        raise InputError('the keys come from a second tower: set model.image_encoder.proxy')
    other = ProxyTower(keys['tower']).to(encoder.tower.device)
    return TowerKeys(other), other


def pool_image(
    keys: TowerKeys | BlockKeys,
    seen: Sequence[tuple[CLIPImageEncoder, WindowedImage, CLIPTextHead]],
    regions: list[Tensor],
    size: Size,
) -> list[Tensor]:
    """Pool the regions of an image for a bank.

    Args:
        keys: The maker of keys.
        seen: The image encoder, the image with its windows and the text head; then the same for a
            second CLIP if there is one.
        regions: Maps of ids, int64 ``[H, W]``; 0 is not a region.
        size: Height and width of the file, H and W.

    Returns:
        For each of N regions, map by map in order of ids: keys ``[N, C]``, normalised mean features
        ``[N, D]``, shares of the image's area ``[N, 1]``, and mean features of the second CLIP.

    Raises:
        InputError: If features are not finite.
    """
    first, *others = [
        partial(encoder.encode_image, image, text, features_as_maps)
        for encoder, image, text in seen
    ]
    image = seen[0][1]
    maps, coarse = keys.read(image, first)
    features = [each.fuse(size) for each in (maps, *(encode() for encode in others))]
    parts = []
    for ids in regions:
        present, ranks, pixels = ids.unique(return_inverse=True, return_counts=True)
        values, *more = (F.normalize(pool_regions(each, ranks), dim=-1) for each in features)
        found = keys.pool(coarse, ranks), values, pixels[:, None] / ids.numel(), *more
        parts.append([each[present != 0] for each in found])
    rows = [torch.cat(each) for each in zip(*parts)]
    if not all(each.isfinite().all() for each in rows):
        raise InputError(f'the features of {image.file.path} are not finite')
    return rows
