"""Plots as inline SVG: pure functions from numbers to markup, coloured by the page's style.

Every text goes through ``Markup.format``, which escapes it. Charts are 360 units wide, about the
width of a phone, so that their letters stay readable there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from typing import Final

from markupsafe import Markup

WIDTH: Final = 360
ROW: Final = 26
LABEL: Final = 118
LONGEST_LABEL: Final = 16
_WIDE: Final = 720
_MAX_COUNTED: Final = 12


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: its label, its length, the text at its end, and whether it stands out."""

    label: str
    value: float
    text: str
    strong: bool = False


@dataclass(frozen=True, slots=True)
class Span:
    """A dot with its interval."""

    label: str
    value: float
    low: float | None
    high: float | None
    text: str
    strong: bool = False


@dataclass(frozen=True, slots=True)
class Pair:
    """Two dots on one row: before and after."""

    label: str
    before: float
    after: float
    alarming: bool = False


def bars(title: str, rows: Sequence[Bar]) -> Markup:
    """Return horizontal bars from zero."""
    most = max((row.value for row in rows), default=0.0) or 1.0
    room = WIDTH - LABEL - 70
    parts = []
    for index, row in enumerate(rows):
        y = index * ROW
        length = max(1.0, row.value / most * room)
        parts.append(
            Markup(
                '<text x="{x}" y="{t}" class="label end">{label}<title>{full}</title></text>'
                '<rect x="{left}" y="{y}" width="{w:.1f}" height="16" rx="2" class="{c}"/>'
                '<text x="{after:.1f}" y="{t}" class="value">{text}</text>'
            ).format(
                x=LABEL - 8,
                t=y + 17,
                label=_short(row.label),
                full=row.label,
                left=LABEL,
                y=y + 5,
                w=length,
                c="bar strong" if row.strong else "bar",
                after=LABEL + length + 6,
                text=row.text,
            )
        )
    return _svg(title, WIDTH, len(rows) * ROW + 4, parts)


def spans(title: str, rows: Sequence[Span], limit: float | None, *, percent: bool) -> Markup:
    """Return dots with intervals on a common axis, and a dashed line at ``limit``."""
    ends = [end for row in rows for end in (row.low, row.value, row.high) if end is not None]
    if limit is not None:
        ends.append(limit)
    axis = _Axis.around(ends, left=LABEL, right=WIDTH - 14, bounded=percent)
    height = len(rows) * ROW
    parts = [axis.grid(height, percent=percent)]
    if limit is not None:
        parts.append(
            Markup(
                '<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{h}" class="limit">'
                "<title>budget</title></line>"
            ).format(x=axis.at(limit), h=height)
        )
    for index, row in enumerate(rows):
        y = index * ROW + 13
        if row.low is not None and row.high is not None:
            parts.append(
                Markup(
                    '<line x1="{a:.1f}" x2="{b:.1f}" y1="{y}" y2="{y}" class="whisker"/>'
                ).format(a=axis.at(row.low), b=axis.at(row.high), y=y)
            )
        parts.append(
            Markup(
                '<text x="{x}" y="{t}" class="label end">{label}<title>{full}</title></text>'
                '<circle cx="{cx:.1f}" cy="{y}" r="5" class="{c}"><title>{text}</title></circle>'
            ).format(
                x=LABEL - 8,
                t=y + 4,
                label=_short(row.label),
                full=row.label,
                cx=axis.at(row.value),
                y=y,
                c="dot strong" if row.strong else "dot",
                text=row.text,
            )
        )
    return _svg(title, WIDTH, height + 20, parts)


