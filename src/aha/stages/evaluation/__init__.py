"""How a model is measured, within a stage and as a stage."""
