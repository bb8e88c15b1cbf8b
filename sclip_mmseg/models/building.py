"""Text heads built from the configs of a segmentor."""

from mmseg.registry import MODELS

from ..registry import find_type
from .text_head import CLIPTextHead


def build_text_head(
    image_encoder: dict, text_head: dict, share: CLIPTextHead | None = None
) -> CLIPTextHead:
    """Build a segmentor's text head, whose checkpoint defaults to the image encoder's.

    Args:
        image_encoder, text_head: Configs of the two.
        share: A text head whose embeddings may be used, see :class:`.text_head.CLIPTextHead`.
    """
    more = {} if share is None else dict(share=share)
    return MODELS.build({**_head_cfg(image_encoder, text_head), **more})


def check_text_head(image_encoder: dict, text_head: dict) -> None:
    """Refuse checkpoints of a text head that are neither names nor files.

    Args:
        image_encoder, text_head: See :func:`build_text_head`.

    Raises:
        InputError: If there is one.
    """
    cfg = _head_cfg(image_encoder, text_head)
    if check := getattr(find_type(MODELS, cfg['type']), 'check_checkpoints', None):
        check(cfg)


def _head_cfg(image_encoder: dict, text_head: dict) -> dict:
    """The text head's config with what it shares with the image encoder."""
    keys = getattr(find_type(MODELS, text_head['type']), 'shared_keys', ())
    return {**{key: image_encoder[key] for key in keys if key in image_encoder}, **text_head}
