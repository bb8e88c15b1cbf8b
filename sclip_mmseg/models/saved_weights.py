"""Checks of a model's saved weights: complete, of this model, and of its classes."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ..utils.errors import InputError
from .text_head import CLIPTextHead

EMBEDDINGS = 'text_head.embeddings'


def describe_weights(text_head: CLIPTextHead) -> dict[str, Any]:
    """Return the metadata that a state dict saves beside the weights."""
    return dict(queries=text_head.query_set.by_class, text_tower=text_head.source)


def check_weights(found: dict[str, Tensor], own: Mapping[str, Tensor], source: str) -> None:
    """Refuse weights that fit only in part, of which mmengine would only warn.

    Args:
        found: Tensors to be loaded, by the model's names.
        own: Tensors of the model.
        source: Name of the weights in error messages.

    Raises:
        InputError: If there are tensors that the model does not have or has in another size, or if
            some part of the model is incomplete.
    """
    strange = [name for name in found if name not in own]
    parts = {_part(name) for name in found}
    missing = [name for name in own if name not in found and _part(name) in parts]
    missing = [name for name in missing if name != EMBEDDINGS]  # saved since version 0.3 only
    other = [name for name in found if name in own and found[name].shape != own[name].shape]
    problem: str | None = None
    if other:
        name = other[0]
        sizes = [tuple(tensors[name].shape) for tensors in (found, own)]
        problem = f"its {name} has shape {sizes[0]}, the model's {sizes[1]}"
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
    """Let saved weights serve other classes if the text tower is the same.

    Args:
        found: The saved weights. If their classes differ from the head's, their embeddings are
            replaced by the head's.
        text_head: The model's text head with its embeddings.
        metadata: Saved metadata, see :func:`describe_weights`.
        source: Name of the weights in error messages.

    Raises:
        InputError: If both the classes and the text tower differ.
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
