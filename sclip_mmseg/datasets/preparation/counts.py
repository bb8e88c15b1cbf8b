"""What is published about the benchmarks' evaluation splits."""

from typing import Dict, Tuple

#: Number of images. PASCAL Context has 5104 by its JSON annotation, 5105 by its MATLAB files.
PUBLISHED_COUNTS: Dict[str, Tuple[int, ...]] = {
    'voc21': (1449,),
    'voc20': (1449,),
    'context60': (5104, 5105),
    'context59': (5104, 5105),
    'coco_object': (5000,),
    'coco_stuff164k': (5000,),
    'coco_stuff10k': (1000,),
    'cityscapes': (500,),
    'ade20k': (2000,),
}


def compare_count(benchmark: str, count: int) -> str:
    """Say how a number of images differs from the published one; nothing where it does not."""
    published = PUBLISHED_COUNTS[benchmark]
    if count in published:
        return ''
    return f'{count} images, the published split has {" or ".join(map(str, published))}'