def dumbbells(title: str, rows: Sequence[Pair]) -> Markup:
    """Return one row for each class: a ring before, a disc after, a line between them."""
    ends = [end for row in rows for end in (row.before, row.after)]
    axis = _Axis.around(ends, left=LABEL, right=WIDTH - 14, bounded=True)
    height = len(rows) * ROW
    parts = [axis.grid(height, percent=True)]
    for index, row in enumerate(rows):
        y = index * ROW + 13
        parts.append(
            Markup(
                '<g class="{g}"><text x="{x}" y="{t}" class="label end">{label}'
                "<title>{full}</title></text>"
                '<line x1="{a:.1f}" x2="{b:.1f}" y1="{y}" y2="{y}" class="link"/>'
                '<circle cx="{a:.1f}" cy="{y}" r="5.5" class="ring"/>'
                '<circle cx="{b:.1f}" cy="{y}" r="4" class="disc"/>'
                "<title>{full}: {before:.1%} before, {after:.1%} after</title></g>"
            ).format(
                g="pair alarming" if row.alarming else "pair",
                x=LABEL - 8,
                t=y + 4,
                label=_short(row.label),
                full=row.label,
                a=axis.at(row.before),
                b=axis.at(row.after),
                y=y,
                before=row.before,
                after=row.after,
            )
        )
    return _svg(title, WIDTH, height + 20, parts)


def layer_chart(title: str, rows: Sequence[tuple[str, float | None]]) -> Markup:
    """Return the signal-to-error ratio of each layer, in the order of the network.

    Args:
        title: For people who hear the page.
        rows: Label and dB; ``None`` where there is no error, drawn at the top.
    """
    known = [value for _, value in rows if value is not None]
    top = max(40.0, ceil(max(known, default=40.0) / 10) * 10)
    low = min(0.0, floor(min(known, default=0.0) / 10) * 10)
    left, right, height = 34, _WIDE - 6, 190

    def level(value: float) -> float:
        return height - (value - low) / (top - low) * (height - 8)

    step = 10 if top - low <= 60 else 20  # noqa: PLR2004 - lines that stand apart
    parts = [
        Markup(
            '<line x1="{a}" x2="{b}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>'
            '<text x="{x}" y="{t:.1f}" class="tick end">{n}</text>'
        ).format(a=left, b=right, y=level(line), x=left - 5, t=level(line) + 4, n=line)
        for line in range(int(low), int(top) + 1, step)
    ]
    slot = (right - left) / max(1, len(rows))
    thickness = min(slot * 0.8, 40.0)
    for index, (label, value) in enumerate(rows):
        y = level(top if value is None else value)
        parts.append(
            Markup(
                '<rect x="{x:.2f}" y="{y:.1f}" width="{w:.2f}" height="{h:.1f}" class="{c}">'
                "<title>{label}: {text}</title></rect>"
            ).format(
                x=left + (index + 0.5) * slot - thickness / 2,
                y=y,
                w=thickness,
                h=max(1.0, height - y),
                c=_loudness(value),
                label=label,
                text="exact" if value is None else f"{value:.1f} dB",
            )
        )
    return _svg(title, _WIDE, height + 8, parts)


def _loudness(value: float | None) -> str:
    """Return the style of a layer: an error of a third is bad, of a tenth worth a look."""
    if value is None or value >= 20:  # noqa: PLR2004 - dB
        return "layer"
    return "layer bad" if value < 10 else "layer poor"  # noqa: PLR2004 - dB


