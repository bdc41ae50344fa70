# The frontend: no model files, no torch. Build from the root of the repository:
#   docker build -f deploy/docker/frontend.Dockerfile -t drover-frontend .
# BASE is a Debian with Python 3.11 or newer and pip; name a digest to fix it for good.
ARG BASE=python:3.11-slim

FROM ${BASE} AS packages
# An environment without pip of its own: what is copied from here cannot install anything.
RUN python3 -m venv --without-pip /opt/drover
COPY requirements/frontend.txt /tmp/
RUN python3 -m pip --python /opt/drover/bin/python install --disable-pip-version-check --no-cache-dir \
    --no-deps --require-hashes -r /tmp/frontend.txt

FROM ${BASE} AS system
COPY deploy/docker/slim.sh /tmp/
# The same in all images, so that it is done once.
RUN apt-get update \
 && apt-get install -y --no-install-recommends tini=0.19.* \
 && useradd --uid 10001 --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin drover
RUN /tmp/slim.sh && rm /tmp/slim.sh
COPY --from=packages /opt/drover /opt/drover
COPY drover /app/drover
COPY frontend /app/frontend
# Files come with the rights of the checkout that they are built from.
RUN chmod -R a+rX /app \
 && /opt/drover/bin/python -m compileall -q --invalidation-mode unchecked-hash /app

# One layer: what was taken out above is really gone.
FROM scratch
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="drover-frontend" \
      org.opencontainers.image.description="Drover's frontend: the Ollama API in front of engine workers" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=system / /
# A volume that is mounted here takes its owner over.
RUN install --directory --owner 10001 --group 10001 /var/lib/drover
ENV PATH=/opt/drover/bin:/usr/local/bin:/usr/bin:/bin \
    LANG=C.UTF-8 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    XDG_STATE_HOME=/var/lib \
    DROVER_FRONTEND_LISTEN=0.0.0.0:11434
WORKDIR /app
USER 10001:10001
EXPOSE 11434
# It is ready when a worker is. Those load their model first, also when others take their place later.
HEALTHCHECK --interval=5s --timeout=5s --start-period=300s --retries=60 \
  CMD ["python", "-m", "frontend.health", "http://127.0.0.1:11434/readyz"]
ENTRYPOINT ["tini", "--", "python", "-m", "frontend"]
