package headroom

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	mib = 1 << 20

	realLimit = 64 * mib // of TestHeadroomReal's cgroup

	// Lines of mountinfo, in the kernel's form.
	mountRoot   = "22 1 254:0 / / rw,relatime - ext4 /dev/root rw\n"
	mountV2     = "30 22 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
	mountV1     = "34 30 0:31 / /sys/fs/cgroup/memory rw,relatime shared:9 master:1 - cgroup cgroup rw,memory\n"
	mountV1CPU  = "31 30 0:28 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n"
	mountHybrid = "40 30 0:37 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
)

// tree is a made-up file system: contents by absolute path.
type tree map[string]string

// with adds a cgroup's files, as directory, name, content, name, content, …
func (tr tree) with(dir string, files ...string) tree {
	for i := 0; i < len(files); i += 2 {
		tr[dir+"/"+files[i]] = files[i+1]
	}
	return tr
}

func (tr tree) write(t testing.TB) (root string) {
	t.Helper()
	root = t.TempDir()
	for name, content := range tr {
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func proc(mounts, groups string) tree {
	return tree{"/proc/self/mountinfo": mounts, "/proc/self/cgroup": groups}
}

func mebibytes(n int) string { return strconv.Itoa(n*mib) + "\n" }

func TestHeadroomTrees(t *testing.T) {
	const v2, v1 = "/sys/fs/cgroup", "/sys/fs/cgroup/memory"
	// Every line but the ones that count has a number that would be noticed.
	statV2 := fmt.Sprintf("anon 1\nfile %d\nshmem %[1]d\ninactive_anon %[1]d\nactive_anon %[1]d\n"+
		"inactive_file %[2]d\nactive_file %[3]d\nunevictable %[1]d\nslab_reclaimable %[4]d\nslab %[1]d\n"+
		"file_dirty %[4]d\nfile_writeback %[3]d\n", 50*mib, 4*mib, 2*mib, mib)
	statV1 := fmt.Sprintf("cache %d\nshmem %[1]d\ninactive_file %[1]d\nactive_file %[1]d\n"+
		"hierarchical_memory_limit %[1]d\ntotal_cache %[1]d\ntotal_inactive_anon %[1]d\n"+
		"total_inactive_file %d\ntotal_active_file %d\ntotal_unevictable %[1]d\n"+
		"dirty %[1]d\nwriteback %[1]d\ntotal_dirty %[3]d\ntotal_writeback %[4]d\n", 50*mib, 4*mib, 2*mib, mib)

	tests := []struct {
		name  string
		tree  tree
		free  int64 // -1: not limited
		where string
	}{
		{"nothing at all", tree{}, -1, ""},
		{"no mount", proc(mountRoot, "0::/a\n").with(v2+"/a", "memory.max", mebibytes(64), "memory.current", "0\n"), -1, ""},
		{"no group", proc(mountV2, "").with(v2, "memory.max", mebibytes(64), "memory.current", "0\n"), -1, ""},
		{"v2, no files", proc(mountV2, "0::/a/b\n"), -1, ""},
		{
			"v2, no limit",
			proc(mountV2, "0::/a\n").with(v2+"/a", "memory.max", "max\n", "memory.high", "max\n", "memory.current", mebibytes(9)),
			-1, "",
		},
		{
			"v2, the group's own limit, page cache that was written is free, shmem is not",
			proc(mountRoot+mountV2, "0::/a\n").with(v2+"/a", "memory.max", mebibytes(64), "memory.current", mebibytes(60), "memory.stat", statV2),
			8 * mib, v2 + "/a",
		},
		{
			"v2, an ancestor has less",
			proc(mountV2, "0::/a/b/c\n").
				with(v2+"/a/b/c", "memory.max", mebibytes(64), "memory.current", mebibytes(10)).
				with(v2+"/a/b", "memory.max", "max\n", "memory.current", mebibytes(20)).
				with(v2+"/a", "memory.max", mebibytes(100), "memory.current", mebibytes(80)),
			20 * mib, v2 + "/a",
		},
		{
			"v2, an ancestor has more",
			proc(mountV2, "0::/a/b\n").
				with(v2+"/a/b", "memory.max", mebibytes(64), "memory.current", mebibytes(60)).
				with(v2+"/a", "memory.max", mebibytes(100), "memory.current", mebibytes(80)),
			4 * mib, v2 + "/a/b",
		},
		{
			"v2, memory.high is lower",
			proc(mountV2, "0::/a\n").with(v2+"/a", "memory.max", mebibytes(64), "memory.high", mebibytes(48), "memory.current", mebibytes(40)),
			8 * mib, v2 + "/a",
		},
		{
			"v2, memory.high alone",
			proc(mountV2, "0::/a\n").with(v2+"/a", "memory.max", "max\n", "memory.high", mebibytes(48), "memory.current", mebibytes(40)),
			8 * mib, v2 + "/a",
		},
		{
			"v2, over the limit",
			proc(mountV2, "0::/a\n").with(v2+"/a", "memory.max", mebibytes(64), "memory.current", mebibytes(65)),
			0, v2 + "/a",
		},
		{
			"v2, more cache than usage",
			proc(mountV2, "0::/a\n").with(v2+"/a", "memory.max", mebibytes(64), "memory.current", mebibytes(1), "memory.stat", statV2),
			64 * mib, v2 + "/a",
		},
		{
			"v2, sums that would overflow",
			proc(mountV2, "0::/a\n").with(v2+"/a", "memory.max", mebibytes(64), "memory.current", "18446744073709551615",
				"memory.stat", strings.Repeat("active_file 18446744073709551615\n", 9)),
			64 * mib, v2 + "/a",
		},
		{
			"v2, numbers that are none",
			proc(mountV2, "0::/a/b/c\n").
				with(v2+"/a/b/c", "memory.max", "-1\n", "memory.current", mebibytes(1)).
				with(v2+"/a/b", "memory.max", mebibytes(64), "memory.current", "\n").
				with(v2+"/a", "memory.max", "99999999999999999999\n", "memory.current", "0\n"),
			-1, "",
		},
		{
			"v2, a group that was removed",
			proc(mountV2, "0::/a/b (deleted)\n").with(v2+"/a", "memory.max", mebibytes(64), "memory.current", "0\n"),
			64 * mib, v2 + "/a",
		},
		{
			"v2, container with a cgroup namespace",
			proc(mountV2, "0::/\n").with(v2, "memory.max", mebibytes(64), "memory.current", mebibytes(4)),
			60 * mib, v2,
		},
		{
			"v2, container without a cgroup namespace",
			proc(strings.Replace(mountV2, " / ", " /kubepods/pod1/c1 ", 1), "0::/kubepods/pod1/c1/sub\n").
				with(v2+"/sub", "memory.max", mebibytes(64), "memory.current", mebibytes(4)).
				with(v2, "memory.max", mebibytes(32), "memory.current", mebibytes(4)).
				with(v2+"/kubepods/pod1/c1/sub", "memory.max", "0\n", "memory.current", "0\n"),
			28 * mib, v2,
		},
		{
			"v2, a group that is not under the mount's root, but begins like it",
			proc(strings.Replace(mountV2, " / ", " /docker/ab ", 1), "0::/docker/abc/d\n").
				with(v2, "memory.max", mebibytes(32), "memory.current", mebibytes(4)).
				with(v2+"/c/d", "memory.max", "0\n", "memory.current", "0\n"),
			28 * mib, v2,
		},
		{
			"v2, a group outside the cgroup namespace",
			proc(mountV2, "0::/../other\n").
				with(v2, "memory.max", mebibytes(32), "memory.current", mebibytes(4)).
				with("/sys/fs/other", "memory.max", "0\n", "memory.current", "0\n"),
			28 * mib, v2,
		},
		{
			"v2, two mounts, the second one shows the ancestors",
			proc(strings.Replace(mountV2, " / ", " /a/b ", 1)+strings.ReplaceAll(mountV2, v2, "/host/cgroup"), "0::/a/b\n").
				with(v2, "memory.max", mebibytes(64), "memory.current", mebibytes(4)).
				with("/host/cgroup/a/b", "memory.max", mebibytes(64), "memory.current", mebibytes(4)).
				with("/host/cgroup/a", "memory.max", mebibytes(32), "memory.current", mebibytes(4)),
			28 * mib, "/host/cgroup/a",
		},
		{
			"v2, two mounts, the first one shows another container",
			proc(strings.Replace(mountV2, " / ", " /b ", 1)+strings.ReplaceAll(mountV2, v2, "/other"), "0::/a\n").
				with(v2, "memory.max", "0\n", "memory.current", "0\n").
				with("/other/a", "memory.max", mebibytes(64), "memory.current", mebibytes(4)),
			60 * mib, "/other/a",
		},
		{
			"v2, a mount point with slashes too many and too few",
			proc(strings.Replace(mountV2, "/sys/fs/cgroup", "sys//fs/cgroup/", 1), "0::/a\n").
				with(v2, "memory.max", mebibytes(32), "memory.current", mebibytes(4)),
			28 * mib, v2,
		},
		{
			"v1, page cache of the whole tree that was written is free, shmem is not",
			proc(mountV1CPU+mountV1, "4:memory:/a\n1:cpu:/\n0::/\n").
				with(v1+"/a", "memory.limit_in_bytes", mebibytes(64), "memory.usage_in_bytes", mebibytes(60), "memory.stat", statV1).
				with(v1, "memory.limit_in_bytes", "9223372036854771712\n", "memory.usage_in_bytes", mebibytes(900)),
			7 * mib, v1 + "/a",
		},
		{
			"v1, no limit, pages of 4 and of 64 KiB",
			proc(mountV1, "4:memory:/a\n").
				with(v1+"/a", "memory.limit_in_bytes", "9223372036854771712\n", "memory.usage_in_bytes", "0\n").
				with(v1, "memory.limit_in_bytes", "9223372036854710272\n", "memory.usage_in_bytes", "0\n"),
			-1, "",
		},
		{
			"v1, memory and swap together are lower",
			proc(mountV1, "4:memory:/a\n").with(v1+"/a",
				"memory.limit_in_bytes", mebibytes(64), "memory.usage_in_bytes", mebibytes(10),
				"memory.memsw.limit_in_bytes", mebibytes(96), "memory.memsw.usage_in_bytes", mebibytes(90)),
			6 * mib, v1 + "/a",
		},
		{
			"v1, container without a cgroup namespace",
			proc(strings.Replace(mountV1, " / ", ` /docker/c\0401 `, 1), "4:memory:/docker/c 1/sub\n").
				with(v1+"/sub", "memory.limit_in_bytes", mebibytes(64), "memory.usage_in_bytes", mebibytes(10)),
			54 * mib, v1 + "/sub",
		},
		{
			"v1, two controllers in one mount, blanks, colons and backslashes",
			proc(`34 30 0:31 / /mnt/my\040cgroup\134101 rw a:1 b:2 c - cgroup  rw,cpu,memory`+"\n", "7:name=x:/\n4:cpu,memory:/a:b c\n").
				with(`/mnt/my cgroup\101/a:b c`, "memory.limit_in_bytes", mebibytes(64), "memory.usage_in_bytes", mebibytes(10)),
			54 * mib, `/mnt/my cgroup\101/a:b c`,
		},
		{
			"v1 beside an empty v2",
			proc(mountHybrid+mountV1, "4:memory:/a\n0::/\n").
				with(v1+"/a", "memory.limit_in_bytes", mebibytes(64), "memory.usage_in_bytes", mebibytes(10)).
				with(v2+"/unified", "cgroup.procs", "1\n"),
			54 * mib, v1 + "/a",
		},
		{
			"v2 beside a v1 without the memory controller",
			proc(mountV1CPU+mountHybrid, "1:cpu:/a\n0::/a\n").
				with(v2+"/unified/a", "memory.max", mebibytes(64), "memory.current", mebibytes(10)).
				with(v2+"/cpu/a", "memory.limit_in_bytes", "0\n", "memory.usage_in_bytes", "0\n"),
			54 * mib, v2 + "/unified/a",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			free, where, limited := headroomUnder(tt.tree.write(t))
			if !limited {
				free = -1
			}
			if free != tt.free || where != tt.where {
				t.Errorf("headroom = %d at %q, want %d at %q", free, where, tt.free, tt.where)
			}
		})
	}
}

// Whatever the files contain: no panic, no endless loop, and what comes out is
// within bounds.
func TestHeadroomRandomBytes(t *testing.T) {
	const dir = "/sys/fs/cgroup/a/b"
	good := proc(mountRoot+mountV1+mountV2+mountHybrid, "4:cpu,memory:/a/b\n0::/a/b\n").
		with(dir, "memory.max", mebibytes(64), "memory.high", "max\n", "memory.current", mebibytes(60), "memory.stat", "active_file 4096\nslab 1\n").
		with("/sys/fs/cgroup/memory/a", "memory.limit_in_bytes", mebibytes(64), "memory.usage_in_bytes", mebibytes(9))
	root := good.write(t)
	if free, _, limited := headroomUnder(root); !limited || free != 4*mib+4096 {
		t.Fatalf("headroom = %d, %v before anything is changed", free, limited)
	}
	names := make([]string, 0, len(good))
	for name := range good {
		names = append(names, name)
	}
	slices.Sort(names)

	const seed = 20
	rnd := rand.New(rand.NewPCG(seed, seed))
	const alphabet = "/:,- \\.0417max\n\x00\xff"
	const steps = 500
	limits := 0
	for i := range steps {
		name := names[rnd.IntN(len(names))]
		b := []byte(good[name])
		switch rnd.IntN(4) {
		case 0: // nothing but noise
			b = make([]byte, rnd.IntN(200))
			for j := range b {
				b[j] = byte(rnd.Uint32())
			}
		case 1: // cut off
			b = b[:rnd.IntN(len(b))]
		default: // a few bytes replaced or put in
			for range 1 + rnd.IntN(5) {
				at := rnd.IntN(len(b))
				b = slices.Replace(b, at, at+rnd.IntN(2), alphabet[rnd.IntN(len(alphabet))])
			}
		}
		replaceFile(t, root+name, b)
		free, where, limited := headroomUnder(root)
		if free < 0 || free >= noLimit || !limited && free != 0 || limited != path.IsAbs(where) || where != "" && where != path.Clean(where) {
			t.Fatalf("step %d: %s = %q: headroom = %d at %q, %v", i, name, b, free, where, limited)
		}
		if limited {
			limits++
		}
		replaceFile(t, root+name, []byte(good[name]))
	}
	if limits == 0 {
		t.Error("no limit was ever found: the damage is too great to test anything")
	}
}

// replaceFile makes a new file, since ext4 writes one to disk at once that was
// truncated and written again.
func replaceFile(t *testing.T, name string, b []byte) {
	t.Helper()
	if err := errors.Join(os.Remove(name), os.WriteFile(name, b, 0o644)); err != nil {
		t.Fatal(err)
	}
}

// TestHeadroomReal puts a process under a limit of the kernel's own, and lets it
// use up what headroom says there is.
func TestHeadroomReal(t *testing.T) {
	dir := memoryCgroup(t)

	cmd := exec.Command(os.Args[0], "-test.run=^TestHeadroomChild$", "-test.count=1")
	cmd.Env = append(os.Environ(), "STATESYNC_TEST_HEADROOM="+t.TempDir())
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	joined := os.WriteFile(dir+"/cgroup.procs", []byte(strconv.Itoa(cmd.Process.Pid)), 0)
	if joined == nil {
		_, joined = io.WriteString(stdin, "go\n")
	}
	stdin.Close()
	room, where := map[string]int64{}, ""
	for s := bufio.NewScanner(stdout); s.Scan(); {
		var step, at string
		var free int64
		if n, _ := fmt.Sscanf(s.Text(), "headroom %s %d %q", &step, &free, &at); n == 3 {
			room[step], where = free, at
			t.Logf("%-5s %9d bytes at %s", step, free, at)
		}
	}
	if err := errors.Join(joined, cmd.Wait()); err != nil {
		t.Fatalf("the process under the limit: %v", err)
	}

	if where != dir {
		t.Errorf("the limit is at %q, want %q", where, dir)
	}
	if f := room["start"]; f <= realLimit/2 || f > realLimit {
		t.Errorf("headroom at the start = %d, want it in (%d, %d]", f, realLimit/2, realLimit)
	}
	before := room["start"]
	if f, cached := room["cache"]; cached {
		if f < before-headroomSlack() {
			t.Errorf("page cache made the headroom smaller: from %d to %d", before, f)
		}
		before = f
	}
	if f, want := room["shmem"], before-16*mib; f < want-headroomSlack() || f > want+headroomSlack() {
		t.Errorf("headroom after 16 MiB of shared memory = %d, want %d", f, want)
	}
	if f, ok := room["full"]; !ok || f > 2*headroomSlack() {
		t.Errorf("headroom at the end = %d, want little to be left", f)
	}
}

// headroomSlack is how far off the figures may be: the kernel charges 64 pages
// ahead for each CPU and gathers statistics as late, and the test itself needs
// memory, too, with the race detector above all.
func headroomSlack() int64 {
	return min(6*mib+int64(runtime.NumCPU())*(256<<10), 16*mib)
}

// TestHeadroomChild is the process that TestHeadroomReal starts.
func TestHeadroomChild(t *testing.T) {
	dir := os.Getenv("STATESYNC_TEST_HEADROOM")
	if dir == "" {
		t.Skip("runs only in a process of TestHeadroomReal")
	}
	if line, _ := bufio.NewReader(os.Stdin).ReadString('\n'); line != "go\n" {
		t.Fatal("not placed into a cgroup")
	}
	report := func(step string) int64 {
		free, where, _ := headroom()
		fmt.Printf("headroom %s %d %q\n", step, free, where)
		return free
	}
	report("start")

	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		t.Fatal(err)
	}
	if fs.Type != unix.TMPFS_MAGIC { // there it would not be page cache
		f, err := os.Create(dir + "/cached")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		b := make([]byte, mib)
		for range 24 {
			if _, err := f.Write(b); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
		report("cache")
	}

	fd, err := unix.MemfdCreate("headroom", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Fallocate(fd, 0, 0, 16*mib); err != nil {
		t.Fatal(err)
	}
	free := report("shmem")
	// This takes the page cache's memory, if headroom was right about it. If not,
	// this process is killed.
	if err := unix.Fallocate(fd, 0, 16*mib, free-headroomSlack()); err != nil {
		t.Fatal(err)
	}
	report("full")
}

// memoryCgroup creates a cgroup with realLimit for the time of the test.
func memoryCgroup(t *testing.T) (dir string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can create a cgroup")
	}
	mounts := readHead("/proc/self/mountinfo", mib)
	groups := readHead("/proc/self/cgroup", mib)
	why := errors.New("no cgroups are mounted")
	for _, h := range hierarchies {
		top, own, ok := h.locate(mounts, groups)
		if !ok {
			continue
		}
		// On v2 a group that has processes has no groups with a memory limit below
		// it, except at the top.
		for _, parent := range []string{own, top} {
			dir := fmt.Sprintf("%s/statesync-test-%d", parent, os.Getpid())
			if err := os.Mkdir(dir, 0o755); err != nil {
				why = err
				continue
			}
			t.Cleanup(func() { removeCgroup(t, dir) })
			// Without O_CREATE: where the controller is missing, so is the file.
			f, err := os.OpenFile(dir+"/"+h.counters[0].limit, os.O_WRONLY, 0)
			if err == nil {
				_, err = f.WriteString(strconv.Itoa(realLimit))
				err = errors.Join(err, f.Close())
			}
			if err == nil {
				return dir
			}
			why = err
		}
	}
	t.Skipf("no memory cgroup can be created here: %v", why)
	return ""
}

// removeCgroup waits until the kernel is done with the group's last process.
func removeCgroup(t *testing.T, dir string) {
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		err := os.Remove(dir)
		if err == nil || errors.Is(err, os.ErrNotExist) {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("cgroup left behind: %v", err)
			return
		}
	}
}

func BenchmarkHeadroom(b *testing.B) {
	for b.Loop() {
		headroom()
	}
}
