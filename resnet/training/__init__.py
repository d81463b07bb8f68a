from resnet import backend  # noqa: F401  before anything is built
