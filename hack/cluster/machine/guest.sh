#!/bin/sh
# The first process of the virtual machine that run.sh boots. Runs the scenarios and switches the machine off.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root XDG_CACHE_HOME=/var/cache
clusters=/var/cache/image-csi-operator/clusters
kubernetes=$(dirname /var/cache/image-csi-operator/programs/kubernetes-1.37.*/kubelet)
cd /src || exit

say() { echo "guest: $(cut -d' ' -f1 /proc/uptime) $*"; }

# want COMMAND...: the command succeeds.
want() {
	if "$@"; then
		say "ok: $*"
	else
		say "FAILED ($?): $*"
		failed=1
		return 1
	fi
}

prepare() {
	mount -t proc proc /proc
	mount -t sysfs sysfs /sys
	[ -e /dev/nvme0n1 ] || mount -t devtmpfs dev /dev
	mkdir -p /dev/pts /dev/shm
	mount -t devpts devpts /dev/pts
	mount -t tmpfs tmpfs /run
	mount -t tmpfs tmpfs /tmp
	# As systemd mounts it.
	mount -t cgroup2 -o nsdelegate,memory_recursiveprot cgroup2 /sys/fs/cgroup
	ip link set lo up
	hostname guest
	modprobe overlay
}

# on NODE COMMAND...: the command's output, run inside the node.
on() { cluster node exec "$@"; }

only_cgroup2() {
	grep cgroup /proc/mounts
	[ "$(grep -c ' cgroup ' /proc/mounts)" = 0 ]
}

# All of a node's processes are in a group of their own, below which every controller can be used.
node_sees_its_group_as_root() {
	on "$1" cat /proc/1/cgroup /sys/fs/cgroup/cgroup.controllers /sys/fs/cgroup/cgroup.subtree_control
	[ "$(on "$1" cat /proc/1/cgroup)" = 0::/init ] &&
		[ "$(on "$1" cat /sys/fs/cgroup/cgroup.procs)" = "" ] &&
		on "$1" grep -q 'cpuset cpu io memory .*pids' /sys/fs/cgroup/cgroup.subtree_control &&
		[ "$(on "$1" cat /proc/self/cgroup)" = 0::/init ]
}

nothing_left() {
	! ls -d /sys/fs/cgroup/imagecsi-* /run/imagecsi-cluster/imagecsi-* $clusters/* 2>/dev/null &&
		! grep imagecsi- /proc/self/mountinfo &&
		! ps | grep -E '[i]magecsi-|[c]ontainerd|[c]rio|[k]ube|[c]onmon'
}

runtimes() {
	want cluster up --control-plane None --node a=containerd --node b=crio || return
	want node_sees_its_group_as_root a
	want node_sees_its_group_as_root b
	want cluster node reboot a
	want node_sees_its_group_as_root a
	want cluster down
	want nothing_left
}

whole() {
	for node in worker-1=containerd worker-2=crio; do
		want cluster up --patience 15m --node $node || return
		export KUBECONFIG=$(cluster kubeconfig)
		node=${node%=*}
		want node_sees_its_group_as_root $node
		want run_pod $node || cluster logs $node kubelet
		want pod_is_limited $node
	done
	kubectl get nodes -o wide
	kubectl get pods -o wide
	want runs_without_root_limits worker-2
	for node in worker-1 worker-2; do
		want cluster node reboot $node
		want kubectl wait --timeout=10m --for=jsonpath='{.status.containerStatuses[0].restartCount}'=1 pod/on-$node
		want kubectl wait --timeout=10m --for=condition=Ready pod/on-$node
		want pod_is_limited $node
	done
	kubectl get pods -o wide
	want cluster down
	want nothing_left
}

kubectl() { $kubernetes/kubectl --request-timeout=2m "$@"; }

pod() {
	cat <<-END
		apiVersion: v1
		kind: Pod
		metadata: {name: on-$1}
		spec:
		  nodeName: $1
		  terminationGracePeriodSeconds: 1
		  containers:
		  - name: main
		    image: 10.89.0.1:5000/imagecsi/pause:1
		    command: [/pause]
		    resources: {limits: {cpu: 250m, memory: 64Mi}}
	END
}

# run_pod NODE: runs a pod with limits there.
run_pod() {
	until kubectl get serviceaccount default >/dev/null 2>&1; do sleep 1; done
	pod "$1" | kubectl apply -f - || return
	kubectl wait --timeout=10m --for=condition=Ready "pod/on-$1" && return
	kubectl describe "pod/on-$1"
	kubectl get events
	return 1
}

# pod_is_limited NODE: the kernel has the limits of the node's one pod and of its container, in the node's own groups.
pod_is_limited() {
	on "$1" sh -c 'cd /sys/fs/cgroup/kubepods/pod* && find . -name memory.max -o -name cpu.max -o -name cgroup.procs | xargs grep .'
	[ "$(on "$1" sh -c 'cat /sys/fs/cgroup/kubepods/pod*/memory.max')" = 67108864 ] &&
		[ "$(on "$1" sh -c 'cat /sys/fs/cgroup/kubepods/pod*/cpu.max')" = "25000 100000" ] &&
		on "$1" sh -c 'for group in /sys/fs/cgroup/kubepods/pod*/*/; do
			if grep -qx 67108864 $group/memory.max && grep -q . $group/cgroup.procs; then exit 0; fi
		done; exit 1'
}

