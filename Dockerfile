# Two stages: the first needs pip and a build backend, the second has neither, nor a compiler.

FROM python:3.12-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /build
RUN python -m venv /opt/tcsfeel
# The pinned packages change less often than the code, so they are a layer of their own.
COPY requirements.lock ./
RUN /opt/tcsfeel/bin/pip install --require-hashes --only-binary :all: -r requirements.lock
COPY sdk sdk
COPY pyproject.toml README.md LICENSE ./
COPY migrations migrations
COPY app app
RUN /opt/tcsfeel/bin/pip install --no-index --no-deps --no-build-isolation ./sdk . \
    && /opt/tcsfeel/bin/pip uninstall --yes setuptools pip
# What is in the image, with versions and licences, in CycloneDX. Its generator stays behind.
COPY sbom sbom
RUN python -m venv /opt/sbom \
    && /opt/sbom/bin/pip install --require-hashes --only-binary :all: -r sbom/requirements.lock \
    && /opt/sbom/bin/cyclonedx-py environment --output-reproducible --output-file /opt/tcsfeel/sbom.cdx.json \
       /opt/tcsfeel/bin/python

FROM python:3.12-slim
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="TCS-FEEL" \
      org.opencontainers.image.description="A control plane for federated learning over networks whose links are not equal" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      tcsfeel.sbom="/opt/tcsfeel/sbom.cdx.json"
ENV PATH=/opt/tcsfeel/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    TCSFEEL_DATA_DIR=/data
COPY --from=build /opt/tcsfeel /opt/tcsfeel
# Users are numbers, so that Kubernetes can see that they are not root; they need no entry in /etc/passwd. A new volume
# gets the owner of the directory that it covers, and /data needs no other.
RUN install --directory --owner=10001 --group=10001 /data
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGTERM
# It needs no shell and asks no proxy, whatever HTTP_PROXY names. With a certificate of its own, the server speaks HTTPS
# only: replace the check then.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('TCSFEEL_PORT') or 8080), timeout=4); c.request('GET', '/healthz'); sys.exit(c.getresponse().status != 200)"]
ENTRYPOINT ["tcsfeel"]
CMD ["serve", "--host", "0.0.0.0"]
