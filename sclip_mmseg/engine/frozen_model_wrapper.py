"""A stand-in for DistributedDataParallel around a model without trainable parameters."""

from typing import Any

from mmengine.model import BaseModel
from mmengine.registry import MODEL_WRAPPERS
from torch import nn


@MODEL_WRAPPERS.register_module()
class FrozenModelWrapper(nn.Module):
    """Calls the model of its process.

    DistributedDataParallel rejects models without trainable parameters, and evaluation reduces
    only the metric.

    Args:
        module: The model.
    """

    def __init__(self, module: BaseModel):
        super().__init__()
        self.module = module

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """See the model."""
        return self.module(*args, **kwargs)

    def test_step(self, data: Any) -> Any:
        """See the model."""
        return self.module.test_step(data)

    def val_step(self, data: Any) -> Any:
        """See the model."""
        return self.module.val_step(data)
