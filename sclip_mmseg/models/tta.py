"""Test-time augmentation."""

from typing import Any

from mmengine.structures import PixelData
from mmseg.models import BaseSegmentor, SegTTAModel
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample


@MODELS.register_module()
class CLIPTTAModel(SegTTAModel):
    """Averages class scores over an image's views, then decides and corrects like the segmentor.

    Args:
        module: The segmentor or its config.
        **kwargs: Arguments of :class:`mmengine.model.BaseTTAModel`.
    """

    def __init__(self, module: BaseSegmentor | dict, **kwargs: Any):
        super().__init__(module, **kwargs)
        # The mean needs each view's scores; thresholds and the area rule apply to the mean only.
        self.rule = self.module.rule
        self.module.rule, self.module.seg_logits = self.rule.scoring, True

    def merge_preds(self, data_samples_list: list[list[SegDataSample]]) -> list[SegDataSample]:
        """Merge the predictions of each image's views into one.

        Args:
            data_samples_list: For each image, its views' predictions at the original size.
        """
        merged = []
        for views in data_samples_list:
            sample = views[0]
            scores = sum(view.seg_logits.data for view in views) / len(views)
            classes = self.rule.decide(scores)[1]
            classes = self.module.correct(classes, scores, sample)
            sample.seg_logits = PixelData(data=scores)
            sample.pred_sem_seg = PixelData(data=classes[None])
            merged.append(sample)
        return merged
