# The image of a Prefect worker, and of the flow runs that a Cloud Run or Kubernetes work pool starts.
# Build from the repository's root:
#   docker build --file deployments/worker.Dockerfile --tag <registry>/worker:<tag> .
ARG PYTHON_IMAGE=python:3.11-slim-bookworm
FROM ${PYTHON_IMAGE}

LABEL org.opencontainers.image.title="switchyard worker" \
      org.opencontainers.image.description="Prefect worker and flows"

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PATH=/srv/switchyard/venv/bin:$PATH

# `ssh-keygen -Y verify` checks who approved a decommission (docs/approvals.md).
RUN apt-get update \
    && apt-get install --yes --no-install-recommends openssh-client \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /srv/switchyard

# The large layer: it changes with the pins alone.
COPY pyproject.toml constraints.txt ./
COPY deployments/requirements.py deployments/
RUN python -m venv venv \
    && python deployments/requirements.py worker kubernetes mlflow mysql decommission sweep > requirements.txt \
    && python -m pip install --constraint constraints.txt --requirement requirements.txt

COPY README.md LICENSE prefect.yaml ./
COPY switchyard switchyard
RUN python -m pip install --no-deps --no-build-isolation . \
    && rm -rf build switchyard.egg-info \
    && mkdir home \
    && chown 10001:10001 home

# The programs, which are found here and not installed; the entrypoints of prefect.yaml are relative to this folder.
COPY flows flows
COPY tasks tasks

# A number: Kubernetes' runAsNonRoot cannot tell who a name is. It has no line in /etc/passwd, so what asks the system
# for a name or a home is told here.
ENV HOME=/srv/switchyard/home USER=switchyard
USER 10001:10001
EXPOSE 8080
ENV PREFECT_HOME=/srv/switchyard/home/.prefect \
    PREFECT_WORKER_WEBSERVER_HOST=0.0.0.0 \
    PREFECT_WORKER_WEBSERVER_PORT=8080
# Prefect sends nothing home: switchyard/clients/prefect/analytics.py
ENV DO_NOT_TRACK=true \
    PREFECT_SERVER_ANALYTICS_ENABLED=false \
    PREFECT_SERVER_UI_V2_ENABLED=false

HEALTHCHECK --interval=30s --timeout=5s --start-period=120s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/health', timeout=4)"]

# No ENTRYPOINT: a work pool names the command of a flow run (`prefect flow-run execute`), and people run
# `python -m flows migrate`. The pool's own type says which kind of worker this is.
CMD ["python", "-m", "prefect", "worker", "start", "--pool", "switchyard", "--with-healthcheck"]
