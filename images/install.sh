#!/bin/sh
# The steps of every Containerfile here.
#
#   install.sh tools              what installs and builds (tools.lock), into /opt/tools
#   install.sh environment LOCK   /opt/acereason with exactly what LOCK names; then what only
#                                 builds need goes, and so do setuid bits
#   install.sh package            /src as it goes on top of /opt/acereason, into /opt/package
#
# The index to install from: the secret pip.conf, if there is one. Further certificates: the secret
# ca.pem.
set -eu
here=$(dirname "$0")
environment=/opt/acereason
export PIP_CONFIG_FILE=/run/secrets/pip.conf
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
export PIP_NO_COMPILE=no  # this is how pip spells yes: `compiled` does it, and passes over its own
export PIP_ROOT_USER_ACTION=ignore
export DS_BUILD_OPS=0  # DeepSpeed compiles its kernels where they are first used, or not at all
if [ -f /run/secrets/ca.pem ]; then
  export PIP_CERT=/run/secrets/ca.pem
fi

tools() {
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "BASE has $(python3 -V); an image with Python 3.11 or newer and its venv is needed" >&2
    exit 1
  }
  python3 -m venv /opt/tools
  /opt/tools/bin/python3 -m pip install --quiet --no-deps --requirement "$here/tools.lock"
  python3 -m venv --without-pip $environment
}

environment() {
  tools
  /opt/tools/bin/python3 -m pip --python $environment/bin/python3 \
    install --no-deps --build-constraint "$here/tools.lock" --requirement "$1"
  compiled $environment
  rm -rf /opt/tools /root/.cache \
    /usr/lib/python3*/ensurepip /usr/local/lib/python3*/ensurepip /usr/share/python-wheels \
    /usr/local/lib/python3*/site-packages/* /usr/local/bin/pip*
  # Some bases come without bytecode, and nobody can write it later.
  python3 -m compileall -q -x '/(test|tests|idlelib|lib2to3|[a-z]*-packages)/' \
    "$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"
  # Some libraries ask for a user's name.
  echo 'acereason:x:65532:65532:AceReason:/tmp:/usr/sbin/nologin' >> /etc/passwd
  echo 'acereason:x:65532:' >> /etc/group
  find / -xdev -type f -perm /6000 -exec chmod a-s {} +
}

package() {
  /opt/tools/bin/python3 -m pip wheel --no-deps --no-index --no-build-isolation \
    --wheel-dir /opt/wheels /src
  /opt/tools/bin/python3 -m pip --python $environment/bin/python3 \
    install --no-deps --no-index --prefix /opt/package /opt/wheels/*.whl
  compiled /opt/package
}

# Bytecode that does not look at its source's time: a build sets all times to one. Packages have files
# for other Pythons, which do not compile here, and are not imported either.
compiled() {
  $environment/bin/python3 -m compileall -f -qq -j 0 --invalidation-mode unchecked-hash \
    -s "$1" -p $environment "$1"/lib/python3*/site-packages || true
}

"$@"
