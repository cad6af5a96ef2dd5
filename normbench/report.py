"""`python -m normbench.report`: everything on disk as one HTML file that works without a network."""

import sys

from normbench.study.command import run
from normbench.study.report import main

if __name__ == "__main__":
    sys.exit(run(main))
