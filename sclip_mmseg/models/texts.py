"""The texts that a text head embeds: queries, templates, and sentences per query."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mmseg.utils import get_predefined_templates
from torch import Tensor

from ..datasets import QuerySet, load_queries
from ..datasets.query_set import Queries
from ..utils.errors import InputError
from ..utils.files import find_file
from .text_embeddings import read_embeddings


@dataclass(frozen=True)
class Texts:
    """Texts that a text head embeds.

    Attributes:
        query_set: The queries and their classes.
        templates: Prompts with a ``{}`` for the query.
        sentences: Query → additional prompts for it (OV-Stitcher's class-biased templates).
        embeddings: Precomputed embeddings ``[Q, D]``; None to compute them.
    """

    query_set: QuerySet
    templates: list[str]
    sentences: dict[str, list[str]]
    embeddings: Tensor | None = None


def read_texts(
    queries: Queries | None = None,
    templates: str | Sequence[str] = 'imagenet',
    embeddings: str | None = None,
    sentences: str | None = None,
    warn: bool = False,
    **others: Any,
) -> Texts:
    """Read the parts of a text head's config that need no weights.

    Args:
        queries, templates, embeddings, sentences: See :class:`.text_head.CLIPTextHead`.
        warn: Whether to warn of doubtful queries, see :func:`..datasets.load_queries`.
        others: Other values of the config, which are ignored.

    Raises:
        InputError: If queries, templates or a file cannot be used.
    """
    given = None
    if embeddings is not None:
        query_set, given = read_embeddings(embeddings)
    elif queries is not None:
        query_set = load_queries(queries, warn)
    else:
        raise InputError('text_head needs queries=… (a list of classes) or embeddings=FILE.npz')
    if sentences is not None and given is not None:
        raise InputError('text_head.sentences cannot be used with embeddings: set one to None')
    own = {} if sentences is None else _read_sentences(sentences, query_set.queries)
    return Texts(query_set, _load_templates(templates), own, given)


def _load_templates(templates: str | Sequence[str]) -> list[str]:
    if isinstance(templates, str):
        try:
            return list(get_predefined_templates(templates))
        except ValueError as error:
            raise InputError(
                f"templates='{templates}' is not a set of templates of mmseg (imagenet, vild); "
                "give prompts as a list, as in ['a photo of a {}.']"
            ) from error
    if not templates or any('{}' not in template for template in templates):
        raise InputError(f"templates={templates!r} must be prompts with '{{}}' for the query")
    return list(templates)


def _read_sentences(path: str, queries: Sequence[str]) -> dict[str, list[str]]:
    """Read a JSON file of sentences; return those of the queries."""
    found = find_file(path)
    if found is None:
        raise InputError(f"text_head.sentences='{path}' does not exist")
    try:
        content = json.loads(found.read_text(encoding='utf-8'))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f'{path} is not a JSON file: {error}') from error
    if not isinstance(content, dict) or not all(
        isinstance(value, list) and all(isinstance(text, str) for text in value)
        for value in content.values()
    ):
        raise InputError(
            f'{path} must be an object query → list of sentences, as in '
            '{"cat": ["a tabby on a cushion"]}'
        )
    return {query: content[query] for query in queries if content.get(query)}
