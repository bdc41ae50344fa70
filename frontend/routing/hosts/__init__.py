"""Worker hosts: the models in their stores, and which host loads a model that requests wait for."""
