"""Not collected with the others: what a test finds where random programs can't (test_mutants)."""

from tileloom.compiler.targets import TARGETS


def test_registers_per_thread() -> None:
    assert {target.max_registers_per_thread for target in TARGETS.values()} == {255}
