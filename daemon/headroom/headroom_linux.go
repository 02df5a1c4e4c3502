package headroom

import (
	"fmt"
	"io"
	"math"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
)

// pagesOverhead is what the kernel's own records of pages take, and what the
// daemon needs to continue: what it reads, decodes and records next may each take up
// to 1 MiB without a look at the limit.
func pagesOverhead(size int64) int64 { return size/256 + 4<<20 }

// ForPages is Check for size bytes of a region's pages, and for what they cost
// besides.
func ForPages(size int64) error { return Check(size + pagesOverhead(size)) }

// Check reports whether this process's memory cgroups allow so many bytes more. To
// ask the kernel for memory beyond them would not be an error but the OOM
// killer's work. The error matches ErrFull. It reads some small files.
func Check(size int64) error {
	if free, where, limited := headroom(); limited && size > free {
		return fmt.Errorf("%w: %d bytes are needed and %d are left in %s", ErrFull, size, free, where)
	}
	return nil
}

// noLimit and everything above it stands for no limit at all. Cgroup v1 writes
// the largest number of whole pages below 2^63 for that, which depends on the
// page size. It is small enough that the sums below cannot overflow.
const noLimit = 1 << 60

// hierarchy is one of the two forms that the memory controller comes in.
type hierarchy struct {
	fsType     string // in mountinfo
	controller string // in /proc/self/cgroup and among the mount's options; v2 names none
	counters   []counter
	cache      []string // keys of memory.stat that count pages which a limit's reclaim gives back
	unwritten  []string // keys that count those of these pages that are not on the disk yet
}

// counter is a limit and the usage that is held against it: files of a cgroup.
type counter struct{ limit, usage string }

// hierarchies are both looked at, since the controller can be in either when
// both are mounted; in the other one the files are missing.
//
// Pages of tmpfs are on the kernel's lists for anonymous memory, so the file
// lists count only what has a disk behind it. Swap would take pages of tmpfs,
// but is not counted: a region that is paged out is of no use to its readers.
// Memory that memory.min keeps for a sibling is counted although it is not given
// back, because the siblings are not visible from everywhere.
var hierarchies = []hierarchy{
	{
		fsType: "cgroup2",
		counters: []counter{
			{"memory.max", "memory.current"},
			// Going over memory.high kills no process, but a region's pages are not
			// reclaimed, so the writer would stay over it: the kernel then puts it
			// to sleep for up to two seconds every 64 pages, in the middle of
			// fallocate. A refused image is better than a writer that hangs.
			{"memory.high", "memory.current"},
		},
		cache:     []string{"inactive_file", "active_file", "slab_reclaimable"},
		unwritten: []string{"file_dirty", "file_writeback"},
	},
	{
		fsType:     "cgroup",
		controller: "memory",
		counters: []counter{
			{"memory.limit_in_bytes", "memory.usage_in_bytes"},
			// Memory and swap together; it has the lower headroom when much of the
			// group is swapped out.
			{"memory.memsw.limit_in_bytes", "memory.memsw.usage_in_bytes"},
		},
		// Without "total_" these would leave out the groups below.
		cache:     []string{"total_inactive_file", "total_active_file"},
		unwritten: []string{"total_dirty", "total_writeback"},
	},
}

// headroom returns how many more bytes of memory this process's cgroups allow,
// where page cache that the kernel would drop counts as free. Pages that are not on the disk
// yet do not count: the kernel kills a process sooner than it waits for them. It is the least
// over the process's memory cgroup and those of its ancestors that are visible;
// where is the directory of the one that sets it. It is for asking before pages
// are allocated, since going over the limit is not an error but the OOM killer,
// and it is a snapshot: others in the same cgroup allocate, too.
//
// limited is false, and free means nothing, when no limit applies or none can
// be read: then only trying shows what is there.
func headroom() (free int64, where string, limited bool) {
	return headroomUnder("")
}

// headroomUnder is headroom with root put before every path that it opens.
func headroomUnder(root string) (free int64, where string, limited bool) {
	mounts := readHead(root+"/proc/self/mountinfo", 1<<20)
	groups := readHead(root+"/proc/self/cgroup", 64<<10)
	for _, h := range hierarchies {
		top, dir, ok := h.locate(mounts, groups)
		for ; ok; dir = path.Dir(dir) {
			if room, lim := h.room(root + dir); lim && (!limited || room < free) {
				free, where, limited = room, dir, true
			}
			ok = dir != top
		}
	}
	return free, where, limited
}

