from dataclasses import dataclass

import pytest
import torch

from sclip_mmseg import InputError
from sclip_mmseg.datasets.background import Background
from sclip_mmseg.models import fusion
from sclip_mmseg.models.decision import (
    DecisionStep,
    GivenScores,
    Threshold,
    apply_area_rule,
    best_queries,
    build_rule,
    class_scores,
    decision_keys,
    find_background,
    segment,
    segment_variants,
)
from sclip_mmseg.models.fusion import DenseMap
from sclip_mmseg.models.test_cfg import read_test_cfg
from sclip_mmseg.registry import DECISIONS


def test_a_class_gets_the_maximum_of_its_queries(device):
    queries = torch.tensor([[0.1, 0.5], [0.3, 0.2], [0.6, 0.3]], device=device)
    expected = torch.tensor([[0.3, 0.5], [0.6, 0.3]], device=device)
    torch.testing.assert_close(class_scores(queries, [0, 0, 1]), expected)


def test_queries_may_come_in_any_order(device):
    queries = torch.tensor([[0.1], [0.3], [0.6]], device=device)
    assert class_scores(queries, [1, 0, 1]).flatten().tolist() == pytest.approx([0.3, 0.6])
    assert class_scores(queries, [2, 0, 1]).flatten().tolist() == pytest.approx([0.3, 0.6, 0.1])


def _one_hot(classes, num_classes, device):
    """Scores [K, 1, N] in which each pixel's class wins."""
    classes = torch.tensor(classes, device=device)
    return torch.nn.functional.one_hot(classes, num_classes).T[:, None].float()


def test_area_rule_drops_a_class_exactly_at_the_threshold(device):
    # Class 2 has 1 of 10 foreground pixels: exactly the threshold of 0.1.
    scores = apply_area_rule(_one_hot([0] * 5 + [1] * 9 + [2], 3, device), area_thd=0.1)
    assert scores[2].sum() == 0
    assert scores[1].sum() == 9
    assert scores[0].sum() == 5


def test_area_rule_keeps_a_class_just_above_the_threshold(device):
    scores = apply_area_rule(_one_hot([0] * 5 + [1] * 17 + [2] * 2, 3, device), area_thd=0.1)
    assert scores[2].sum() == 2


def test_area_rule_without_foreground_keeps_the_background(device):
    scores = apply_area_rule(_one_hot([0, 0], 3, device), area_thd=0.1)
    assert scores.argmax(0).tolist() == [[0, 0]]


def test_area_rule_counts_large_images_exactly(device):
    # 70 000 pixels overflow float16, in which the authors' program counts on a GPU.
    scores = apply_area_rule(_one_hot([0] + [1] * 70000, 2, device), area_thd=0.1)
    assert scores[1].sum() == 70000


def test_threshold_keeps_a_pixel_exactly_at_it(device):
    scores = torch.tensor([[[0.2, 0.4, 0.1]], [[0.5, 0.5, 0.25]]], device=device)
    _, classes = Threshold(GivenScores(), 0.5).decide(scores)
    assert classes.tolist() == [[1, 1, 0]]


@pytest.fixture(params=[1, 7, 1 << 24])
def limit(request, monkeypatch):
    """Elements of a tile."""
    monkeypatch.setattr(fusion, 'tile_limit', lambda device: request.param)


def test_segment_does_not_depend_on_tiles(limit, device):
    torch.manual_seed(0)
    query_map = torch.rand(4, 5, 6).to(device)
    rule = build_rule(dict(logit_scale=10, prob_thd=0.5))
    class_ids = torch.tensor([0, 0, 1, 2], device=device)
    scores, classes = segment(DenseMap(query_map), class_ids, rule, keep_scores=True)
    soft = (query_map * 10).softmax(0)
    expected = torch.stack([soft[:2].amax(0), soft[2], soft[3]])
    torch.testing.assert_close(scores, expected)
    torch.testing.assert_close(classes, torch.where(expected.amax(0) < 0.5, 0, expected.argmax(0)))
    assert scores.dtype == torch.float32
    assert classes.dtype == torch.int64


@pytest.mark.parametrize('class_ids', [[0, 1, 2, 3], [0, 0, 1, 2], [2, 0, 1, 0]])
@pytest.mark.parametrize(
    'rules',
    [
        dict(),
        dict(prob_thd=0.4),
        dict(prob_thd=0.4, area_thd=0.3),
        dict(background=0.45),
        dict(activation='sigmoid', logit_bias=-6.0),
        dict(activation='sigmoid', logit_bias=-6.0, prob_thd=0.8),
        dict(activation='sigmoid', logit_bias=-6.0, background=0.8),
        dict(activation=None, background=0.8),
    ],
)
def test_classes_are_the_same_without_scores(class_ids, rules, device):
    torch.manual_seed(0)
    query_map, ids = torch.rand(4, 9, 11).to(device), torch.tensor(class_ids, device=device)

    def run(keep_scores):
        rule = build_rule(dict(logit_scale=10, **rules))
        return segment(DenseMap(query_map), ids, rule, keep_scores)

    scores, expected = run(True)
    none, classes = run(False)
    assert none is None
    assert classes.equal(expected)
    assert classes.unique().numel() > 1
    assert len(scores) == max(class_ids) + 1 + ('background' in rules)


