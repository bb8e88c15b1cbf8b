"""Sentences of a query's own beside the templates (OV-Stitcher's class-biased templates)."""

import json
from collections.abc import Sequence

from mmengine.logging import print_log

from ..utils.errors import InputError
from ..utils.files import find_file


def read_sentences(path: str, queries: Sequence[str]) -> dict[str, list[str]]:
    """Read the sentences of some queries, and say which queries have none.

    Args:
        path: A JSON file, an object query → list of complete sentences.
        queries: The queries, spelt as in the file.

    Returns:
        The sentences of those queries that have some.

    Raises:
        InputError: If the file is missing or holds something else.
    """
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
    sentences = {query: content[query] for query in queries if content.get(query)}
    without = [query for query in queries if query not in sentences]
    if without:
        print_log(f'{path} has no sentences for: {", ".join(without)}', 'current')
    return sentences
