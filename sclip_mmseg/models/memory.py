"""The memory: what unlabelled pictures of a bank say of a picture's regions."""

import torch
from torch import Tensor, nn

from ..memory import MemoryCfg, find_neighbours, open_bank
from ..regions import rank_ids
from ..utils.errors import InputError
from .encoder import ImageEncoder
from .fusion import RegionCells, WindowMaps
from .image_encoder import CLIPImageEncoder
from .picture import Picture
from .text_head import CLIPTextHead


class Memory(nn.Module):
    """Gives each region of a picture the mean score of its neighbours in a bank.

    The score is added before the map is resized to the file's size; a region without neighbours
    keeps the picture's own.

    Args:
        cfg: Which bank, and how it is used.
        encoder: The image encoder.
        heads: The text head of the encoder's CLIP, and that of the second CLIP where there is one.

    Raises:
        InputError: If the bank does not fit the encoder.
    """

    second: Tensor

    def __init__(self, cfg: MemoryCfg, encoder: ImageEncoder, heads: list[CLIPTextHead]):
        super().__init__()
        if not isinstance(encoder, CLIPImageEncoder) or encoder.proxy is None:
            raise InputError('model.memory needs an image encoder with a second tower')
        self.cfg, self.proxy = cfg, [encoder.proxy]  # in a list: it is the encoder's
        dims = [head.embeddings.shape[1] for head in heads]
        self.bank = open_bank(cfg, dims, encoder.proxy.family)
        self.index = self.bank.index  # a module, which goes where the model goes
        width = encoder.proxy.tower.width
        if self.index.width != width:
            raise InputError(
                f'the keys of {cfg.bank} have {self.index.width} numbers, the second tower gives '
                f'{width}: set model.image_encoder.proxy to the tower that made the bank'
            )
        embeddings = [head.embeddings for head in heads[1:]]
        self.register_buffer('second', torch.cat(embeddings) if embeddings else None, False)

    def encode(self, encoder: ImageEncoder, picture: Picture, text: CLIPTextHead) -> WindowMaps:
        """The picture's maps with what its regions' neighbours add."""
        maps = encoder.encode_picture(picture, text)
        ranks = _rank(picture)
        queries = picture.pixel_features(*self.proxy).pool(ranks)
        texts = [text.embeddings, *([] if self.second is None else [self.second])]
        scores = find_neighbours(self.bank, queries, texts, self.cfg.neighbours)
        weight = self.cfg.weight * scores.isfinite().all(1, keepdim=True)
        added = torch.where(weight > 0, scores * weight, 0)
        maps.support = RegionCells(ranks, torch.cat([added, weight], 1))
        return maps


def _rank(picture: Picture) -> Tensor:
    """The regions of a picture without its padding, numbered from 0 on, ``[H, W]``."""
    regions = picture.view.regions
    assert regions is not None
    [ids], ((above, below), (left, right)) = regions, picture.image.margins
    height, width = ids.shape
    ids = ids[above : height - below, left : width - right]
    return rank_ids(ids.reshape(1, -1)).view(ids.shape)
