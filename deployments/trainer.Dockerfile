# The image that Vertex AI runs: the trainer. Its arguments are the flags of `python -m trainer`.
# Build from the repository's root:
#   docker build --file deployments/trainer.Dockerfile --tag <registry>/trainer:<tag> .
# For machines with NVIDIA GPUs, and much larger: --build-arg EXTRA=trainer-gpu
ARG PYTHON_IMAGE=python:3.11-slim-bookworm
FROM ${PYTHON_IMAGE}

LABEL org.opencontainers.image.title="switchyard trainer" \
      org.opencontainers.image.description="Trains a two-tower recommender; run by Vertex AI"

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PATH=/srv/switchyard/venv/bin:$PATH

WORKDIR /srv/switchyard

# trainer, or trainer-gpu: TensorFlow with CUDA.
ARG EXTRA=trainer

# The large layer: it changes with the pins alone.
COPY pyproject.toml constraints.txt ./
COPY deployments/requirements.py deployments/
RUN python -m venv venv \
    && python deployments/requirements.py "$EXTRA" > requirements.txt \
    && python -m pip install --constraint constraints.txt --requirement requirements.txt

COPY README.md LICENSE ./
COPY switchyard switchyard
RUN python -m pip install --no-deps --no-build-isolation . \
    && rm -rf build switchyard.egg-info \
    && mkdir home \
    && chown 10001:10001 home

# The program, which is found here and not installed.
COPY trainer trainer

# A number: Kubernetes' runAsNonRoot cannot tell who a name is. It has no line in /etc/passwd, so what asks the system
# for a name or a home is told here.
ENV HOME=/srv/switchyard/home USER=switchyard
USER 10001:10001
# As in every image: switchyard/clients/prefect/analytics.py. The trainer itself has no Prefect.
ENV DO_NOT_TRACK=true \
    PREFECT_SERVER_ANALYTICS_ENABLED=false \
    PREFECT_SERVER_UI_V2_ENABLED=false
ENV TF_CPP_MIN_LOG_LEVEL=2
# Where a machine with GPUs has its driver; elsewhere the folders are not there. The same as in NVIDIA's own images:
# https://gitlab.com/nvidia/container-images/cuda
ENV LD_LIBRARY_PATH=/usr/local/nvidia/lib:/usr/local/nvidia/lib64 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

# A container that Vertex AI runs has no port and no health check: it ends.
ENTRYPOINT ["python", "-m", "trainer"]
