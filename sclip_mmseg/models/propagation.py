"""PEARL's propagation of scores over the image, guided by text and colours (2603.21528, §TLP)."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..registry import REFINERS
from ..utils.errors import InputError

_GREY = (0.299, 0.587, 0.114)


@REFINERS.register_module()
class LaplacianPropagation(nn.Module):
    """Solves, on a coarse grid, for maps that stay close to the input and change only at edges.

    ``(c + L) X = c · maps``, where c is the confidence of a cell and L the Laplacian of the grid.
    The weight between two neighbours falls with their difference in grey and rises with the
    agreement of their queries. As in the released program, conjugate gradients stop after a fixed
    number of steps, before convergence, and use one step size for all queries.

    Args:
        cells: Rows and columns of the grid. The side of a cell is the image's side over ``cells``,
            rounded, in pixels; pixels beyond the last whole cell are left out.
        steps: Number of conjugate gradient steps.

    Raises:
        InputError: If a value is not a positive integer.
    """

    #: Whether :meth:`forward` also gets the embeddings of the queries.
    needs_text = True

    def __init__(self, cells: int = 80, steps: int = 25):
        super().__init__()
        for name, value in dict(cells=cells, steps=steps).items():
            if not isinstance(value, int) or value < 1:
                raise InputError(
                    f'LaplacianPropagation: {name}={value!r} must be a positive integer'
                )
        self.cells, self.steps = cells, steps

    def forward(self, query_map: Tensor, image: Tensor, embeddings: Tensor) -> Tensor:
        """Propagate the scores of a batch.

        Args:
            query_map: Cosines ``[B, Q, H, W]``; images are processed independently.
            image: Normalised RGB ``[B, 3, H, W]``.
            embeddings: Embeddings of the queries, L2-normalised, ``[Q, D]``.

        Returns:
            Propagated maps ``[B, Q, H, W]``, float32.
        """
        size = query_map.shape[-2:]
        sides = [max(round(side / self.cells), 1) for side in size]
        cosines, pixels = (F.avg_pool2d(each.float(), sides) for each in (query_map, image))
        weight = text_weights(embeddings)[:, None, None]
        shares = cosines.softmax(1)
        agreement = (weight * shares**2).sum(1, keepdim=True).clamp(0, 1)
        confidence = shares.amax(1, keepdim=True).clamp(min=0.05) ** 2 * (1 + agreement)
        grey = (pixels * torch.tensor(_GREY, device=pixels.device)[:, None, None]).sum(1, True)
        edges = [edge_weights(grey, shares, weight, dim) for dim in (2, 3)]

        def apply(x: Tensor) -> Tensor:
            return confidence * x + laplacian(x, edges)

        solved = conjugate_gradients(apply, confidence * cosines, cosines, self.steps)
        return F.interpolate(solved, size, mode='bilinear', align_corners=False)


def text_weights(embeddings: Tensor) -> Tensor:
    """Compute a weight per query, float32 ``[Q]``, larger for queries that resemble few others.

    The diagonal of ``softmax(2 · cosines) + 10`` over the row sums, as in the released program.

    Args:
        embeddings: L2-normalised embeddings, ``[Q, D]``.
    """
    cosines = embeddings.float() @ embeddings.float().T
    return (2 * cosines).softmax(-1).diagonal().add(10) / (11 + 1e-6)


def edge_weights(grey: Tensor, shares: Tensor, weight: Tensor, dim: int) -> Tensor:
    """Compute weights of the edges between neighbours along a dimension, one fewer than cells.

    Args:
        grey: Grey values ``[B, 1, h, w]``.
        shares: Softmax over the queries, ``[B, Q, h, w]``.
        weight: Weight of each query, ``[Q, 1, 1]``.
        dim: 2 for vertical neighbours, 3 for horizontal ones.
    """
    difference = grey.diff(dim=dim).abs()
    count = shares.shape[dim] - 1
    one, next_one = shares.narrow(dim, 0, count), shares.narrow(dim, 1, count)
    agreement = (weight * one * next_one).sum(1, keepdim=True).clamp(0, 1)
    mean = difference.mean((2, 3), keepdim=True)
    return ((-5 * difference / (mean + 1e-6)).exp() * (1 + agreement)).clamp(max=1)


def laplacian(x: Tensor, edges: list[Tensor]) -> Tensor:
    """Apply the grid's Laplacian to maps ``[B, Q, h, w]``; ``edges`` go down and across."""
    total = torch.zeros_like(x)
    for dim, weights in zip((2, 3), edges):
        flow, count = weights * x.diff(dim=dim), x.shape[dim] - 1
        total.narrow(dim, 0, count).sub_(flow)
        total.narrow(dim, 1, count).add_(flow)
    return total


def conjugate_gradients(
    apply: Callable[[Tensor], Tensor], b: Tensor, x: Tensor, steps: int
) -> Tensor:
    """Approximate the solution of ``apply(x) = b`` for each image of a batch.

    Args:
        apply: Symmetric linear map of tensors ``[B, Q, h, w]``.
        b: Right-hand side.
        x: Starting point.
        steps: Number of steps.
    """
    residual = b - apply(x)
    direction, square = residual, _dot(residual, residual)
    for _ in range(steps):
        moved = apply(direction)
        length = square / (_dot(direction, moved) + 1e-12)
        x = x + length * direction
        residual = residual - length * moved
        previous, square = square, _dot(residual, residual)
        direction = residual + square / (previous + 1e-12) * direction
    return x


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum((1, 2, 3), keepdim=True)
