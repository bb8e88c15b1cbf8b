"""Number of windows to encode at a time."""

import torch

_CPU_TOKENS = 1200  # above, activations leave the cache and a window takes longer
_LARGEST = 64  # fewer already keep a GPU busy


def choose_window_batch(tokens: int, width: int, heads: int, device: torch.device) -> int:
    """Choose the number of windows to encode at a time.

    Args:
        tokens: Number of tokens of a window, including the class token.
        width: Channel width of the image tower.
        heads: Number of attention heads of the image tower.
        device: Device of the image tower.

    Returns:
        On a CPU, the number whose activations stay in the cache. On a CUDA device, the number that
        fits into a quarter of its total memory, at most 64; on other devices 32. Free memory is not
        considered, so that equal runs have equal batches and give equal numbers.
    """
    if device.type == 'cpu':
        return max(_CPU_TOKENS // tokens, 1)
    if device.type != 'cuda':
        return 32
    total = torch.cuda.get_device_properties(device).total_memory
    # The hidden layer and its activation, a few maps of the residual stream, attention maps.
    window = 4 * (16 * tokens * width + 4 * heads * tokens**2)
    return max(min(total // (4 * window), _LARGEST), 1)
