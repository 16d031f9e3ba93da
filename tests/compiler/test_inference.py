"""Layout inference: annotations win, products and loads propose, clashes are converted."""

from __future__ import annotations

import pytest

from tileloom.compiler.passes.inference import infer_layouts
from tileloom.layouts import RegisterLayout, parse_layout
from tileloom.vm import parse
from tileloom.vm.diagnostics import VMError
from tileloom.vm.instructions.transform import ConvertLayout
from tileloom.vm.ir import instructions
from tileloom.vm.types import RegType

PROGRAM = """func @f(%x: *f32, %y: *f32) warps = {warps} {{
  %gx = global_view %x : global<f32, [64, 64]>
  %gy = global_view %y : global<f32, [64, 64]>
{body}
}}"""


def layouts(body: str, warps: int = 1) -> dict[str, RegisterLayout]:
    inferred = infer_layouts(parse(PROGRAM.format(body=body, warps=warps))).function
    found = {}
    for instruction in instructions(inferred.body):
        if instruction.result is not None and isinstance(instruction.result.type, RegType):
            found[instruction.result.name] = instruction.result.type.placed
    return found


def conversions(body: str, warps: int = 1) -> list[str]:
    inferred = infer_layouts(parse(PROGRAM.format(body=body, warps=warps)))
    inserted = [i for i in instructions(inferred.function.body) if isinstance(i, ConvertLayout)]
    assert len(inserted) == len(inferred.conversions)
    return [f"{c.instruction.name} {c.operand}" for c in inferred.conversions]


ROWS = "spatial(32, 1) * local(1, 8)"


def test_loads_are_vectors_over_all_threads() -> None:
    found = layouts("  %a = load %gx[0, 0] : reg<f32, [32, 64]>", warps=4)
    assert found["a"] == parse_layout("local(4, 1) * spatial(8, 16) * local(1, 4)")


def test_small_tiles_keep_threads_busy() -> None:
    found = layouts("  %a = load %gx[0, 0] : reg<f32, [8, 8]>")
    assert found["a"] == parse_layout("spatial(8, 4) * local(1, 2)")


def test_annotations_flow_both_ways() -> None:
    found = layouts(f"""  %a = load %gx[0, 0] : reg<f32, [32, 8]>
  %b = load %gx[0, 0] : reg<f32, [32, 8], {ROWS}>
  %c = full : reg<f32, [32, 8]>
  %d = add %a, %c
  %e = mul %d, %b
  assign %c, %e""")
    assert set(found.values()) == {parse_layout(ROWS)}


def test_broadcast_operands_are_replicated() -> None:
    found = layouts(f"""  %a = load %gx[0, 0] : reg<f32, [32, 8], {ROWS}>
  %b = load %gx[0, 0] : reg<f32, [32, 1]>
  %c = load %gx[0, 0] : reg<f32, [8]>
  %d = add %a, %b
  %e = add %d, %c""")
    assert found["b"] == parse_layout("spatial(32, 1)")
    assert found["c"] == parse_layout("replicate(32) * local(8)")


def test_shapes_are_followed() -> None:
    found = layouts(f"""  %a = load %gx[0, 0] : reg<f32, [32, 8], {ROWS}>
  %b = transpose %a
  %c = reshape %b {{shape = [2, 4, 32]}}
  %d = reduce %c {{dim = 1}}
  %e = slice %c {{offsets = [1, 0, 0], shape = [1, 4, 32]}}
  %f = cast %e {{dtype = f16}}""")
    a = parse_layout(ROWS)
    assert found["b"] == a.permute(1, 0)
    assert found["c"] == a.permute(1, 0).reshape(2, 4, 32)
    assert found["d"] == found["c"].reduce(1, keepdims=True)
    assert found["f"] == found["e"] == found["c"].sub_layout(0, 1, 1)[0]


def test_shapes_are_followed_backward() -> None:
    found = layouts("""  %a = load %gx[0, 0] : reg<f32, [8, 32]>
  %b = transpose %a
  %c = reshape %b {shape = [8, 4, 8]}
  %d = cast %c {dtype = f32}
  %e = full : reg<f32, [8, 4, 8], local(1, 1, 2) * spatial(8, 4, 1) * local(1, 1, 4)>
  assign %e, %d""")
    assert found["a"] == parse_layout("local(2, 1) * column_spatial(1, 32) * local(4, 1)")


MMA = """  %acc = full : reg<f32, [32, 16]>
  %a = load %gx[0, 0] : reg<f32, [32, 32]>
  %b = load %gx[0, 0] : reg<f32, [32, 16]>
  %h = cast %a {dtype = f16}
  %g = cast %b {dtype = f16}
  mma %acc, %h, %g"""


def test_products_propose_fragments() -> None:
    from tileloom.layouts import fragments, local, replicate, spatial

    found = layouts(MMA, warps=4)
    assert found["acc"] == spatial(2, 2) * fragments.mma_c("f16")
    assert found["h"].num_threads == found["g"].num_threads == 128
    assert found["g"] == replicate(2) * spatial(1, 2) * local(2, 1) * fragments.mma_b("f16")


def test_nothing_to_convert() -> None:
    assert conversions(MMA, warps=4) == []


def test_clashes_are_converted_and_reported() -> None:
    other = "column_spatial(4, 8) * local(8, 1)"
    body = f"""  %a = load %gx[0, 0] : reg<f32, [32, 8], {ROWS}>
  %b = load %gx[0, 0] : reg<f32, [32, 8], {other}>
  %c = add %a, %b
  %d = transpose %c : reg<f32, [8, 32], spatial(8, 4) * local(1, 8)>
  %e = full : reg<f32, [8, 32], local(8, 1) * spatial(1, 32)>
  assign %e, %d"""
    assert conversions(body) == ["add rhs", "transpose result", "assign value"]


def test_slices_and_joins_that_cut_between_threads_are_converted() -> None:
    body = """  %a = load %gx[0, 0] : reg<f32, [12, 20]>
  %b = slice %a {offsets = [3, 4], shape = [9, 10]}
  store %gy[0, 0], %b"""
    assert conversions(body) == ["slice value"]
    body = """  %a = load %gx[0, 0] : reg<f32, [16, 2], spatial(16, 2)>
  %b = concat %a, %a {dim = 0} : reg<f32, [32, 2], spatial(32, 1) * local(1, 2)>"""
    assert conversions(body) == ["concat result"]
    body = body.replace("spatial(16, 2)", "column_spatial(16, 2)")
    assert conversions(body) == ["concat lhs", "concat rhs", "concat result"]


def test_slices_and_joins_of_whole_registers_move_nothing() -> None:
    body = """  %a = load %gx[0, 0] : reg<f32, [12, 32], local(3, 1) * spatial(4, 8) * local(1, 4)>
  %b = slice %a {offsets = [4, 0], shape = [8, 32]}
  %c = concat %a, %a {dim = 0} : reg<f32, [24, 32]>"""
    assert conversions(body) == []


def test_a_reshape_without_layout_is_an_error() -> None:
    with pytest.raises(VMError) as caught:
        layouts("""  %a = load %gx[0, 0] : reg<f32, [6, 4], spatial(2, 4) * local(3, 1)>
  %b = reshape %a {shape = [4, 6]}""")
    assert "reshape" in caught.value.message
    assert caught.value.location is not None
