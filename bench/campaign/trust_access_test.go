//go:build linux

package campaign

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func init() {
	// trust-write DIR PID tries to write a region, and to harm its daemon. It prints
	// what was not refused.
	roles["trust-write"] = func(_ context.Context, args []string) error {
		dir, daemon := args[0], args[1]
		path, tried := filepath.Join(dir, "region.v1"), 0
		try := func(what string, err error) {
			tried++
			if err == nil {
				fmt.Println("not refused:", what)
			}
		}
		for _, name := range []string{"region.v1", "lock", ".region.v1.new", "mine"} {
			for what, flag := range map[string]int{"read-write": os.O_RDWR, "write": os.O_WRONLY, "truncate": os.O_RDONLY | os.O_TRUNC, "append": os.O_WRONLY | os.O_APPEND, "create": os.O_RDWR | os.O_CREATE} {
				f, err := os.OpenFile(filepath.Join(dir, name), flag, 0o666)
				try(what+" "+name, err)
				_ = f.Close()
			}
			try("remove "+name, os.Remove(filepath.Join(dir, name)))
			try("chmod "+name, os.Chmod(filepath.Join(dir, name), 0o666))
			try("chown "+name, os.Chown(filepath.Join(dir, name), os.Geteuid(), -1))
		}
		try("lock", func() error { _, err := os.Open(filepath.Join(dir, "lock")); return err }())
		try("truncate", os.Truncate(path, 0))
		try("rename", os.Rename(path, path+".old"))
		try("rename the directory", os.Rename(dir, dir+".old"))
		try("link", os.Link(path, path+".2"))
		try("link elsewhere", os.Link(path, filepath.Join(os.TempDir(), "region-of-another")))
		try("symlink", os.Symlink("/", filepath.Join(dir, "x")))
		try("mkdir", os.Mkdir(filepath.Join(dir, "x"), 0o755))
		try("times", os.Chtimes(path, trustEpoch, trustEpoch))
		try("attribute", unix.Setxattr(path, "user.x", []byte("x"), 0))

		f, err := os.Open(path)
		if err != nil {
			return err
		}
		fd := int(f.Fd())
		st, err := f.Stat()
		if err != nil {
			return err
		}
		_, err = os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", fd), os.O_RDWR, 0)
		try("open again", err)
		_, err = f.WriteAt([]byte("x"), 0x80)
		try("pwrite", err)
		try("ftruncate", f.Truncate(0))
		try("fallocate", unix.Fallocate(fd, 0, 0, 4096))
		try("punch", unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, 4096))
		try("fchmod", f.Chmod(0o666))
		try("seal", unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, 0x20))
		_, err = unix.Mmap(fd, 0, int(st.Size()), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		try("map", err)
		words, err := unix.Mmap(fd, 0, int(st.Size()), unix.PROT_READ, unix.MAP_SHARED)
		if err != nil {
			return err
		}
		try("mprotect", unix.Mprotect(words, unix.PROT_READ|unix.PROT_WRITE))
		try("remove pages", unix.Madvise(words, unix.MADV_REMOVE))
		at := int64(uintptr(unsafe.Pointer(unsafe.SliceData(words))))
		mem, err := os.OpenFile("/proc/self/mem", os.O_RDWR, 0)
		if err != nil {
			return err
		}
		_, err = mem.WriteAt([]byte("x"), at+0x80)
		try("/proc/self/mem", err)
		// The kernel writes into memory that a syscall is given.
		_, _, errno := unix.Syscall(unix.SYS_CLOCK_GETTIME, unix.CLOCK_MONOTONIC, uintptr(at)+0x80, 0)
		try("clock_gettime", trustErrno(errno))
		_, _, errno = unix.Syscall6(unix.SYS_FUTEX, uintptr(at)+0x80, 6, 0, 0, 0, 0) // FUTEX_LOCK_PI
		try("futex lock", trustErrno(errno))
		local := unix.Iovec{Base: &[]byte("x")[0], Len: 1}
		_, err = unix.ProcessVMWritev(os.Getpid(), []unix.Iovec{local}, []unix.RemoteIovec{{Base: uintptr(at) + 0x80, Len: 1}}, 0)
		try("process_vm_writev", err)
		// And the daemon itself.
		pid, err := strconv.Atoi(daemon)
		if err != nil {
			return err
		}
		try("kill", syscall.Kill(pid, syscall.SIGKILL))
		try("stop", syscall.Kill(pid, syscall.SIGSTOP))
		try("trace", syscall.PtraceAttach(pid))
		_, err = os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_RDWR, 0)
		try("its memory", err)
		_, err = os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		try("its descriptors", err)
		try("its limits", unix.Prlimit(pid, unix.RLIMIT_NOFILE, &unix.Rlimit{}, nil))
		fmt.Println("tried", tried)
		return nil
	}
}

// trustEpoch is a time to set.
var trustEpoch = time.Unix(0, 0)

func trustErrno(errno syscall.Errno) error {
	if errno == 0 {
		return nil
	}
	return errno
}

