"""Tasks of Label Studio with brush masks."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import numpy as np

from ...registry import WRITERS
from ...utils.files import open_atomically, write_atomically
from ...visualization.painting import BACKGROUND
from .base import ClassInfo, Item, Pairs, Writer, write_items

TASKS, INTERFACE = 'labelstudio.json', 'labelstudio.xml'
_SIZES = 3, 4, 8, 16  # bits of the lengths of runs


@WRITERS.register_module('labelstudio')
class LabelStudioWriter(Writer):
    """Writes ``labelstudio.json``, tasks with predictions, and ``labelstudio.xml``, the interface.

    Args:
        root: Prefix of an image's path below the input folder: a URL, by default that of Label
            Studio's local files.
    """

    run_files = (TASKS, INTERFACE)

    def __init__(self, root: str = '/data/local-files/?d=') -> None:
        self.root = str(root)

    def write(self, item: Item) -> list[dict]:
        """See :class:`.base.Writer`; returns the regions."""
        height, width = item.result.labels.shape
        return [
            dict(
                id=f'class{each.id}',
                type='brushlabels',
                from_name='label',
                to_name='image',
                original_width=width,
                original_height=height,
                image_rotation=0,
                value=dict(format='rle', rle=encode(mask), brushlabels=[each.name]),
            )
            for each, mask in item.result.painted()
        ]

    def finish(self, records: Pairs, classes: Sequence[ClassInfo], out: Path) -> None:
        """See :class:`.base.Writer`."""
        tasks = (
            dict(
                data=dict(image=self.root + quote(record.image, errors='surrogateescape')),
                predictions=[dict(model_version='sclip_mmseg', result=regions)],
            )
            for record, regions in records
        )
        with open_atomically(out / TASKS) as file:
            write_items(file, tasks)
        labels = ''.join(
            f'    <Label value={quoteattr(each.name)} background="rgb{tuple(each.color)}"/>\n'
            for each in classes
            if each.name != BACKGROUND
        )
        text = (
            '<View>\n  <Image name="image" value="$image" zoom="true"/>\n'
            f'  <BrushLabels name="label" toName="image">\n{labels}  </BrushLabels>\n</View>\n'
        )
        write_atomically(out / INTERFACE, text.encode())


def encode(mask: np.ndarray) -> list[int]:
    """Encode a mask as Label Studio's packed run lengths.

    The bits are: the number of values, four per pixel, in 32 bits; the bits per value less 1, in
    5; the four bit widths of lengths less 1, in 4 each. Then for each run a 1, the index of its bit
    width in 2 bits, its length less 1, and the value in 8 bits.

    Args:
        mask: bool ``[H, W]``.

    Returns:
        Bytes, 0 to 255.

    Source:
        https://github.com/thi-ng/umbrella/tree/develop/packages/rle-pack
    """
    bits = f'{4 * mask.size:032b}{7:05b}' + ''.join(f'{size - 1:04b}' for size in _SIZES)
    bits += ''.join(_runs(mask.ravel()))
    bits += '0' * (-len(bits) % 8)
    return list(int(bits, 2).to_bytes(len(bits) // 8, 'big'))


def _runs(flat: np.ndarray) -> Iterator[str]:
    ends = np.flatnonzero(np.diff(flat, append=not flat[-1])) + 1
    for end, length in zip(ends, 4 * np.diff(ends, prepend=0)):
        while length:
            part = min(int(length), 1 << _SIZES[-1])
            kind = next(k for k, size in enumerate(_SIZES) if part <= 1 << size)
            yield f'1{kind:02b}{part - 1:0{_SIZES[kind]}b}{255 * int(flat[end - 1]):08b}'
            length -= part
