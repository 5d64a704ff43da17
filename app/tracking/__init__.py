"""Copy trainings to experiment trackers: MLflow, TensorBoard, Weights & Biases.

`following` reads the rounds from the REST API and gives each to the trackers once. Every tracker remembers by itself up
to which round it has a training, beside what it has written, so that a command that is started again goes on there.
"""
