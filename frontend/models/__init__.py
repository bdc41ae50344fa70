"""Models as clients see them: served models, virtual models and presets."""
