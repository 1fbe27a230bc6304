"""Exit codes of the `vitlens` command; 0 means done."""

GATE_FAILED = 1  # the lens stays challenger
MISTAKE = 2  # in the arguments or settings
FAILED = 3  # anything else
INTERRUPTED = 130  # by Ctrl-C
