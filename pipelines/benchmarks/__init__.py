"""benchmarks: the lens on public data sets, by the protocols that published figures are of."""
