"""Pictures of machined parts on a conveyor belt, drawn from a seed.

A flange (disc with a bore and six bolt holes) passes a camera that looks straight down.
Everything is NumPy, so the same seed gives the same pixels with every OpenCV. The scene is made
moderately hard on purpose: small flaws, harmless smudges on good parts, drifting light, blur,
sensor noise, and parts that are only half in view.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from edgeops.errors import ContractError

Frame: TypeAlias = npt.NDArray[np.uint8]
"""``(120, 160, 3)`` uint8, BGR."""
Image: TypeAlias = npt.NDArray[np.float32]
Label: TypeAlias = Literal["empty", "good", "defect"]
FlawKind: TypeAlias = Literal["chip", "missing-hole", "crack", "stain"]

LABELS: Final[tuple[Label, ...]] = ("empty", "good", "defect")
FLAWS: Final[tuple[FlawKind, ...]] = ("chip", "missing-hole", "crack", "stain")
WIDTH_PX: Final = 160
HEIGHT_PX: Final = 120
FRAMES_PER_S: Final = 10

SPEED_PX_PER_S: Final = 64.0
PITCH_PX: Final = 256.0  # wider than the view and a part together: never two parts in one picture
SECONDS_PER_PART: Final = PITCH_PX / SPEED_PX_PER_S
ZONE_PX: Final = (46.0, 114.0)
"""A part is inspected while its centre is here; all of it is in view."""
MARGIN_PX: Final = 12.0
"""Outside the zone by more than this a part counts as not there; between the two no label is
given, for people would not agree either."""
MAX_SECONDS: Final = 3600.0

HOLES: Final = 6
_X, _Y = np.meshgrid(np.arange(WIDTH_PX, dtype=np.float32), np.arange(HEIGHT_PX, dtype=np.float32))
_BELT_BGR: Final = np.array([74.0, 92.0, 66.0], dtype=np.float32)
_STAIN_BGR: Final = np.array([38.0, 66.0, 112.0], dtype=np.float32)
_HOLE_SHADE: Final = 34.0


class Interval(NamedTuple):
    """Seconds since the start of a recording, ``start_s <= t < end_s``."""

    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Flaw:
    """What is wrong with a part.

    Attributes:
        angle_rad: Where on the part, relative to its first bolt hole.
        size: 0 = just worth rejecting, 1 = plain to see.
        bends: Sideways steps of a crack, in parts of the radius.
    """

    kind: FlawKind
    angle_rad: float
    size: float
    bends: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One flange: its make, its pose on the belt and, where it has one, its flaw.

    Attributes:
        smudge: Strength (0 to 0.25) of a harmless fingerprint, which good parts have too.
    """

    radius_px: float
    angle_rad: float
    centre_y_px: float
    ring_px: float
    tint_bgr: tuple[float, float, float]
    smudge: float
    smudge_angle_rad: float
    flaw: Flaw | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """Light and optics of one picture.

    Attributes:
        gain: Brightness, 1 = nominal.
        slope: Change of brightness from edge to edge, right and down.
        blur_px: Standard deviation of the lens blur.
        noise: Standard deviation of the sensor noise, in grey levels of 255.
    """

    gain: float
    slope: tuple[float, float]
    blur_px: float
    noise: float


class PartPass(NamedTuple):
    """A part on its way past the camera; ``middle_s`` is when its centre is mid-picture."""

    middle_s: float
    part: Part

    @property
    def inspected(self) -> Interval:
        """While all of the part is in view."""
        half_s = (ZONE_PX[1] - ZONE_PX[0]) / 2 / SPEED_PX_PER_S
        return Interval(self.middle_s - half_s, self.middle_s + half_s)

    @property
    def label(self) -> Label:
        """``good`` or ``defect``."""
        return "good" if self.part.flaw is None else "defect"


