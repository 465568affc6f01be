"""What leaves this machine: fetching pictures by address."""
