"""Metadata of an exported model."""

import json
from dataclasses import fields
from typing import Any

from ..evaluation.fingerprint import describe_settings
from ..models import CLIPSegmentor
from ..models.decision import DecisionRule, DecisionStep
from ..models.windows import Size
from ..registry import DECISIONS
from ..utils.errors import InputError
from ..version import __version__
from ..zoo import TOY, is_toy


def describe_model(model: CLIPSegmentor, window: Size) -> dict[str, str]:
    """Metadata of an ONNX file: all that a program needs to run the model on images.

    Args:
        model: Segmentor from :func:`..apis.build_segmentor`.
        window: Height and width of its windows in pixels.

    Returns:
        Name → JSON, see ``docs/export.md``.
    """
    meta, preprocessor = model.dataset_meta, model.data_preprocessor
    whole = model.windows.mode == 'whole'
    about = dict(
        classes=list(meta['classes']),
        label_ids=list(meta.get('label_ids') or range(len(meta['classes']))),
        palette=meta['palette'],
        query_classes=model.class_ids.tolist(),
        normalisation=dict(
            channels='RGB' if preprocessor.channel_conversion else 'BGR',
            mean=preprocessor.mean.flatten().tolist(),
            std=preprocessor.std.flatten().tolist(),
        ),
        scale=find_scale(model.cfg.test_pipeline),
        window=dict(
            mode=model.windows.mode, size=window, stride=window if whole else model.windows.stride
        ),
        rule=describe_rule(model.rule),
        method=model.arguments['method'],
        fingerprint=describe_settings(model=model.cfg.model),
        sclip_mmseg=__version__,
    )
    if is_toy(model.encoder_cfg.get('clip')):
        about['notice'] = TOY
    return {key: json.dumps(value, ensure_ascii=False) for key, value in about.items()}


def describe_rule(rule: DecisionRule) -> dict[str, Any]:
    """A rule as keys of ``model.test_cfg``: first the activation, then each step in order."""
    names = {kind: name for name, kind in DECISIONS.module_dict.items()}
    if isinstance(rule, DecisionStep):
        value = getattr(rule, fields(rule)[1].name)
        return {**describe_rule(rule.rule), names[type(rule)]: value}
    values = {field.name: getattr(rule, field.name) for field in fields(rule)}
    return dict(activation=names[type(rule)], **values)


def find_scale(pipeline: list[dict]) -> list[int]:
    """Maximum long and short side, in pixels, to which images are resized.

    Raises:
        InputError: If the pipeline resizes images in another way.
    """
    steps = [step for step in pipeline if step['type'] == 'Resize']
    if len(steps) != 1 or not steps[0].get('keep_ratio') or not steps[0].get('scale'):
        raise InputError(
            "for an export test_pipeline must resize images once, as dict(type='Resize', "
            'scale=(2048, 336), keep_ratio=True) does'
        )
    return [max(steps[0]['scale']), min(steps[0]['scale'])]
