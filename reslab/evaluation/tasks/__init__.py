"""Tasks: what a network is trained for. One module per task; `registry` has their names."""
