"""A model's saved weights: whether they are a model's own, whole and of its classes."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ..utils.errors import InputError
from .text_head import CLIPTextHead

EMBEDDINGS = 'text_head.embeddings'


def describe_weights(text_head: CLIPTextHead) -> dict[str, Any]:
    """Metadata that a state dict saves beside the weights."""
    return dict(queries=text_head.query_set.by_class, text_tower=text_head.source)


def check_weights(found: dict[str, Tensor], own: Mapping[str, Tensor], source: str) -> None:
    """Refuse weights that would be loaded in part, which mmengine only warns of.

    Args:
        found: What is to be loaded, by the model's names.
        own: What the model has.
        source: What to call it in an error message.

    Raises:
        InputError: If there are tensors that the model does not have or has in another size, or if
            a part of it is incomplete.
    """
    strange = [name for name in found if name not in own]
    parts = {_part(name) for name in found}
    missing = [name for name in own if name not in found and _part(name) in parts]
    missing = [name for name in missing if name != EMBEDDINGS]  # not saved before version 0.3
    other = [name for name in found if name in own and found[name].shape != own[name].shape]
    problem: str | None = None
    if other:
        name = other[0]
        sizes = [tuple(tensors[name].shape) for tensors in (found, own)]
        problem = f'its {name} has shape {sizes[0]}, the model {sizes[1]}'
    elif strange or missing:
        problem = f'the model has no {strange[0]}' if strange else f'it lacks {missing[0]}'
    if problem:
        raise InputError(
            f'{source} does not fit the model ({problem}): give a CLIP by name or path, or a file '
            'that was saved with this config and the CLIP that it names (model.image_encoder.clip)'
        )


def _part(name: str) -> str:
    return '.'.join(name.split('.')[:2])


def adapt_embeddings(
    found: dict[str, Tensor], text_head: CLIPTextHead, metadata: Mapping[str, Any], source: str
) -> None:
    """Let saved weights serve other classes, as far as their embeddings are known.

    Args:
        found: The saved weights; of other classes than the head's, it gets the head's embeddings
            where these are of the same text tower.
        text_head: The model's, with its own embeddings.
        metadata: See :func:`describe_weights`.
        source: What to call the weights in an error message.

    Raises:
        InputError: If they are of other classes and of another text tower.
    """
    saved, asked = metadata.get('queries'), text_head.query_set.by_class
    if EMBEDDINGS not in found or saved is None or list(saved) == asked:
        return
    if text_head.source is None or metadata.get('text_tower') != text_head.source:
        raise InputError(
            f"{source} was saved with other classes ({len(saved)}: '{saved[0][0]}', …) and another "
            f"CLIP than the config's ({len(asked)}: '{asked[0][0]}', …): set "
            'model.image_encoder.clip to the CLIP that it was saved with'
        )
    found[EMBEDDINGS] = text_head.embeddings
