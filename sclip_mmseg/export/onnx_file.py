"""Conversion to ONNX files, and their comparison with PyTorch."""

import inspect
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models import CLIPSegmentor
from ..models.windows import Size
from ..utils.errors import InputError, first_line
from ..utils.files import make_folder, write_atomically
from ..utils.precision import own_precision
from .metadata import describe_model
from .network import WindowNetwork, find_window

#: Version of the operators, which ONNX Runtime supports since 1.17.
OPSET = 20
#: Maximum difference of a class score or cosine between ONNX Runtime and PyTorch.
TOLERANCE = 1e-5
INPUT, OUTPUTS = 'images', ('scores', 'maps')
_LARGEST = 2_000_000_000  # bytes: protocol buffers are limited to 2 GiB


def check_packages() -> None:
    """Check that the packages for an export are installed.

    Raises:
        InputError: If a package is missing, with the command that installs it.
    """
    missing = [name for name in ('onnx', 'onnxscript', 'onnxruntime') if find_spec(name) is None]
    if missing:
        raise InputError(
            f'sclip export needs {" and ".join(missing)}: pip install "sclip_mmseg[onnx]"'
        )
    if 'dynamo' not in inspect.signature(torch.onnx.export).parameters:
        raise InputError(f'sclip export needs PyTorch 2.6 or newer, this is {torch.__version__}')


def check_out(path: str | Path) -> Path:
    """Check the path of the file to write.

    Raises:
        InputError: If it is a folder.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f'--out {path} is a folder: name a file, such as {path / "model.onnx"}')
    return path


@own_precision()
@torch.no_grad()
def export_onnx(model: CLIPSegmentor, path: str | Path, size: Size | None = None) -> None:
    """Write a segmentor with fixed classes as an ONNX model of one window.

    The file is written atomically, and only if ONNX Runtime agrees with PyTorch: all scores and
    cosines of random windows, in batches of one and of three, to :data:`TOLERANCE`.

    Args:
        model: Segmentor from :func:`..apis.build_segmentor`, which is not changed.
        path: The file.
        size: Height and width of resized images in pixels, for methods that see whole images;
            else None.

    Raises:
        InputError: If a package is missing, the method cannot be exported, ONNX Runtime disagrees
            with PyTorch, or the file cannot be written.
    """
    check_packages()
    path = check_out(path)
    window, patch = find_window(model.cfg, size), model.image_encoder.patch_size
    if min(window) < patch:
        raise InputError(f'--size {window[0]}x{window[1]} is less than a patch of {patch}')
    if any(tensor.dtype != torch.float32 for tensor in model.image_encoder.matrices()):
        raise InputError("models are exported in float32: build them with precision='fp32'")
    network = WindowNetwork(model).eval()
    if sum(tensor.nbytes for tensor in network.state_dict().values()) > _LARGEST:
        raise InputError('the weights take more than 2 GB, which an ONNX file cannot hold')
    about = describe_model(model, window)
    make_folder(path.parent, 'name another file by --out')
    images = _random_images(3, window).to(model.class_ids.device)
    expected = network(images)  # raises the method's own errors
    content = _convert(network, images[:2], about)
    _compare(content, images, expected)
    write_atomically(path, content)


def _random_images(count: int, size: Size) -> Tensor:
    """Normalised images ``[count, 3, H, W]`` of blobs and some noise, with a fixed seed."""
    generator = torch.Generator().manual_seed(0)
    blots = torch.randn(count, 3, 5, 5, generator=generator)
    noise = torch.randn(count, 3, *size, generator=generator)
    return F.interpolate(blots, size, mode='bilinear', align_corners=False) + 0.1 * noise


def _convert(network: nn.Module, images: Tensor, about: dict[str, str]) -> bytes:
    """Convert the network to the bytes of an ONNX model, for any batch size."""
    import onnx

    try:
        with _quiet():
            program = torch.onnx.export(
                network,
                (images,),
                dynamo=True,
                opset_version=OPSET,
                dynamic_shapes={INPUT: {0: torch.export.Dim('batch')}},
                input_names=[INPUT],
                output_names=OUTPUTS,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise InputError(f'the method cannot be exported: {first_line(cause)}') from error
    assert program is not None  # it is only None if written to a file
    proto = program.model_proto
    onnx.helper.set_model_props(proto, about)
    return proto.SerializeToString()


def _compare(content: bytes, images: Tensor, expected: tuple[Tensor, ...]) -> None:
    """Compare ONNX Runtime with PyTorch."""
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as refusals

    try:
        session = onnxruntime.InferenceSession(content, providers=['CPUExecutionProvider'])
    except (refusals.Fail, refusals.InvalidGraph, refusals.NotImplemented) as error:
        reason = first_line(error)
        raise InputError(f'ONNX Runtime refuses the exported method: {reason}') from error
    for part in (slice(0, 1), slice(None)):
        found = session.run(list(OUTPUTS), {INPUT: images[part].cpu().numpy()})
        for name, ours, theirs in zip(OUTPUTS, expected, found):
            difference = (ours[part].cpu() - torch.from_numpy(theirs)).abs().max().item()
            if not difference <= TOLERANCE:  # also true for NaN
                raise InputError(
                    f'ONNX Runtime and PyTorch differ by {difference:.1e} in {name}, more than '
                    f'{TOLERANCE:g}: nothing is written; try another --method'
                )


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress messages of the exporter about itself and about optional packages."""
    logger: Any = logging.getLogger('torch.onnx')
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        logger.setLevel(level)
