//go:build unix

package client_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// roleEnv names the role that a process of the test binary plays instead of
// running tests.
const roleEnv = "STATESYNC_TEST_ROLE"

// roles are what a child process can be. Each file adds its own.
var roles = map[string]func(args []string) error{}

// child is a process of the test binary that plays a role. Lines are how the
// two talk.
type child struct {
	t   testing.TB
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
	err bytes.Buffer
}

// start starts a child, which is killed at the end of the test if it has not
// ended by itself.
func start(t testing.TB, role string, args ...string) *child {
	t.Helper()
	return startCommand(t, 0, role, nil, args...)
}

// startCommand is start as another user, if uid is not 0, and with more in the
// environment.
func startCommand(t testing.TB, uid uint32, role string, env []string, args ...string) *child {
	t.Helper()
	path, err := self()
	if uid != 0 {
		path, err = publicBinary()
	}
	must(t, err)
	c := &child{t: t, cmd: exec.Command(path, args...)}
	c.cmd.Env = append(append(os.Environ(), roleEnv+"="+role), env...)
	c.cmd.Dir = "/"
	if uid != 0 {
		c.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	}
	c.run()
	return c
}

// run starts the command.
func (c *child) run() {
	c.t.Helper()
	c.cmd.Stderr = &c.err
	var out io.Reader
	var err error
	if c.in, err = c.cmd.StdinPipe(); err == nil {
		out, err = c.cmd.StdoutPipe()
	}
	must(c.t, err)
	c.out = bufio.NewReader(out)
	must(c.t, c.cmd.Start())
	c.t.Cleanup(func() { _ = c.cmd.Process.Kill(); _ = c.cmd.Wait() })
}

// line is the child's next line.
func (c *child) line() string {
	c.t.Helper()
	line, err := c.out.ReadString('\n')
	if err != nil {
		_ = c.cmd.Wait()
		c.t.Fatalf("the child ended (%v) after %q: %s", c.cmd.ProcessState, line, &c.err)
	}
	return strings.TrimSuffix(line, "\n")
}

// want fails the test unless the child's next line is this one.
func (c *child) want(line string) {
	c.t.Helper()
	if got := c.line(); got != line {
		c.t.Fatalf("the child said %q, and %q was expected", got, line)
	}
}

// kill ends the child with SIGKILL, and returns when it is gone.
func (c *child) kill() {
	c.t.Helper()
	must(c.t, c.cmd.Process.Kill())
	_ = c.cmd.Wait()
}

// finish closes the child's input and waits for it to end well.
func (c *child) finish() {
	c.t.Helper()
	_ = c.in.Close()
	if rest, err := io.ReadAll(c.out); err != nil || len(rest) > 0 {
		c.t.Errorf("the child went on to say %q (%v)", rest, err)
	}
	if err := c.cmd.Wait(); err != nil {
		c.t.Errorf("the child: %v: %s", err, &c.err)
	}
}

// self is what this process was started as. Under an emulator of another
// machine that is a script which starts the emulator, and os.Executable would
// be a binary that this machine can't start.
func self() (string, error) { return filepath.Abs(os.Args[0]) }

// publicBinary is a copy of the test binary that every user can execute: the
// one that runs lies where nobody else gets to. TestMain removes it.
var publicBinary = sync.OnceValues(func() (path string, err error) {
	dir, err := os.MkdirTemp("", "client-test-")
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
	publicDir, path = dir, filepath.Join(dir, "client.test")
	return path, errors.Join(os.Chmod(dir, 0o755), os.WriteFile(path, data, 0o755))
})

var publicDir string
