"""Plans of casts and decodes: the cheapest operations from codes of few bits to wider types."""

from .emission import emit_plan
from .plan import Half, Op, Plan, Word
from .planner import can_cast, plan_cast, plan_decode

__all__ = ["Half", "Op", "Plan", "Word", "can_cast", "emit_plan", "plan_cast", "plan_decode"]
