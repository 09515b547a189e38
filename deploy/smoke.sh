#!/usr/bin/env bash
# Brings the compose file up under a project name of its own, checks it from outside, restarts it, and takes it down.
#   deploy/smoke.sh [--keep]               --keep leaves it up afterwards
# Exit status 0 when every check passed. The ports of docker-compose.yml must be free.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
keep=false
[[ ${1:-} == --keep ]] && keep=true
python=${PYTHON:-.venv/bin/python}
state=$(mktemp)
compose() { docker compose -p headwater-smoke "$@"; }
check() { "$python" -m deploy.smoke "$@"; }

finish() {
  local status=$?
  if ((status)); then
    compose ps -a || true
    compose logs --no-color --tail 60 topics worker trainer teacher labels server || true
    echo "smoke: FAILED"
  fi
  $keep || compose --profile demo down -v --timeout 10 >/dev/null 2>&1 || true
  rm -f "$state"
  exit "$status"
}
trap finish EXIT

up() { compose up -d --wait --wait-timeout 240 --quiet-pull 2>&1 | grep -E 'rror|nhealthy' || true; all_healthy; }

all_healthy() {
  local service status
  for service in kafka redis worker trainer teacher labels foundation server prometheus grafana; do
    status=$(compose ps --format '{{.Health}}' "$service")
    [[ $status == healthy ]] || { echo "smoke: $service is ${status:-not there}"; return 1; }
  done
}

echo "smoke: building the image"
compose build --quiet
compose down -v --timeout 10 >/dev/null 2>&1 || true # what an earlier run with --keep has left

up
echo "ok    up: kafka, redis, worker, trainer, teacher, labels, foundation, server, prometheus, grafana are healthy"
compose run --rm --no-deps -T --entrypoint promtool --volume "$PWD/deploy:/rules:ro" prometheus \
  test rules /rules/alerts.test.yml >/dev/null
echo "ok    alerts: each rule goes off for its cause and for nothing else (promtool)"
check reacts "$state"
check dashboard
compose --profile demo up -d --no-recreate replayer >/dev/null 2>&1
check demo
compose --profile demo rm -sf replayer >/dev/null 2>&1
processes=()
for service in worker trainer teacher labels foundation; do processes+=(--process "http://$service:9100"); done
compose exec -T server headwater doctor --quiet "${processes[@]}"
echo "ok    doctor: nothing is wrong"
compose exec -T worker headwater backup /tmp/smoke.tar >/dev/null
compose exec -T worker headwater restore --check /tmp/smoke.tar
echo "ok    backup: taken while everything runs, and whole"
compose down --timeout 30 >/dev/null 2>&1
up
echo "ok    restart: down and up again, everything is healthy"
check remembers "$state"
check reacts "$state"
echo "smoke: passed"
