"""How many windows to encode at a time."""

import torch

_CPU_TOKENS = 1200  # beyond, activations leave the cache and a window takes longer
_LARGEST = 64  # a GPU is busy with fewer


def choose_window_batch(tokens: int, width: int, heads: int, device: torch.device) -> int:
    """Choose the number of windows to encode at a time.

    Args:
        tokens: Number of tokens of a window, including the class token.
        width: Channel width of the image tower.
        heads: Number of its attention heads.
        device: Where it runs.

    Returns:
        On a CPU what stays in its cache; else as many as a quarter of a CUDA device's memory holds,
        whoever uses it (32 on others, which do not tell), at most 64. So the same run has the same
        batches, and the same digits.
    """
    if device.type == 'cpu':
        return max(_CPU_TOKENS // tokens, 1)
    if device.type != 'cuda':
        return 32
    total = torch.cuda.get_device_properties(device).total_memory
    # The hidden layer and its activation, a few maps of the residual stream, attention maps.
    window = 4 * (16 * tokens * width + 4 * heads * tokens**2)
    return max(min(total // (4 * window), _LARGEST), 1)
