"""What happened when, and the figures that were measured: the demo's record."""

from dataclasses import dataclass, field

from edgeops.clock import Clock

Number = float
"""Another name for ``float`` where a field of that name stands beside it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """One step of the story: whether it really happened, and with which figures.

    Attributes:
        at_s: Seconds since the demo began when the step ended.
    """

    name: str
    ok: bool
    detail: str
    at_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What was counted in this run, on the devices and at the server.

    Attributes:
        duplicates: Alerts or windows that the server stored more than once.
        lost: Alerts raised or windows stored on devices that the server does not have.
        updates: Bundles that devices committed after probation.
        rollbacks: Bundles that devices refused or took back by themselves.
    """

    devices: int = 0
    frames: int = 0
    alerts_raised: int = 0
    alerts_received: int = 0
    windows_sent: int = 0
    windows_stored: int = 0
    duplicates: int = 0
    lost: int = 0
    updates: int = 0
    rollbacks: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFigures:
    """Float and int8 side by side.

    Attributes:
        metric: Name of the figure that ``float`` and ``int8`` are (top1, auc …).
    """

    name: str
    metric: str
    float: Number
    int8: Number
    float_bytes: int
    int8_bytes: int
    float_ms: Number
    int8_ms: Number


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The demo's result, as ``--json`` writes it."""

    ok: bool
    seconds: float
    steps: tuple[StepRecord, ...]
    counts: Counts
    models: tuple[ModelFigures, ...]


@dataclass(slots=True)
class Timeline:
    """Collects steps; the view shows the newest, the summary all."""

    clock: Clock
    began: float = field(init=False)
    steps: list[StepRecord] = field(default_factory=list)
    doing: str = "starting"

    def __post_init__(self) -> None:
        self.began = self.clock.monotonic()

    @property
    def seconds(self) -> float:
        """Return seconds since the demo began."""
        return self.clock.monotonic() - self.began

    def record(self, name: str, detail: str, *, ok: bool = True) -> None:
        """Note that a step ended."""
        self.steps.append(StepRecord(name=name, ok=ok, detail=detail, at_s=round(self.seconds, 1)))
