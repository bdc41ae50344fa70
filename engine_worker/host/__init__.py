"""A worker host: the models of one machine, and the workers that it starts for them."""
