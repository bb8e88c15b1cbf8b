"""What is published about the benchmarks' evaluation splits."""

from ..benchmarks import BENCHMARKS


def compare_count(benchmark: str, count: int) -> str:
    """Say how a number of images differs from the published one; nothing where it does not."""
    published = BENCHMARKS[benchmark].images
    if count in published:
        return ''
    return f'{count} images, the published split has {" or ".join(map(str, published))}'
