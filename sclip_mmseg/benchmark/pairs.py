"""Which pairs of method and benchmark there are."""

from collections.abc import Sequence

from ..datasets.benchmarks import BENCHMARKS
from ..utils.errors import InputError
from ..utils.shipped import configs_dir, shipped_root
from .published import published_row
from .results import Pair

#: The rows of the papers' tables that need no training.
METHODS = (
    'clip maskclip sclip clearclip naclip resclip-sclip resclip-clearclip resclip-naclip'
).split()
#: Backbones that are no config's own → the CLIP that the configs of ViT-B/16 are run with.
CHECKPOINTS = {'vit-l14': 'ViT-L/14'}


def find_pairs(
    methods: Sequence[str] | None = None,
    benchmarks: Sequence[str] | None = None,
    backbone: str = 'vit-b16',
) -> list[Pair]:
    """List what is asked for, with the published numbers.

    Args:
        methods: Names of configs up to the backbone; None for those of the papers' tables, or all
            that have configs of a backbone of their own.
        benchmarks: None for all there are.
        backbone: As in the names of configs, or a key of ``CHECKPOINTS``.

    Raises:
        InputError: If a method, benchmark or backbone has no config.
    """
    standard = 'vit-b16'
    # GroupViT's own backbone is the only one that it has, so that it goes with the others.
    backbones = {standard: (standard, 'vit-s16')}.get(backbone, (backbone,))
    if backbone in CHECKPOINTS:
        backbones = (standard,)
    found = {}
    for path in sorted(configs_dir().glob('*/*_*_*.py')):
        method, own, benchmark = path.stem.split('_', 2)
        if own in backbones and benchmark in BENCHMARKS:
            config = path.relative_to(shipped_root()).as_posix()
            row = backbone if backbone in CHECKPOINTS else own
            found[method, benchmark] = Pair(method, benchmark, config, row)
    if not found:
        backbones_known = ', '.join(['vit-b16', *CHECKPOINTS])
        raise InputError(f"no config of backbone '{backbone}': use one of {backbones_known}")
    known = [list(dict.fromkeys(names)) for names in zip(*found)]
    known[0].sort(key=lambda name: (*METHODS, name).index(name))
    for kind, chosen, names in zip(('method', 'benchmark'), (methods, benchmarks), known):
        for name in chosen or ():
            if name not in names:
                raise InputError(f"no config of {kind} '{name}': use {', '.join(sorted(names))}")
    if not methods:
        methods = METHODS if standard in backbones else known[0]
    pairs = [found[m, b] for b in benchmarks or BENCHMARKS for m in methods if (m, b) in found]
    rows = {key: published_row(*key) for key in {(pair.method, pair.backbone) for pair in pairs}}
    for pair in pairs:
        published = rows[pair.method, pair.backbone]
        pair.published = published.mIoU.get(pair.benchmark) if published else None
    return pairs
