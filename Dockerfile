# docker build --target cpu -t resnet .     or --target gpu, for an NVIDIA card
# docker run --rm -v "$PWD/outputs:/resnet/outputs" resnet experiment=demo
FROM python:3.12-slim AS base
WORKDIR /resnet
ENV PYTHONUNBUFFERED=1
COPY . .
ENTRYPOINT ["python", "train.py"]

FROM base AS gpu
# hadolint ignore=DL3013
RUN pip install --no-cache-dir ".[gpu,sweeps]"

FROM base AS cpu
# hadolint ignore=DL3013
RUN pip install --no-cache-dir ".[sweeps]"