def belt_sample(rng: np.random.Generator, label: Label) -> Frame:
    """Return one picture of class ``label``.

    ``empty`` means that no whole part is in view: half of these pictures show a part at the edge.
    """
    if label == "empty":
        at_edge, flawed, left = (bool(coin) for coin in rng.integers(2, size=3))
        part = _draw_part(rng, flawed=flawed) if at_edge else None
        outside = rng.uniform(MARGIN_PX, ZONE_PX[0] + 40.0)
        x = ZONE_PX[0] - outside if left else ZONE_PX[1] + outside
    else:
        part = _draw_part(rng, flawed=label == "defect")
        x = rng.uniform(*ZONE_PX)
    scene = _belt(rng, WIDTH_PX)
    if part is not None:
        scene = _paint(scene, part, x)
    return _expose(rng, scene, _draw_exposure(rng))


def belt_passes(
    *, seed: int, seconds: float, defects: Sequence[tuple[float, float]]
) -> list[PartPass]:
    """Return the parts of a recording; those that pass mid-picture in ``defects`` are flawed.

    Args:
        seed: Chooses parts and flaws.
        seconds: Length of the recording, up to ``MAX_SECONDS``; a part comes every 4 s.
        defects: ``(start_s, end_s)`` intervals.

    Raises:
        ContractError: The length is out of range, or no part passes in one of the intervals.
    """
    if not 0.0 < seconds <= MAX_SECONDS:
        raise ContractError("seconds", f"expected 0 to {MAX_SECONDS:.0f}, found {seconds}")
    rng = np.random.default_rng([seed, 1])
    middles = np.arange(SECONDS_PER_PART / 2, seconds + SECONDS_PER_PART, SECONDS_PER_PART)
    for index, (start_s, end_s) in enumerate(defects):
        if not any(start_s <= middle < end_s for middle in middles if middle < seconds):
            reason = f"no part passes the camera from {start_s} s to {end_s} s"
            raise ContractError(f"defects[{index}]", reason)
    return [
        PartPass(
            float(middle),
            _draw_part(rng, flawed=any(start <= middle < end for start, end in defects)),
        )
        for middle in middles
    ]


def belt_frames(passes: Sequence[PartPass], *, seed: int, seconds: float) -> Iterator[Frame]:
    """Yield ``round(seconds * FRAMES_PER_S)`` pictures of the parts under drifting light."""
    rng = np.random.default_rng([seed, 2])
    belt = _belt(rng, int(2 * PITCH_PX))
    first = _draw_exposure(rng)
    drift_phase = rng.uniform(0.0, 2 * math.pi)
    for number in range(round(seconds * FRAMES_PER_S)):
        t = number / FRAMES_PER_S
        scene = np.roll(belt, round(t * SPEED_PX_PER_S), axis=1)[:, :WIDTH_PX]
        for middle_s, part in passes:
            x = WIDTH_PX / 2 + (t - middle_s) * SPEED_PX_PER_S
            if -part.radius_px - 4 < x < WIDTH_PX + part.radius_px + 4:
                scene = _paint(scene, part, x)
        gain = first.gain * (1.0 + 0.1 * math.sin(2 * math.pi * t / 37.0 + drift_phase))
        light = Exposure(gain=gain, slope=first.slope, blur_px=first.blur_px, noise=first.noise)
        yield _expose(rng, scene, light)


def _draw_part(rng: np.random.Generator, *, flawed: bool) -> Part:
    tint = 1.0 + rng.normal(0.0, 0.02, 3)
    return Part(
        radius_px=rng.uniform(41.0, 45.0),
        angle_rad=rng.uniform(0.0, 2 * math.pi),
        centre_y_px=HEIGHT_PX / 2 + rng.uniform(-6.0, 6.0),
        ring_px=rng.uniform(1.6, 3.2),
        tint_bgr=(1.04 * float(tint[0]), float(tint[1]), 0.97 * float(tint[2])),
        smudge=rng.uniform(0.0, 0.25),
        smudge_angle_rad=rng.uniform(0.0, 2 * math.pi),
        flaw=_draw_flaw(rng) if flawed else None,
    )


def _draw_flaw(rng: np.random.Generator) -> Flaw:
    kind = FLAWS[int(rng.integers(len(FLAWS)))]
    angle = rng.uniform(0.0, 2 * math.pi)
    if kind == "missing-hole":
        angle = 2 * math.pi / HOLES * int(rng.integers(HOLES))
    bends = tuple(float(bend) for bend in rng.normal(0.0, 0.06, 5))
    return Flaw(kind=kind, angle_rad=angle, size=rng.uniform(0.0, 1.0), bends=bends)


