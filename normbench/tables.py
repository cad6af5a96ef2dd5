"""`python -m normbench.tables gn_table1 summary`: tables from the records on disk, ours beside the published."""

import sys

from normbench.study.command import run
from normbench.study.tables import main

if __name__ == "__main__":
    sys.exit(run(main))
