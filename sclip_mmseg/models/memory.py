"""The memory: what unlabelled images of a bank say of an image's regions."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..memory import MemoryCfg, check_makers, describe_makers, find_neighbours, open_bank
from ..old_names import keep_old_names
from ..towers.proxy import ProxyTower, find_proxy
from ..utils.errors import InputError
from ..utils.files import sha256_of
from .encoder import ImageEncoder
from .fusion import RegionCells, WindowMaps
from .image_encoder import CLIPImageEncoder
from .keys import BlockKeys, TowerKeys, as_they_are
from .pixel_features import pool_regions
from .text_head import CLIPTextHead
from .windowed_image import WindowedImage
from .windows import Size

keep_old_names(__name__, pool_picture='pool_image')


class Memory(nn.Module):
    """Gives each region of an image the mean score of its neighbours in a bank.

    The score is added before the map is resized to the file's size; a region without neighbours
    keeps the image's own.

    Args:
        cfg: Which bank, and how it is used.
        encoder_cfg: Config of the image encoder.
        encoder: The image encoder.
        heads: The text head of the encoder's CLIP, and that of the second CLIP where there is one.

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
        self.index = self.bank.index  # a module, which goes where the model goes
        keys = self.bank.made_by.get('keys', {'tower': None})
        if self.bank.made_by:
            keys = {**keys, 'tower': cfg.proxy or _find_tower(keys, proxy)}
            second = {} if cfg.clip else {'second': self.bank.made_by.get('second')}
            found = describe_makers(encoder_cfg, keys['tower'], keys.get('block'), cfg.clip)
            found |= second  # which need not be used
            check_makers(self.bank.made_by, found, cfg.bank)
        self.keys, own = find_keys(encoder, keys)
        self.tower = own  # a module, too, where it is not the encoder's
        if self.index.width != self.keys.width:
            raise InputError(
                f'the keys of {cfg.bank} have {self.index.width} numbers, those of the model '
                f'{self.keys.width}: set model.image_encoder.proxy to the tower that made the bank'
            )
        embeddings = [head.embeddings for head in heads[1:]]
        self.register_buffer('second', torch.cat(embeddings) if embeddings else None, False)

    def encode(self, encoder: ImageEncoder, image: WindowedImage, text: CLIPTextHead) -> WindowMaps:
        """The image's maps with what its regions' neighbours add."""
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
    """The second tower that made keys: the encoder's where it is that, else where the bank says."""
    if 'sha256' not in keys:
        return None
    if proxy is not None and sha256_of(find_proxy(proxy.checkpoint).weights) == keys['sha256']:
        return proxy.checkpoint
    try:
        find_proxy(keys['tower'])
    except InputError as error:
        raise InputError(
            f"the second tower of the bank is not at '{keys['tower']}' any more: set "
            f'model.memory.proxy to its file ({error})'
        ) from error
    return keys['tower']


def find_keys(
    encoder: ImageEncoder, keys: Mapping[str, Any]
) -> tuple[TowerKeys | BlockKeys, ProxyTower | None]:
    """Makes keys.

    Args:
        encoder: The image encoder.
        keys: ``tower``, a second tower's checkpoint, None for the encoder's; or ``block``.

    Returns:
        It, and the tower where it is not the encoder's.

    Raises:
        InputError: If the encoder has none.
    """
    if not isinstance(encoder, CLIPImageEncoder):
        raise InputError('model.memory needs a method that runs on CLIP: trained systems do not')
    if keys.get('block'):
        return BlockKeys(encoder.tower, keys['block']), None
    own = encoder.proxy
    if own is not None and keys['tower'] in (None, own.checkpoint):
        return TowerKeys(own), None
    if keys['tower'] is None:
        raise InputError("the bank's keys are a second tower's: set model.image_encoder.proxy")
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
        keys: What makes keys.
        seen: An image encoder, the image and the text head, for methods that ask for it; and the
            same of a second CLIP where there is one.
        regions: Maps of ids, int64 ``[H, W]``, of which 0 stands for no region.
        size: Height and width of the file, H and W.

    Returns:
        Keys ``[N, C]``, means of the features, of unit length, ``[N, D]``, shares of the image,
        ``[N, 1]``, and means of the second's; the regions of each map in order of their ids.

    Raises:
        InputError: If they are not finite.
    """
    first, *others = [
        partial(encoder.encode_image, image, text, as_they_are) for encoder, image, text in seen
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
