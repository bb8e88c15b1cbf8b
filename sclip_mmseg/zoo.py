"""The shipped methods by name, and the paths of their configs."""

import warnings
from collections.abc import Iterable
from pathlib import Path

#: Name → its config files, one per benchmark, relative to the folder of configs.
METHODS: dict[str, str] = {
    'clip': 'clip/clip_vit-b16_{}.py',
    'clip-resclip-protocol': 'clip/clip-resclip-protocol_vit-b16_{}.py',
    'maskclip': 'maskclip/maskclip_vit-b16_{}.py',
    'sclip': 'sclip/sclip_vit-b16_{}.py',
    'sclip-pamr10': 'sclip/sclip-pamr10_vit-b16_{}.py',
    'clearclip': 'clearclip/clearclip_vit-b16_{}.py',
    'naclip': 'naclip/naclip_vit-b16_{}.py',
    'resclip-sclip': 'resclip/resclip-sclip_vit-b16_{}.py',
    'resclip-clearclip': 'resclip/resclip-clearclip_vit-b16_{}.py',
    'resclip-naclip': 'resclip/resclip-naclip_vit-b16_{}.py',
    'scclip': 'scclip/scclip_vit-b16_{}.py',
    'sfp': 'sfp/sfp_vit-b16_{}.py',
    'rfclip': 'rfclip/rfclip_vit-b16_{}.py',
    'rfclip-pamr': 'rfclip/rfclip-pamr_vit-b16_{}.py',
    'pearl': 'pearl/pearl_vit-b16_{}.py',
    'segearth': 'segearth/segearth_vit-b16_{}.py',
    'gem': 'gem/gem_vit-b16_{}.py',
    'proxyclip-dino-b8': 'proxyclip/proxyclip-dino-b8_vit-b16_{}.py',
    'proxyclip-dino-b16': 'proxyclip/proxyclip-dino-b16_vit-b16_{}.py',
    'proxyclip-dinov2-b14': 'proxyclip/proxyclip-dinov2-b14_vit-b16_{}.py',
    'proxyclip-dinov2-b14-reg': 'proxyclip/proxyclip-dinov2-b14-reg_vit-b16_{}.py',
    'proxyclip-dinov3-b16': 'proxyclip/proxyclip-dinov3-b16_vit-b16_{}.py',
    'proxyclip-radiov3-b16': 'proxyclip/proxyclip-radiov3-b16_vit-b16_{}.py',
    'proxyclip-pe-l14': 'proxyclip/proxyclip-pe-l14_vit-b16_{}.py',
    'corrclip': 'corrclip/corrclip_vit-b16_{}.py',
    'corrclip-dinov3-b16': 'corrclip/corrclip-dinov3-b16_vit-b16_{}.py',
    'corrclip2': 'corrclip2/corrclip2_vit-b16_{}.py',
    'ovstitcher': 'ovstitcher/ovstitcher_vit-b16_{}.py',
    'ovstitcher-metaclip': 'ovstitcher/ovstitcher-metaclip_vit-b16_{}.py',
    'trident': 'trident/trident_vit-b16_{}.py',
    'trident-coarse': 'trident/trident-coarse_vit-b16_{}.py',
    'groupvit': 'groupvit/groupvit_vit-s16_{}.py',
    'groupvit-unified': 'groupvit/groupvit-unified_vit-s16_{}.py',
    'tcl': 'tcl/tcl_vit-b16_{}.py',
    'tcl-pamr': 'tcl/tcl-pamr_vit-b16_{}.py',
    'talk2dino': 'talk2dino/talk2dino_vit-b14_{}.py',
    'talk2dino-pamr': 'talk2dino/talk2dino-pamr_vit-b14_{}.py',
    'sam3': 'sam3/sam3_{}.py',
}

#: Method whose configs serve user-defined methods, with the method replaced.
CUSTOM_BASE = 'sclip'
#: Default for own images: the best on photographs among those that only need CLIP
#: (docs/notes/photographs.md).
DEFAULT_METHOD = 'scclip'
#: Default with the toy CLIP, with which SC-CLIP predicts a single class.
TOY_METHOD = 'sclip'
TOY = 'This is the toy CLIP. It only knows drawings: its results on photographs are wrong.'
_TOY_FILE, _TOY_BYTES = 'toy_clip.safetensors', 19_864_914
_TOY_SHA256 = 'b790ad83f8986c485bb124c391ac7e58a72c064f4d65d51c4a55d3dfc803d0b7'


def is_toy(clip: str | Path | None) -> bool:
    """Whether a CLIP is the toy CLIP, by its file name or, if renamed, its content."""
    if clip is None or Path(clip).name == _TOY_FILE:
        return clip is not None
    try:
        if Path(clip).stat().st_size != _TOY_BYTES:
            return False
    except (OSError, ValueError):  # a name, or not a valid path
        return False
    from .utils.files import sha256_of

    return sha256_of(Path(clip)) == _TOY_SHA256


def warn_of_toy(clip: str | None, paths: Iterable[Path]) -> None:
    """Warn if the toy CLIP is used with files or folders other than its drawings."""
    if clip is None or not is_toy(clip):
        return
    drawings = Path(clip).resolve().parent
    if not all(drawings in path.resolve().parents for path in paths):
        warnings.warn(
            'these are not the drawings that the toy CLIP knows: leave --clip (clip) out, or name '
            'another, such as ViT-B/16',
            stacklevel=3,
        )


def default_method(clip: str | None) -> str:
    """The method for own images if none is given."""
    return TOY_METHOD if is_toy(clip) else DEFAULT_METHOD


def config_of(method: str, benchmark: str) -> Path:
    """The config of a method for a benchmark.

    Raises:
        InputError: If the method does not exist or has no config for the benchmark.
    """
    # Imported here because `sclip methods` must not import PyTorch.
    from .utils.errors import InputError, nearest
    from .utils.shipped import configs_dir

    if method not in METHODS:
        hint = nearest(method, METHODS) or (
            ': sclip methods lists them, and your own is my_package.my_module:MyMethod'
        )
        raise InputError(f"method='{method}' is not a known method{hint}")
    path = configs_dir() / METHODS[method].format(benchmark)
    if not path.is_file():
        raise InputError(f"method='{method}' has no config for {benchmark}: {path} does not exist")
    return path
