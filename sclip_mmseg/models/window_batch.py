"""How many windows to encode at a time."""

import torch

_CPU_TOKENS = 1200  # beyond, activations leave the cache and a window takes longer
_LARGEST = 64  # a GPU is busy with fewer


def choose_window_batch(tokens: int, width: int, heads: int, device: torch.device) -> int:
    """Choose the number of windows to encode at a time.

    Args:
        tokens: Of a window, the class token included.
        width: Of the image tower.
        heads: Of its attention.
        device: Where it runs.

    Returns:
        On a CPU what stays in its cache, else as many as half of the free memory of a CUDA device
        holds (32 on others, which do not tell), at most 64.
    """
    if device.type == 'cpu':
        return max(_CPU_TOKENS // tokens, 1)
    if device.type != 'cuda':
        return 32
    free, _ = torch.cuda.mem_get_info(device)
    held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    # The hidden layer and its activation, a few maps of the residual stream, attention maps.
    window = 4 * (16 * tokens * width + 4 * heads * tokens**2)
    return max(min((free + held) // (2 * window), _LARGEST), 1)
