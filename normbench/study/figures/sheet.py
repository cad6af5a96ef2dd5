"""What a figure is drawn on: how large, with what letters and lines, and what may stand on it."""

from dataclasses import dataclass

from normbench.config import ConfigError


@dataclass(frozen=True)
class Style:
    """Sizes for one kind of reader."""

    column: float  # inches: the width of one plot
    page: float  # and of two halves side by side
    font_size: float  # points
    stroke: float  # how thick lines and markers are, on paper 1


# Paper: one column of a two-column paper, and both. Slides: of 13.3 x 7.5 inches, read from afar.
STYLES = {"paper": Style(3.4, 6.9, 7.5, 1.0), "slides": Style(7.0, 12.4, 14.0, 1.8)}
_PAPER = STYLES["paper"]


@dataclass(frozen=True)
class Sheet:
    """What is asked for of every figure; None: as its style has it.

    style: paper or slides. width, height: in inches, of the whole figure; without a height it is
    in proportion to the width. font_size: in points, of most letters; small print is a sixth
    smaller. recalled: whether numbers of the papers that are from memory are drawn. Raises
    ConfigError for a style there is not, and for a size that no figure has.
    """

    style: str = "paper"
    width: float | None = None
    height: float | None = None
    font_size: float | None = None
    recalled: bool = False

    def __post_init__(self) -> None:
        if self.style not in STYLES:
            raise ConfigError(f"--style is one of {', '.join(STYLES)}, got {self.style}")
        sizes = {
            "--width": (self.width, 1, 50),
            "--height": (self.height, 1, 50),
            "--font-size": (self.font_size, 3, 60),
        }
        for name, (size, least, most) in sizes.items():
            if size is not None and not least <= size <= most:
                unit = "points" if name == "--font-size" else "inches"
                raise ConfigError(f"{name} is from {least} to {most} {unit}, got {size:g}")

    @property
    def letters(self) -> float:
        """The size of most letters, in points."""
        return self.font_size or STYLES[self.style].font_size

    @property
    def em(self) -> float:
        """How large letters are, on a paper as it comes 1."""
        return self.letters / _PAPER.font_size

    @property
    def stroke(self) -> float:
        """How thick lines and markers are, on paper 1."""
        return STYLES[self.style].stroke

    def size(self, height: float, page: bool = False) -> tuple[float, float]:
        """Width and height in inches of a figure that takes so much height on paper.

        page: it spans both columns. The height grows with the width, or with larger letters. The
        sheet's own height counts once legend and small print have taken their place.
        """
        of_style, of_paper = (
            (STYLES[self.style].page, _PAPER.page) if page else (STYLES[self.style].column, _PAPER.column)
        )
        width = self.width or of_style
        return width, height * max(width / of_paper, self.em)


PAPER = Sheet()
