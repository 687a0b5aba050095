from asyrepro.runs import recipes  # noqa: F401 - registers what configs/train.yaml refers to
