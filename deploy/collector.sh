#!/bin/sh
# `collector` for whoever looks after the machine, as root: goes to /usr/local/bin/collector.
#
# Commands run as the collector's user: what they would write as root (`lock`, an order, a backup)
# the service could not open. And in the folder of the configuration, where they look for it: other
# paths that are given must begin with a slash.
set -eu
cd /etc/collector
program=/opt/collector/.venv/bin/collector

case ${1:-} in
    # They change the configuration, which is root's, and no data.
    keys | admin-token) exec "$program" "$@" ;;
esac
[ "$(id -un)" = collector ] && exec "$program" "$@"
export HOME=/var/lib/collector
exec runuser -u collector -- "$program" "$@"
