"""The Ethos-U side of the compiler: from groups of workloads to a command stream."""
