"""Find the pairs of method and benchmark to evaluate."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from glob import glob
from pathlib import Path
from typing import Any

from ..config import read_config
from ..custom import find_custom, is_custom
from ..datasets.benchmarks import BENCHMARKS, usual_benchmarks
from ..registry import type_name
from ..utils.errors import InputError, nearest
from ..utils.shipped import configs_dir, shipped_root
from ..zoo import CUSTOM_BASE
from .published import published_row, split_name
from .results import Pair
from .variants import NAMES, PROTOCOLS, one_protocol, plain_names

#: The training-free rows of the papers' tables.
METHODS = (
    'clip maskclip sclip clearclip naclip resclip-sclip resclip-clearclip resclip-naclip'
).split()
#: Backbones → the CLIP with which the configs of ViT-B/16 are run.
CHECKPOINTS = {'vit-l14': 'ViT-L/14'}


def find_pairs(
    methods: Sequence[str] | None = None,
    benchmarks: Sequence[str] | None = None,
    backbone: str = 'vit-b16',
    configs: Sequence[str] = (),
    names: Sequence[str] = NAMES[:1],
    protocols: Sequence[str] = PROTOCOLS[:1],
) -> list[Pair]:
    """List the requested pairs, with the published numbers.

    Args:
        methods: Names of configs up to the backbone, or ``package.module:Class`` for custom
            methods, which use the configs of SCLIP. None for those of the papers' tables, for all
            methods of a backbone that has its own configs, or for no method if ``configs`` are
            given.
        benchmarks: None for those of the papers' tables, or for all if the methods have none of
            these.
        backbone: Name of the backbone in the names of configs, or a key of ``CHECKPOINTS``.
        configs: Paths or glob patterns of the user's configs.
        names: Name lists, some of :data:`.variants.NAMES`.
        protocols: Some of :data:`.variants.PROTOCOLS`.

    Returns:
        Each method under each name list and protocol. Only pairs with the official names and the
        method's own protocol have published numbers.

    Raises:
        InputError: If a method, benchmark or backbone has no config, or a config cannot be used.
    """
    pairs = [] if configs and not methods else _find_shipped(methods, benchmarks, backbone)
    pairs += _find_own(configs)
    pairs = [_vary(pair, n, p) for pair in pairs for n in names for p in protocols]
    for pair in pairs:
        if sum(other.name == pair.name for other in pairs) > 1:
            raise InputError(
                f"two results would be called '{pair.name}': rename a config or method"
            )
    return pairs


def _vary(pair: Pair, names: str, protocol: str) -> Pair:
    """Copy a pair, with a name list and a protocol."""
    for kind, value, known in (('names', names, NAMES), ('protocol', protocol, PROTOCOLS)):
        if value not in known:
            raise InputError(f"--{kind} '{value}' is not one of {', '.join(known)}")
    config, options, notes = str(shipped_root() / pair.config), dict(pair.options), [pair.note]
    if names == 'plain':
        options.update(plain_names(config, pair.benchmark))
    if protocol == 'one':
        more, note = one_protocol(config, pair.benchmark)
        options.update(more)
        notes.append(note)
    published = pair.published if (names, protocol) == (NAMES[0], PROTOCOLS[0]) else None
    note = ', '.join(filter(None, notes))
    return replace(
        pair, names=names, protocol=protocol, options=options, note=note, published=published
    )


def _find_own(patterns: Sequence[str]) -> list[Pair]:
    """List the pairs of the user's configs."""
    pairs = []
    for pattern in patterns:
        paths = sorted(glob(pattern)) if not Path(pattern).is_file() else [pattern]
        if not paths:
            raise InputError(f'config {pattern} does not exist')
        for path in paths:
            benchmark = _benchmark_of(path)
            method = Path(path).stem.removesuffix(f'_{benchmark}')
            pairs.append(Pair(method, benchmark, str(Path(path).resolve()), backbone=''))
    return pairs


def _benchmark_of(path: str) -> str:
    """Name of the benchmark of a config; for other datasets, the type of the dataset."""
    dataset = read_config(path).test_dataloader.dataset
    for name in BENCHMARKS:
        keys = ('type', 'data_prefix', 'ann_file', 'classes')
        if all(_dataset_of(name).get(key) == dataset.get(key) for key in keys):
            return name
    return type_name(dataset)


@cache
def _dataset_of(benchmark: str) -> Mapping[str, Any]:
    """The config of a benchmark's dataset."""
    cfg = read_config(str(configs_dir() / f'_base_/datasets/{benchmark}.py'))
    return cfg.test_dataloader.dataset


def _find_shipped(
    methods: Sequence[str] | None, benchmarks: Sequence[str] | None, backbone: str
) -> list[Pair]:
    custom = {method: find_custom(method) for method in methods or () if is_custom(method)}
    standard = 'vit-b16'
    # The configs of GroupViT, Talk2DINO and SAM 3, which have no ViT-B/16, are listed with it.
    backbones = [backbone, *{standard: ['vit-s16', 'vit-b14', '']}.get(backbone, [])]
    if backbone in CHECKPOINTS:
        backbones.append(standard)
    found = {}
    for path in sorted(configs_dir().glob('*/*_*.py')):
        method, own, benchmark = split_name(path.stem)
        if own in backbones and benchmark in BENCHMARKS:
            config = path.relative_to(shipped_root()).as_posix()
            row = backbone if backbone in CHECKPOINTS else own
            found[method, benchmark] = Pair(method, benchmark, config, row)
    for method, (name, options) in custom.items():
        of_base = {pair.benchmark: pair for (base, _), pair in found.items() if base == CUSTOM_BASE}
        for benchmark, pair in of_base.items():
            found[method, benchmark] = replace(pair, method=name, options=options)
    if not found:
        backbones_known = ', '.join(['vit-b16', *CHECKPOINTS])
        raise InputError(f"no config of backbone '{backbone}': use one of {backbones_known}")
    known = [list(dict.fromkeys(names)) for names in zip(*found)]
    known[0].sort(key=lambda name: (*METHODS, name).index(name))
    for kind, chosen, names in zip(('method', 'benchmark'), (methods, benchmarks), known):
        command = dict(method='sclip methods', benchmark='sclip data check --help')[kind]
        for name in chosen or ():
            if name not in names:
                longer = [other for other in names if other.startswith(name)]
                several = f': use one of {", ".join(longer)}' if len(longer) > 1 else ''
                hint = several or nearest(name, names) or f': {command} lists the names'
                raise InputError(f"no config of {kind} '{name}'{hint}")
    if not methods:
        methods = METHODS if standard in backbones else known[0]
    usual = [b for b in usual_benchmarks() if any((m, b) in found for m in methods)]
    benchmarks = benchmarks or usual or list(BENCHMARKS)
    pairs = [found[m, b] for b in benchmarks for m in methods if (m, b) in found]
    for pair in pairs:
        published = published_row(pair.method, pair.backbone, pair.benchmark)
        pair.published = published.mIoU[pair.benchmark] if published else None
    return pairs
