#!/usr/bin/env bash
# Downloads Debian packages into the cache for virtual machines and prints the archives' names.
#
#   fetch.sh packages [SUITE] PACKAGE...   packages and all they depend on, in dependency order
#   fetch.sh kernel [SUITE] META           the kernel that a meta package stands for, with its modules
#
# SUITE is "suite=" and a name, such as suite=sid; without it packages are those of this machine's own sources. Other
# suites come from the same mirror. Nothing is installed.
set -euo pipefail

cache=${XDG_CACHE_HOME:-$HOME/.cache}/image-csi-operator/debian
what=${1-}
shift || true
suite=
if [[ ${1-} == suite=* ]]; then
	suite=${1#suite=}
	shift
fi

options=(-o APT::Sandbox::User=root)
if [[ $suite ]]; then
	apt=$cache/apt/$suite
	mkdir -p "$apt/lists/partial" "$apt/cache"
	options+=(-o "Dir::Etc::sourcelist=$apt/sources.list" -o Dir::Etc::sourceparts=/dev/null
		-o "Dir::State::lists=$apt/lists" -o "Dir::Cache=$apt/cache")
	if [[ ! $(find "$apt/sources.list" -mtime -1 2>/dev/null) ]]; then
		mirror=$(apt-get indextargets --format '$(CODENAME) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
			awk '$1 !~ /-/ && $2 == "main" {print $3; exit}')
		[[ $mirror ]] || { echo "apt has no source of Debian's main component to take $suite from" >&2; exit 1; }
		echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" >"$apt/sources.list"
		apt-get -qq "${options[@]}" update || { rm "$apt/sources.list"; exit 1; }
	fi
fi

# resolve PACKAGE...: "URI NAME" of what a machine without any package would install.
resolve() {
	apt-get -qq "${options[@]}" -o Dir::State::status=/dev/null --print-uris --no-install-recommends -y install "$@" |
		awk '{gsub("\x27", "", $1); print $1, $2}'
}

download() {
	local uri name
	while read -r uri name; do
		if [[ ! -e $cache/$name ]]; then
			(cd "$(mktemp -d -p "$cache")" && /usr/lib/apt/apt-helper "${options[@]}" download-file "$uri" "$name" >/dev/null &&
				mv "$name" "$cache/" && rmdir "$PWD")
		fi
		echo "$cache/$name"
	done
}

mkdir -p "$cache"
case $what in
packages) resolve "$@" | download ;;
kernel)
	image=$(apt-cache "${options[@]}" depends "$1" | sed -n 's/^ *Depends: linux-image-\([0-9].*\)/\1/p')
	[[ $image ]] || { echo "$1 stands for no kernel" >&2; exit 1; }
	resolve "linux-image-$image" | grep -- "-${image}_" | download
	;;
*) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//p}' "$0" >&2; exit 2 ;;
esac
