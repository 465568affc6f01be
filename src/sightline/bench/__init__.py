"""Benchmarks: load tests of a service, and in-process limits of this machine."""
