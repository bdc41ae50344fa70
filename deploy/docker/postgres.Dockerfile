# PostgreSQL for the presets of several frontends, from Debian's package. Not needed where a database
# exists already: DATABASE_URL names it.
#   docker build -f deploy/docker/postgres.Dockerfile -t drover-postgres .
ARG BASE=python:3.11-slim

FROM ${BASE} AS system
COPY deploy/docker/slim.sh /tmp/
# The same in all images, so that it is done once.
RUN apt-get update \
 && apt-get install -y --no-install-recommends tini=0.19.* \
 && useradd --uid 10001 --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin drover
# No cluster at installation: each volume gets its own at the first start.
RUN mkdir -p /etc/postgresql-common \
 && echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.conf \
 && apt-get install -y --no-install-recommends postgresql \
 && KEEP_PERL=1 /tmp/slim.sh \
 && rm /tmp/slim.sh
COPY deploy/docker/postgres.sh /usr/local/bin/
RUN chmod a+rx /usr/local/bin/postgres.sh

FROM scratch
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="drover-postgres" \
      org.opencontainers.image.description="PostgreSQL for the presets of Drover's frontends" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=system / /
# A volume that is mounted here takes its owner over.
RUN install --directory --owner 10001 --group 10001 --mode 0700 /var/lib/drover
ENV PATH=/usr/local/bin:/usr/bin:/bin LANG=C.UTF-8
USER 10001:10001
EXPOSE 5432
# Open sessions are ended, which frontends survive; TERM would wait for them.
STOPSIGNAL SIGINT
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=3 \
  CMD ["pg_isready", "--quiet", "--host", "127.0.0.1"]
ENTRYPOINT ["tini", "--", "postgres.sh"]
