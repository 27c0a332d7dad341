"""One module per figure, named as its script in `simulations/`: its configuration, and what is computed."""
