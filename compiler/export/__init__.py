"""A compiled model as a folder that other build systems take as it is."""
