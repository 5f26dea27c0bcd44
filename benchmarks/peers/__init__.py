"""Other people's tools, run as they are published, for the benchmarks to compare with. Needs the extra `benchmarks`."""
