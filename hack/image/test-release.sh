#!/usr/bin/env bash
# Makes a release from two clones, of which one has no .git, and wants the same bytes; then starts its arm64 programs under emulation
# and runs there the tests of what an architecture decides.
set -euo pipefail
cd "$(dirname "$0")/../.."
checkout=$PWD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

for clone in one another/further/down; do
	git clone -q "$checkout" "$work/$clone"
	[[ $clone == one ]] || rm -rf "$work/$clone/.git"
	make --no-print-directory -C "$work/$clone" release REPOSITORY=registry.example/image-csi-operator
done
diff "$work/one/dist/SHA256SUMS" "$work/another/further/down/dist/SHA256SUMS"
(cd "$work/one/dist" && sha256sum --check --quiet SHA256SUMS)
echo "two clones give one release"

mapfile -t packages < <(hack/debian/fetch.sh packages qemu-user-static)
for package in "${packages[@]}"; do
	case $package in */qemu-user-static_*) dpkg-deb --extract "$package" "$work/emulator" ;; esac
done
emulator=$work/emulator/usr/bin/qemu-aarch64-static
make --no-print-directory build GOARCH=arm64 OUT="$work/arm64"
for program in manager node-plugin credential-provider; do
	said=$("$emulator" "$work/arm64/$program" --help 2>&1) || true
	[[ $said == *sage* ]] || { echo "$program for arm64 does not print its usage: $said" >&2; exit 1; }
done
GOARCH=arm64 go build -C cmd/must-gather -o "$work/arm64/bash" .
said=$("$emulator" "$work/arm64/bash" -c 'echo $((6 * 7))')
[[ $said == 42 ]] || { echo "the must-gather image's shell for arm64 does not count: $said" >&2; exit 1; }
GOARCH=arm64 go test -count=1 -exec "$emulator" ./internal/privileges ./internal/contract ./internal/quantity \
	./internal/nodeplugin/imagestore ./internal/nodeplugin/server ./internal/nodeplugin/words
