"""How a worker is reached: one folder per transport, base.py is the interface."""
