"""Kinds of background."""

from enum import Enum


class Background(Enum):
    """The kinds of background.

    Attributes:
        NONE: Class 0 is a class as any other.
        QUERIES: Class 0 has queries, such as "wall" and "sky", and also gets the pixels where no
            class is sure enough.
        NO_QUERY: Class 0 has no query: it is a channel of the image encoder's maps, or has a
            constant score.
    """

    NONE = 'none'
    QUERIES = 'queries'
    NO_QUERY = 'no query'