# pod_runs NODE: the same, given some time.
pod_runs() {
	for attempt in $(seq 60); do
		pod_is_limited "$1" >/dev/null 2>&1 && pod_is_limited "$1" && return
		sleep 2
	done
	on "$1" sh -c 'tail -n 20 /var/log/kubelet.log /var/log/c*.log'
	return 1
}

# runs_without_root_limits NODE: with CAP_SYS_RESOURCE, CRI-O runs runc itself, and OOM scores below 0 are real.
# CRI-O has no pause container in a pod, so the score is that of the container.
runs_without_root_limits() {
	on "$1" sh -c 'grep -r -h -E "runtime_path|restrict_oom" /etc/crio /etc/containerd 2>/dev/null
		for p in $(pidof pause); do cat /proc/$p/oom_score_adj; done'
	! on "$1" grep -r -E 'imagecsi-oci-runtime|restrict_oom_score_adj = true' /etc/crio /etc/containerd 2>/dev/null &&
		on "$1" sh -c 'for p in $(pidof pause); do cat /proc/$p/oom_score_adj; done' | grep -q -- '-99[78]'
}

# Kubelets without an API server run a pod each from a file, with the configuration that nodes get. That shows all that
# meets control groups in a fraction of a whole cluster's time.
kubelets() {
	want cluster up --control-plane None --node a=containerd --node b=crio || return
	for node in a b; do
		want start_kubelet $node
	done
	for node in a b; do
		want pod_runs $node
		want runs_without_root_limits $node
	done
	want cluster node reboot a
	want start_kubelet a
	want pod_runs a
	want cluster down
	want nothing_left
}

start_kubelet() {
	socket=/run/containerd/containerd.sock
	[ "$1" = a ] || socket=/run/crio/crio.sock
	on "$1" mkdir -p /etc/kubernetes/manifests
	sed -e "s|{{.Socket}}|$socket|" -e /x509:/d -e 's/webhook: .*/webhook: {enabled: false}/' -e 's/mode: Webhook/mode: AlwaysAllow/' \
		/src/kubelet.yaml | on "$1" tee /etc/kubernetes/kubelet.yaml >/dev/null
	pod "$1" | on "$1" tee /etc/kubernetes/manifests/pod.yaml >/dev/null
	on "$1" sh -c "$kubernetes/kubelet --config=/etc/kubernetes/kubelet.yaml --hostname-override=$1 --v=1 >/var/log/kubelet.log 2>&1 &"
}

# Tests whose nodes keep everything on a file system that limits directories.
quotas() {
	want [ -s /tests ] || return
	for kind in ext4 xfs; do
		want with_quotas $kind || continue
		while read -r tests; do
			want pass "${tests%%=*}" "${tests#*=}"
		done </tests
		want umount $clusters
	done
}

with_quotas() {
	case $1 in
	ext4) mkfs.ext4 -q -F -O project,quota -E quotatype=prjquota /dev/nvme1n1 ;;
	xfs) mkfs.xfs -q -f /dev/nvme1n1 ;;
	esac && mkdir -p $clusters && mount -t "$1" -o prjquota /dev/nvme1n1 $clusters
}

# pass PACKAGE PATTERN: tests pass, and none is skipped.
pass() {
	(. /environment && cd "/src/test/$1" && ./"$1.test" -test.v -test.run "$2" -test.timeout 50m) >/tmp/said 2>&1
	ended=$?
	cat /tmp/said
	[ $ended = 0 ] && grep -q -e '--- PASS' /tmp/said && ! grep -q -e '--- SKIP' /tmp/said
}

main() {
	prepare
	uname -a
	grep CapEff /proc/self/status
	want only_cgroup2
	for scenario in $(cat /scenarios); do
		say "scenario $scenario"
		$scenario
	done
	[ "$failed" ] || echo "guest: all passed"
}

main
poweroff -f
