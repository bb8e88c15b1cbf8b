#!/usr/bin/env python
"""Write configs/*/metafile.yml and model-index.yml from the configs and configs/published.yml."""

if __name__ == '__main__':  # before all imports, which take seconds
    from sclip_mmseg.utils.interrupt import end_at_once_if_interrupted

    end_at_once_if_interrupted()

import textwrap
from collections.abc import Sequence
from pathlib import Path

import yaml
from generated_files import ROOT, write_outdated
from mmengine.config import Config
from mmengine.fileio import load

from sclip_mmseg.benchmark.published import published_row, split_name
from sclip_mmseg.datasets.benchmarks import BENCHMARKS
from sclip_mmseg.utils.program import as_program

#: Folder of configs → name, and the key of its paper in the table of published numbers.
COLLECTIONS = {
    'clip': ('CLIP', 'clip'),
    'maskclip': ('MaskCLIP', 'maskclip'),
    'sclip': ('SCLIP', 'sclip'),
    'ablations': ('SCLIP ablations', 'sclip'),
    'clearclip': ('ClearCLIP', 'clearclip'),
    'naclip': ('NACLIP', 'naclip'),
    'resclip': ('ResCLIP', 'resclip'),
    'scclip': ('SC-CLIP', 'scclip'),
    'sfp': ('SFP', 'sfp'),
    'rfclip': ('RF-CLIP', 'rfclip'),
    'pearl': ('PEARL', 'pearl'),
    'segearth': ('SegEarth-OV', 'segearth'),
    'gem': ('GEM', 'gem'),
    'proxyclip': ('ProxyCLIP', 'proxyclip'),
    'corrclip': ('CorrCLIP', 'corrclip'),
    'corrclip2': ('CorrCLIP v2', 'corrclip'),
    'ovstitcher': ('OV-Stitcher', 'ovstitcher'),
    'trident': ('Trident', 'trident'),
    'groupvit': ('GroupViT', 'groupvit'),
    'tcl': ('TCL', 'tcl'),
    'talk2dino': ('Talk2DINO', 'talk2dino'),
    'sam3': ('SAM 3', 'segearth-ov3'),
    'toy': ('Toy', None),
}
#: Backbone in the names of configs → backbone in the metafiles.
BACKBONES = {
    'vit-b16': 'CLIP ViT-B/16',
    'vit-s16': 'GroupViT ViT-S/16',
    'vit-b14': 'DINOv2 ViT-B/14 with registers',
    'vit-l14': 'DINOv2 ViT-L/14 with registers',
    '': 'SAM 3',
    'toy': 'toy CLIP',
}
TASK = 'Open-vocabulary semantic segmentation'
HEAD = '# Written by tools/misc/make_metafiles.py from the configs and configs/published.yml.\n'
PUBLISHED = '# mIoU as published by "{}"; not measured by this project.\n'
UNCHECKED = '# From memory, not compared with the source: {}.\n'


def make_files() -> dict[Path, str]:
    """Content of all files, by path.

    Raises:
        KeyError: If a folder of configs, a backbone or a benchmark has no entry above.
    """
    folders = {path.parent.name for path in ROOT.glob('configs/*/*.py')} - {'_base_'}
    names = sorted(folders, key=[*COLLECTIONS, *folders].index)
    index = {'Import': [f'configs/{name}/metafile.yml' for name in names]}
    files = {ROOT / f'configs/{name}/metafile.yml': make_metafile(name) for name in names}
    return {ROOT / 'model-index.yml': _dump(index), **files}


def make_metafile(folder: str) -> str:
    """Content of the metafile of a folder of configs."""
    name, paper = COLLECTIONS[folder]
    collection = {'Name': name, 'README': 'data/toy/README.md' if not paper else 'README.md'}
    if paper:
        source = load(ROOT / 'configs/published.yml')['sources'][paper]
        collection['Paper'] = {'URL': source['url'], 'Title': source['title']}
    paths = sorted(ROOT.glob(f'configs/{folder}/*.py'))
    sources, unchecked, models = {}, [], []
    for path in paths:
        # The last part may end with a variant, such as coco_object-repaired.
        method, backbone, benchmark = split_name(path.stem)
        dataset = BENCHMARKS[benchmark.partition('-')[0]].title
        result = {'Task': TASK, 'Dataset': 'toy benchmark' if backbone == 'toy' else dataset}
        row = published_row(method, backbone, benchmark)
        if row:
            result['Metrics'] = {'mIoU': row.mIoU[benchmark]}
            sources[row.source.title] = None
            unchecked += [path.stem] * (benchmark in row.unchecked)
        model = Config.fromfile(path).model
        refine = model.get('refine')
        meta = str(model.image_encoder.get('clip')).startswith('MetaCLIP')
        steps = 'none'
        if refine:
            count = refine.get('num_steps')
            steps = refine.type if count is None else f'{refine.type}, {count} steps'
        models.append(
            {
                'Name': path.stem,
                'In Collection': name,
                'Metadata': {
                    'Backbone': 'Meta' * meta + BACKBONES[backbone],
                    'Refinement': steps,
                },
                'Config': path.relative_to(ROOT).as_posix(),
                'Results': [result],
            }
        )
    comments = ''.join(PUBLISHED.format(title) for title in sources)
    if unchecked:
        wrap = textwrap.TextWrapper(100, subsequent_indent='# ', break_on_hyphens=False)
        comments += wrap.fill(UNCHECKED.format(', '.join(unchecked))) + '\n'
    return HEAD + comments + _dump({'Collections': [collection], 'Models': models})


def _dump(content: dict) -> str:
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)


def main(argv: Sequence[str] | None = None) -> None:
    """Write the files; with --check, exit with code 1 if a file is outdated."""
    write_outdated(make_files, __doc__, argv)


if __name__ == '__main__':
    with as_program():
        main()
