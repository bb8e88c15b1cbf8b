"""Words of messages."""


def counted(count: int, one: str, many: str = '') -> str:
    """A number and what is counted, ``1 image`` or ``2 images``.

    Args:
        count: The number.
        one: The singular.
        many: The plural; by default the singular with an ``s``.
    """
    return f'{count} {one if count == 1 else many or f"{one}s"}'
