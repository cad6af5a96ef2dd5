"""The examples of docs/python.md, one after the other in a fresh folder."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from reading import ROOT

TEXT = (ROOT / "docs" / "python.md").read_text()


@pytest.mark.slow
def test_every_example_of_the_page_works_in_its_order(tmp_path: Path) -> None:
    code = "\n".join(re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL))
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=280
    )
    assert ran.returncode == 0, ran.stderr
    assert "12 cells are 8 runs" in ran.stdout
    assert len(list(tmp_path.glob("results/runs/**/result.json"))) == 8
