"""The names of the shipped query lists, and the changes of other programs to them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from .benchmarks import BENCHMARKS

_OFFICIAL = {record.queries: record.dataset for record in BENCHMARKS.values()}
# Prefix of a list's name → the official lists whose classes it describes.
_OTHERS = {
    # Other programs' lists, which differ by a few words, see PROGRAMS.
    'proxyclip': 'voc21 voc20 coco_object',
    'corrclip': 'voc21 voc20 context60 context59 coco_object coco_stuff cityscapes ade20k',
    'corrclip2': 'cityscapes',
    'sfp': 'voc21 voc20 cityscapes',
    # SegEarth-OV3's for SAM 3.
    'sam3': 'voc21 voc20 coco_stuff cityscapes ade20k loveda potsdam vaihingen',
    # GroupViT's, without the background.
    'groupvit': 'voc20 context59',
    # mmseg's class names, one query each; they have no file.
    'plain': ' '.join(_OFFICIAL),
    # The same without the background, for systems that need no query for it.
    'things': 'coco_object',
}
#: Name of a shipped list → the dataset whose classes it describes. Most are `queries/<name>.txt`;
#: for benchmarks with FolderDataset, `names/<name>.txt` has the class names, one query each.
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
        only: Class name of the dataset → its only query.
        without: Words that are removed from COCO-Object's background.
        renamed: Class name → the word that replaces it in the queries.
        instead: Name of a list → class name → its queries, separated by commas; other classes have
            their name without spaces as the only query. None to change SCLIP's queries.
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
            queries: SCLIP's queries of the class.
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
#: Prefix of the lists' names → changes.
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
    """The program of a list (None for SCLIP's), and the name of SCLIP's list that it changes."""
    first, _, base = name.partition('_')
    return (PROGRAMS[first], base) if first in PROGRAMS else (None, name)
