"""The process of one pipeline: source, pre-processing, inference, decoding, result.

Started by the supervisor as ``python -m agent.pipe SOCKET HEARTBEAT`` with two inherited
descriptors. It holds the libraries that can crash, leak or hang, so that the supervisor need not.
"""

import logging
import math
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from agent.emitter import Emitter
from agent.heartbeat import Heartbeat, Stage
from agent.messages import (
    MAX_LABELS,
    MAX_REASON,
    STUCK_SOURCE_STATUS,
    Drops,
    FromPipe,
    Item,
    Load,
    Loaded,
    LoadFailed,
    Setup,
    SourceNews,
    Stop,
    ToPipe,
    decode_for_pipe,
    encode,
)
from agent.packets import PacketSocket, PeerGoneError
from agent.sources.opening import open_source
from agent.sources.options import SourceOptions, from_plain
from agent.sources.redact import redacted
from agent.sources.source import Sample, Source, StuckSourceError
from edgeops.backoff import Backoff
from edgeops.bundle import Bundle, open_folder
from edgeops.clock import Clock, SystemClock
from edgeops.contracts.result import Result
from edgeops.errors import (
    BadOutputError,
    ContractError,
    EdgeOpsError,
    InferenceError,
    SourceError,
)
from edgeops.inference.model import Model
from edgeops.inference.variants import choose_variant

logger = logging.getLogger(__name__)

WAIT_S: Final = 0.2
DROPS_EVERY_S: Final = 1.0
GRACE_S: Final = 2.0
SWITCH_INTERVAL_S: Final = 0.0005
"""A busy Python thread beside the inference would else stretch it (convoy on the interpreter)."""

_ORPHANED: Final = 3


