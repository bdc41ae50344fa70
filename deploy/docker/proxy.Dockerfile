# nginx in front of several frontends, from Debian's package.
#   docker build -f deploy/docker/proxy.Dockerfile -t drover-proxy .
ARG BASE=python:3.11-slim

FROM ${BASE} AS system
COPY deploy/docker/slim.sh /tmp/
# The same in all images, so that it is done once.
RUN apt-get update \
 && apt-get install -y --no-install-recommends tini=0.19.* \
 && useradd --uid 10001 --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin drover
RUN apt-get install -y --no-install-recommends nginx-light=1.* \
 && /tmp/slim.sh \
 && rm -r /tmp/slim.sh /etc/nginx/sites-enabled /var/www
COPY deploy/docker/nginx.conf /etc/nginx/nginx.conf
COPY frontend/health.py /usr/local/lib/drover/health.py
# They come with the rights of the checkout that they are built from.
RUN chmod a+r /etc/nginx/nginx.conf /usr/local/lib/drover/health.py

FROM scratch
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="drover-proxy" \
      org.opencontainers.image.description="nginx in front of several of Drover's frontends" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=system / /
ENV PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8
USER 10001:10001
EXPOSE 8080
# nginx lets its connections finish on QUIT and cuts them on TERM.
STOPSIGNAL SIGQUIT
# As the frontends behind it.
HEALTHCHECK --interval=5s --timeout=5s --start-period=300s --retries=60 \
  CMD ["python3", "/usr/local/lib/drover/health.py", "http://127.0.0.1:8080/readyz"]
ENTRYPOINT ["tini", "--", "nginx", "-g", "daemon off;"]
