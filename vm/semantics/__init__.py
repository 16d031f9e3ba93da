"""What each instruction means, in numpy; one file a family, named as in `vm/instructions`.

A rule is registered by the class it explains:

    @semantics(Transpose)
    def transpose(group: ThreadGroup, instruction: Transpose) -> Tile: ...

It reads operands through `group` and returns the result (None without one). A rule of a blocking
instruction may return `Blocked`; it is then called again when it can go on.
"""

from .registry import Rule, rule_of, rules, semantics

__all__ = ["Rule", "rule_of", "rules", "semantics"]
