"""Kinds of files, recognised by their first bytes, for error messages about wrong files."""

import codecs
import lzma
import os
import pickle
import re
import stat
import struct
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

from .errors import shorten

#: Exceptions that damaged and forged files cause in readers of archives, pickles and arrays.
DAMAGED = (
    *(ArithmeticError, AttributeError, EOFError, LookupError, MemoryError, NotImplementedError),
    *(OSError, RecursionError, RuntimeError, SyntaxError, TypeError, ValueError, AssertionError),
    *(pickle.UnpicklingError, struct.error, zipfile.BadZipFile, zlib.error, lzma.LZMAError),
)
_HEAD = 4096  # bytes that are examined
_AGAIN = 'download it again'
_ITSELF = 'download the file itself'
_UNPACK = 'unpack it and give the file inside'
_CONVERT = 'convert it to PyTorch'


class Kind(NamedTuple):
    """A kind of file.

    Attributes:
        description: Noun phrase with an article.
        remedy: What to do if weights were expected.
    """

    description: str
    remedy: str = 'give a file of torch.save or a .safetensors file'


SAFETENSORS = Kind('a safetensors file')
TORCH_ZIP = Kind('a file of torch.save')
TORCHSCRIPT = Kind('a TorchScript archive')
TORCH_LEGACY = Kind('a file of torch.save before PyTorch 1.6')
NPZ = Kind('an .npz file of NumPy')
CUT_ZIP = Kind('a zip archive that is truncated or damaged', _AGAIN)
TAR = Kind('a tar archive', _UNPACK)
GZIP = Kind('a gzip archive', _UNPACK)
JSON = Kind('a JSON file', 'give the weights')
HTML = Kind('a web page (HTML)', f'open its address in a browser to see why, and {_ITSELF}')
EMPTY = Kind('empty', _AGAIN)
PICKLE = Kind(
    'a pickle not written by torch.save',
    'it is not loaded because unpickling runs code: use torch.save(model.state_dict(), PATH)',
)
_TABLE = Kind('a TensorFlow checkpoint', _CONVERT)

_BINARY = (
    (rb'.{4}\0{4}\{', SAFETENSORS),  # the length of a JSON header, then the header
    # Before PyTorch 1.6, files of torch.save began with a magic number.
    (rb'\x80[\x02-\x05].{0,16}\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19', TORCH_LEGACY),
    (rb'\x80[\x02-\x05]', PICKLE),
    (rb'.{257}ustar', TAR),
    (rb'\x1f\x8b', GZIP),
    (rb'BZh[1-9]1AY&SY', Kind('a bzip2 archive', _UNPACK)),
    (rb'\xfd7zXZ\0', Kind('an xz archive', _UNPACK)),
    (rb'\x28\xb5\x2f\xfd', Kind('a Zstandard archive', _UNPACK)),
    (rb'7z\xbc\xaf\x27\x1c', Kind('a 7z archive', _UNPACK)),
    (rb'Rar!\x1a', Kind('a RAR archive', _UNPACK)),
    (rb'\x93NUMPY', Kind('an .npy array of NumPy')),
    (rb'GGUF|ggjt|lmgg|tjgg', Kind('a GGUF file, as of llama.cpp')),
    (rb'\x89HDF\r\n\x1a\n', Kind('an HDF5 file, as Keras writes', _CONVERT)),
    (rb'.{4}TFL3', Kind('a TensorFlow Lite model', _CONVERT)),
    # A map whose first key is a string.
    (rb'[\x81-\x8f](\xd9.|[\xa1-\xbf])\w', Kind('a msgpack file, as Flax writes', _CONVERT)),
    # The version of the format, and its producer.
    (
        rb'\x08[\x01-\x20]\x12([\x01-\x40])[\x20-\x7e]',
        Kind('an ONNX model', 'give the checkpoint that it was exported from'),
    ),
    (rb'\x89PNG', Kind('a PNG image')),
    (rb'\xff\xd8\xff', Kind('a JPEG image')),
    (rb'GIF8', Kind('a GIF image')),
    (rb'RIFF.{4}WEBP', Kind('a WebP image')),
    (rb'II\*\0|MM\0\*', Kind('a TIFF image')),
    (rb'BM.{4}\0{4}', Kind('a BMP image')),
    (rb'.{4}ftyp', Kind('a video or an image (MP4, HEIF)')),
    (rb'%PDF', Kind('a PDF')),
    (rb'\x7fELF', Kind('a program (ELF)')),
)
_TEXT = (
    (
        r'version https://(git-lfs\.github|hawser\.github)\.com/spec',
        Kind('a Git LFS pointer instead of the file', f'{_ITSELF} with git lfs pull'),
    ),
    (
        r'\S*/annex/objects/',
        Kind('a git-annex pointer instead of the file', f'{_ITSELF} with git annex get'),
    ),
    (r'# xet version', Kind('a pointer of the Hub instead of the file', _ITSELF)),
    (r'\[InternetShortcut\]|\w+://', Kind('a text with a URL', 'download what it points to')),
    (r'(<!--.*?-->|<\?xml.*?>|\s)*<(!doctype\s+html|html|head|body|script|meta)\b', HTML),
    (r'<', Kind('an XML file', f'open its address in a browser to see why, and {_ITSELF}')),
    (
        r'\{.*"weight_map"',
        Kind('the index of sharded weights', 'save the state dict as one file'),
    ),
    (r'[\[{]\s*["\[\]{}\d-]', JSON),
)


