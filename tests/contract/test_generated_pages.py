"""Pages that are made from the program are those of this program."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_generated_reference_is_fresh() -> None:
    ran = subprocess.run(
        [sys.executable, ROOT / "docs" / "generate.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
