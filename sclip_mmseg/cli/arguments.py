"""Arguments that command lines share."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..datasets.benchmarks import BENCHMARKS
from ..utils.errors import nearest


class DictAction(argparse.Action):
    """mmengine's ``DictAction``, imported only if the option is given, so that help is fast."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        """Parse ``key=value`` pairs."""
        for text in values:
            if '=' not in text:
                raise argparse.ArgumentError(self, f"'{text}' is not as in KEY=VALUE")
        from mmengine.config import DictAction

        before = getattr(namespace, self.dest) or {}
        DictAction(self.option_strings, self.dest)(parser, namespace, values, option_string)
        setattr(namespace, self.dest, {**before, **getattr(namespace, self.dest)})


class BankAction(argparse.Action):
    """Replaces the config's memory bank."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        """Add to ``cfg_options``, whose own values take precedence."""
        memory = dict(bank=values, name=None, index=None, clip=None, weight=0.2, centred=True)
        options = {f'model.memory.{key}': value for key, value in memory.items()}
        namespace.cfg_options = {**options, **(namespace.cfg_options or {})}


def add_bank(parser: argparse.ArgumentParser) -> None:
    """Add the option that names a memory bank."""
    parser.add_argument(
        '--bank',
        action=BankAction,
        help='look up the regions of each image in a bank of `sclip bank build`, with weight 0.2 '
        '(--cfg-options model.memory.weight=...)',
    )


def positive(text: str) -> int:
    """A whole number above 0."""
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError(f'{text} must be positive')
    return value


def add_processes(
    parser: argparse.ArgumentParser,
    about: str,
    default: int | None = 1,
    earlier: Sequence[str] = (),
) -> None:
    """Add the option ``--processes``.

    Args:
        parser: Parser to which the option is added.
        about: Help of the option.
        default: Default value.
        earlier: Names in earlier versions, which are still accepted.
    """
    number: dict[str, Any] = dict(type=positive, metavar='N', dest='processes')
    about += ' (default: %(default)s)' * (default is not None)
    parser.add_argument('--processes', default=default, help=about, **number)
    for name in earlier:
        parser.add_argument(name, default=argparse.SUPPRESS, help=argparse.SUPPRESS, **number)


def check_benchmarks(parser: argparse.ArgumentParser, names: Sequence[str]) -> None:
    """End the program if a name is neither a benchmark nor ``all``, with the nearest name."""
    for name in names:
        if name not in (known := [*BENCHMARKS, 'all']):
            hint = nearest(name, known) or ': sclip data check --help lists them'
            parser.error(f"there is no benchmark '{name}'{hint}")


def words(text: str) -> list[str]:
    """Words separated by commas."""
    return [word.strip() for word in text.split(',')]


def add_cfg_options(
    parser: argparse.ArgumentParser,
    about: str = 'override settings of the config, e.g. model.test_cfg.stride=56',
) -> None:
    """Add the option that overrides settings of a config.

    Args:
        parser: Parser to which the option is added.
        about: Help of the option.
    """
    metavar = 'KEY=VALUE'
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar=metavar, help=about)


def add_own_classes(parser: argparse.ArgumentParser) -> None:
    """Add the options for classes, background, method and CLIP."""
    parser.add_argument(
        '--classes',
        required=True,
        help='classes separated by semicolons, synonyms by commas: "cat, kitten; dog; grass"; '
        'or a file with one class per line; or a shipped list, e.g. ade20k',
    )
    parser.add_argument(
        '--background',
        nargs='?',
        const=True,
        help='add a background class of these words, separated by commas; default: the 26 words of '
        'the published list',
    )
    parser.add_argument(
        '--method',
        help='e.g. sclip, corrclip, tcl; default: scclip, or sclip with the toy CLIP',
    )
    parser.add_argument(
        '--clip',
        help='CLIP by name (ViT-B/16, hf:ORG/NAME, ...) or path, or the checkpoint of a trained '
        "system; default: ViT-B/16, or the system's published one",
    )
    add_cfg_options(parser)


def add_map_reading(parser: argparse.ArgumentParser) -> None:
    """Add the options for reading maps as RGB images."""
    parser.add_argument(
        '--bands',
        metavar='R,G,B',
        help='for maps: numbers of the red, green and blue bands, as in 4,3,2, or of one grey '
        "band; default: the map's colour tags",
    )
    parser.add_argument(
        '--stretch',
        metavar='MIN,MAX|P2,P98',
        help='for maps: values that become black and white, or percentiles; default: P2,P98 of the '
        'whole map if it has more than 8 bits',
    )


def add_own_images(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """Add the options for folders of labelled images.

    Args:
        parser: Parser to which the options are added.
        required: Whether ``--images`` is required.
    """
    parser.add_argument(
        '--images',
        type=Path,
        required=required,
        metavar='DIR',
        help="folder of images, including subfolders; or a folder in VOC's layout, with its labels",
    )
    parser.add_argument(
        '--labels',
        type=Path,
        metavar='DIR|FILE',
        help='folder of labels with the names of their images: PNG or TIFF of ids, or colour '
        'masks; or a COCO file of instances or panoptic segments (*.json); or georeferenced '
        'polygons (*.gpkg, *.fgb, *.geojson, *.shp), one file per image or one for all',
    )
    parser.add_argument(
        '--label-attribute',
        metavar='NAME',
        help='attribute of polygons with names or ids of classes (default: class)',
    )
    parser.add_argument(
        '--ignore',
        type=words,
        metavar='ID,...',
        help='ids, or names of colours or COCO categories, to ignore, separated by commas; '
        'default: 255',
    )
    parser.add_argument(
        '--colors',
        type=Path,
        metavar='FILE',
        help='table of the colours of masks, with lines such as "road: 128,64,128"; or '
        'labelmap.txt of CVAT',
    )
    parser.add_argument(
        '--background',
        nargs='?',
        const=True,
        help='class 0 is a background of these words, separated by commas; default: the 26 words '
        'of the published list',
    )
    add_map_reading(parser)
    parser.add_argument(
        '--split', type=Path, metavar='FILE', help='file with the names of the images to use'
    )


def own_images(args: argparse.Namespace) -> Any:
    """The :class:`..datasets.folder.layout.OwnImages` of parsed arguments."""
    from ..datasets.folder.layout import OwnImages

    ignored = args.ignore and [int(word) if word.isdecimal() else word for word in args.ignore]
    return OwnImages(
        *(args.images, args.labels, ignored, args.colors, args.split),
        *(args.label_attribute, args.bands, args.stretch),
    )
