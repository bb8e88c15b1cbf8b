"""CLIP's text transformer."""

import torch
from torch import Tensor, nn

from ..utils.torch_types import module_list
from .vit import Block, LayerNorm

VOCABULARY = 49408  # number of tokens of OpenAI's tokenizer


class TextEncoder(nn.Module):
    """Embeds tokenised prompts, int64 ``[B, L]`` → ``[B, D]``.

    Attributes:
        context_length: Maximum number of tokens of a prompt.
        output_dim: Embedding width D.
    """

    context_length: int
    output_dim: int

    def finish(self, means: Tensor) -> Tensor:
        """Map the mean embeddings ``[Q, D]`` of a query's prompts, before their normalisation."""
        return means


class TextTower(TextEncoder):
    """Embeds prompts of any length up to the checkpoint's context length.

    Because of the causal mask, padding after the end-of-text token has no effect, so prompts may be
    truncated to the longest one.

    Args:
        context_length: Maximum number of tokens of a prompt.
        vocab_size: Number of tokens in the vocabulary.
        width: Width of the transformer.
        heads: Number of attention heads of each block.
        depth: Number of blocks.
        hidden: Width of the MLPs' hidden layers.
        output_dim: Width of the joint embedding; None for no projection.
        quick_gelu, eps: See :class:`.vit.Block`.
    """

    def __init__(
        self,
        context_length: int,
        vocab_size: int,
        width: int,
        heads: int,
        depth: int,
        hidden: int,
        output_dim: int | None = None,
        quick_gelu: bool = True,
        eps: float = 1e-5,
    ):
        super().__init__()
        self.context_length, self.output_dim = context_length, output_dim or width
        # Not initialised: on the meta device that would import torch's compiler, which takes 1 s.
        self.token_embedding = nn.Embedding.from_pretrained(torch.empty(vocab_size, width))
        self.positions = nn.Parameter(torch.empty(context_length, width))
        self.blocks = module_list(
            Block(width, heads, hidden, quick_gelu, eps=eps) for _ in range(depth)
        )
        self.norm = LayerNorm(width, eps)
        self.proj = nn.Parameter(torch.empty(width, output_dim)) if output_dim else None

    def forward(self, tokens: Tensor) -> Tensor:
        """Encode tokenised prompts.

        Args:
            tokens: int64 ``[B, L]``, zeros after the end-of-text token, which has the largest id.

        Returns:
            Embeddings ``[B, D]``, not normalised.
        """
        x = self.hidden(tokens)
        x = self.norm(x[torch.arange(len(x), device=x.device), tokens.argmax(1)])
        return x if self.proj is None else x @ self.proj

    def hidden(self, tokens: Tensor) -> Tensor:
        """Output of the last block for each token, ``[B, L, width]``, not normalised."""
        length = tokens.shape[1]
        mask = torch.full((length, length), float('-inf'), device=tokens.device).triu(1)
        x = self.token_embedding(tokens) + self.positions[:length]
        for block in self.blocks:
            x = block(x, mask)
        return x
