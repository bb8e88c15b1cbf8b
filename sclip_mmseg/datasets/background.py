"""The role of class 0 in a segmentor."""

from enum import Enum


class Background(Enum):
    """The role of class 0.

    Attributes:
        NONE: Class 0 is an ordinary class.
        QUERIES: Class 0 is a background with queries, such as "wall" and "sky", which also gets
            pixels with low scores.
        NO_QUERY: Class 0 is a background without queries: a channel of the image encoder's maps, or
            a constant score.
    """

    NONE = 'none'
    QUERIES = 'queries'
    NO_QUERY = 'no query'
