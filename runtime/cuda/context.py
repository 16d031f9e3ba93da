"""The driver, opened when first needed, and its devices.

Nothing here runs at import: `available()` asks without raising, everything else opens the driver
or says why it can't. Each device's primary context is used, the one torch and cupy use too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from .. import bindings
from ..errors import DriverError, NoDeviceError

_LAUNCH_TROUBLE = {
    700: "an illegal memory access: the context is lost, the process must start again",
    716: "a misaligned address: the context is lost, the process must start again",
    701: "the launch asks for more registers or shared memory than a block can have",
    2: "the GPU's memory is full",
}


_WITHOUT = '`device="interpreter"` and `device="emulator"` need none'


@cache
def api() -> Any:
    """`cuda.bindings.driver`, initialised.

    Raises:
        NoDeviceError: there is no driver or no GPU. It is asked again at the next call.
    """
    try:
        driver = bindings.driver()
        (code,) = driver.cuInit(0)
    except (ImportError, RuntimeError) as error:  # no package, or no libcuda behind it
        reason = str(error).partition("\n")[0]
        raise NoDeviceError("there is no CUDA driver", notes=[reason], hint=_WITHOUT) from None
    if int(code) != 0:
        raise NoDeviceError(
            "there is no NVIDIA GPU", notes=[f"cuInit says {code.name}"], hint=_WITHOUT
        )
    return driver


def check(result: tuple[Any, ...]) -> Any:
    """What a driver call returned, without its code: None, one value, or a tuple.

    Raises:
        DriverError: the code isn't success.
    """
    code = result[0]
    if code != 0:
        raise driver_error(code)
    if len(result) == 2:
        return result[1]
    return result[1:] or None


def driver_error(code: Any) -> DriverError:
    """The error for a driver's result code."""
    driver = bindings.driver()
    number = int(code)
    name = getattr(code, "name", str(number))
    status, text = driver.cuGetErrorString(driver.CUresult(number))
    said = text.decode() if int(status) == 0 and text else "no description"
    trouble = _LAUNCH_TROUBLE.get(number)
    error = DriverError(f"the CUDA driver says {name}: {said}", notes=[trouble] if trouble else [])
    error.code, error.name = number, name
    return error


def available() -> bool:
    """True if there is a driver and a GPU."""
    try:
        return bool(device_count())
    except NoDeviceError:
        return False


def device_count() -> int:
    """How many GPUs the driver shows."""
    return int(check(api().cuDeviceGetCount()))


def driver_version() -> tuple[int, int]:
    """The CUDA version the driver serves, such as (13, 0)."""
    number = int(check(api().cuDriverGetVersion()))
    return number // 1000, number % 1000 // 10


class Device:
    """A GPU and its primary context. Get one from `device` or `current_device`."""

    def __init__(self, ordinal: int) -> None:
        self._driver = driver = api()
        self.ordinal = ordinal
        self.handle = check(driver.cuDeviceGet(ordinal))
        self.context = check(driver.cuDevicePrimaryCtxRetain(self.handle))
        self._context_number = int(self.context)
        self.name = check(driver.cuDeviceGetName(128, self.handle)).split(b"\0", 1)[0].decode()

    def attribute(self, name: str) -> int:
        """A device attribute by the end of its name, such as "MULTIPROCESSOR_COUNT"."""
        attribute = getattr(self._driver.CUdevice_attribute, f"CU_DEVICE_ATTRIBUTE_{name}")
        return int(check(self._driver.cuDeviceGetAttribute(attribute, self.handle)))

    @property
    def compute_capability(self) -> tuple[int, int]:
        """Such as (9, 0)."""
        major = self.attribute("COMPUTE_CAPABILITY_MAJOR")
        return major, self.attribute("COMPUTE_CAPABILITY_MINOR")

    @property
    def target(self) -> str:
        """The target whose code runs here, such as sm_90a."""
        major, minor = self.compute_capability
        return f"sm_{major}{minor}{'a' if major >= 9 else ''}"

    @property
    def num_multiprocessors(self) -> int:
        return self.attribute("MULTIPROCESSOR_COUNT")

    def activate(self) -> None:
        """Makes the primary context the calling thread's."""
        current = check(self._driver.cuCtxGetCurrent())
        if int(current) != self._context_number:
            check(self._driver.cuCtxSetCurrent(self.context))

    @contextmanager
    def active(self) -> Iterator[None]:
        """Makes the primary context the thread's, and afterwards the one before it, if any: torch
        keeps its current device there."""
        before = check(self._driver.cuCtxGetCurrent())
        self.activate()
        try:
            yield
        finally:
            if int(before) not in (0, self._context_number):
                check(self._driver.cuCtxSetCurrent(before))

    def synchronize(self) -> None:
        """Waits for all work on the device.

        Raises:
            DriverError: the work failed.
        """
        self.activate()
        check(self._driver.cuCtxSynchronize())

    def synchronize_stream(self, stream: int) -> None:
        """Waits for the work queued on a stream.

        Raises:
            DriverError: the work failed.
        """
        check(self._driver.cuStreamSynchronize(stream))


@cache
def device(ordinal: int) -> Device:
    """The GPU of that number.

    Raises:
        NoDeviceError: there is none.
    """
    count = device_count()
    if not 0 <= ordinal < count:
        raise NoDeviceError(f"there is no GPU {ordinal}", notes=[f"the driver shows {count}"])
    return Device(ordinal)


def current_device() -> Device:
    """The GPU of the thread's current context, or GPU 0."""
    driver = api()
    context = check(driver.cuCtxGetCurrent())
    if int(context) == 0:
        return device(0)
    return device(int(check(driver.cuCtxGetDevice())))
