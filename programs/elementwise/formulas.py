"""What is computed of each element, in f32: activations, and formulas made of them."""

from __future__ import annotations

from collections.abc import Callable

from tileloom import vm
from tileloom.vm.dsl.values import Tile

Formula = Callable[..., Tile]

# Abramowitz and Stegun, 7.1.26: erfc(z) = (polynomial in t) * exp(-z^2), where t is
# 1 / (1 + z * 0.3275911). Here z is |x| / sqrt(2), and the result is halved.
_STEP = 0.3275911 * 0.7071067811865476
_TAIL = tuple(
    0.5 * each for each in (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)
)
_HALF_LOG2_E = 0.7213475204444817
_GELU_SCALE = 1.5957691216057308  # 2 * sqrt(2 / pi)
_GELU_CUBIC = 0.044715


def relu(x: Tile) -> Tile:
    """The positive part."""
    return vm.maximum(x, 0.0)


def silu(x: Tile) -> Tile:
    """x times its logistic function."""
    return x * vm.sigmoid(x)


def gelu(x: Tile) -> Tile:
    """x times the normal distribution's probability of less, to 1e-7."""
    root = vm.rsqrt(vm.fma(abs(x), _STEP, 1.0))
    t = root * root  # a reciprocal to 4 ulp, without the steps to the nearest
    polynomial = vm.fma(t, _TAIL[4], _TAIL[3])
    for coefficient in _TAIL[2::-1]:
        polynomial = vm.fma(polynomial, t, coefficient)
    # The smaller of the two tails, so that nothing cancels.
    tail = polynomial * t * vm.exp2(x * x * -_HALF_LOG2_E)
    return x * vm.where(x < 0.0, tail, 1.0 - tail)


def gelu_tanh(x: Tile) -> Tile:
    """gelu's common approximation by tanh, which is a logistic function of twice its argument."""
    return x * vm.sigmoid(x * vm.fma(x * x, _GELU_SCALE * _GELU_CUBIC, _GELU_SCALE))


def bias_gelu(x: Tile, bias: Tile) -> Tile:
    """gelu(x + bias)"""
    return gelu(x + bias)


def bias_gelu_tanh(x: Tile, bias: Tile) -> Tile:
    """gelu_tanh(x + bias)"""
    return gelu_tanh(x + bias)


def bias_gelu_residual(x: Tile, bias: Tile, other: Tile) -> Tile:
    """gelu(x + bias) + other"""
    return gelu(x + bias) + other


def bias_relu(x: Tile, bias: Tile) -> Tile:
    """relu(x + bias)"""
    return relu(x + bias)


def bias_silu_residual(x: Tile, bias: Tile, other: Tile) -> Tile:
    """silu(x + bias) + other"""
    return silu(x + bias) + other


def bias_residual(x: Tile, bias: Tile, other: Tile) -> Tile:
    """x + bias + other"""
    return x + bias + other


def silu_product(x: Tile, other: Tile) -> Tile:
    """silu(x) * other, the gate of many models"""
    return silu(x) * other


FORMULAS: dict[str, Formula] = {
    formula.__name__: formula
    for formula in (
        relu, silu, gelu, gelu_tanh, bias_gelu, bias_gelu_tanh, bias_gelu_residual, bias_relu,
        bias_silu_residual, bias_residual, silu_product,
    )
}  # fmt: skip
