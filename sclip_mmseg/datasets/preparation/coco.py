"""Archives and ids that COCO-Stuff 164k, its 10k and COCO-Object share."""

from .archives import Archive

IMAGES = Archive(
    'val2017.zip',
    page='https://cocodataset.org/#download',
    # The bucket of images.cocodataset.org, whose own certificate is of another name.
    url='https://s3.amazonaws.com/images.cocodataset.org/zips/val2017.zip',
    digest='4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05',
)
MAPS = Archive(
    'stuffthingmaps_trainval2017.zip',
    page='https://github.com/nightrome/cocostuff#downloads',
    url='https://calvin.inf.ed.ac.uk/wp-content/uploads/data/cocostuffdataset/'
    'stuffthingmaps_trainval2017.zip',
)
# COCO numbers its things 1 to 90 and leaves these numbers out; pixel maps hold the number less 1.
_UNUSED = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
#: Ids of COCO's 80 things in COCO-Stuff's pixel maps.
THINGS = tuple(number - 1 for number in range(1, 91) if number not in _UNUSED)
STUFF = tuple(range(91, 182))
#: Ids of the 80 things and 91 stuff classes, in the order of their train ids.
CLASSES = (*THINGS, *STUFF)
VOID = 255
