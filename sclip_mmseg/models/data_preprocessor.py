"""Preprocessing of batches whose images differ in size."""

from typing import Any

from mmseg.models import SegDataPreProcessor
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from mmseg.utils import stack_batch

from ..utils.errors import InputError


@MODELS.register_module()
class PadSegDataPreProcessor(SegDataPreProcessor):
    """mmseg's preprocessor for batches whose images may differ in size.

    Smaller images are padded on the right and at the bottom after normalisation. The segmentor
    crops them by their ``img_padding_size``.

    Args:
        **kwargs: Arguments of :class:`mmseg.models.SegDataPreProcessor`, except ``test_cfg``.

    Raises:
        InputError: If ``test_cfg`` is given.
    """

    def __init__(self, **kwargs: Any):
        if kwargs.get('test_cfg'):
            raise InputError(
                'model.data_preprocessor.test_cfg is not used: images are segmented without padding'
            )
        super().__init__(**kwargs)

    def forward(self, data: dict, training: bool = False) -> dict[str, Any]:
        """Normalise and stack a batch.

        Args:
            data: ``inputs``, a list of images ``[3, H, W]``, and optionally ``data_samples``.
            training: Argument of :class:`mmseg.models.SegDataPreProcessor`. Ignored unless
                ``size`` or ``size_divisor`` is set, since mmseg's ``benchmark.py`` passes True.

        Returns:
            A dict of ``inputs`` ``[B, 3, H, W]`` and ``data_samples``.
        """
        training = training and (self.size or self.size_divisor) is not None
        if training or len({image.shape for image in data['inputs']}) == 1:
            return super().forward(data, training)
        data = self.cast_data(data)
        normalise = super().forward
        images = [normalise(dict(inputs=[image]))['inputs'][0] for image in data['inputs']]
        inputs, paddings = stack_batch(images, size_divisor=1)
        samples = data.get('data_samples') or [SegDataSample() for _ in images]
        for sample, padding in zip(samples, paddings):
            sample.set_metainfo(padding)
        return dict(inputs=inputs, data_samples=samples)