// room returns how much the limits of one cgroup allow.
func (h *hierarchy) room(dir string) (free int64, limited bool) {
	tightest, left := int64(noLimit), int64(math.MaxInt64)
	for _, c := range h.counters {
		limit, ok := parseBytes(readHead(dir+"/"+c.limit, 64))
		if !ok || limit == noLimit {
			continue
		}
		if usage, ok := parseBytes(readHead(dir+"/"+c.usage, 64)); ok {
			tightest, left = min(tightest, limit), min(left, limit-usage)
		}
	}
	if tightest == noLimit {
		return 0, false
	}
	// No memory.stat: nothing is known to be reclaimable.
	var cache, unwritten int64
	for line := range strings.Lines(readHead(dir+"/memory.stat", 64<<10)) {
		key, value, _ := strings.Cut(line, " ")
		n, _ := parseBytes(value)
		switch {
		case slices.Contains(h.cache, key):
			cache = min(cache+n, noLimit)
		case slices.Contains(h.unwritten, key):
			unwritten = min(unwritten+n, noLimit)
		}
	}
	// The files are read one after the other, so they may not fit together.
	return max(0, min(left+max(0, cache-unwritten), tightest)), true
}

// locate finds the directory of this process's cgroup, and top, the mount point
// that it is at or under.
//
// A mount shows the tree from some cgroup on, its root in mountinfo. In a
// container that may be the container's own cgroup, while /proc/self/cgroup still
// has the host's path, or a path relative to a cgroup namespace. A group that is
// not under the root cannot be named from here; what is mounted is then the
// best answer. Of several mounts the one that shows most ancestors is taken.
func (h *hierarchy) locate(mounts, groups string) (top, dir string, ok bool) {
	// Each line is hierarchy-id:controller,controller:/path, and the path may
	// contain colons. On v2 the list of controllers is empty.
	group, found := "", false
	for line := range strings.SplitSeq(groups, "\n") {
		f := strings.SplitN(line, ":", 3)
		if len(f) == 3 && slices.Contains(strings.Split(f[1], ","), h.controller) {
			group, found = f[2], true
			break
		}
	}
	if !found {
		return "", "", false
	}
	shortest := math.MaxInt
	for line := range strings.SplitSeq(mounts, "\n") {
		// id parent device root mount-point options [tag…] - type source options
		head, tail, _ := strings.Cut(line, " - ")
		if !strings.HasPrefix(tail, h.fsType+" ") {
			continue
		}
		options := strings.Split(tail[strings.LastIndexByte(tail, ' ')+1:], ",")
		if h.controller != "" && !slices.Contains(options, h.controller) {
			continue
		}
		f := strings.Split(head, " ")
		if len(f) < 6 {
			continue
		}
		root, point := unescape(f[3]), path.Clean("/"+unescape(f[4]))
		if rel, under := below(root, group); under && len(root) < shortest {
			top, dir, shortest = point, path.Join(point, rel), len(root)
		} else if top == "" {
			top, dir = point, point
		}
	}
	return top, dir, top != ""
}

// below returns the part of a cgroup's path that comes after root: empty, or
// with a leading slash.
func below(root, group string) (rel string, ok bool) {
	rel, ok = strings.CutPrefix(group, strings.TrimSuffix(root, "/"))
	// What is left starts at a slash, so that /a/bc is not below /a/b, and does
	// not lead up again, as the path of a process outside its namespace does.
	if !ok || len(rel) > 4096 || rel != "" && rel != path.Clean("/"+rel) {
		return "", false
	}
	return rel, true
}

// unescape undoes the \ooo that mountinfo has for blanks and backslashes.
func unescape(s string) string {
	var b strings.Builder
	for ; s != ""; s = s[1:] {
		if s[0] == '\\' && len(s) >= 4 {
			if c, err := strconv.ParseUint(s[1:4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				s = s[3:]
				continue
			}
		}
		b.WriteByte(s[0])
	}
	return b.String()
}

// parseBytes reads a number of bytes, or "max". It is at most noLimit.
func parseBytes(s string) (n int64, ok bool) {
	s = strings.TrimSpace(s)
	if s == "max" {
		return noLimit, true
	}
	u, err := strconv.ParseUint(s, 10, 64)
	return int64(min(u, noLimit)), err == nil
}

// readHead reads the first limit bytes of a file: nothing when it can't be read.
func readHead(name string, limit int64) string {
	f, err := os.Open(name)
	if err != nil {
		return ""
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit))
	if err != nil {
		return ""
	}
	return string(b)
}
