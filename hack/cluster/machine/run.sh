#!/usr/bin/env bash
# Runs cluster nodes on an emulated machine that has what this one may lack: cgroup v2 only, and file systems with project
# quotas. Boots a Debian kernel in QEMU, on a disk with a minimal Debian and the cluster's programs, and has guest.sh bring
# clusters up and down in it. The processor is emulated, so this takes minutes. Environment:
#
#   RUN              the scenarios of guest.sh to run ("runtimes kubelets whole"); whole is the slow one
#   TESTS            the tests that the scenario quotas runs, packages of the test module with a pattern: "node=Limit"
#   IMAGECSI_FAULTS  all: those that kill the node plugin do so at every step, not at one in nine (forty minutes)
#   CPUS, MEMORY     of the virtual machine (1, 6G); on a busy machine more processors only wait for each other
#   KERNEL           meta package of the kernel (linux-image-cloud-amd64)
#   EXTRA_PACKAGES   more Debian packages for the guest, e.g. apparmor
#   LIMIT            seconds after which the virtual machine is ended (3600)
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
checkout=$(cd "$here/../../.." && pwd)
built=${XDG_CACHE_HOME:-$HOME/.cache}/image-csi-operator/programs
guest_packages="busybox-static conmon dpkg e2fsprogs iptables kmod libseccomp2 nftables util-linux xfsprogs ${EXTRA_PACKAGES-}"

missing=
for program in qemu-system-x86_64:qemu-system-x86 mkfs.ext4:e2fsprogs; do
	command -v "${program%:*}" >/dev/null || missing+=" ${program#*:}"
done
if [[ $missing ]]; then
	echo "these Debian packages are missing:$missing; install them (apt-get install --no-install-recommends$missing)" >&2
	exit 1
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
mkdir -p "$root"/{proc,sys,dev,run,tmp,root,etc,mnt,var/tmp,var/lib/dpkg,src/hack/cluster}

# The packages, unpacked in dependency order as if onto an empty machine. Nothing of the kernel's package is run.
fetch=$checkout/hack/debian/fetch.sh
# shellcheck disable=SC2086 # several packages
{ "$fetch" packages $guest_packages; "$fetch" kernel "${KERNEL:-linux-image-cloud-amd64}"; } >"$work/archives"
while read -r archive; do
	dpkg-deb -x "$archive" "$root"
	{ dpkg-deb -f "$archive" | sed '/^Package:/a Status: install ok installed'; echo; } >>"$root/var/lib/dpkg/status"
done <"$work/archives"
release=$(basename "$root"/lib/modules/*)
mv "$root/boot/vmlinuz-$release" "$work/vmlinuz"
"$root/lib64/ld-linux-x86-64.so.2" --argv0 depmod --library-path "$root/lib/x86_64-linux-gnu:$root/usr/lib/x86_64-linux-gnu" \
	"$root/bin/kmod" -b "$root" "$release"
for applet in $(busybox --list); do
	[[ -e $root/bin/$applet || -e $root/sbin/$applet || -e $root/usr/bin/$applet || -e $root/usr/sbin/$applet ]] ||
		ln -s /bin/busybox "$root/bin/$applet"
done
echo root:x:0:0:root:/root:/bin/sh >"$root/etc/passwd"
echo root:x:0: >"$root/etc/group"
echo 127.0.0.1 localhost >"$root/etc/hosts"

# The cluster's programs, the project's own, and tests. In place of Go, which is asked for its version and for the project's
# programs, there are its answers.
export CGO_ENABLED=0
go -C "$checkout/hack/cluster" run ./cmd/cluster build >/dev/null
mkdir -p "$root/var/cache/image-csi-operator" "$root/usr/local/bin"
cp -a "$built" "$built/../pause" "$built/../enter" "$root/var/cache/image-csi-operator/"
cp -a "$checkout/hack/cluster/pins" "$root/src/hack/cluster/"
go -C "$checkout/hack/cluster" build -trimpath -ldflags='-s -w' -o "$root/usr/local/bin/cluster" ./cmd/cluster
cp "$checkout/hack/cluster/internal/nodeconfig/files/kubelet.yaml" "$root/src/"
if [[ ${TESTS-} ]]; then
	make -s -C "$checkout" build OUT="$root/usr/local/lib/imagecsi"
fi
for tests in ${TESTS-}; do
	name=${tests%%=*}
	mkdir -p "$root/src/test/$name"
	go -C "$checkout/test" test -c -trimpath -ldflags='-s -w' -o "$root/src/test/$name/" "./$name"
	echo "$tests" >>"$root/tests"
done
echo "export CI=true IMAGECSI_FAULTS=${IMAGECSI_FAULTS-}" >"$root/environment"
cat >"$root/usr/local/bin/go" <<END
#!/bin/sh
case "\$*" in
"env GOVERSION") echo $(cd "$checkout/hack/cluster" && go env GOVERSION) ;;
build*" -o "*) target=\${*#* -o }; exec cp /usr/local/lib/imagecsi/* "\${target%% *}" ;;
*) exit 1 ;;
esac
END
cp "$here/guest.sh" "$root/guest.sh"
echo "${RUN:-runtimes kubelets whole}" >"$root/scenarios"
chmod 755 "$root/guest.sh" "$root/usr/local/bin/go"

truncate -s 6G "$work/disk"
mkfs.ext4 -q -d "$root" "$work/disk"
rm -rf "$root"
truncate -s 4G "$work/spare"

echo "booting Linux $release"
timeout "${LIMIT:-3600}" nice -n 10 qemu-system-x86_64 -machine q35,accel=tcg -cpu max -smp "${CPUS:-1}" -m "${MEMORY:-6G}" \
	-nodefaults -no-reboot -nographic -serial stdio -kernel "$work/vmlinuz" \
	-drive "file=$work/disk,format=raw,if=none,id=disk,cache=unsafe" -device nvme,drive=disk,serial=disk \
	-drive "file=$work/spare,format=raw,if=none,id=spare,cache=unsafe" -device nvme,drive=spare,serial=spare \
	-append "root=/dev/nvme0n1 rw init=/guest.sh console=ttyS0 panic=-1 quiet mitigations=off no5lvl" </dev/null | tee "$work/console"
grep -q '^guest: all passed' "$work/console"
