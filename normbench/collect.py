"""`python -m normbench.collect`: what runs there are, and all of them as one table."""

import sys

from normbench.study.collect import main
from normbench.study.command import run

if __name__ == "__main__":
    sys.exit(run(main))