// A user that may only read a region can change nothing.
func TestTrustReaderThatWrites(t *testing.T) {
	parent := trustParent(t)
	h := newMemoryHost(t, parent, "--slots=2", "--max-image=64KiB")
	h.start()
	h.reader = memoryReadAs(t, trustOther, h.region)
	h.reader.sees("at first", 1)
	id, _, err := h.look()
	ok(t, err)
	await(t, "the daemon's socket is there", func() bool {
		st, err := os.Stat(filepath.Join(h.region, "query.sock"))
		return err == nil && st.Mode().Perm() == 0o666
	})
	before := trustTree(t, h.region)
	said := trustSays(t, trustAs(trustStranger), "trust-write", h.region, strconv.Itoa(h.daemon.Process.Pid))
	tried := 0
	if _, err := fmt.Sscanf(said, "tried %d", &tried); err != nil || tried < 50 {
		t.Errorf("it says %s", said)
	}
	if after := trustTree(t, h.region); after != before {
		t.Errorf("there was\n%s\nand is\n%s", before, after)
	}
	h.publish(1000)
	h.reader.sees("after it", 2)
	h.alive()
	if now, _, err := h.look(); err != nil || now != id {
		t.Errorf("the region is %s and was %s: %v", now, id, err)
	}
	h.reader.end()
	h.stop()
	report(t, "a reader that may not write can't", fmt.Sprintf("%d ways to write a region, or to reach its daemon", tried), "nothing")
}

// A daemon that runs as the wrong user reports it, and changes nothing.
func TestTrustWrongDaemon(t *testing.T) {
	parent := trustParent(t)
	source := trustSource(t, parent)
	args := func(region, state string) []string {
		return []string{"--once", "--source=dir:" + source, "--region=" + region, "--state-dir=" + state, "--slots=2", "--max-image=64KiB", "--lock-wait=0s"}
	}
	for _, name := range []string{"root", "stranger", "closed"} {
		ok(t, os.Mkdir(filepath.Join(parent, name), 0o755))
	}
	roots, strangers, closed := filepath.Join(parent, "root", "region"), filepath.Join(parent, "stranger", "region"), filepath.Join(parent, "closed", "region")
	state := filepath.Join(parent, "state")
	trustStart(t, nil, args(roots, state)...).finish(t)
	ok(t, os.Mkdir(strangers, 0o755))
	ok(t, os.Chown(strangers, trustStranger, trustStranger))
	trustStart(t, trustAs(trustStranger), args(strangers, "")...).finish(t)

	before := trustTree(t, parent)
	readers := 0
	for n, c := range []struct {
		what   string
		as     *syscall.SysProcAttr
		region string
		state  string
		says   []string
	}{
		{"a stranger on root's region", trustAs(trustStranger), roots, "", []string{"belongs to uid 0", "runs as uid 12345", "run the daemon as that user, or choose another --region"}},
		{"root on a stranger's region", nil, strangers, "", []string{"belongs to uid 12345", "runs as uid 0"}},
		{"another on a stranger's region", trustAs(trustOther), strangers, "", []string{"belongs to uid 12345", "runs as uid 12346"}},
		{"a stranger without a region", trustAs(trustStranger), closed, "", []string{"install -d", closed}},
		{"a stranger on root's state", trustAs(trustStranger), strangers, state, []string{state, "--state-dir"}},
	} {
		log := trustDaemon(t, c.as, args(c.region, c.state)...)
		for _, word := range c.says {
			if !strings.Contains(log, word) {
				t.Errorf("%s: the log does not say %q:\n%s", c.what, word, log)
			}
		}
		// The stranger's region is attached before its state is refused.
		if after := trustTree(t, parent); after != before {
			t.Errorf("%s: there was\n%s\nand is\n%s", c.what, before, after)
		}
		if n < 4 && testing.Short() {
			continue // readers after the last one
		}
		for _, uid := range []uint32{0, trustOther} {
			for _, region := range []string{roots, strangers} {
				readers++
				if said := trustSays(t, trustAs(uid), "trust-read", region); said != "revision 1" {
					t.Errorf("%s: uid %d reads %s: %s", c.what, uid, region, said)
				}
			}
		}
	}
	report(t, "a daemon of the wrong user is refused with a message", fmt.Sprintf("5 daemons on regions and a state of others, %d readers", readers), "nothing")
}

// A reader in a user namespace sees root's region as that of 65534, the overflow
// user, which stands for any user. The error says how to trust it.
func TestTrustUserNamespace(t *testing.T) {
	parent := trustParent(t)
	h := newMemoryHost(t, parent, "--slots=2", "--max-image=64KiB", "--once")
	h.start()
	h.daemon.finish(t)
	inside := func(uid int) *syscall.SysProcAttr {
		return &syscall.SysProcAttr{
			Cloneflags:  unix.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: uid, HostID: trustStranger, Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: uid, HostID: trustStranger, Size: 1}},
			Credential:  &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid), NoSetGroups: true},
		}
	}
	probe := exec.Command("/bin/true")
	probe.SysProcAttr = inside(1000)
	if err := probe.Run(); errors.Is(err, unix.EPERM) {
		t.Skip("user namespaces can't be made here, as in a chroot: ", err)
	}
	tried := 0
	for _, uid := range []int{1000, 0} { // as itself, and as root of the namespace
		said := trustSays(t, inside(uid), "trust-read", h.region)
		for _, word := range []string{"untrusted", "STATESYNC_OWNER=65534", h.region, "lazy untrusted 0"} {
			if !strings.Contains(said, word) {
				t.Errorf("uid %d in its namespace does not say %q: %s", uid, word, said)
			}
		}
		t.Setenv("STATESYNC_OWNER", "65534")
		if said := trustSays(t, inside(uid), "trust-read", h.region); said != "revision 1" {
			t.Errorf("with STATESYNC_OWNER, uid %d in its namespace says %s", uid, said)
		}
		ok(t, os.Unsetenv("STATESYNC_OWNER"))
		tried += 2
	}
	report(t, "an owner that a user namespace does not know is trusted only by name", fmt.Sprintf("%d readers in namespaces", tried), "nothing")
}

