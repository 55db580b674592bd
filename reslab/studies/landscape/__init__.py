"""Loss surfaces around trained weights (Li et al. 2018)."""
