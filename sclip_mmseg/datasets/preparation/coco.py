"""Archives and ids that COCO-Stuff 164k, its 10k and COCO-Object share."""

from ..benchmarks import BENCHMARKS

IMAGES, MAPS = BENCHMARKS['coco_stuff164k'].archives
# COCO numbers its things 1 to 90 and leaves these numbers out; pixel maps hold the number less 1.
_UNUSED = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
#: Ids of COCO's 80 things in COCO-Stuff's pixel maps.
THINGS = tuple(number - 1 for number in range(1, 91) if number not in _UNUSED)
STUFF = tuple(range(91, 182))
#: Ids of the 80 things and 91 stuff classes, in the order of their train ids.
CLASSES = (*THINGS, *STUFF)
VOID = 255
