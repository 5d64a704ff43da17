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

FROM python:3.12-slim
LABEL org.opencontainers.image.title="TCS-FEEL" \
      org.opencontainers.image.description="A control plane for federated learning over networks whose links are not equal" \
      org.opencontainers.image.licenses="Apache-2.0"
ENV PATH=/opt/tcsfeel/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    TCSFEEL_DATA_DIR=/data
COPY --from=build /opt/tcsfeel /opt/tcsfeel
# A number, so that Kubernetes can see that it is not root; it needs no entry in /etc/passwd.
RUN install --directory --owner=10001 --group=10001 /data
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/healthz', timeout=4)"]
ENTRYPOINT ["tcsfeel"]
CMD ["serve", "--host", "0.0.0.0"]
