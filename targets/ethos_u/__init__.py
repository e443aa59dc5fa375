"""Arm Ethos-U: accelerators as data, Vela behind one module, and what drives them."""
