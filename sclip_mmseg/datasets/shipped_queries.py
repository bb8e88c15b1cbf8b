"""The names of the query lists that ship, and what programs change in them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from .benchmarks import BENCHMARKS

_OFFICIAL = {record.queries: record.dataset for record in BENCHMARKS.values()}
# By the first word of their names, lists for the classes of official ones.
_OTHERS = {
    # Of other programs, which differ by a few words, see PROGRAMS.
    'proxyclip': 'voc21 voc20 coco_object',
    'corrclip': 'voc21 voc20 context60 context59 coco_object coco_stuff cityscapes ade20k',
    'corrclip2': 'cityscapes',
    'sfp': 'voc21 voc20 cityscapes',
    # SegEarth-OV3's for SAM 3.
    'sam3': 'voc21 voc20 coco_stuff cityscapes ade20k loveda potsdam vaihingen',
    # GroupViT's, without the background.
    'groupvit': 'voc20 context59',
    # mmseg's names of the classes themselves, one query each; there is no file of them.
    'plain': ' '.join(_OFFICIAL),
    # The same without the background, for systems that have one of their own.
    'things': 'coco_object',
}
#: Shipped lists, and the dataset whose classes they describe. Most are `queries/<name>.txt`; of
#: benchmarks of FolderDataset, `names/<name>.txt` has the names of classes, one query each.
QUERY_LISTS: dict[str, str] = {
    **_OFFICIAL,
    'coco_object_repaired': _OFFICIAL['coco_object'],
    **{
        f'{first}_{name}': _OFFICIAL[name]
        for first, names in _OTHERS.items()
        for name in names.split()
    },
}


@dataclass(frozen=True)
class Program:
    """Changes of a program to SCLIP's lists.

    Attributes:
        only: Classes, as the dataset names them, that have one query alone.
        without: Words that COCO-Object's background does not have.
        renamed: Classes whose queries begin with another word.
        instead: By list, the queries of some classes, separated by commas; the others have their
            name alone, without blanks. None to change SCLIP's.
    """

    only: Mapping[str, str] = field(default_factory=dict)
    without: frozenset[str] = frozenset()
    renamed: Mapping[str, str] = field(default_factory=dict)
    instead: Mapping[str, Mapping[str, str]] | None = None

    def edit(self, base: str, name: str, queries: list[str]) -> list[str]:
        """Change the queries of a class.

        Args:
            base: Name of SCLIP's list.
            name: Name of the class in the dataset.
            queries: SCLIP's.
        """
        if self.instead is not None:
            return self.instead.get(base, {}).get(name, name.replace(' ', '')).split(', ')
        if name in self.only:
            return [self.only[name]]
        if name in self.renamed:
            return [query.replace(name, self.renamed[name], 1) for query in queries]
        if (base, name) == ('coco_object', 'background'):
            return [query for query in queries if query not in self.without]
        return queries


_WITHOUT = frozenset('ceiling curtain door fence lamp shelf stair wardrobe window'.split())
_ISPRS = {'impervious_surface': 'road', 'low_vegetation': 'grass'}
#: By the first word of their lists' names.
PROGRAMS: dict[str, Program] = {
    'proxyclip': Program({'person': 'person', 'tvmonitor': 'tvmonitor'}, _WITHOUT),
    'corrclip': Program({'person': 'people', 'tvmonitor': 'tvmonitor'}, _WITHOUT | {'bed'}),
    'corrclip2': Program({'person': 'people, person'}),  # one query
    'sfp': Program(renamed={'person': 'people'}),
    'sam3': Program(
        instead={
            'voc20': {
                'boat': 'boat, ship',
                'diningtable': 'table, diningtable',
                'tvmonitor': 'television monitor, tv monitor, monitor, television, screen',
            },
            'voc21': {'boat': 'ship', 'diningtable': 'table'},
            'cityscapes': {
                'vegetation': 'tree, hedge',
                'terrain': 'grass, horizontal vegetation, soil, sand',
            },
            'loveda': {
                'building': 'building, house',
                'barren': 'barren, bareland, soil',
                'forest': 'forest, tree',
            },
            'potsdam': _ISPRS,
            'vaihingen': _ISPRS,
        }
    ),
}


def program_of(name: str) -> tuple[Program | None, str]:
    """The program whose list this is, and the name of SCLIP's list that it changes."""
    first, _, base = name.partition('_')
    return (PROGRAMS[first], base) if first in PROGRAMS else (None, name)