def heat_map(title: str, labels: Sequence[str], counts: Sequence[Sequence[int]]) -> Markup:
    """Return a confusion matrix: rows are the truth, columns the answers, shaded by share."""
    cell = max(12, min(44, (WIDTH - 100) // max(1, len(labels))))
    left, top = 96, 74
    parts = []
    for row, label in enumerate(labels):
        total = sum(counts[row])
        parts.append(
            Markup(
                '<text x="{x}" y="{y:.1f}" class="label end">{label}<title>{full}</title></text>'
            ).format(
                x=left - 6, y=top + row * cell + cell / 2 + 4, label=_short(label, 15), full=label
            )
        )
        parts.append(
            Markup(
                '<text transform="translate({x:.1f} {y}) rotate(-45)" class="label">{label}'
                "<title>{full}</title></text>"
            ).format(x=left + row * cell + cell / 2, y=top - 6, label=_short(label, 13), full=label)
        )
        for column, answer in enumerate(labels):
            count = counts[row][column]
            share = count / total if total else 0.0
            parts.append(
                Markup(
                    '<rect x="{x}" y="{y}" width="{w}" height="{w}" class="{c}" '
                    'fill-opacity="{o:.3f}"><title>{label} answered as {answer}: {count}'
                    "</title></rect>"
                ).format(
                    x=left + column * cell,
                    y=top + row * cell,
                    w=cell - 1,
                    c="hit" if row == column else "miss",
                    o=0.06 + 0.94 * share,
                    label=label,
                    answer=answer,
                    count=count,
                )
            )
            if count and len(labels) <= _MAX_COUNTED:
                parts.append(
                    Markup('<text x="{x:.1f}" y="{y:.1f}" class="{c}">{n}</text>').format(
                        x=left + column * cell + (cell - 1) / 2,
                        y=top + row * cell + cell / 2 + 4,
                        c="count light" if share > 0.55 else "count",  # noqa: PLR2004 - contrast
                        n=count,
                    )
                )
    size = len(labels) * cell
    return _svg(title, max(WIDTH, left + size + 50), top + size + 4, parts)


@dataclass(frozen=True, slots=True)
class _Axis:
    """A horizontal axis: values ``low`` to ``high`` lie at ``left`` to ``right``."""

    low: float
    high: float
    step: float
    left: float
    right: float

    @classmethod
    def around(
        cls, values: Sequence[float], *, left: float, right: float, bounded: bool
    ) -> "_Axis":
        """Return an axis over all values with three to six round ticks.

        Args:
            values: What must fit.
            left: Where the axis begins.
            right: Where it ends.
            bounded: Whether values are shares, which never leave 0-1.
        """
        low, high = min(values, default=0.0), max(values, default=1.0)
        width = max(high - low, 0.02 if bounded else abs(high) * 0.02, 1e-9)
        rough = width / 4
        base = 10.0 ** floor(log10(rough))
        step = next(base * factor for factor in (1, 2, 5, 10) if base * factor >= rough * 0.999)
        low, high = floor(low / step) * step, ceil(high / step) * step
        if bounded:
            low, high = max(0.0, low), min(1.0, high)
        if high - low < step * 1.5:  # all values are one: at the end of the axis, or nearly
            low = max(0.0, high - 2 * step) if bounded and high > step else low
            high = high if high > low else low + 2 * step
        return cls(low, high, step, left, right)

    def at(self, value: float) -> float:
        """Return where ``value`` lies; beyond the ends, at the end."""
        share = (value - self.low) / (self.high - self.low)
        return self.left + min(1.0, max(0.0, share)) * (self.right - self.left)

    def grid(self, height: float, *, percent: bool) -> Markup:
        """Return the lines and numbers of the ticks."""
        lines = []
        count = round((self.high - self.low) / self.step)
        digits = max(0, -floor(log10(self.step * 100) + 1e-9)) if percent else 4
        for index in range(count + 1):
            value = self.low + index * self.step
            text = f"{value * 100:.{digits}f} %" if percent else f"{value:.4g}"
            lines.append(
                Markup(
                    '<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{h}" class="grid"/>'
                    '<text x="{x:.1f}" y="{t}" class="tick mid">{text}</text>'
                ).format(x=self.at(value), h=height, t=height + 15, text=text)
            )
        return Markup("").join(lines)


def _short(text: str, longest: int = LONGEST_LABEL) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _svg(title: str, width: float, height: float, parts: Sequence[Markup]) -> Markup:
    return Markup('<svg viewBox="0 0 {w} {h}" role="img" aria-label="{title}">{body}</svg>').format(
        w=width, h=height, title=title, body=Markup("").join(parts)
    )
