"""What the scripted worker and its tests agree on; the worker itself needs SGLang."""

SCRIPTS = "DROVER_TEST_SCRIPTS"
