# A worker with SGLang. Its own runtime image has the engine and CUDA; this adds the worker and its libraries:
#   docker build -f deploy/docker/worker-sglang.Dockerfile -t drover-worker-sglang .
# On a Python image, for any CPU, SGLang itself is installed too (11 GB):
#   docker build -f deploy/docker/worker-sglang.Dockerfile --build-arg BASE=python:3.11-slim \
#     --build-arg REQUIREMENTS=sglang.txt -t drover-worker-sglang-cpu .
# Drover's tests build and run the second one. The first one needs a GPU and has not been built by them.
ARG BASE=lmsysorg/sglang:v0.5.23-runtime

FROM ${BASE} AS packages
ARG REQUIREMENTS=sglang-image.txt
USER root
COPY requirements/*.txt /tmp/requirements/
# Over what the base has, and without pip of its own.
RUN python3 -m venv --without-pip --system-site-packages /opt/drover \
 && python3 -m pip --python /opt/drover/bin/python install --disable-pip-version-check --no-cache-dir \
    --no-deps --require-hashes -r "/tmp/requirements/${REQUIREMENTS}"

FROM ${BASE}
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="drover-worker-sglang" \
      org.opencontainers.image.description="Drover's engine worker with SGLang" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
USER root
RUN apt-get update \
 && apt-get install -y --no-install-recommends tini=0.19.* \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --user-group --no-create-home --home-dir /var/cache/drover --shell /usr/sbin/nologin drover \
 && install --directory --owner 10001 --group 10001 /var/cache/drover /models
COPY --from=packages /opt/drover /opt/drover
COPY drover /app/drover
COPY engine_worker /app/engine_worker
# Files come with the rights of the checkout that they are built from.
RUN chmod -R a+rX /app \
 && /opt/drover/bin/python -m compileall -q --invalidation-mode unchecked-hash /app
# Downloaded models and compiled kernels are kept in HOME. /usr/bin/tini: the base may have another one.
ENV PATH=/opt/drover/bin:$PATH \
    HOME=/var/cache/drover \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    DROVER_WORKER_ENGINE=sglang \
    DROVER_WORKER_LISTEN=0.0.0.0:50051
WORKDIR /app
USER 10001:10001
EXPOSE 50051
# A large model is downloaded and loaded first.
HEALTHCHECK --interval=10s --timeout=10s --start-period=7200s --retries=3 \
  CMD ["python", "-m", "engine_worker.health", "127.0.0.1:50051"]
ENTRYPOINT ["/usr/bin/tini", "--", "python", "-m", "engine_worker"]
