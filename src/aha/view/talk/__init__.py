"""Talk to the models of runs: processes of their own, loaded when they are asked and ended when they are not."""
