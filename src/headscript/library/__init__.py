"""Libraries: programs found for heads of some models, for the heads of any other."""
