"""What reaches the terminal during a run, and what the log keeps."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SPEAKERS = """
import logging, os, pathlib, subprocess, sys
from workflows.console import quiet_terminal, terminal

try:
    with quiet_terminal(pathlib.Path(sys.argv[1])):
        print("a library prints")
        os.write(2, b"C code complains\\n")
        subprocess.run(["echo", "a child speaks"])
        logging.getLogger("some.library").warning("a library warns")
        terminal().print("renders reused")
        raise ZeroDivisionError
except ZeroDivisionError:
    print("afterwards")
    print("afterwards too", file=sys.stderr)
"""


def test_only_the_run_itself_speaks_and_the_terminal_comes_back(tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    command = [sys.executable, "-c", SPEAKERS, str(log)]
    said = subprocess.run(command, capture_output=True, text=True, check=True)

    assert said.stderr == "renders reused\nafterwards too\n"
    assert said.stdout == "afterwards\n"
    kept = log.read_text()
    for words in ("a library prints", "C code complains", "a child speaks", "a library warns"):
        assert words in kept
