#!/usr/bin/env python
"""Measure time and memory per image against the number of queries and the image area."""

if __name__ == '__main__':  # before all imports, which take seconds
    from sclip_mmseg.utils.interrupt import end_at_once_if_interrupted

    end_at_once_if_interrupted()

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from benchmark_speed import Case, package, read_case
from matplotlib.figure import Figure
from measuring import environment, measure, new_parser, parse
from mmseg.apis import init_model
from seeded_weights import write_seeded_clip

from sclip_mmseg.datasets import QuerySet
from sclip_mmseg.models.text_embeddings import save_embeddings
from sclip_mmseg.utils.program import as_program

CONFIG = 'sclip_vit-b16_ade20k'
QUERIES = (20, 60, 150, 400, 1000)
MEGAPIXELS = (0.1, 0.3, 1, 3, 8)


def fit_exponent(x: Sequence[float], y: Sequence[float]) -> float:
    """Slope of the regression line on logarithmic axes."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def measure_point(queries: int, megapixels: float, clip: str, folder: Path, args) -> dict:
    """Measure time and peak additional memory of one image with aspect ratio 4:3."""
    height = (megapixels * 1e6 * 3 / 4) ** 0.5
    size = round(height), round(height * 4 / 3)
    scale = args.short_side / size[0] if args.short_side else 1
    case = Case(CONFIG, size, tuple(round(side * scale) for side in size))
    cfg = read_case(case, clip, folder)
    text = torch.randn(queries, 512, generator=torch.Generator().manual_seed(0))
    query_set = QuerySet.from_ids(
        [f'query {number}' for number in range(queries)], list(range(queries)), 'the benchmark'
    )
    save_embeddings(Path(cfg.model.text_head.embeddings), query_set, F.normalize(text, dim=-1))
    run = package(init_model(cfg, device=args.device), case)
    result = measure(dict(image=run), args.repeats, args.device)
    figures = {key: result[key]['image'] for key in ('seconds', 'memory')}
    return dict(queries=queries, megapixels=megapixels, **figures)


def draw(series: dict[str, list[dict]], path: Path) -> None:
    """Plot time and memory over each variable, on a logarithmic axis."""
    figure = Figure(figsize=(9, 6), layout='constrained')
    axes = figure.subplots(2, len(series), squeeze=False)
    for column, (key, points) in enumerate(series.items()):
        x = [point[key] for point in points]
        for axis, value, unit in zip(axes[:, column], ('seconds', 'memory'), ('s', 'GB')):
            if points[0][value] is None:
                continue
            y = [point[value] / (1e9 if value == 'memory' else 1) for point in points]
            axis.semilogx(x, y, 'o-')
            axis.set_ylim(0, 1.1 * max(y))
            exponent = f' (exponent {fit_exponent(x, y):.2f})' if len(x) > 1 else ''
            axis.set(xlabel=key, ylabel=f'{value} [{unit}]', title=f'{value}{exponent}')
            axis.grid(True, which='both', alpha=0.3)
    figure.savefig(path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure along both variables; print, save and plot the results."""
    parser = new_parser(__doc__, repeats=3)
    parser.add_argument('--queries', type=int, nargs='+', default=QUERIES, help='20 to 1000')
    parser.add_argument('--megapixels', type=float, nargs='+', default=MEGAPIXELS, help='0.1 to 8')
    parser.add_argument(
        '--short-side',
        type=int,
        default=336,
        help='short side to which images are resized for the model (default: 336); 0 for no '
        'resizing, so that the number of windows grows with the area',
    )
    parser.add_argument(
        '--at-queries', type=int, default=150, help='queries when the area varies (default: 150)'
    )
    parser.add_argument(
        '--at-megapixels', type=float, default=0.3, help='area when the queries vary (default: 0.3)'
    )
    parser.add_argument(
        '--out', default='benchmark_scaling', help='prefix of the .json and .png files'
    )
    args = parse(parser, arguments)
    series, results = {}, environment()
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder, 'seeded.pt')
        write_seeded_clip(clip)
        for key, settings in (
            ('queries', [(count, args.at_megapixels) for count in args.queries]),
            ('megapixels', [(args.at_queries, area) for area in args.megapixels]),
        ):
            points = [measure_point(*each, str(clip), Path(folder), args) for each in settings]
            series[key] = points
            results[key] = dict(points=points)
            for value in ('seconds', 'memory'):
                figures = [point[value] for point in points]
                if len(points) > 1 and None not in figures:
                    x = [point[key] for point in points]
                    results[key][f'{value}_exponent'] = fit_exponent(x, figures)
            print(key, json.dumps(results[key]), flush=True)
    out = Path(args.out)
    out.with_suffix('.json').write_text(json.dumps(results, indent=2) + '\n')
    draw(series, out.with_suffix('.png'))


if __name__ == '__main__':
    with as_program():
        main()
