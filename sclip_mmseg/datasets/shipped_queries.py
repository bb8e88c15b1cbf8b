"""The names of the query lists that ship, and what programs change in them."""

from dataclasses import dataclass
from typing import Dict, FrozenSet, List, Mapping, Optional, Tuple

#: Shipped lists, and the dataset whose classes they describe. Most are `queries/<name>.txt`.
QUERY_LISTS: Dict[str, str] = {
    'voc21': 'PascalVOCDataset',
    'voc20': 'PascalVOC20Dataset',
    'context60': 'PascalContextDataset',
    'context59': 'PascalContextDataset59',
    'coco_object': 'COCOObjectDataset',
    'coco_object_repaired': 'COCOObjectDataset',
    'coco_stuff': 'COCOStuffDataset',
    'cityscapes': 'CityscapesDataset',
    'ade20k': 'ADE20KDataset',
    # Lists of other programs that differ from those above by a few words, see PROGRAMS.
    'proxyclip_voc21': 'PascalVOCDataset',
    'proxyclip_voc20': 'PascalVOC20Dataset',
    'proxyclip_coco_object': 'COCOObjectDataset',
    'corrclip_voc21': 'PascalVOCDataset',
    'corrclip_voc20': 'PascalVOC20Dataset',
    'corrclip_context60': 'PascalContextDataset',
    'corrclip_context59': 'PascalContextDataset59',
    'corrclip_coco_object': 'COCOObjectDataset',
    'corrclip_coco_stuff': 'COCOStuffDataset',
    'corrclip_cityscapes': 'CityscapesDataset',
    'corrclip_ade20k': 'ADE20KDataset',
    # GroupViT's, without the background.
    'groupvit_voc20': 'PascalVOC20Dataset',
    'groupvit_context59': 'PascalContextDataset59',
    # mmseg's names of the classes themselves, without the background; there is no file of them.
    # Those of Context59 are the list above.
    'plain_voc20': 'PascalVOC20Dataset',
    'plain_coco_object': 'COCOObjectDataset',
    'plain_coco_stuff': 'COCOStuffDataset',
    'plain_cityscapes': 'CityscapesDataset',
    'plain_ade20k': 'ADE20KDataset',
}


@dataclass(frozen=True)
class Program:
    """What a program changes in SCLIP's lists.

    Attributes:
        only: Classes, as the dataset names them, that have one query alone.
        without: Words that COCO-Object's background does not have.
    """

    only: Mapping[str, str]
    without: FrozenSet[str]

    def edit(self, base: str, name: str, queries: List[str]) -> List[str]:
        """Change the queries of a class.

        Args:
            base: Name of SCLIP's list.
            name: Of the class, as the dataset has it.
            queries: SCLIP's.
        """
        if name in self.only:
            return [self.only[name]]
        if (base, name) == ('coco_object', 'background'):
            return [query for query in queries if query not in self.without]
        return queries


_WITHOUT = frozenset('ceiling curtain door fence lamp shelf stair wardrobe window'.split())
#: By the first word of their lists' names.
PROGRAMS: Dict[str, Program] = {
    'proxyclip': Program({'person': 'person', 'tvmonitor': 'tvmonitor'}, _WITHOUT),
    'corrclip': Program({'person': 'people', 'tvmonitor': 'tvmonitor'}, _WITHOUT | {'bed'}),
}


def program_of(name: str) -> Tuple[Optional[Program], str]:
    """The program whose list this is, and the name of SCLIP's list that it changes."""
    first, _, base = name.partition('_')
    return (PROGRAMS[first], base) if first in PROGRAMS else (None, name)
