"""The names that other libraries give to weights, one module per naming scheme."""
