//go:build linux

package campaign

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/statesync/statesync/client"
)

// Users and a group that do not otherwise exist on the machine.
const (
	trustStranger = 12345
	trustOther    = 12346
	trustGroup    = 12399
)

// trustAs is a process of another user, without any capability.
func trustAs(uid uint32, groups ...uint32) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid, Groups: groups}}
}

// trustBinary is the test's own binary, where other users can run it.
var trustBinary = sync.OnceValues(func() (string, error) {
	in, err := os.Open(os.Args[0])
	if err != nil {
		return "", err
	}
	defer in.Close()
	dir := binariesDir() // is removed at the end
	if err := errors.Join(os.MkdirAll(dir, 0o755), os.Chmod(dir, 0o755)); err != nil {
		return "", err
	}
	path := filepath.Join(dir, "campaign.test")
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o755)
	if err != nil {
		return "", err
	}
	_, err = io.Copy(out, in)
	return path, errors.Join(err, out.Close())
})

// trustSpawn is spawn with other credentials.
func trustSpawn(t testing.TB, as *syscall.SysProcAttr, role string, args ...string) *process {
	t.Helper()
	trustRoot(t)
	path, err := trustBinary()
	ok(t, err)
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), roleEnv+"="+role, "GORACE=atexit_sleep_ms=0")
	cmd.Dir = "/"
	cmd.SysProcAttr = as
	return start(t, cmd)
}

// trustSays runs a role to its end, and returns what it says.
func trustSays(t testing.TB, as *syscall.SysProcAttr, role string, args ...string) string {
	t.Helper()
	return strings.Join(trustSpawn(t, as, role, args...).finish(t), "\n")
}

func trustRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a second user takes root")
	}
}

// trustParent is a directory on a tmpfs that all users can search.
func trustParent(t testing.TB) string {
	t.Helper()
	trustRoot(t)
	dir := memory(t)
	ok(t, os.Chmod(dir, 0o755))
	return dir
}

// line is the next line that a process says.
func (p *process) line(t testing.TB) string {
	t.Helper()
	line, open := <-p.Lines
	if !open {
		<-p.ended
		t.Fatalf("a process ended: %v\n%s", p.err, p.log())
	}
	return line
}

func init() {
	// trust-read DIR prints the result of a new client's Open of a region.
	roles["trust-read"] = func(_ context.Context, args []string) error {
		n, err := memoryFresh(args[0])
		if err == nil {
			fmt.Println("revision", n)
			return nil
		}
		fmt.Println(memoryKind(err), strings.ReplaceAll(err.Error(), "\n", " "))
		// A lazy client has its defaults, says the same in its stats, and ends.
		c, err := client.Open(args[0], client.Lazy())
		if err != nil {
			return err
		}
		fmt.Println("lazy", memoryKind(c.Stats().Err), client.Bind[proven](c, "a").Get().Number)
		return c.Close()
	}
}

// trustDaemon runs the daemon as a user until it ends by itself, and returns its
// log. It fails the test if the daemon does not end with exit code 1.
func trustDaemon(t testing.TB, as *syscall.SysProcAttr, args ...string) (log string) {
	t.Helper()
	p := trustStart(t, as, args...)
	for range p.Lines {
	}
	<-p.ended
	if exit := (*exec.ExitError)(nil); !errors.As(p.err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("the daemon ended with %v:\n%s", p.err, p.log())
	}
	return p.log()
}

// trustStart starts the daemon as a user.
func trustStart(t testing.TB, as *syscall.SysProcAttr, args ...string) *process {
	t.Helper()
	path := build(t, memoryCommand)
	ok(t, os.Chmod(filepath.Dir(path), 0o755))
	cmd := exec.Command(path, args...)
	cmd.Dir = "/"
	cmd.SysProcAttr = as
	return start(t, cmd)
}

// trustTree is what a directory holds: kinds, modes, owners, and how large files are,
// except locks: they have the process id of the last daemon, in one digit more or less.
func trustTree(t testing.TB, dir string) string {
	t.Helper()
	out, err := exec.Command("find", dir, "-name", "lock", "-printf", "%P %M %U %G %i %l\n",
		"-o", "-printf", "%P %M %U %G %s %i %l\n").Output()
	ok(t, err)
	var lines []string
	for s := bufio.NewScanner(strings.NewReader(string(out))); s.Scan(); {
		lines = append(lines, s.Text())
	}
	return strings.Join(lines, "\n")
}

// trustFollow says what a binding has, until its context ends.
func trustFollow(ctx context.Context, dir string) error {
	c, err := client.Open(dir)
	if err != nil {
		return err
	}
	b := client.Bind[proven](c, "a")
	last := 0
	for ctx.Err() == nil {
		if n := b.Get().Number; n < last {
			return errTrustBack
		} else if n != last {
			last = n
			fmt.Println("follows", n)
		}
		time.Sleep(time.Millisecond)
	}
	return c.Close()
}
