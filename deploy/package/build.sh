#!/usr/bin/env bash
# Builds the packages that are named, deb or rpm or both, for linux/amd64 and
# linux/arm64, into dist/.
#
# The same commit gives the same bytes, wherever and whenever it is built: paths
# are trimmed, and every time in a package is the commit's. The Go toolchain's
# own record of the checkout is left out, because it differs between a clone and
# an unpacked archive; the version, which names the commit, is linked in.
#
#   VERSION            v1.2.3; by default what git describe says
#   SOURCE_DATE_EPOCH  seconds since 1970; by default the commit's time
#   DIST               where to build; dist by default
#   ARCHES             by default "amd64 arm64"
#   NFPM               the packager; by default the one that .ci/package names
set -euo pipefail
umask 022
export LC_ALL=C
cd "$(dirname "$0")/../.."
[ $# -gt 0 ] || { echo "usage: $0 deb|rpm ..." >&2; exit 2; }

go=${GO:-go}
VERSION=${VERSION:-$(git describe --tags --always --dirty)}
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
dist=${DIST:-dist}
nfpm=${NFPM:-$go tool -modfile=.ci/package/go.mod nfpm}
export SOURCE_DATE_EPOCH

# package_version is the version as packages sort it: v1.2.3-rc.1 is before
# v1.2.3, which is before the third commit after it. Without a tag it is a date.
package_version() {
	case $VERSION in
	v[0-9]*) sed -E 's/^v//; s/-dirty$/+dirty/; s/-([0-9]+)-g([0-9a-f]+)/+\1.g\2/; s/-/~/g' <<<"$VERSION" ;;
	*) echo "0~git$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y%m%d%H%M%S).${VERSION/-dirty/+dirty}" ;;
	esac
}
PACKAGE_VERSION=$(package_version)
export PACKAGE_VERSION

# build ARCH DIR compiles both commands, without C.
build() {
	CGO_ENABLED=0 GOOS=linux GOARCH=$1 $go build -trimpath -buildvcs=false \
		-ldflags "-s -w -buildid= -X github.com/statesync/statesync/cmd/internal/cli.version=$VERSION" -o "$2/" ./cmd/statesync ./cmd/statesyncd
}

# licences prints this project's licence, and those of all that is linked in.
licences() {
	printf 'StateSync %s\n%s\n\n' "$VERSION" https://github.com/statesync/statesync
	cat LICENSE
	local format='{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}} {{.Dir}}{{end}}{{end}}'
	local path version dir file
	while read -r path version dir; do
		for file in "$dir"/LICENSE* "$dir"/COPYING* "$dir"/NOTICE*; do
			[ -f "$file" ] || continue
			printf '\n\n==== %s %s: %s\n\n' "$path" "$version" "${file##*/}"
			cat "$file"
		done
	done < <(GOOS=linux $go list -deps -f "$format" ./cmd/statesync ./cmd/statesyncd | sort -u; echo "Go $($go env GOVERSION) $($go env GOROOT)")
}

# What does not depend on the architecture is made by this machine's commands.
rm -rf "$dist/host" "$dist/common"
mkdir -p "$dist"/common/{completions/{bash,zsh,fish},man,doc}
build "$($go env GOHOSTARCH)" "$dist/host"
for command in statesync statesyncd; do
	"$dist/host/$command" completion bash >"$dist/common/completions/bash/$command"
	"$dist/host/$command" completion zsh >"$dist/common/completions/zsh/_$command"
	"$dist/host/$command" completion fish >"$dist/common/completions/fish/$command.fish"
done
CGO_ENABLED=0 $go run -trimpath ./deploy/package/manpage -version "$PACKAGE_VERSION" -date "$(date -u -d "@$SOURCE_DATE_EPOCH" +%F)" \
	-dir "$dist/common/man" "$dist/host/statesync":1 "$dist/host/statesyncd":8
licences >"$dist/common/doc/copyright"
cp CHANGELOG.md "$dist/common/doc/changelog"
cp docs/{OPERATING,TROUBLESHOOTING,CONFIGURATION}.md "$dist/common/doc/"
gzip -9n "$dist"/common/man/man?/* "$dist/common/doc/changelog"

for ARCH in ${ARCHES:-amd64 arm64}; do
	DIST=$dist/linux-$ARCH
	export ARCH DIST
	rm -rf "$DIST"
	mkdir -p "$DIST"
	build "$ARCH" "$DIST/bin"
	cp -R "$dist"/common/. "$DIST"
	for packager; do
		$nfpm package --config deploy/package/nfpm.yaml --packager "$packager" --target "$dist/"
	done
done
