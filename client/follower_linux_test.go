package client_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/statesync/statesync/client"
)

func init() { roles["no futex"] = followWithoutFutex }

// refuseFutex has the kernel refuse the wait that the follower uses, as the
// seccomp filter of a container may, for all threads of the process.
func refuseFutex() error {
	const (
		futexWaitBitset = 9 // without FUTEX_PRIVATE, which Go's own waits have
		number, op      = 0, 16 + 8
	)
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	unless := func(value uint32, skip uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: value, Jf: skip}
	}
	give := func(action uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: action}
	}
	filter := []unix.SockFilter{
		load(number), unless(unix.SYS_FUTEX, 3), load(op), unless(futexWaitBitset, 1),
		give(unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)), give(unix.SECCOMP_RET_ALLOW),
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC,
		uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return errno
	}
	return nil
}

func cpuTime() time.Duration {
	var r unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &r) != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

func followWithoutFutex(args []string) error {
	if err := refuseFutex(); err != nil {
		fmt.Println("skip", err)
		return nil
	}
	c, err := client.Open(args[0])
	if err != nil {
		return err
	}
	b := client.Bind[number](c, "a")
	before := cpuTime()
	time.Sleep(time.Second)
	fmt.Println("cpu", (cpuTime() - before).Milliseconds())
	for b.Get().N != 2 {
		time.Sleep(time.Millisecond)
	}
	fmt.Println("follows")
	return c.Close()
}

// It polls, and does not spin.
func TestFollowerWhereTheKernelRefusesToWait(t *testing.T) {
	t.Parallel()
	p := created(t, regionIn(t), 1, numbered(1))
	child := start(t, "no futex", p.dir())
	line := child.Line()
	if strings.HasPrefix(line, "skip") {
		t.Skipf("there is no seccomp here: %s", line)
	}
	var cpu int
	_, err := fmt.Sscanf(line, "cpu %d", &cpu)
	must(t, err)
	if cpu > 300 {
		t.Errorf("the follower took %d ms of CPU in a second in which nothing happened", cpu)
	}
	must(t, p.publish(numbered(2)))
	child.Want("follows")
}

func init() { roles["no descriptors"] = followWithoutDescriptors }

// followWithoutDescriptors is a process that has a descriptor left neither for the
// alarm that passes the follower's role on, nor for a region that replaces its own.
func followWithoutDescriptors(args []string) error {
	c, err := client.Open(args[0])
	if err != nil {
		return err
	}
	wake := make(chan struct{})
	blocks := client.Bind(c, "a", client.Options[number]{Validate: func(n *number) error {
		if n.N == 2 {
			<-wake
		}
		return nil
	}})
	b := client.Bind(c, "b", client.Options[number]{Validate: func(*number) error { return nil }})
	time.Sleep(time.Nanosecond) // Go opens a descriptor for its first timer, and ends the process without one
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 0, Max: limit.Max}); err != nil {
		return err
	}
	fmt.Println("none left")
	for b.Get().N != 2 {
		time.Sleep(time.Millisecond)
	}
	fmt.Println("follows beside a validation that blocks")
	for !errors.Is(c.Stats().Err, unix.EMFILE) {
		time.Sleep(time.Millisecond)
	}
	fmt.Println("cannot open the successor:", b.Get().N)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	close(wake)
	for b.Get().N != 3 || blocks.Get().N != 3 {
		time.Sleep(time.Millisecond)
	}
	fmt.Println("follows")
	return c.Close()
}

func TestFollowerWithoutDescriptors(t *testing.T) {
	t.Parallel()
	p := created(t, regionIn(t), 1, numbered(1))
	child := start(t, "no descriptors", p.dir())
	child.Want("none left")
	p.next(t, numbered(2))
	child.Want("follows beside a validation that blocks")
	must(t, p.create(3, numbered(3)))
	child.Want("cannot open the successor: 2")
	child.Want("follows")
}
