"""What every figure shares: Okabe and Ito's colours, which colour-blind readers tell apart; one a method throughout."""

PALETTE = BLUE, ORANGE, GREEN, PINK, SKY, RED, BLACK, YELLOW = (
    *("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000", "#F0E442"),
)
GREY = "#8a8a8a"
MARKERS = "osD^vPX*"
METHODS = {
    "dense": BLACK,
    "record": BLACK,
    "dropback": BLUE,
    "snip": ORANGE,
    "espn": GREEN,
    "espn-rewind": GREEN,
    "magnitude": RED,
    "prune-retrain": RED,
    "lottery": PINK,
    "force": SKY,
    "iterative-snip": SKY,
    "grasp": YELLOW,
    "random": GREY,
    "magnitude-init": GREY,
    "soft-weight-sharing": PINK,
    "quantised-sparse": SKY,
    "deep-compression": RED,
}
"""By the name of a method, or of rows that compose several."""


def pyplot():
    """matplotlib.pyplot, imported only where something is drawn; figures go to files, whatever the display."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot

    return matplotlib.pyplot


def label_plainly(axis) -> None:
    """Plain numbers on a logarithmic axis, also between the powers of ten."""
    from matplotlib.ticker import LogLocator

    axis.set_major_formatter("{x:g}")
    first, last = axis.get_view_interval()
    axis.set_minor_locator(LogLocator(subs=(2, 5) if last > 300 * first else (1.5, 2, 3, 5, 7)))
    axis.set_minor_formatter("{x:g}")