def kind_of_place(path: Path) -> str | None:
    """Describe a path that is not a regular file; None for a regular or missing file."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return f'a link to {os.readlink(path)}, which does not exist' if path.is_symlink() else None
    kinds = {
        stat.S_IFREG: None,
        stat.S_IFDIR: 'a folder',
        stat.S_IFIFO: 'a named pipe',
        stat.S_IFSOCK: 'a socket',
    }
    return kinds.get(stat.S_IFMT(mode), 'a device')


def kind_of(path: Path) -> Kind:
    """Recognise the kind of a regular file.

    Raises:
        OSError: If the file cannot be read.
    """
    with open(path, 'rb') as file:
        head = file.read(_HEAD)
        file.seek(max(0, os.fstat(file.fileno()).st_size - 8))
        tail = file.read()
    if not head:
        return EMPTY
    if head.startswith(b'PK\x03\x04'):
        return _kind_of_zip(path)
    for pattern, kind in _BINARY:
        if re.match(pattern, head, re.DOTALL):
            return kind
    if text := _as_text(head):
        for expression, kind in _TEXT:
            if re.match(expression, text, re.DOTALL | re.IGNORECASE):
                return kind
        return Kind(f'a text that begins with {_quote(text)}', _ITSELF)
    if not any(head) and not any(tail):
        return Kind('filled with zeros, probably by an interrupted download', _AGAIN)
    # The index of a TensorFlow checkpoint ends with a magic number, its data have this name.
    if tail.hex() == '57fb808b247547db' or re.search(r'\.data-\d{5}-of-\d{5}$', path.name):
        return _TABLE
    if head[8:9] == b'{':  # the length of the header is absurd
        return SAFETENSORS
    return Kind(f'a file of an unknown kind, which begins with the bytes {head[:8].hex(" ")}')


def _kind_of_zip(path: Path) -> Kind:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError):
        return CUT_ZIP
    if any(re.fullmatch('[^/]+/constants.pkl', name) for name in names):
        return TORCHSCRIPT
    if any(re.fullmatch('[^/]+/data.pkl', name) for name in names):
        return TORCH_ZIP
    if names and all(name.endswith('.npy') for name in names):
        return NPZ
    if 'model.weights.h5' in names:
        return Kind('a Keras model', _CONVERT)
    return Kind(f'a zip archive of {_quote(", ".join(names[:3]))}', _UNPACK)


def _as_text(head: bytes) -> str:
    """The beginning of a file as stripped text; empty if it is not text."""
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return head.decode('utf-16', 'replace').strip()
    text = head.decode('utf-8-sig', 'replace')
    strange = (
        len(re.findall('[\0-\x08\x0e-\x1a\x7f]', text)) or text.count('\ufffd') > len(text) / 4
    )
    return '' if strange else text.strip()


def _quote(text: str) -> str:
    line = (text.splitlines() or [''])[0]
    return repr(shorten(line, 40))
