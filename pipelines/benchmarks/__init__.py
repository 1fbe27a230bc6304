"""benchmarks: measures the lens on public data sets, by the protocols of published figures."""
