"""How operations run on Ethos-U: blocks, weight streaming, stripes."""
