# CPU:   docker build -t asyrepro .
# CUDA:  docker build -t asyrepro --build-arg BASE=pytorch/pytorch:2.10.0-cuda12.8-cudnn9-runtime --build-arg TORCH= .
# Then   docker run --rm -v "$PWD/results:/asyrepro/results" -v "$PWD/data:/asyrepro/data" asyrepro
# and    docker run --rm asyrepro pytest --numprocesses auto --dist loadfile
# With CUDA add --gpus all. ASYREPRO_DATA names a mounted folder of data sets.
ARG BASE=python:3.12-slim
FROM ${BASE}
ARG TORCH="--index-url https://download.pytorch.org/whl/cpu torch torchvision"
ENV PIP_NO_CACHE_DIR=1 PYTHONUNBUFFERED=1
WORKDIR /asyrepro
# git: for the commit that a run records, and for tests.
RUN apt-get update && apt-get install --yes --no-install-recommends git && rm -rf /var/lib/apt/lists/*
RUN if [ -n "$TORCH" ]; then pip install $TORCH; fi
COPY pyproject.toml README.md ./
COPY asyrepro ./asyrepro
COPY configs ./configs
RUN pip install --editable '.[dev]'
COPY . .
CMD ["asyrepro", "reproduce", "profile=auto"]
