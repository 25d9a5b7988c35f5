"""Which variant of a bundle runs on this machine."""

import os
import platform
from typing import Literal

from edgeops.contracts.manifest import Manifest, Variant
from edgeops.contracts.scalars import Precision, Runtime
from edgeops.errors import InferenceError
from edgeops.inference.runtimes.loading import available_runtimes, runtime_version


def choose_variant(
    manifest: Manifest,
    *,
    runtime: Runtime | Literal["auto"] = "auto",
    precision: Precision | Literal["auto"] = "auto",
) -> Variant:
    """Return the first variant of the manifest's list that can run here.

    Args:
        manifest: Of a bundle; its variants stand in order of preference.
        runtime: Take only variants for this runtime.
        precision: Take only variants of this precision.

    Raises:
        InferenceError: None can; the sentence says why, variant by variant.
    """
    reasons = []
    for variant in manifest.variants:
        reason = _unwanted(variant, runtime, precision) or refusal(variant)
        if not reason:
            return variant
        reasons.append(f"{variant.id} {reason}")
    raise InferenceError(
        f"no variant of {manifest.name} {manifest.version} can run here: {'; '.join(reasons)}"
    )


def refusal(variant: Variant) -> str:
    """Return why a variant cannot run on this machine; empty where it can."""
    requires = variant.requires
    if variant.runtime not in available_runtimes():
        return f"needs the runtime {variant.runtime}, which is not installed"
    if requires.arch and platform.machine() not in requires.arch:
        return f"needs {' or '.join(requires.arch)}, this machine is {platform.machine()}"
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if requires.ram_bytes > memory:
        return f"needs {requires.ram_bytes} bytes of memory, this machine has {memory}"
    installed = runtime_version(variant.runtime)
    if requires.runtime_version and _parts(installed) < _parts(requires.runtime_version):
        return f"needs {variant.runtime} {requires.runtime_version}, installed is {installed}"
    return ""


def _unwanted(variant: Variant, runtime: str, precision: str) -> str:
    if runtime not in {"auto", variant.runtime}:
        return f"is not for the runtime {runtime}"
    if precision not in {"auto", variant.precision}:
        return f"is not {precision}"
    return ""


def _parts(version: str) -> tuple[int, ...]:
    """Return the numbers of a dotted version up to the first part that is none."""
    parts: list[int] = []
    for part in version.split("."):
        if not part.isdigit():
            break
        parts.append(int(part))
    return tuple(parts)
