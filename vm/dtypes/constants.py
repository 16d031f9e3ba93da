"""The dtypes that programs name most often; all others are a `dtype(name)` away."""

from typing import Final

from .names import dtype

f16: Final = dtype("f16")
bf16: Final = dtype("bf16")
tf32: Final = dtype("tf32")
f32: Final = dtype("f32")
f64: Final = dtype("f64")

u1: Final = dtype("u1")
u2: Final = dtype("u2")
u3: Final = dtype("u3")
u4: Final = dtype("u4")
u5: Final = dtype("u5")
u6: Final = dtype("u6")
u7: Final = dtype("u7")
u8: Final = dtype("u8")
u16: Final = dtype("u16")
u32: Final = dtype("u32")
u64: Final = dtype("u64")

i2: Final = dtype("i2")
i3: Final = dtype("i3")
i4: Final = dtype("i4")
i5: Final = dtype("i5")
i6: Final = dtype("i6")
i7: Final = dtype("i7")
i8: Final = dtype("i8")
i16: Final = dtype("i16")
i32: Final = dtype("i32")
i64: Final = dtype("i64")

e2m1: Final = dtype("e2m1")
e2m3: Final = dtype("e2m3")
e3m2: Final = dtype("e3m2")
e4m3: Final = dtype("e4m3")
e5m2: Final = dtype("e5m2")
e8m0: Final = dtype("e8m0")

b1: Final = dtype("b1")
nf4: Final = dtype("nf4")
bool_: Final = dtype("bool")
