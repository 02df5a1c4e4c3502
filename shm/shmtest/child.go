//go:build unix

package shmtest

import (
	"bufio"
	"bytes"
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

	"go.uber.org/goleak"
)

const (
	roleEnv  = "SHMTEST_ROLE"  // the role that a process of the test binary plays instead of running tests
	guardEnv = "SHMTEST_GUARD" // set: it ends when its parent has ended
)

// Roles are what the child processes of a test binary can be. Each file of tests
// adds its own.
type Roles map[string]func(args []string) error

// Play plays the role of a child process, and returns only in the process that
// runs the tests. TestMain calls it first.
func (r Roles) Play() {
	name := os.Getenv(roleEnv)
	if name == "" {
		return
	}
	if os.Getenv(guardEnv) != "" {
		go func() {
			for parent := os.Getppid(); os.Getppid() == parent; {
				time.Sleep(time.Second)
			}
			os.Exit(1)
		}()
	}
	if err := r[name](os.Args[1:]); err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// Main runs the tests, and fails if a goroutine is left.
func Main(m goleak.TestingM) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if publicDir != "" {
			_ = os.RemoveAll(publicDir)
		}
		os.Exit(code)
	}))
}

// Child is a process of the test binary that plays a role. The test and the child
// talk in lines.
type Child struct {
	Cmd *exec.Cmd
	In  io.WriteCloser
	Err bytes.Buffer

	t     testing.TB
	lines chan string // closed at the end of the child's output
}

// Start starts a child, which is killed at the end of the test if it has not
// ended by itself.
func Start(t testing.TB, role string, args ...string) *Child {
	t.Helper()
	return StartAs(t, 0, role, nil, args...)
}

// StartAs is Start as another user, if uid is not 0, and with more in the
// environment. Another user takes root.
func StartAs(t testing.TB, uid uint32, role string, env []string, args ...string) *Child {
	t.Helper()
	var attr *syscall.SysProcAttr
	if uid != 0 {
		attr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	}
	return StartWith(t, attr, role, env, args...)
}

// StartWith is Start with attributes of the process, such as groups and namespaces, unless
// they are nil. That takes root.
func StartWith(t testing.TB, attr *syscall.SysProcAttr, role string, env []string, args ...string) *Child {
	t.Helper()
	path, err := self()
	if attr != nil {
		path, err = publicBinary()
	}
	Must(t, err)
	cmd := exec.Command(path, args...)
	cmd.SysProcAttr = attr
	return StartCommand(t, cmd, role, append([]string{guardEnv + "=1"}, env...)...)
}

// StartCommand is Start with a command that runs the test binary.
func StartCommand(t testing.TB, cmd *exec.Cmd, role string, env ...string) *Child {
	t.Helper()
	c := &Child{t: t, Cmd: cmd, lines: make(chan string, 100)}
	// The race detector would sleep for a second at the end.
	cmd.Env = append(append(os.Environ(), roleEnv+"="+role, "GORACE=atexit_sleep_ms=0"), env...)
	cmd.Stderr = &c.Err
	cmd.Dir = "/"
	var out io.Reader
	var err error
	if c.In, err = cmd.StdinPipe(); err == nil {
		out, err = cmd.StdoutPipe()
	}
	Must(t, err)
	Must(t, cmd.Start())
	go func() {
		defer close(c.lines)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			c.lines <- lines.Text()
		}
	}()
	t.Cleanup(c.Kill)
	return c
}

// Stop stops the child with SIGSTOP, and returns when it has stopped.
func (c *Child) Stop() {
	c.t.Helper()
	Must(c.t, c.Cmd.Process.Signal(syscall.SIGSTOP))
	var status syscall.WaitStatus
	for {
		_, err := syscall.Wait4(c.Cmd.Process.Pid, &status, syscall.WUNTRACED, nil)
		if err == nil && status.Stopped() {
			return
		}
		if !errors.Is(err, syscall.EINTR) {
			c.t.Fatalf("stopping the child: %v, %v", status, err)
		}
	}
}

// Continue ends a Stop.
func (c *Child) Continue() {
	c.t.Helper()
	Must(c.t, c.Cmd.Process.Signal(syscall.SIGCONT))
}

// Next is the child's next line. It is not ok if the child has closed its output.
func (c *Child) Next() (line string, ok bool) {
	c.t.Helper()
	return Within(c.t, "the child says a line", c.lines)
}

// Line is the child's next line, which there must be.
func (c *Child) Line() string {
	c.t.Helper()
	line, ok := c.Next()
	if !ok {
		c.t.Fatalf("the child ended: %v %s", c.Cmd.Wait(), &c.Err)
	}
	return line
}

// Want fails the test unless the child's next line is this one.
func (c *Child) Want(line string) {
	c.t.Helper()
	if got := c.Line(); got != line {
		c.t.Fatalf("the child said %q, and %q was expected", got, line)
	}
}

// Scan reads the child's next line with a format.
func (c *Child) Scan(format string, values ...any) {
	c.t.Helper()
	line := c.Line()
	if _, err := fmt.Sscanf(line, format, values...); err != nil {
		c.t.Fatalf("the child said %q, and %q was expected", line, format)
	}
}

// Say sends the child a line.
func (c *Child) Say(line string) {
	c.t.Helper()
	_, err := fmt.Fprintln(c.In, line)
	Must(c.t, err)
}

// End waits until the child ends by itself, and returns what else it said.
func (c *Child) End() (said string, err error) {
	c.t.Helper()
	var out []string
	for line, ok := c.Next(); ok; line, ok = c.Next() {
		out = append(out, line)
	}
	err = c.Cmd.Wait()
	return strings.TrimSpace(strings.Join(out, "\n") + c.Err.String()), err
}

// Finish closes the child's input, and fails the test unless the child ends well
// without another line.
func (c *Child) Finish() {
	c.t.Helper()
	_ = c.In.Close()
	for line, ok := c.Next(); ok; line, ok = c.Next() {
		c.t.Errorf("the child said %q at its end", line)
	}
	if err := c.Cmd.Wait(); err != nil {
		c.t.Errorf("the child: %v: %s", err, &c.Err)
	}
}

// Kill ends the child with SIGKILL, and returns when it is gone.
func (c *Child) Kill() {
	_ = c.Cmd.Process.Kill()
	for range c.lines { // Wait closes the pipe: read it to its end first
	}
	_ = c.Cmd.Wait()
}

// self is what this process was started as. Under an emulator of another machine
// that is a script that starts the emulator, and os.Executable would be a binary
// that this machine cannot start.
func self() (string, error) { return filepath.Abs(os.Args[0]) }

// publicBinary is a copy of the test binary that every user can execute: the
// running one lies where other users cannot enter. Main removes it.
var publicBinary = sync.OnceValues(func() (path string, err error) {
	dir, err := os.MkdirTemp("", "shmtest-")
	if err != nil {
		return "", err
	}
	own, err := self()
	if err != nil {
		return "", err
	}
	data, err := os.ReadFile(own)
	if err != nil {
		return "", err
	}
	publicDir, path = dir, filepath.Join(dir, "binary.test")
	return path, errors.Join(os.Chmod(dir, 0o755), os.WriteFile(path, data, 0o755))
})

var publicDir string
