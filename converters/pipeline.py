"""A conversion from recipe to signed bundle: the order of the steps, and the verdict."""

import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from converters.latency import time_calls
from converters.outcome import Conversion, JudgedVariant, Refusal, Verdict
from converters.quant.ladder import is_within
from converters.quantizing import Quantized, quantize
from converters.recipe import LoadedRecipe, Output
from converters.release import make_manifest, publish
from converters.session import Session, open_session
from converters.variants import file_name, write_variant
from edgeops.clock import Clock
from edgeops.contracts.manifest import Manifest
from edgeops.durable import remove_tree
from edgeops.errors import ConversionError, StorageError
from edgeops.inference.runtimes.loading import open_model
from edgeops.trust import SigningKey

LATENCY_SECONDS: Final = 0.3
BUNDLE: Final = "bundle"

_FLOAT: Final = Output(runtime="onnx", precision="float32")


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """The release key, and whether it is only a developer's own."""

    key: SigningKey
    development: bool


def convert(
    loaded: LoadedRecipe,
    out: Path,
    *,
    signer: Signer,
    clock: Clock,
    say: Callable[[str], None],
) -> Conversion:
    """Convert as the recipe says.

    Returns:
        The outcome; with the verdict ``refused`` nothing is left in ``out``.

    Args:
        loaded: The recipe.
        out: Folder that the bundle is put into; made if it is missing.
        signer: Signs the manifest.
        clock: For durations.
        say: Takes words for people.

    Raises:
        EdgeOpsError: The model cannot be imported, data cannot be read, or the disk is full.
    """
    started = clock.monotonic()
    session = open_session(loaded, say)
    try:
        out.mkdir(parents=True, exist_ok=True)
        work = out / f".making.{secrets.token_hex(4)}"
        work.mkdir()
    except OSError as error:
        raise StorageError(f"cannot write into {out}: {error.strerror or error}") from error
    try:
        done, manifest = _make(session, work, signer, clock, say)
        done = replace(done, seconds=clock.monotonic() - started)
        if manifest is None:
            return done
        bundle = publish(work / BUNDLE, manifest, _measurements(done), signer.key, out)
        return replace(done, bundle=bundle.folder, digest=bundle.digest)
    finally:
        remove_tree(work)


def _make(
    session: Session, work: Path, signer: Signer, clock: Clock, say: Callable[[str], None]
) -> tuple[Conversion, Manifest | None]:
    """Make all files in ``work``; without a manifest where the budget refuses them."""
    folder = work / BUNDLE
    baseline = _baseline(session, work / "float")
    wanted = session.outputs
    quantized = quantize(
        session,
        [output for output in wanted if output.precision == "int8"],
        folder,
        baseline.answers,
        say,
    )
    judged, refusals = _others(session, wanted, folder, baseline, quantized)
    judged |= quantized.variants
    refusals |= quantized.refusals
    variants = [
        replace(judged[output], latency_ms=_latency(folder, judged[output], session, clock))
        for output in wanted
        if output in judged
    ]
    verdict = _verdict(session, variants, refusals, quantized)
    done = Conversion(
        verdict=verdict,
        seconds=0.0,
        baseline=baseline.metrics,
        variants=tuple(variants),
        refusals=tuple(refusals[output] for output in wanted if output in refusals),
        attempts=quantized.attempts,
        warnings=session.warnings,
    )
    if verdict == "refused":
        return done, None
    _drop_refused(folder, refusals)
    manifest = make_manifest(
        session, folder, variants, quantized.attempts, development=signer.development
    )
    return done, manifest


def _baseline(session: Session, folder: Path) -> JudgedVariant:
    """Return the float original's answers and figures."""
    made = write_variant(
        folder, session.graph, _FLOAT, plan=None, layout=session.recipe.input.layout
    )
    return session.judge(folder, made, None)


def _others(
    session: Session,
    wanted: Iterable[Output],
    folder: Path,
    baseline: JudgedVariant,
    quantized: Quantized,
) -> tuple[dict[Output, JudgedVariant], dict[Output, Refusal]]:
    """Write and judge every output but int8."""
    judged: dict[Output, JudgedVariant] = {}
    refusals: dict[Output, Refusal] = {}
    for output in wanted:
        if output in quantized.variants or output in quantized.refusals:
            continue
        try:
            made = write_variant(
                folder, session.graph, output, plan=None, layout=session.recipe.input.layout
            )
        except ConversionError as error:
            refusals[output] = Refusal(
                runtime=output.runtime, precision=output.precision, reason=str(error)
            )
            continue
        judged[output] = session.judge(folder, made, baseline.answers)
    return judged, refusals


def _verdict(
    session: Session,
    variants: list[JudgedVariant],
    refusals: dict[Output, Refusal],
    quantized: Quantized,
) -> Verdict:
    """Return ``pass`` if all is as asked, ``fallback`` if within budget but not as asked."""
    within = all(v.drop is None or is_within(v.drop, session.max_drop) for v in variants)
    if not variants or not within:
        return "refused"
    kept_float = bool(quantized.attempts) and bool(quantized.attempts[-1].rung.keep_float)
    return "fallback" if kept_float or refusals else "pass"


def _latency(
    folder: Path, judged: JudgedVariant, session: Session, clock: Clock
) -> dict[str, float]:
    model = open_model(folder / judged.made.file, judged.made.output.runtime)
    try:
        spec = judged.made.inputs[0]
        # Time does not depend on the values; only NHWC and NCHW differ in shape.
        tensor = next(iter(session.feeds[0].values())).reshape(spec.shape)
        return time_calls(lambda: model.run((tensor,)), clock, seconds=LATENCY_SECONDS).figures()
    finally:
        model.close()


def _drop_refused(folder: Path, refusals: dict[Output, Refusal]) -> None:
    for output in refusals:
        (folder / file_name(output)).unlink(missing_ok=True)


def _measurements(done: Conversion) -> dict[str, object]:
    """Return what differs from run to run: it stands outside the digest."""
    record = done.record()
    record.pop("bundle")
    record.pop("digest")
    return record