def _draw_exposure(rng: np.random.Generator) -> Exposure:
    return Exposure(
        gain=rng.uniform(0.75, 1.2),
        slope=(rng.uniform(-0.15, 0.15), rng.uniform(-0.15, 0.15)),
        blur_px=rng.uniform(0.4, 0.9),
        noise=rng.uniform(2.0, 6.0),
    )


def _belt(rng: np.random.Generator, width: int) -> Image:
    """Return ``(HEIGHT_PX, width, 3)``: a woven rubber belt with worn patches and rails."""
    grain = rng.normal(0.0, 9.0, (HEIGHT_PX, width)).astype(np.float32)
    coarse = rng.normal(0.0, 9.0, (HEIGHT_PX // 12, width // 16)).astype(np.float32)
    worn = np.repeat(np.repeat(coarse, 12, axis=0), 16, axis=1)
    weave = 5.0 * np.sin(np.arange(width, dtype=np.float32) * (2 * math.pi / 8.0))
    grey = _blur(grain[..., None], 0.8) + _blur(worn[..., None], 3.0) + weave[None, :, None]
    belt: Image = (_BELT_BGR + grey).astype(np.float32)
    for row in (0, HEIGHT_PX - 7):
        belt[row : row + 7] = 118.0 + 0.4 * grey[row : row + 7]
    return belt


def _paint(scene: Image, part: Part, x: float) -> Image:
    """Return ``scene`` with the part's centre at column ``x``, with its shadow below it."""
    dx, dy = _X - np.float32(x), _Y - np.float32(part.centre_y_px)
    distance = np.hypot(dx, dy)
    radius = part.radius_px
    body = _inside(radius - distance)
    bore = _inside(0.27 * radius - distance)
    drilled = _drilled(part, dx, dy)
    chip = np.zeros_like(body)
    if part.flaw is not None and part.flaw.kind == "chip":
        angle = part.angle_rad + part.flaw.angle_rad
        away = np.hypot(dx - radius * math.cos(angle), dy - radius * math.sin(angle))
        chip = _inside(5.0 + 4.5 * part.flaw.size - away)
    metal = body * (1 - chip) * (1 - bore)
    shadow = np.zeros_like(metal)
    shadow[3:, 4:] = metal[:-3, :-4]

    turned = 20.0 * np.cos(2 * (np.arctan2(dy, dx) - 0.6))  # light on lathe marks: a bow tie
    rings = 5.0 * np.sin(distance * np.float32(2 * math.pi / part.ring_px))
    edges = 30.0 * (_inside(1.6 - np.abs(radius - 1 - distance)))
    shade = (158.0 + turned + rings - edges) * (1 - drilled) + _HOLE_SHADE * drilled
    surface = shade[..., None] * np.array(part.tint_bgr, dtype=np.float32)
    surface = _soil(surface, part, dx, dy)
    ground = scene * (1 - 0.4 * shadow[..., None])
    painted = ground * (1 - metal[..., None]) + surface * metal[..., None]
    return painted.astype(np.float32)


def _drilled(part: Part, dx: Image, dy: Image) -> Image:
    """Return how far each pixel is a bolt hole, 0 to 1; a missing hole is at best a dimple."""
    depth = np.zeros_like(dx)
    for hole in range(HOLES):
        angle = 2 * math.pi / HOLES * hole
        share = 1.0
        if part.flaw is not None and part.flaw.kind == "missing-hole":
            same = math.isclose(part.flaw.angle_rad, angle, abs_tol=1e-6)
            share = 0.3 * (1 - part.flaw.size) if same else 1.0
        hx = 0.63 * part.radius_px * math.cos(angle + part.angle_rad)
        hy = 0.63 * part.radius_px * math.sin(angle + part.angle_rad)
        depth += share * _inside(0.12 * part.radius_px - np.hypot(dx - hx, dy - hy))
    return np.minimum(depth, np.float32(1.0))


def _soil(surface: Image, part: Part, dx: Image, dy: Image) -> Image:
    """Return the surface with its smudge and, where the flaw is one, its stain or crack."""
    radius = part.radius_px
    smudge = part.smudge * _blotch(dx, dy, 0.6 * radius, part.smudge_angle_rad, 6.0)
    surface = surface * (1 - 0.6 * smudge[..., None])
    if part.flaw is None:
        return surface
    angle = part.angle_rad + part.flaw.angle_rad
    if part.flaw.kind == "stain":
        spread = 5.0 + 3.0 * part.flaw.size
        strength = 0.5 + 0.4 * part.flaw.size
        stain = strength * _blotch(dx, dy, 0.6 * radius, angle, spread)
        surface = surface * (1 - stain[..., None]) + _STAIN_BGR * stain[..., None]
    if part.flaw.kind == "crack":
        crack = 0.85 * _crack(part.flaw, radius, dx, dy, angle)
        surface = surface * (1 - crack[..., None])
    return surface


def _blotch(dx: Image, dy: Image, out: float, angle: float, spread: float) -> Image:
    bx, by = out * math.cos(angle), out * math.sin(angle)
    square = ((dx - bx) ** 2 + 1.4 * (dy - by) ** 2) / np.float32(spread**2)
    blotch: Image = np.exp(-(square**2) / 2).astype(np.float32)
    return blotch


def _crack(flaw: Flaw, radius: float, dx: Image, dy: Image, angle: float) -> Image:
    """Return the coverage of a jagged line from near the bore outwards."""
    reach = np.linspace(0.3, 0.7 + 0.28 * flaw.size, len(flaw.bends)) * radius
    aside = np.array(flaw.bends) * radius
    px = reach * math.cos(angle) - aside * math.sin(angle)
    py = reach * math.sin(angle) + aside * math.cos(angle)
    nearest = np.full_like(dx, np.inf)
    corners = list(zip(px.tolist(), py.tolist(), strict=True))
    for (ax, ay), (bx, by) in pairwise(corners):
        length = max((bx - ax) ** 2 + (by - ay) ** 2, 1e-6)
        along = np.clip(((dx - ax) * (bx - ax) + (dy - ay) * (by - ay)) / length, 0.0, 1.0)
        nearest = np.minimum(
            nearest, np.hypot(dx - ax - along * (bx - ax), dy - ay - along * (by - ay))
        )
    return _inside((1.2 + 0.8 * flaw.size - nearest).astype(np.float32))


def _inside(depth_px: Image) -> Image:
    """Return the share of each pixel that is inside an outline: smooth, hence no jagged edges."""
    share: Image = np.clip(depth_px + np.float32(0.5), 0.0, 1.0).astype(np.float32)
    return share


def _expose(rng: np.random.Generator, scene: Image, light: Exposure) -> Frame:
    right, down = light.slope
    falloff = 1.0 + right * (_X / WIDTH_PX - 0.5) + down * (_Y / HEIGHT_PX - 0.5)
    lit = _blur(scene, light.blur_px) * (light.gain * falloff)[..., None]
    noisy = lit + rng.standard_normal(scene.shape, dtype=np.float32) * np.float32(light.noise)
    frame: Frame = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
    return frame


def _blur(image: Image, sigma_px: float) -> Image:
    """Return ``image`` (height, width, channels) under a Gaussian, edges repeated."""
    reach = max(1, math.ceil(2.5 * sigma_px))
    taps = np.exp(-(np.arange(-reach, reach + 1, dtype=np.float32) ** 2) / (2 * sigma_px**2))
    taps /= taps.sum()
    height, width, _ = image.shape
    padded = np.pad(image, ((reach, reach), (0, 0), (0, 0)), mode="edge")
    across = np.zeros_like(image)
    for start, tap in enumerate(taps):
        across += tap * padded[start : start + height]
    padded = np.pad(across, ((0, 0), (reach, reach), (0, 0)), mode="edge")
    both = np.zeros_like(image)
    for start, tap in enumerate(taps):
        both += tap * padded[:, start : start + width]
    return both