// Only members of a region's group can read it.
func TestTrustGroup(t *testing.T) {
	parent := trustParent(t)
	h := newMemoryHost(t, parent, "--slots=2", "--max-image=64KiB", "--region-mode=0640", "--region-group="+strconv.Itoa(trustGroup))
	h.start()
	h.reader = memoryReads(t, trustSpawn(t, trustAs(trustOther, trustGroup), "memory-read", h.region, memoryPace.String()))
	h.reader.sees("a member", 1)
	outsider := memoryReadAs(t, trustStranger, h.region)
	outsider.tells("an outsider", "permission")
	said := trustSays(t, trustAs(trustStranger), "trust-read", h.region)
	for _, word := range []string{"permission", h.region, "in the region's group", "lazy permission 0"} {
		if !strings.Contains(said, word) {
			t.Errorf("an outsider is not told %q: %s", word, said)
		}
	}
	// A recreated region has the same access.
	ok(t, os.Remove(h.file()))
	h.publish(100)
	h.reader.sees("a member, of a new region", 2)
	if said := trustSays(t, trustAs(trustStranger), "trust-read", h.region); !strings.HasPrefix(said, "permission ") {
		t.Errorf("an outsider reads: %s", said)
	}
	if exact, follows, fresh := outsider.numbers(); exact+follows+fresh != 0 {
		t.Errorf("an outsider reads revisions %d, %d and %d", exact, follows, fresh)
	}
	h.reader.end()
	_, refused := outsider.end()
	h.stop()
	report(t, "a region of mode 0640 is its group's", fmt.Sprintf("a member, and an outsider that tried %d times", refused), "nothing")
}

// Only their owner can access the files of the state directory, whatever the umask.
func TestTrustStateFiles(t *testing.T) {
	parent := trustParent(t)
	source := trustSource(t, parent)
	for i, umask := range []int{0, 0o022, 0o277} {
		region, state := filepath.Join(parent, fmt.Sprint("region", i)), filepath.Join(parent, fmt.Sprint("state", i))
		old := syscall.Umask(umask)
		p := trustStart(t, nil, "--source=dir:"+source, "--region="+region, "--state-dir="+state, "--slots=2", "--max-image=64KiB")
		syscall.Umask(old)
		await(t, "the region", func() bool { _, err := os.Stat(filepath.Join(region, "region.v1")); return err == nil })
		for _, name := range []string{"lock", "generation", "history.db"} {
			path := filepath.Join(state, name)
			await(t, path, func() bool { _, err := os.Stat(path); return err == nil })
			st, err := os.Stat(path)
			ok(t, err)
			if mode := st.Mode().Perm(); mode&^0o600 != 0 {
				t.Errorf("umask %04o: %s has mode %04o", umask, name, mode)
			}
		}
		st, err := os.Stat(state)
		ok(t, err)
		if mode := st.Mode().Perm(); mode&^0o700 != 0 {
			t.Errorf("umask %04o: the state directory has mode %04o", umask, mode)
		}
		if st, err = os.Stat(filepath.Join(region, "lock")); err != nil || st.Mode().Perm()&^0o600 != 0 {
			t.Errorf("umask %04o: the lock is %v, %v", umask, st, err)
		}
		if st, err = os.Stat(filepath.Join(region, "region.v1")); err != nil || st.Mode().Perm() != 0o644 {
			t.Errorf("umask %04o: the region is %v, %v", umask, st, err)
		}
		said := trustSays(t, trustAs(trustStranger), "trust-peek", state)
		if said != "4 refused" {
			t.Errorf("a stranger says %s", said)
		}
		ok(t, p.Process.Signal(syscall.SIGTERM))
		<-p.ended
		ok(t, p.err)
	}
	report(t, "state files are their owner's alone", "3 umasks, a stranger at 4 paths each", "nothing")
}

func init() {
	// trust-peek STATE says how many of a state directory's files it can't read.
	roles["trust-peek"] = func(_ context.Context, args []string) error {
		refused := 0
		for _, name := range []string{".", "lock", "generation", "history.db"} {
			if _, err := os.Open(filepath.Join(args[0], name)); errors.Is(err, os.ErrPermission) {
				refused++
			}
		}
		fmt.Println(refused, "refused")
		return nil
	}
}
