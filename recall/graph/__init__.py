"""Item–item graphs: built from events or read from a file, and the propagation of item vectors over them."""
