"""What a pipeline is made of, what it tells the agent, and how it shows itself."""

from dataclasses import dataclass
from typing import Literal, Protocol

from agent.rules.evaluate import Answer
from agent.sources.options import SourceOptions
from edgeops.contracts.manifest import TaskType
from edgeops.contracts.scalars import Precision, Runtime
from edgeops.contracts.telemetry import Window

State = Literal["starting", "waiting", "running", "lost", "back-off", "ended", "stopped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineOptions:
    """What one pipeline is made of.

    Attributes:
        slot: Slot whose bundle answers.
        interval_s: Shortest evidence time between two inferences.
        window_s: Length of a telemetry window.
    """

    name: str
    source: SourceOptions
    slot: str
    interval_s: float = 0.0
    window_s: float = 60.0
    threads: int = 1
    runtime: Runtime | Literal["auto"] = "auto"
    precision: Precision | Literal["auto"] = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """The bundle that answers now."""

    digest: str
    title: str
    variant: str
    task: TaskType
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineStatus:
    """One pipeline for people and the local API.

    Attributes:
        frames, errors, bad_outputs: Since the agent started.
        detail: Why it is not running, or what was wrong last.
    """

    name: str
    slot: str
    state: State
    detail: str = ""
    model: LoadedModel | None = None
    frames: int = 0
    errors: int = 0
    bad_outputs: int = 0
    restarts: int = 0
    windows: int = 0
    drops: dict[str, int]
    lat_p50_ms: float = 0.0
    lat_p95_ms: float = 0.0
    pid: int | None = None


class PipelineEvents(Protocol):
    """What a pipeline tells the rest of the agent; called on the pipeline's own thread."""

    def loaded(self, pipeline: str, model: LoadedModel) -> None:
        """Take note that a bundle answers from now on."""
        ...

    def answered(self, pipeline: str, t: float, answer: Answer, model: str) -> None:
        """Take one result at evidence time ``t``."""
        ...

    def silent(self, pipeline: str, silent_s: float) -> None:
        """Take note that a live pipeline has had no result for so long."""
        ...

    def recording_ended(self, pipeline: str) -> None:
        """Take note that a recording was used up."""
        ...

    def window_closed(self, pipeline: str, window: Window) -> None:
        """Take one telemetry window."""
        ...
