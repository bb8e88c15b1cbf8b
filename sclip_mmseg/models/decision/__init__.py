"""Decision rules: from query maps to classes. Each rule is a registered class in its own file."""

from ...old_names import keep_old_names
from .area import AreaRule, apply_area_rule
from .background import ConstantBackground, find_background
from .build import build_rule, decision_keys
from .rule import DecisionRule, class_scores, segment, segment_variants
from .scores import GivenScores
from .sigmoid import SigmoidScores
from .softmax import SoftmaxScores, best_queries
from .step import DecisionStep
from .threshold import Threshold

_RULES = 'a rule is a class of the registry DECISIONS, see sclip_mmseg/models/decision/rule.py'
keep_old_names(
    __name__,
    add_background=_RULES,
    best_classes=_RULES,
    decide=_RULES,
    query_scores=_RULES,
    tile_scores=_RULES,
)

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
