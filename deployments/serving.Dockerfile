# The image of the API and the pages, and of the endpoint that Pub/Sub pushes to.
# It answers with models too: --entrypoint python, then -m serving.predictions --host 0.0.0.0 (docs/predict.md).
# Build from the repository's root:
#   docker build --file deployments/serving.Dockerfile --tag <registry>/serving:<tag> .
ARG PYTHON_IMAGE=python:3.11-slim-bookworm
FROM ${PYTHON_IMAGE}

LABEL org.opencontainers.image.title="switchyard serving" \
      org.opencontainers.image.description="Serves published training histories over HTTP"

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PATH=/srv/switchyard/venv/bin:$PATH

WORKDIR /srv/switchyard

# The large layer: it changes with the pins alone.
COPY pyproject.toml constraints.txt ./
COPY deployments/requirements.py deployments/
RUN python -m venv venv \
    && python deployments/requirements.py serving push > requirements.txt \
    && python -m pip install --constraint constraints.txt --requirement requirements.txt

COPY README.md LICENSE ./
COPY switchyard switchyard
RUN python -m pip install --no-deps --no-build-isolation . \
    && rm -rf build switchyard.egg-info \
    && mkdir home \
    && chown 10001:10001 home

# The program, which is found here and not installed.
COPY serving serving

# A number: Kubernetes' runAsNonRoot cannot tell who a name is. It has no line in /etc/passwd, so what asks the system
# for a name or a home is told here.
ENV HOME=/srv/switchyard/home USER=switchyard STATE_DIR=/srv/switchyard/home/.switchyard
USER 10001:10001
EXPOSE 8080
# Prefect sends nothing home: switchyard/clients/prefect/analytics.py
ENV DO_NOT_TRACK=true \
    PREFECT_SERVER_ANALYTICS_ENABLED=false \
    PREFECT_SERVER_UI_V2_ENABLED=false

HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/health', timeout=4)"]

# Others reach the container, so what stands in front of it checks who calls (Cloud Run's invokers). Where nothing does,
# put tokens in its place: API_TOKENS_FILE=<file>; they count whatever this says. See docs/web-app.md.
ENV SERVING_BEHIND=iam
# 8080 is the port that Cloud Run expects.
ENTRYPOINT ["python", "-m", "serving"]
CMD ["--host", "0.0.0.0", "--port", "8080"]
