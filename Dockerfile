# The image of the controller. Two stages: what compiles stays in the first.
#
#   docker build --tag registry.example.com/pyngress:0.1.0 .
#
# It runs as an unprivileged user on a read-only root filesystem and writes nowhere. How it comes to ports 80 and 443:
# docs/install.md, "Low ports".

ARG PYTHON=python:3.11-slim-bookworm

# ---- a virtual environment with the controller and what it needs, compiled where there is no wheel
FROM ${PYTHON} AS build
# Of Debian's stable release only fixes come; a pinned version would vanish with the next of them.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends build-essential libnghttp2-dev \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY pyproject.toml setup.py README.md LICENSE ./
COPY ingress ingress
COPY proxy proxy
# The last line: a copy of the interpreter for host networks, see below.
RUN python -m venv --without-pip /opt/pyngress \
 && PYNGRESS_NGHTTP2=1 python -m pip --python /opt/pyngress/bin/python install --no-cache-dir --disable-pip-version-check . \
 && cp "$(readlink -f /opt/pyngress/bin/python)" /opt/pyngress/bin/python-bind

# ---- the result: no compiler, no package cache, no source tree
FROM ${PYTHON}
LABEL org.opencontainers.image.title="Pyngress" \
      org.opencontainers.image.description="A Kubernetes ingress controller with its own proxy inside, in Python" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0"
# What HTTP/2 is linked to; see above for its version.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends libnghttp2-14 \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/pyngress /opt/pyngress
# What `setcap cap_net_bind_service=ep` writes, without its package: revision 2 with the effective flag, bit 10 permitted.
# Here and not in the first stage, since not every builder copies extended attributes.
RUN ["python", "-c", "import os, struct; os.setxattr('/opt/pyngress/bin/python-bind', 'security.capability', struct.pack('<5I', 0x02000001, 1 << 10, 0, 0, 0))"]
ENV PATH=/opt/pyngress/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 65532:65532
EXPOSE 80 443 8443 10254
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=5 \
  CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:%s/healthz' % os.environ.get('PYNGRESS_ADMIN_PORT', '10254'), timeout=2)"]
ENTRYPOINT ["pyngress"]
CMD ["run"]
