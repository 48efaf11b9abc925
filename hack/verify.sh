#!/usr/bin/env bash
# Fails when a generated file, the go.mod of one of the modules MODULE..., or the formatting is not what the tools would write.
set -euo pipefail
cd "$(dirname "$0")/.."

state() { git diff HEAD; git status --porcelain --untracked-files=all; }

# What it downloads takes time, which the generators use.
tidy() {
  local module
  for module in "$@"; do
    (cd "$module" && go mod tidy -diff) || { echo "$module/go.mod is not tidy: run 'go mod tidy' in $module" >&2; return 1; }
  done
}
tidy "$@" &
tidying=$!

before=$(state)
make --no-print-directory generate
if [ "$before" != "$(state)" ]; then
  git status --short
  echo "generated files were not up to date: commit what 'make generate' has written" >&2
  exit 1
fi

wait "$tidying"

unformatted=$(git ls-files '*.go' | xargs gofmt -l)
if [ -n "$unformatted" ]; then
  echo "not formatted, run gofmt -w on: $unformatted" >&2
  exit 1
fi

# What nobody wrote, a program above all, would stay in every clone for ever.
large=$(git ls-files -z | xargs -0 sh -c 'find "$@" -maxdepth 0 -type f -size +1M' find)
if [ -n "$large" ]; then
  echo "larger than a mebibyte, remove from git: $large" >&2
  exit 1
fi