def test_sigmoid_with_a_constant_background(device):
    query_map = torch.tensor([[[0.1, 0.3, -1.0]], [[0.2, 0.0, -1.0]]], device=device)
    rule = build_rule(dict(activation='sigmoid', logit_scale=10, logit_bias=-2, background=0.6))
    class_ids = torch.tensor([0, 1], device=device)
    scores, classes = segment(DenseMap(query_map), class_ids, rule, keep_scores=True)
    torch.testing.assert_close(scores[1:], (10 * query_map - 2).sigmoid())
    assert scores[0].tolist() == [pytest.approx([0.6] * 3)]
    assert classes.tolist() == [[0, 1, 0]]


def test_a_score_equal_to_the_background_s_is_background(device):
    query_map = torch.full((2, 1, 1), 0.5, device=device)
    class_ids = torch.tensor([0, 1], device=device)
    for keep_scores in (True, False):
        rule = build_rule(dict(activation=None, background=0.5))
        _, classes = segment(DenseMap(query_map), class_ids, rule, keep_scores)
        assert classes.item() == 0


def test_the_best_query_has_the_largest_softmax(device):
    torch.manual_seed(0)
    cosines = torch.rand(3, 4, 5).to(device)
    probability, query = best_queries(cosines, logit_scale=20)
    expected = (cosines * 20).softmax(-1).max(-1)
    torch.testing.assert_close(probability, expected.values)
    assert query.equal(expected.indices)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_segment_computes_low_precision_maps_in_float32(dtype, device):
    query_map, class_ids = torch.rand(4, 5, 6).to(device, dtype), torch.arange(4, device=device)
    scores, _ = segment(DenseMap(query_map), class_ids, build_rule({}), keep_scores=True)
    torch.testing.assert_close(scores, (query_map.float() * 40).softmax(0))


def test_a_custom_rule_is_one_class():
    @DECISIONS.register_module('test_margin')
    @dataclass(frozen=True)
    class Margin(DecisionStep):
        """Class 0 where the best score is below a margin above the second."""

        order = 3
        needs_map = True
        value: float

        def decide(self, scores):
            best, second = scores.topk(2, 0).values
            return self.rule.decide(scores)[0], scores.argmax(0).where(best - second >= 0.2, 0)

    try:
        rule = build_rule(dict(activation=None, test_margin=0.2))
        query_map = DenseMap(torch.tensor([[[0.1, 0.4]], [[0.5, 0.5]], [[0.2, 0.1]]]))
        for found in (
            segment(query_map, torch.arange(3), rule, keep_scores=True)[1],
            segment(query_map, torch.arange(3), rule, keep_scores=False)[1],
            dict(segment_variants(query_map, torch.arange(3), [rule]))[rule],
        ):
            assert found.tolist() == [[1, 0]]
        assert 'test_margin' in decision_keys()
        with pytest.raises(InputError, match='test_margin'):
            read_test_cfg(dict(test_margim=0.2))
    finally:
        DECISIONS._module_dict.pop('test_margin')


@pytest.mark.parametrize(
    'test_cfg, message',
    [
        (dict(activation='softmx'), "activation='softmx' must be 'sigmoid', 'softmax' or None"),
        (dict(activation='none'), "activation='none' must be"),
        (dict(activation='background'), "activation='background' must be"),
        (dict(logit_bias=1.0), "logit_bias=1.0 has no effect with activation='softmax'"),
        (dict(logit_scale=0), 'logit_scale=0 must be positive'),
        (dict(prob_thd=None), 'prob_thd=None must lie between 0 and 1'),
        (dict(prob_thd=1.5), 'prob_thd=1.5 must lie between 0 and 1'),
        (dict(area_thd=True), 'area_thd=True must lie between 0 and 1'),
        (dict(background='x'), "background='x' must lie between 0 and 1"),
        (dict(seg_logits=1), 'seg_logits=1 must be True or False'),
        (dict(prob_thr=0.1), r"has no 'prob_thr' \(did you mean 'prob_thd'\?\)"),
    ],
)
def test_values_that_no_rule_takes(test_cfg, message):
    with pytest.raises(InputError, match=message):
        read_test_cfg(test_cfg)


def test_another_class_as_background(device):
    rule = read_test_cfg(dict(prob_thd=0.6, bg_idx=2)).rule
    assert rule.background is Background.NONE and rule.num_classes([0, 1, 2]) == 3
    scores = torch.tensor([[[0.7, 0.5]], [[0.2, 0.3]], [[0.1, 0.2]]], device=device)
    assert rule.decide(scores)[1].tolist() == [[0, 2]]
    assert read_test_cfg(dict(bg_idx=2)).rule == read_test_cfg({}).rule
    with pytest.raises(InputError, match='bg_idx=2 is not a class: the 2 classes are 0 to 1'):
        rule.num_classes([0, 1])
    with pytest.raises(InputError, match='bg_idx=-1 must be the index of a class, or None'):
        read_test_cfg(dict(prob_thd=0.6, bg_idx=-1))


def test_backgrounds():
    assert build_rule(dict(prob_thd=0.0)).background is Background.NONE
    assert build_rule(dict(prob_thd=0.1)).background is Background.QUERIES
    assert build_rule(dict(area_thd=0.0)).background is Background.QUERIES
    assert build_rule(dict(background=0.0, prob_thd=0.1)).background is Background.NO_QUERY
    with pytest.raises(InputError, match='two backgrounds'):
        find_background(dict(background=0.4), Background.NO_QUERY)
