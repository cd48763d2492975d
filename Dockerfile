# One image for worker, Flower and producer; they differ in their command.
#   docker build --tag trawlnet:local .
ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS environment
COPY requirements/run.txt /tmp/run.txt
# Only wheels, each checked by hash; the environment itself contains no pip.
RUN python -m venv --without-pip /opt/trawlnet \
 && python -m pip --python /opt/trawlnet/bin/python install --no-cache-dir --disable-pip-version-check --no-input \
      --no-deps --only-binary :all: --require-hashes --requirement /tmp/run.txt

FROM ${PYTHON_IMAGE}
ENV PATH=/opt/trawlnet/bin:$PATH \
    PYTHONPATH=/srv/trawlnet \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    TRAWL_OUTPUT=/data \
    TRAWL_HEARTBEAT_FILE=/tmp/worker-alive
# A number, because Kubernetes' runAsNonRoot cannot check a name.
RUN mkdir /data /flower && chown 10001:10001 /data /flower
COPY --from=environment /opt/trawlnet /opt/trawlnet
COPY contract /srv/trawlnet/contract
COPY producer /srv/trawlnet/producer
COPY trawlnet /srv/trawlnet/trawlnet
COPY worker /srv/trawlnet/worker
COPY flowerconfig.py /srv/trawlnet/flowerconfig.py
COPY deploy/flower /srv/trawlnet/deploy/flower
COPY deploy/worker /srv/trawlnet/deploy/worker
RUN printf '#!/bin/sh\nexec python -P -m producer "$@"\n' >/usr/local/bin/trawl && chmod 755 /usr/local/bin/trawl \
 && python -m compileall -q /srv/trawlnet
WORKDIR /srv/trawlnet
USER 10001:10001
VOLUME /data
# Celery's warm shutdown; the worker hands off what it cannot finish within TRAWL_DRAIN.
STOPSIGNAL SIGTERM
CMD ["celery", "-A", "worker", "worker", "--loglevel", "INFO", "--without-gossip", "--without-mingle"]
