"""`python -m normbench.figures demo gn_fig1`: figures from the records on disk."""

import sys

from normbench.study.command import run
from normbench.study.figures import main

if __name__ == "__main__":
    sys.exit(run(main))
