"""Facts of the machine, as far as Linux shows them in /proc and /sys.

Nothing here is needed to run: a fact that cannot be read is None. `csrc/cli/device.c` reads the same from the
same files for the native command.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass
from glob import glob
from typing import Any

from . import _core

_CPUS = "/sys/devices/system/cpu"


def _line(path: str) -> str | None:
    """The first line of a file, None where it cannot be read or is empty."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.readline().strip("\n\0") or None
    except OSError:
        return None


def _numbers(pattern: str, low: float, high: float) -> list[float]:
    """What all files of a pattern hold, where it is a number in the range."""
    found = []
    for path in glob(pattern):
        try:
            value = float(_line(path) or "nan")
        except ValueError:
            continue
        if low <= value <= high:
            found.append(value)
    return found


def _pairs(path: str) -> Iterator[tuple[str, str]]:
    """The "key : value" lines of a file."""
    try:
        with open(path, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                key, colon, value = line.partition(":")
                if colon and value.strip():
                    yield key.strip(), value.strip()
    except OSError:
        return


def _cpuinfo() -> dict[str, str]:
    first: dict[str, str] = {}
    for key, value in _pairs("/proc/cpuinfo"):
        first.setdefault(key, value)
    return first


def _emulated(first: dict[str, str]) -> bool:
    """Whether the processor that the program sees is not the one that the kernel shows."""
    machine = platform.machine()
    if machine.startswith(("arm", "aarch64")):
        return "vendor_id" in first
    return machine == "x86_64" and "CPU implementer" in first


def cpu_name() -> str:
    """The processor by name, as far as the system tells it."""
    first = _cpuinfo()
    if not _emulated(first):
        if "CPU implementer" in first and "CPU part" in first:  # ARM: the part says which core it is
            return f"implementer {first['CPU implementer']} part {first['CPU part']}"
        if "model name" in first:
            return first["model name"]
    return platform.machine()


def memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def facts() -> dict[str, Any]:
    """What stays, under the names of the benchmark's columns."""
    most = _numbers(f"{_CPUS}/cpu[0-9]*/cpufreq/cpuinfo_max_freq", 1, 1e9)
    return {
        "emulated": _emulated(_cpuinfo()),
        "machine": platform.machine() or None,
        "board": _line("/proc/device-tree/model") or _line("/sys/class/dmi/id/product_name"),
        "kernel": f"{platform.system()} {platform.release()}",
        "cpu_features": " ".join(name for name, usable, _ in _core.isas() if usable),
        "n_processors": os.cpu_count() or 0,
        "memory_bytes": memory_bytes(),
        "governor": _line(f"{_CPUS}/cpu0/cpufreq/scaling_governor"),
        "freq_max_mhz": max(most) / 1e3 if most else None,
    }


@dataclass(frozen=True)
class State:
    """What changes while a machine works."""

    seconds: float
    temp_c: float | None  # the hottest zone
    freq_mhz: float | None  # mean over the processors
    power_w: float | None  # of a sensor, now
    energy_j: float | None  # of a counter, since some start
    throttles: int | None  # counted since the start
    throttled_now: bool | None

    @staticmethod
    def now() -> State:
        temperatures = _numbers("/sys/class/thermal/thermal_zone*/temp", -5e4, 2e5)
        temperatures = temperatures or _numbers("/sys/class/hwmon/hwmon*/temp1_input", -5e4, 2e5)
        frequencies = [khz / 1e3 for khz in _numbers(f"{_CPUS}/cpu[0-9]*/cpufreq/scaling_cur_freq", 1, 1e9)]
        if not frequencies:
            frequencies = [float(value) for key, value in _pairs("/proc/cpuinfo") if key == "cpu MHz"]
        watts = _numbers("/sys/class/hwmon/hwmon*/power1_input", 1, 1e10)
        watts = watts or _numbers("/sys/class/power_supply/BAT*/power_now", 1, 1e10)
        joules = _numbers("/sys/class/powercap/intel-rapl:?/energy_uj", 0, 1e18)
        counts = _numbers(f"{_CPUS}/cpu[0-9]*/thermal_throttle/core_throttle_count", 0, 1e15)
        # Raspberry Pi: bit 0 undervoltage, 1 frequency capped, 2 throttled, 3 soft temperature limit
        told = _line("/sys/devices/platform/soc/soc:firmware/get_throttled")
        return State(
            seconds=time.perf_counter(),
            temp_c=max(temperatures) / 1e3 if temperatures else None,
            freq_mhz=sum(frequencies) / len(frequencies) if frequencies else None,
            power_w=sum(watts) / 1e6 if watts else None,
            energy_j=sum(joules) / 1e6 if joules else None,
            throttles=int(sum(counts)) if counts else None,
            throttled_now=None if told is None else bool(int(told, 16) & 15),
        )


def between(before: State, after: State) -> dict[str, Any]:
    """The benchmark's columns for what happened between two states."""
    power = None
    if before.power_w is not None and after.power_w is not None:
        power = (before.power_w + after.power_w) / 2
    if before.energy_j is not None and after.energy_j is not None and after.energy_j > before.energy_j:
        power = (after.energy_j - before.energy_j) / (after.seconds - before.seconds)
    throttled = None
    if after.throttled_now is not None or after.throttles is not None:
        counted = (after.throttles or 0) > (before.throttles or 0)
        throttled = bool(after.throttled_now) or counted
    return {
        "freq_before_mhz": before.freq_mhz,
        "freq_after_mhz": after.freq_mhz,
        "temp_before_c": before.temp_c,
        "temp_after_c": after.temp_c,
        "power_w": power,
        "throttled": throttled,
    }
