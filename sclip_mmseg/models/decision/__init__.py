"""From query maps to classes: rules, each a registered class in a file of its own."""

from .area import AreaRule, apply_area_rule
from .background import ConstantBackground, find_background
from .build import build_rule, decision_keys
from .rule import DecisionRule, class_scores, segment, segment_variants
from .scores import GivenScores
from .sigmoid import SigmoidScores
from .softmax import SoftmaxScores, best_queries
from .step import DecisionStep
from .threshold import Threshold

__all__ = [
    'AreaRule',
    'ConstantBackground',
    'DecisionRule',
    'DecisionStep',
    'GivenScores',
    'SigmoidScores',
    'SoftmaxScores',
    'Threshold',
    'apply_area_rule',
    'best_queries',
    'build_rule',
    'class_scores',
    'decision_keys',
    'find_background',
    'segment',
    'segment_variants',
]
