"""Learning curves inside the report's page, drawn straight from a run's rows."""

import math
from collections.abc import Mapping, Sequence

from markupsafe import Markup, escape

from normbench.study.report.figure_svg import themed

WIDTH, HEIGHT = 460, 220  # of a learning curve, with room for its axes:
LEFT, RIGHT, TOP, BOTTOM = 36, 92, 18, 30
SPARK_WIDTH, SPARK_HEIGHT, SPARK_POINTS = 96, 22, 32

Curve = Sequence[float | None]


def curve(epochs: Sequence[int], curves: Mapping[str, Curve], planned: int, color: str) -> Markup:
    """A run's curves over its epochs, the first in the norm's colour, each named at its end.

    The y axis is logarithmic where the values span more than a factor of 2.5, as in the figures.
    planned: the epochs that the run was to have, so that one that was cut or diverged ends short of
    the right edge.
    """
    values = [v for own in curves.values() for v in own if v is not None and math.isfinite(v) and v > 0]
    if not values:
        return Markup("")
    scale = _Scale(values)
    last = max(planned, *epochs, 2)

    def x(epoch: float) -> float:
        return LEFT + (epoch - 1) / (last - 1) * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return TOP + (1 - scale.place(value)) * (HEIGHT - TOP - BOTTOM)

    parts = [f'<svg class="curve" role="img" aria-label="learning curve" viewBox="0 0 {WIDTH} {HEIGHT}">']
    parts.append(f'<text x="0" y="8">{"error %, log scale" if scale.log else "error %"}</text>')
    for tick in scale.ticks:
        parts.append(f'<path class="grid" d="M{LEFT} {y(tick):.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y(tick) + 3.5:.1f}" text-anchor="end">{tick:g}</text>')
    parts.append(f'<path class="axis" d="M{LEFT} {HEIGHT - BOTTOM}H{WIDTH - RIGHT}"/>')
    for epoch in _round_epochs(last):
        parts.append(f'<text x="{x(epoch):.1f}" y="{HEIGHT - BOTTOM + 14}" text-anchor="middle">{epoch}</text>')
    parts.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 3}" text-anchor="middle">epoch</text>')
    ends = []
    for place, (name, own) in enumerate(curves.items()):
        points = [(x(e), y(v)) for e, v in zip(epochs, own, strict=True) if v is not None and math.isfinite(v)]
        if not points:
            continue
        look = f'class="line{min(place, 3)}" style="color:{themed(color)}"'
        parts.append(f'<polyline {look} points="{_points(points)}"/>')
        ends.append((points[-1][1], points[-1][0], look, name))
    below = -math.inf
    for height, right, look, name in sorted(ends):
        # The names of curves that end together stand one under the other.
        below = max(height + 3.5, below + 12)
        parts.append(f'<text {look} x="{right + 6:.1f}" y="{below:.1f}">{escape(name)}</text>')
    return Markup("".join([*parts, "</svg>"]))  # numbers, and names that are escaped


def spark(values: Curve, color: str) -> Markup:
    """A curve the size of a word, thinned to what such a size can show."""
    finite = [v for v in values if v is not None and math.isfinite(v)]
    if len(finite) < 2:
        return Markup("")
    stride = -(-len(finite) // SPARK_POINTS)
    thinned = finite[::-1][::stride][::-1]  # the last stays
    scale = _Scale([v for v in finite if v > 0] or [1.0])
    step = (SPARK_WIDTH - 4) / max(len(thinned) - 1, 1)
    points = [(2 + i * step, 2 + (1 - scale.place(v)) * (SPARK_HEIGHT - 4)) for i, v in enumerate(thinned)]
    return Markup(  # numbers
        f'<svg class="spark" aria-hidden="true" viewBox="0 0 {SPARK_WIDTH} {SPARK_HEIGHT}">'
        f'<polyline class="line0" style="color:{themed(color)}" points="{_points(points)}"/></svg>'
    )


class _Scale:
    """Where a value stands between the bottom, 0, and the top, 1."""

    def __init__(self, values: list[float]) -> None:
        low, high = min(values), max(values)
        self.log = high > 2.5 * low
        if self.log:
            self._low, self._high = math.log(low / 1.1), math.log(high * 1.1)
            leads = (1, 2, 5) if high > 8 * low else (1, 1.5, 2, 3, 5, 7)
            candidates = [lead * 10.0**power for power in range(-4, 5) for lead in leads]
        else:
            margin = max(0.06 * (high - low), 1e-3 * high)
            self._low, self._high = low - margin, high + margin
            step = 10.0 ** math.floor(math.log10(self._high - self._low))
            step *= next(n for n in (0.2, 0.5, 1, 2, 5) if (self._high - self._low) / (n * step) <= 6)
            candidates = [round(i * step, 10) for i in range(int(low / step) - 1, int(high / step) + 3)]
        self.ticks = [tick for tick in candidates if 0 < self.place(tick) < 1]

    def place(self, value: float) -> float:
        if value <= 0:
            return 0.0  # no error at all
        at = math.log(value) if self.log else value
        return min(max((at - self._low) / (self._high - self._low), 0.0), 1.0)


def _round_epochs(last: int) -> list[int]:
    """1, the last, and round numbers between them."""
    step = next(s for p in range(9) for s in (10**p, 2 * 10**p, 5 * 10**p) if last / s <= 6)
    between = [e for e in range(step, last, step) if e > 1 and last - e > 0.6 * step]
    return [1, *between, last]


def _points(points: list[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
