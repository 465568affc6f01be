"""Telemetry: logs, throughput, GPU usage."""
