"""Talk2DINO's text head: CLIP's text tower, and a head that maps its embeddings to DINO's."""

from collections.abc import Mapping
from typing import Any

from mmseg.registry import MODELS
from torch import Tensor, nn

from ...towers import Layout, TextEncoder, read_tensors
from ...towers.building import Weights
from ...towers.layouts import StateDict, check_unread
from ...towers.repository import Checkpoint, Family, Published, check_checkpoint, find
from ...towers.spec import TRANSFORMERS, read_weights
from ...utils.errors import InputError
from ...utils.files import sha256_of
from ..text_head import CLIPTextHead

_COMMIT = 'e41436f83ed4e61506c75dc129beba59f70cdab1'  # the last one to change the head of ViT-B


def _published(name: str, revision: str = 'main', sha256: str | None = None) -> Published:
    folder = f'https://github.com/lorebianchi98/Talk2DINO/raw/{revision}/weights'
    return Published(f'{folder}/{name}.pth', sha256)


#: Heads by the names of the authors' files.
HEADS = {
    'vitb_mlp_infonce': _published(
        *('vitb_mlp_infonce', _COMMIT),
        '5f6efcc520f22916ecf3dfdfb01d6f57e701c1c2e1feda71a80d89e3cd752f0f',
    ),
    'vitl_mlp_infonce': _published('vitl_mlp_infonce'),
    'dinov3_vitb_mlp_infonce': _published(
        *('dinov3_vitb_mlp_infonce', 'main'),
        '6fc5ce7a05d8f1c829c174d87b861da05399cf0bfe50de3711ac940115d85fcc',
    ),
    'dinov3_vitl_mlp_infonce': _published('dinov3_vitl_mlp_infonce'),
}
_PACKAGED = 'proj.'  # prefix of a head's tensors in the authors' packages
_LAYOUT = Layout(
    names={'first': 'linear_layer', 'second': 'hidden_layers.0'},
    block='',
    parts={},
    prefix=('linear_layer', 'hidden_layers.'),
)


_FAMILY = Family('model.image_encoder.head', HEADS, read_weights, (TRANSFORMERS,))


def find_head(head: str) -> Checkpoint:
    """Find the checkpoint of a name in :data:`HEADS`, of an authors' package, or of a path.

    Raises:
        InputError: If there is no such head, or the download fails.
    """
    return find(head, _FAMILY)


class ProjectionHead(nn.Module):
    """``W₂ · tanh(W₁ · x + b₁) + b₂``.

    Args:
        text_width: Channel width of CLIP's embeddings.
        width: Channel width of DINO's patches.
    """

    def __init__(self, text_width: int, width: int):
        super().__init__()
        self.first, self.second = nn.Linear(text_width, width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[..., text_width]`` to ``[..., width]``."""
        return self.second(self.first(x).tanh())


def load_head(head: str) -> ProjectionHead:
    """Load a head, float32 on the CPU.

    Args:
        head: Name or path, see :func:`find_head`. Only the head's tensors are read from a package;
            its code is not run.

    Raises:
        InputError: If the head cannot be used.
    """
    path = find_head(head).weights
    found, source = read_tensors(path), f"head='{head}'"
    packaged = {
        key.removeprefix(_PACKAGED): x for key, x in found.items() if key.startswith(_PACKAGED)
    }
    found = _renamed(packaged or found)
    weights = Weights(found, _LAYOUT, source)
    if 'first.weight' not in weights:
        names = ', '.join(list(found)[:3])
        raise InputError(
            f"{source} is not a head of Talk2DINO: it has no 'linear_layer.weight' but {names}, …"
        )
    check_unread([key for key in found if not _LAYOUT.owns(key)], source)
    width, text_width = weights.get('first.weight', ndim=2).shape
    return weights.fill(lambda: ProjectionHead(text_width, width))


def _renamed(found: StateDict) -> StateDict:
    """Return the tensors by their present names; older files name the second layer otherwise."""
    return {key.replace('linear_layer2.', 'hidden_layers.0.'): x for key, x in found.items()}


class MappedTextTower(TextEncoder):
    """A CLIP text tower; the mean over a query's prompts is mapped to DINO's patches.

    Args:
        tower: CLIP's text tower.
        head: Head that maps the mean.

    Raises:
        InputError: If the head takes embeddings of another width.
    """

    def __init__(self, tower: TextEncoder, head: ProjectionHead):
        super().__init__()
        if head.first.in_features != tower.output_dim:
            raise InputError(
                f'model.image_encoder.head takes embeddings of {head.first.in_features} '
                f'dimensions, those of model.text_head.clip have {tower.output_dim}: use the CLIP '
                'that it was trained with (ViT-B/16)'
            )
        self.tower, self.head = tower, head
        self.context_length, self.output_dim = tower.context_length, tower.output_dim

    def forward(self, tokens: Tensor) -> Tensor:
        """See :class:`...towers.TextTower`."""
        return self.tower(tokens)

    def finish(self, means: Tensor) -> Tensor:
        """See :class:`...towers.TextEncoder`."""
        return self.head(means)


@MODELS.register_module()
class Talk2DINOTextHead(CLIPTextHead):
    """:class:`..text_head.CLIPTextHead` whose embeddings are mapped to DINO's patches.

    Args:
        head: A name in :data:`HEADS`, ``hf:ORG/NAME`` of one of the authors' packages, or the path
            of a file of either kind; defaults to the image encoder's.
        **kwargs: Arguments of :class:`..text_head.CLIPTextHead`.
    """

    shared_keys = ('head',)

    def __init__(self, head: str | None = None, **kwargs: Any):
        self.head = head  # set first, since the base class computes the embeddings
        super().__init__(**kwargs)

    @classmethod
    def check_checkpoints(cls, cfg: Mapping[str, Any]) -> None:
        """See :class:`..text_head.CLIPTextHead`."""
        if cfg.get('head') is not None and cfg.get('embeddings') is None:
            check_checkpoint(cfg['head'], _FAMILY)
        super().check_checkpoints(cfg)

    def tower_options(self) -> dict[str, Any]:
        """See :class:`..text_head.CLIPTextHead`."""
        if self.head is None:
            raise InputError('model.image_encoder.head is needed to encode queries: set it')
        return dict(super().tower_options(), mapped_by=sha256_of(find_head(self.head).weights))

    def load_tower(self) -> MappedTextTower:
        """See :class:`..text_head.CLIPTextHead`."""
        head = load_head(str(self.head))  # before the larger file
        return MappedTextTower(super().load_tower(), head)
