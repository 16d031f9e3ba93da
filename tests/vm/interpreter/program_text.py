"""The frame that the checks' programs share."""


def body(text: str, params: str = "") -> str:
    lines = "\n".join(f"  {line.strip()}" for line in text.strip().splitlines())
    return f"""layout #row = spatial(32)
layout #turned = column_spatial(2, 16) * local(1, 1)
func @f(%p: *f32{params}) warps = 1 {{
  %g = global_view %p : global<f32, [64]>
{lines}
}}"""
