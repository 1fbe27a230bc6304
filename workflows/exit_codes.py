"""How the `vitlens` command ends, for whoever calls it; 0 is done."""

GATE_FAILED = 1  # the lens stays challenger
MISTAKE = 2  # in what was asked
FAILED = 3  # anything else
INTERRUPTED = 130  # by Ctrl-C
