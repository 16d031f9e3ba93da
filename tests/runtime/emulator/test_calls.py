"""`call` of the functions that every device has."""

from __future__ import annotations

import pytest

from tileloom.runtime.emulator import EmulatorError, parse_module

PROGRAM = """.version 8.0
.target sm_90a
.address_size 64
.extern .func (.param .b32 result) vprintf(.param .b64 a, .param .b64 b);
.extern .func __assertfail(.param .b64 a, .param .b64 b, .param .b32 c, .param .b64 d,
  .param .b64 e);
.global .align 1 .b8 form[{size}] = {{{form}}};
.visible .entry k(.param .u32 n)
{{
  .reg .b32 %r<4>;
  .reg .b64 %d<8>;
  .reg .pred %p<2>;
  .local .align 16 .b8 stack[64];
  ld.param.u32 %r1, [n];
  mov.u32 %r2, %tid.x;
  setp.eq.u32 %p1, %r2, 3;
  mov.u64 %d0, form;
  cvta.global.u64 %d1, %d0;
  mov.u64 %d2, stack;
  cvta.local.u64 %d3, %d2;
  {body}
  ret;
}}
"""
PRINT = """{
    .param .b64 argument_0;
    st.param.b64 [argument_0], %d1;
    .param .b64 argument_1;
    st.param.b64 [argument_1+0], %d3;
    .param .b32 result;
    @%p1 call.uni (result), vprintf, (argument_0, argument_1);
  }"""


def launch(form: str, body: str, n: int = 7, threads: int = 32) -> None:
    data = form.encode() + b"\0"
    text = PROGRAM.format(size=len(data), form=", ".join(map(str, data)), body=body)
    parse_module(text).kernels["k"].launch((1, 1, 1), (threads, 1, 1), [n])


def test_a_guarded_print(capsys: pytest.CaptureFixture[str]) -> None:
    stores = """st.local.u32 [stack], %r1;
  mov.b64 %d4, -5;
  st.local.b64 [%d2+8], %d4;
  mov.f64 %d5, 0d3FF8000000000000;
  st.local.b64 [stack+16], %d5;
  st.local.b64 [stack+24], %d1;
  st.local.u32 [stack+32], %r2;
  """
    launch("%u|%5lld|%.3e|%s|%x %%\n", stores + PRINT)
    printed = capsys.readouterr().out
    assert printed == "7|   -5|1.500e+00|%u|%5lld|%.3e|%s|%x %%\n|3 %\n"


def test_every_lane_prints_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    launch("%d ", "st.local.u32 [stack], %r2;" + PRINT.replace("@%p1 ", ""), threads=5)
    assert capsys.readouterr().out == "0 1 2 3 4 "


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (PRINT, "an argument of the call was never written"),
        ("call malloc, ();", "there is no function `malloc` to call"),
        ("call %d1, (stack);", "there is no function `%d1` to call"),
        ("call (x), vprintf, (stack);", "`vprintf` takes 2 arguments"),
        (
            "call (x), vprintf, (stack, form);",
            "an argument of `call` is no `.param` variable of the function",
        ),
        ("call vprintf(stack);", "this is no call of a function by its name"),
        ("st.param.u32 [n], %r1;", "`st.param.u32`: parameters can't be stored"),
    ],
)
def test_mistakes(body: str, message: str) -> None:
    with pytest.raises(EmulatorError) as caught:
        launch("%d\n", body)
    assert caught.value.message == message
