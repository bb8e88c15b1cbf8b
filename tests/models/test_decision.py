import pytest
import torch

from sclip_mmseg.models import fusion
from sclip_mmseg.models.decision import (
    apply_area_rule,
    best_queries,
    class_scores,
    decide,
    segment,
)
from sclip_mmseg.models.fusion import dense_tiles
from sclip_mmseg.models.inference_cfg import InferenceCfg


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
    # Of 10 foreground pixels class 2 has 1, which is 0.1 x 10 and not more.
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
    assert decide(scores, prob_thd=0.5).tolist() == [[1, 1, 0]]


@pytest.fixture(params=[1, 7, 1 << 24])
def limit(request, monkeypatch):
    """Elements of a tile."""
    monkeypatch.setattr(fusion, 'tile_limit', lambda device: request.param)


def test_segment_does_not_depend_on_tiles(limit, device):
    torch.manual_seed(0)
    query_map = torch.rand(4, 5, 6).to(device)
    tiles = dense_tiles(query_map)
    cfg = InferenceCfg(logit_scale=10, prob_thd=0.5)
    class_ids = torch.tensor([0, 0, 1, 2], device=device)
    scores, classes = segment(tiles, (5, 6), class_ids, cfg)
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
        cfg = InferenceCfg(logit_scale=10, seg_logits=keep_scores, **rules)
        return segment(dense_tiles(query_map), (9, 11), ids, cfg)

    scores, expected = run(True)
    none, classes = run(False)
    assert none is None
    assert classes.equal(expected)
    assert classes.unique().numel() > 1
    assert len(scores) == max(class_ids) + 1 + ('background' in rules)


def test_sigmoid_with_a_constant_background(device):
    query_map = torch.tensor([[[0.1, 0.3, -1.0]], [[0.2, 0.0, -1.0]]], device=device)
    cfg = InferenceCfg(activation='sigmoid', logit_scale=10, logit_bias=-2, background=0.6)
    class_ids = torch.tensor([0, 1], device=device)
    scores, classes = segment(dense_tiles(query_map), (1, 3), class_ids, cfg)
    torch.testing.assert_close(scores[1:], (10 * query_map - 2).sigmoid())
    assert scores[0].tolist() == [pytest.approx([0.6] * 3)]
    assert classes.tolist() == [[0, 1, 0]]


def test_a_score_equal_to_the_background_s_is_background(device):
    query_map = torch.full((2, 1, 1), 0.5, device=device)
    class_ids = torch.tensor([0, 1], device=device)
    for keep_scores in (True, False):
        cfg = InferenceCfg(activation=None, background=0.5, seg_logits=keep_scores)
        _, classes = segment(dense_tiles(query_map), (1, 1), class_ids, cfg)
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
    scores, _ = segment(dense_tiles(query_map), (5, 6), class_ids, InferenceCfg())
    torch.testing.assert_close(scores, (query_map.float() * 40).softmax(0))