class Pipe:
    """One pipeline's loop; single-threaded but for the camera's reader."""

    def __init__(self, packets: PacketSocket, heartbeat: Heartbeat, clock: Clock) -> None:
        self._packets = packets
        self._heartbeat = heartbeat
        self._clock = clock
        self._emitter = Emitter(self._send_packet, clock)
        self._options: SourceOptions | None = None
        self._setup: Setup | None = None
        self._model: Model | None = None
        self._warm = False
        self._source: Source | None = None
        self._ended = False
        self._backoff = Backoff(base_s=0.5, cap_s=60.0)
        self._open_at = 0.0
        self._opened_at = 0.0
        self._last_t: float | None = None
        self._drops: dict[str, int] = {}
        self._drops_sent: dict[str, int] = {}
        self._drops_at = 0.0

    def run(self) -> None:
        """Work until the supervisor says stop.

        Raises:
            PeerGoneError: The supervisor is gone.
            ContractError: A packet that this release does not know.
        """
        try:
            while True:
                self._heartbeat.enter(Stage.WAIT)
                packet = self._packets.receive(WAIT_S if self._is_idle() else 0.0)
                if packet is None:
                    self._turn()
                    continue
                message = decode_for_pipe(packet)
                if isinstance(message, Stop):
                    break
                self._obey(message)
        finally:
            self._close_source()
        self._emitter.flush()
        self._send_drops(at_once=True)

    def _is_idle(self) -> bool:
        if self._model is None or self._ended or self._options is None:
            return True
        return self._source is None and self._clock.monotonic() < self._open_at

    def _obey(self, message: ToPipe) -> None:
        if isinstance(message, Setup):
            self._setup = message
            self._options = from_plain(message.source)
        elif isinstance(message, Load):
            self._emitter.flush()
            self._heartbeat.enter(Stage.LOAD)
            self._send(self._load(message))

    def _load(self, order: Load) -> Loaded | LoadFailed:
        """Load the new model next to the old one; the old one stays where that fails."""
        if order.folder is None:
            self._replace_model(None)
            return Loaded(number=order.number)
        try:
            bundle = open_folder(Path(order.folder))
            model, variant = self._model_of(bundle, order)
        except (EdgeOpsError, MemoryError) as error:
            return LoadFailed(number=order.number, reason=str(error)[:MAX_REASON])
        self._replace_model(model)
        manifest = bundle.manifest
        drift = manifest.drift_reference
        return Loaded(
            number=order.number,
            digest=bundle.digest,
            title=bundle.title,
            variant=variant,
            task=manifest.task.type,
            labels=manifest.task.labels[:MAX_LABELS],
            score_edges=() if drift is None else drift.score_edges[:MAX_LABELS],
        )

    def _model_of(self, bundle: Bundle, order: Load) -> tuple[Model, str]:
        if order.variant:
            variant = bundle.manifest.variant(order.variant)
            if variant is None:
                raise InferenceError(f"{bundle.title} has no variant {order.variant!r}")
        else:
            variant = choose_variant(
                bundle.manifest, runtime=order.runtime, precision=order.precision
            )
        threads = 1 if self._setup is None else self._setup.threads
        return Model.load(bundle, variant, threads=threads), variant.id

    def _replace_model(self, model: Model | None) -> None:
        old, self._model = self._model, model
        self._warm = False
        if old is not None:
            old.close()

    def _turn(self) -> None:
        """Do one frame's work, or a little waiting."""
        if self._options is None or self._model is None or self._ended:
            return
        if self._source is None:
            self._try_open(self._options)
            return
        self._heartbeat.enter(Stage.READ)
        try:
            sample = self._source.read(WAIT_S)
        except SourceError as error:
            self._lose(error)
            return
        if sample is not None and self._is_wanted(sample):
            self._infer(self._model, sample)
        elif sample is None:
            self._emitter.flush()
            if self._source.ended:
                self._finish()
        self._send_drops()

    def _is_wanted(self, sample: Sample) -> bool:
        interval_s = 0.0 if self._setup is None else self._setup.interval_s
        due = self._last_t is None or not 0.0 <= sample.t - self._last_t < interval_s - 1e-6
        if due:
            self._last_t = sample.t
        return due

    def _infer(self, model: Model, sample: Sample) -> None:
        # The first inference may compile or allocate; it has the time that loading has.
        self._heartbeat.enter(Stage.INFER if self._warm else Stage.LOAD)
        began = self._clock.monotonic()
        result, fault, detail = None, "", ""
        try:
            result = _predict(model, sample)
        except BadOutputError as error:
            fault, detail = "bad-output", str(error)[:MAX_REASON]
        except EdgeOpsError as error:
            fault, detail = "error", str(error)[:MAX_REASON]
        ms = (self._clock.monotonic() - began) * 1000.0
        self._warm = True
        self._emitter.add(Item(sample.t, ms, result, fault, detail))

    def _try_open(self, options: SourceOptions) -> None:
        self._heartbeat.enter(Stage.LOAD)
        try:
            self._source = open_source(options, self._clock)
        except SourceError as error:
            self._lose(error)
            return
        self._opened_at = self._clock.monotonic()
        self._last_t = None
        self._send(SourceNews(state="open"))

    def _lose(self, error: SourceError) -> None:
        """Close the source and plan the next attempt."""
        if self._source is not None:
            self._backoff.lived(self._clock.monotonic() - self._opened_at)
        self._close_source()
        self._emitter.flush()
        wait_s = self._backoff.next_s()
        self._open_at = self._clock.monotonic() + wait_s
        self._send(SourceNews(state="lost", detail=redacted(str(error))[:MAX_REASON]))

    def _finish(self) -> None:
        self._ended = True
        self._close_source()
        self._send_drops(at_once=True)
        self._send(SourceNews(state="ended"))

    def _close_source(self) -> None:
        source, self._source = self._source, None
        if source is not None:
            source.close()
            for cause, count in source.drops.items():
                self._drops[cause] = self._drops.get(cause, 0) + count

    def _send_drops(self, *, at_once: bool = False) -> None:
        now = self._clock.monotonic()
        if not at_once and now - self._drops_at < DROPS_EVERY_S:
            return
        self._drops_at = now
        counts = dict(self._drops)
        for cause, count in (self._source.drops if self._source else {}).items():
            counts[cause] = counts.get(cause, 0) + count
        if counts != self._drops_sent:
            self._drops_sent = counts
            self._send(Drops(counts=counts))

    def _send(self, message: FromPipe) -> None:
        self._send_packet(encode(message))

    def _send_packet(self, packet: bytes) -> None:
        self._heartbeat.enter(Stage.EMIT)
        self._packets.send(packet)


def _predict(model: Model, sample: Sample) -> Result:
    """Return the model's answer; finite outputs can still overflow on the way to a score."""
    result = model.predict(sample.array, color=sample.color)
    if not math.isfinite(result.score):
        raise BadOutputError("the score is not finite")
    return result


def _end_with_supervisor(packets: PacketSocket) -> None:
    """End the process soon after its supervisor, also when the loop hangs in foreign code."""
    packets.wait_for_hangup()
    threading.Event().wait(GRACE_S)
    os._exit(_ORPHANED)


def main(arguments: Sequence[str]) -> int:
    """Run the pipe on the inherited descriptors; return its exit status."""
    socket_descriptor, heartbeat_descriptor = (int(text) for text in arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    # Whoever ends a whole service signals every process of it: a pipe that dies before its
    # supervisor has understood would look like a crash of the model.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    packets = PacketSocket.inherited(socket_descriptor)
    watcher = threading.Thread(
        target=_end_with_supervisor, args=(packets,), name="orphan", daemon=True
    )
    watcher.start()
    pipe = Pipe(packets, Heartbeat(heartbeat_descriptor), SystemClock())
    try:
        pipe.run()
    except PeerGoneError:
        return _ORPHANED
    except StuckSourceError as error:
        logger.error("%s", error)  # noqa: TRY400  # a sentence, not our bug
        return STUCK_SOURCE_STATUS
    except ContractError:
        logger.exception("the supervisor speaks another release")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
