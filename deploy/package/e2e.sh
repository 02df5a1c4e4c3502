#!/usr/bin/env bash
# Installs, upgrades, removes and purges the .deb: in a bare Debian, where the
# daemon is started by hand as the unit would start it, and in one that systemd
# has booted, where the unit does. All the time a process of another user reads
# the region.
#
# Run it as root, on Debian: make e2e-package. It takes some minutes, and leaves
# nothing. Everything runs in namespaces of its own; the network is needed for
# debootstrap, and for the packages that it lacks.
#
#   SUITE  the release of Debian to try; by default this machine's
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
project=$(cd "$here/../.." && pwd)
go=${GO:-go}
[ "$(id -u)" = 0 ] || { echo "$0: run it as root" >&2; exit 2; }

# What it needs, and the packages that have it.
missing=()
for tool in debootstrap ip:iproute2 nsenter:util-linux; do
	command -v "${tool%:*}" >/dev/null || missing+=("${tool#*:}")
done
if [ ${#missing[@]} -gt 0 ]; then
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi
suite=${SUITE:-$(. /etc/os-release && echo "$VERSION_CODENAME")}
arch=$(dpkg --print-architecture)

work=$(mktemp -d "${TMPDIR:-/var/tmp}/statesync-package.XXXXXX")
machine= # the process that holds the machine's namespaces
group=   # its control group
cleanup() {
	halt
	rm -rf --one-file-system "$work"
}
trap cleanup EXIT

step() { printf '== %s\n' "$*"; }
die() {
	printf 'FAILED: %s\n' "$*" >&2
	if [ -n "$machine" ]; then
		inside sh -c 'tail -n 30 /run/daemon.log || journalctl --no-pager -n 30 -u statesyncd' >&2 2>/dev/null || true
	fi
	exit 1
}

# await WHAT COMMAND... until it succeeds, for a minute.
await() {
	local what=$1 deadline=$((SECONDS + 60))
	shift
	until "$@" >/dev/null 2>&1; do
		[ $SECONDS -lt $deadline ] || die "waited in vain for: $what"
		sleep 0.1
	done
}

# same WHAT WANT GOT
same() { [ "$2" = "$3" ] || die "$1: want $2, got $3"; }

#### Machines

# boot ROOT INIT... runs a system in namespaces of its own, with what an
# application is given of the kernel: its own /dev/shm, among others.
boot() {
	root=$1
	shift
	local unified
	unified=$(findmnt -nt cgroup2 -o TARGET | head -n 1)
	if [ -n "$unified" ]; then
		group=$unified/statesync-package.$$
		mkdir "$group"
	fi
	(
		[ -z "$group" ] || echo "$BASHPID" >"$group/cgroup.procs"
		exec unshare --mount --pid --cgroup --ipc --uts --net --fork --kill-child bash -euc '
			root=$1 unified=$2
			shift 2
			mount --make-rprivate /
			mount --bind "$root" "$root"
			mount -t proc proc "$root/proc"
			mount -t sysfs -o ro sysfs "$root/sys"
			[ -z "$unified" ] || mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
			mount -t tmpfs -o mode=0755 tmpfs "$root/run"
			mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
			mount -t tmpfs -o mode=0755 tmpfs "$root/dev"
			cp -a /dev/{null,zero,full,random,urandom,tty} "$root/dev/"
			mkdir "$root/dev/"{pts,shm}
			mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
			ln -s pts/ptmx "$root/dev/ptmx"
			mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
			exec env -i container=statesync PATH=/usr/sbin:/usr/bin chroot "$root" "$@"
		' boot "$root" "$unified" "$@" >"$work/boot.log" 2>&1
	) &
	machine=$!
	await "the first process of $root" init
	nsenter -t "$(init)" -n ip link set lo up
}

# init is the machine's first process, as this one sees it.
init() {
	local pid
	pid=$(cat "/proc/$machine/task/$machine/children") && [ -n "$pid" ] &&
		[ "$(readlink "/proc/${pid% }/root")" = "$root" ] && echo "${pid% }"
}

# inside COMMAND... runs in the machine.
inside() {
	nsenter -t "$(init)" -m -p -i -u -n chroot "$root" \
		env -i PATH=/usr/sbin:/usr/bin HOME=/root DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 "$@"
}

halt() {
	[ -n "$machine" ] || return 0
	local first
	first=$(init) || true
	kill -9 "$machine" 2>/dev/null || true # and with it all that is inside
	wait "$machine" 2>/dev/null || true
	while [ -n "$first" ] && [ -e "/proc/$first" ]; do sleep 0.05; done
	machine=
	if [ -n "$group" ]; then
		find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || true
		group=
	fi
}

# tree lists every file of the machine but those that a system writes by itself,
# and dpkg's and the users' databases.
tree() {
	inside sh -c 'find / -xdev \( -path /proc -o -path /sys -o -path /run -o -path /tmp -o -path /var/tmp -o -path /var/log \
		-o -path /var/lib/dpkg -o -path /var/lib/systemd -o -path /var/cache -o -path /root \) -prune \
		-o ! -regex "/etc/\(passwd\|group\|shadow\|gshadow\|subuid\|subgid\)-?" ! -path /etc/.pwd.lock -printf "%p %y %m %u:%g %l\n"
		find /dev/shm /var/lib/systemd/deb-systemd-helper-* 2>/dev/null || true' | sort
}

# region prints what must stay through an upgrade: the file and its identity.
region() {
	inside stat -c 'inode %i' /dev/shm/statesync/default/region.v1
	inside statesync status -o json | grep '"region_id"'
}

writer() { inside statesync status -o json | sed -n 's/.*"writer_pid": \([0-9]*\).*/\1/p'; }
is() { [ "$("${@:2}")" = "$1" ]; }
changed() { ! is "$@"; }

# greet TEXT changes the config as an administrator should: by a rename.
greet() {
	inside bash -euc 'sed "s/^greeting:.*/greeting: $1/" /etc/statesync/config/example.yaml >/etc/statesync/.new
		mv /etc/statesync/.new /etc/statesync/config/example.yaml' greet "$1"
	await "the greeting $1" is "\"$1\"" inside statesync get example greeting
}

# killed ends the daemon by a signal: it is back by itself, in the same region.
killed() {
	step "kill -$1: it is back by itself"
	before=$(main_pid)
	inside sh -c "kill -$1 $before"
	await "another daemon" changed "$before" main_pid
	await "its first generation" is active property ActiveState
	greet "$2"
	same "the region" "$kept" "$(region)"
}

# read_on starts the reader, and read_well ends it and holds it to its word.
read_on() {
	cp "$work/reader" "$work/reader.sh" "/proc/$(init)/root/run/" 2>/dev/null || die "the reader can't be copied"
	inside sh -c 'setsid sh /run/reader.sh >/run/reader.log 2>&1 &'
	await "the reader" inside grep -q '^reading generation' /run/reader.log
}
read_well() {
	inside sh -c 'kill "$(cat /run/reader.pid)"'
	await "the reader's end" inside test -e /run/reader.exit
	inside sed 's/^/   reader: /' /run/reader.log
	same "the reader's exit code" 0 "$(inside cat /run/reader.exit)"
	inside rm /run/reader.exit
}

step "build v1.0.0, and v1.1.0-rc.1 to upgrade to"
export SOURCE_DATE_EPOCH ARCHES=$arch
SOURCE_DATE_EPOCH=$(git -C "$project" log -1 --format=%ct)
for version in v1.0.0 v1.1.0-rc.1; do
	VERSION=$version DIST=$work/$version "$here/build.sh" deb >/dev/null
done
old=$work/v1.0.0/statesync_1.0.0-1_$arch.deb
new=$work/v1.1.0-rc.1/statesync_1.1.0~rc.1-1_$arch.deb
(cd "$project" && CGO_ENABLED=0 $go build -o "$work/reader" ./deploy/package/reader)
cat >"$work/reader.sh" <<'READER'
setpriv --reuid=65534 --regid=65534 --clear-groups /run/reader example &
echo $! >/run/reader.pid
wait $!
echo $? >/run/reader.exit
READER

#### A bare Debian

step "a bare Debian $suite"
debootstrap --variant=minbase --cache-dir="$work" "$suite" "$work/bare" >"$work/debootstrap.log" || { tail "$work/debootstrap.log"; die debootstrap; }
rm -f "$work"/bare/var/cache/apt/archives/*.deb

# by_hand starts the daemon as the unit would.
by_hand() {
	inside sh -c 'setsid setpriv --reuid=statesync --regid=statesync --clear-groups --no-new-privs \
		--bounding-set=-all --inh-caps=-all env -i STATESYNC_SOURCE=dir:/etc/statesync/config \
		/usr/bin/statesyncd --state-dir=/var/lib/statesync/default --listen=off >>/run/daemon.log 2>&1 & echo $! >/run/daemon.pid'
}

boot "$work/bare" /bin/bash -c 'while :; do sleep 1000; done'
cp "$old" "/proc/$(init)/root/run/old.deb"
cp "$new" "/proc/$(init)/root/run/new.deb"
tree >"$work/before"
step "install, without systemd"
inside dpkg -i /run/old.deb >/dev/null
same "the shell of the user" /usr/sbin/nologin "$(inside getent passwd statesync | cut -d: -f7)"
same "the region's directory" "755 statesync" "$(inside stat -c '%a %U' /dev/shm/statesync/default)"
same "the directory above it" "755 root" "$(inside stat -c '%a %U' /dev/shm/statesync)"
inside statesyncd --version | grep v1.0.0 >/dev/null || die "statesyncd does not know its version"
inside statesync --version | grep v1.0.0 >/dev/null || die "statesync does not know its version"
by_hand
inside statesync wait --timeout 30s >/dev/null
same "the example" '"hello"' "$(inside statesync get example greeting)"
inside statesync __complete get '' 2>/dev/null | grep -x example >/dev/null || die "nothing completes the names of configs"
greet first
read_on
kept=$(region)
step "upgrade, while a process reads"
inside dpkg --force-confold -i /run/new.deb >/dev/null
before=$(writer)
inside sh -c 'kill "$(cat /run/daemon.pid)"'
by_hand
await "the new daemon" changed "$before" writer
greet second
inside statesyncd --version | grep v1.1.0-rc.1 >/dev/null || die "the upgrade installed nothing"
same "the region" "$kept" "$(region)"
step "remove: the region stays for its readers, and the state"
inside sh -c 'kill "$(cat /run/daemon.pid)"'
inside dpkg -r statesync >/dev/null
same "the region's file" "regular file" "$(inside stat -c %F /dev/shm/statesync/default/region.v1)"
same "the state" "regular file" "$(inside stat -c %F /var/lib/statesync/default/history.db)"
read_well
step "purge: nothing is left but the locked user"
inside dpkg -P statesync >/dev/null
inside getent passwd statesync >/dev/null || die "the user is gone"
tree >"$work/after"
diff "$work/before" "$work/after" || die "files are left"
halt

#### One that systemd has booted

step "a Debian $suite that systemd boots"
debootstrap --variant=minbase --include=systemd,systemd-sysv --cache-dir="$work" "$suite" "$work/booted" >"$work/debootstrap.log" || die debootstrap
boot "$work/booted" /lib/systemd/systemd --log-target=journal
await "systemd" inside systemctl is-system-running --wait
cp "$old" "/proc/$(init)/root/run/old.deb"
cp "$new" "/proc/$(init)/root/run/new.deb"
main_pid() { inside systemctl show -P MainPID statesyncd; }
property() { inside systemctl show -P "$1" statesyncd; }

tree >"$work/before"
step "install: the unit is enabled and runs"
inside dpkg -i /run/old.deb >/dev/null
same "the unit" active "$(property ActiveState)"
same "at boot" enabled "$(inside systemctl is-enabled statesyncd)"
echo "   $(inside systemctl --version | head -n 1): $(property StatusText)"
inside systemd-analyze security --no-pager --threshold=19 statesyncd | tail -n 1
same "capabilities" 0000000000000000 "$(inside sed -n 's/^CapEff:\t//p' "/proc/$(main_pid)/status")"
same "seccomp" 2 "$(inside sed -n 's/^Seccomp:\t//p' "/proc/$(main_pid)/status")"
step "in its sandbox it sees changes, answers for its metrics, and reloads"
greet first
inside bash -c 'exec 3<>/dev/tcp/127.0.0.1/17471 && printf "GET /readyz HTTP/1.0\r\n\r\n" >&3 && grep -q "^HTTP/1.[01] 200" <&3' ||
	die "the metrics' listener does not answer"
inside systemctl reload statesyncd
step "upgrade, while a process reads"
read_on
kept=$(region)
before=$(main_pid)
inside dpkg --force-confold -i /run/new.deb >/dev/null
[ "$(main_pid)" != "$before" ] || die "the daemon was not restarted"
same "the unit" active "$(property ActiveState)"
greet second
killed KILL third
killed ABRT fourth # which is what the watchdog sends
read_well
step "an administrator's disable survives a reinstallation"
inside systemctl disable --quiet statesyncd
inside dpkg --force-confold -i /run/new.deb >/dev/null
same "at boot" disabled "$(inside systemctl is-enabled statesyncd || true)"
step "the region's directories are lost while the source is broken: the last good configs are back"
inside sh -c 'echo "greeting: [" >/etc/statesync/config/example.yaml && rm -rf /dev/shm/statesync && systemctl restart statesyncd'
same "the example" '"fourth"' "$(inside statesync get example greeting)"
echo "   $(property StatusText)"
step "a variable that makes no sense is an error, once"
inside sh -c 'echo STATESYNC_NONSENSE=1 >>/etc/statesync/statesyncd.env; ! systemctl restart statesyncd 2>/dev/null'
same "the unit" failed "$(property ActiveState)"
inside sed -i /NONSENSE/d /etc/statesync/statesyncd.env
step "the seal's drop-in"
inside install -D -m 0644 /usr/share/doc/statesync/examples/seal.conf /etc/systemd/system/statesyncd.service.d/seal.conf
inside systemctl daemon-reload
if inside systemctl restart statesyncd; then
	! inside rm -f /dev/shm/statesync/default/region.v1 2>/dev/null || die "the seal keeps nothing"
else
	echo "   not tried: this kernel's tmpfs has no inode flags"
fi
inside rm -r /etc/systemd/system/statesyncd.service.d
inside systemctl daemon-reload
step "remove and purge"
inside dpkg -r statesync >/dev/null
same "the region's file" "regular file" "$(inside stat -c %F /dev/shm/statesync/default/region.v1)"
same "the process" 0 "$(main_pid)"
inside dpkg -P statesync >/dev/null
tree >"$work/after"
diff "$work/before" "$work/after" || die "files are left"
halt
step "all well"
