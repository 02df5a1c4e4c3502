#!/usr/bin/env bash
# Builds the packages twice, in two directories, under two umasks and with two
# caches of Go's, compares them byte by byte, and looks at what is in them.
#
# It needs mandoc, rpm and readelf, which it installs where it runs as root on
# Debian; zsh and fish look at their completions if they are there.
#
#   ARCHES  by default "amd64 arm64"
set -euo pipefail
project=$(cd "$(dirname "$0")/../.." && pwd)
go=${GO:-go}
missing=()
for tool in rpm mandoc readelf:binutils; do
	command -v "${tool%:*}" >/dev/null || missing+=("${tool#*:}")
done
if [ ${#missing[@]} -gt 0 ]; then
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi
work=$(mktemp -d "${TMPDIR:-/var/tmp}/statesync-package.XXXXXX")
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
die() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }

# checkout DIRECTORY copies the project, without what Git ignores, and without
# Git.
checkout() {
	mkdir -p "$1"
	(cd "$project" && git ls-files -z -co --exclude-standard | while IFS= read -r -d '' file; do
		[ ! -e "$file" ] || printf '%s\0' "$file"
	done | tar --null -T - -c) | tar -x -C "$1"
}

echo "== build v1.0.0 twice, and compare"
export VERSION=v1.0.0 SOURCE_DATE_EPOCH NFPM=$work/nfpm
SOURCE_DATE_EPOCH=$(git -C "$project" log -1 --format=%ct)
(cd "$project" && $go build -modfile=.ci/package/go.mod -o "$NFPM" github.com/goreleaser/nfpm/v2/cmd/nfpm)
checkout "$work/one"
"$work/one/deploy/package/build.sh" deb rpm >/dev/null
checkout "$work/another/place"
chmod -R g+w "$work/another/place" # as another umask leaves it
GOCACHE=$work/cache "$work/another/place/deploy/package/build.sh" deb rpm >/dev/null
cd "$work/one/dist"
for package in *.deb *.rpm; do
	cmp "$package" "$work/another/place/dist/$package" || die "$package is not reproducible"
	sha256sum "$package"
done

echo "== what is in them"
for linked in linux-*/bin/*; do
	if readelf -lW "$linked" | grep INTERP; then die "$linked is not static"; fi
done
for rpm in *.rpm; do
	rpm -qp --qf '%{NAME} %{VERSION} %{RELEASE} %{ARCH} %{LICENSE}\n' "$rpm"
	# Whole lists: grep -q ends at the first match, and rpm then by SIGPIPE.
	conffiles=$(rpm -qpc "$rpm") files=$(rpm -qpl "$rpm") scripts=$(rpm -qp --scripts "$rpm")
	grep -qx /etc/statesync/statesyncd.env <<<"$conffiles" || die "$rpm has no configuration"
	for path in /usr/bin/statesyncd /usr/bin/statesync /usr/lib/systemd/system/statesyncd.service \
		/usr/lib/sysusers.d/statesync.conf /usr/lib/tmpfiles.d/statesync.conf \
		/usr/share/zsh/site-functions/_statesync /usr/share/man/man8/statesyncd.8.gz; do
		grep -qx "$path" <<<"$files" || die "$rpm has no $path"
	done
	grep -q 'preset statesyncd.service' <<<"$scripts" || die "$rpm has no scripts"
done
dpkg-deb -x "$(ls *.deb | head -n 1)" "$work/files"
gunzip -k "$work"/files/usr/share/man/man*/*.gz
mandoc -T lint -W warning "$work"/files/usr/share/man/man*/*.[18] || die "a manual page is wrong"
for module in github.com/spf13/cobra golang.org/x/sys 'Go go1'; do
	grep -q "^==== $module" "$work/files/usr/share/doc/statesync/copyright" || die "the licence of $module is missing"
done
for command in statesync statesyncd; do
	bash -c 'source "$1" && complete -p "$2"' complete "$work/files/usr/share/bash-completion/completions/$command" "$command"
	if command -v zsh >/dev/null; then zsh -n "$work/files/usr/share/zsh/vendor-completions/_$command"; fi
	if command -v fish >/dev/null; then fish -n "$work/files/usr/share/fish/vendor_completions.d/$command.fish"; fi
done
