"""Segment the images below a folder or a bucket on a Ray cluster, as ``sclip segment`` does.

    pip install "ray[data]" fsspec s3fs
    python demo/ray_segment.py s3://bucket/images --classes "cat, kitten; dog; grass" \
        --out s3://bucket/segmented --processes 8 --gpus-per-worker 1

Each worker has a model. It downloads an image, segments it, and uploads the results; the files of
the whole run, such as areas.csv, are written from the workers' records. All locations are read and
written with fsspec: local paths must be on a disk that all machines share. Only one run at a time
may write to --out.
"""

import argparse
import json
import tempfile
from dataclasses import asdict, replace
from pathlib import Path, PurePosixPath

import fsspec

from sclip_mmseg.apis.inputs import choose, without_suffixes
from sclip_mmseg.apis.one_file import FileSegmenter, Settings
from sclip_mmseg.apis.writers import ClassInfo, Record, build_writers, finish_all
from sclip_mmseg.cli.arguments import add_processes


def list_images(source):
    """Paths of all images below a location, and beginnings of the names of their results."""
    files, root = fsspec.core.url_to_fs(source)
    found, _ = choose(PurePosixPath(path).relative_to(root) for path in files.find(root))
    return [
        dict(path=f'{root}/{path}', name=str(name))
        for path, name in zip(found, without_suffixes(found))
    ]


def store(folder, out):
    """Copy all files of a local folder to a location."""
    files, root = fsspec.core.url_to_fs(out)
    for path in filter(Path.is_file, Path(folder).rglob('*')):
        target = f'{root}/{path.relative_to(folder).as_posix()}'
        files.makedirs(target.rpartition('/')[0], exist_ok=True)
        files.put_file(str(path), target)


class Segmenter:
    """A worker: it has a model, and segments batches of images.

    Args:
        source: Location of the images.
        out: Location of the results.
        build: Arguments of ``apis.build_segmentor``.
        formats: Output formats, see ``apis.segment_files``.
    """

    def __init__(self, source, out, build, formats):
        self.source, self.out = source, out
        self.local = tempfile.TemporaryDirectory()
        self.segment = FileSegmenter(Settings(Path(self.local.name), build, formats))

    def __call__(self, batch):
        """Segment a batch of items of :func:`list_images`; returns a row per image."""
        rows = [self._segment(*pair) for pair in zip(batch['path'], batch['name'])]
        return {'row': [json.dumps(row) for row in rows]}

    def _segment(self, path, name):
        files, _ = fsspec.core.url_to_fs(self.source)
        with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as results:
            image = Path(folder) / PurePosixPath(path).name
            files.get_file(path, str(image))
            self.segment.out = Path(results)
            outcome = self.segment(image, PurePosixPath(name))
            if isinstance(outcome, str):
                return dict(skipped=outcome.replace(str(image), path))
            store(results, self.out)
        classes = [asdict(each) for each in self.segment.classes]
        return dict(record=asdict(replace(outcome, file=path)), classes=classes)


def finish(rows, out, formats):
    """Write the files of the whole run; returns why images were skipped."""
    done = sorted((row for row in rows if 'record' in row), key=lambda row: row['record']['file'])
    if done:
        records = [Record(**row['record']) for row in done]
        classes = [ClassInfo(**each) for each in done[0]['classes']]
        with tempfile.TemporaryDirectory() as folder:
            finish_all(build_writers(formats), records, classes, Path(folder))
            store(folder, out)
    return [row['skipped'] for row in rows if 'skipped' in row]


def main():
    """Run on the cluster named by RAY_ADDRESS, or on this machine."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('source', help='folder, or a location such as s3://bucket/images')
    parser.add_argument('--classes', required=True)
    parser.add_argument('--method')
    parser.add_argument('--clip')
    parser.add_argument('--out', required=True)
    parser.add_argument('--format', default='overlay,labels')
    add_processes(parser, 'workers', 2, earlier=['--workers'])
    parser.add_argument('--cpus-per-worker', type=float, default=1)
    parser.add_argument('--gpus-per-worker', type=float, default=0)
    args = parser.parse_args()
    import ray

    build = dict(classes=args.classes, method=args.method, clip=args.clip)
    results = ray.data.from_items(list_images(args.source)).map_batches(
        Segmenter,
        fn_constructor_args=(args.source, args.out, build, args.format),
        batch_size=4,
        concurrency=args.processes,
        num_cpus=args.cpus_per_worker,
        num_gpus=args.gpus_per_worker,
    )
    skipped = finish([json.loads(row['row']) for row in results.take_all()], args.out, args.format)
    print(f'written to {args.out}', *(f'skipped: {reason}' for reason in skipped), sep='\n')


if __name__ == '__main__':
    main()
