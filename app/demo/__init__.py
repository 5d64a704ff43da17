"""The main job from nothing: a control plane, agents with real skewed data, a training to its target."""
