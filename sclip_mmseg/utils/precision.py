"""What the user's settings of torch may do to float32."""

import torch

from .errors import InputError


def check_matmul_precision() -> None:
    """Refuse products of float32 matrices that are computed in fewer bits.

    Cosines differ by less than that between classes, and decisions are to be float32's.

    Raises:
        InputError: If TF32 or bfloat16 is allowed for them.
    """
    backends = torch.backends.cuda.matmul, getattr(torch.backends.mkldnn, 'matmul', None)
    new = [getattr(backend, 'fp32_precision', None) for backend in backends]  # torch >= 2.9
    reduced = set(new) & {'tf32', 'bf16'}
    if new[0] is None and torch.get_float32_matmul_precision() != 'highest':
        reduced = {torch.get_float32_matmul_precision()}
    if reduced:
        raise InputError(
            f'torch computes float32 products as {reduced.pop()}, which changes cosines and so '
            "classes: leave out allow_tf32 and set_float32_matmul_precision('highest'); for speed "
            "set model.image_encoder.precision='bf16'"
        )
