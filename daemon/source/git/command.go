//go:build unix

package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/statesync/statesync/daemon/internal/plain"
)

const (
	// graceTime is how long the processes of a command that has to end have between
	// SIGTERM and SIGKILL. It is well below the time that a follower waits for its source.
	graceTime = 300 * time.Millisecond
	// localTime is how long a command may take that touches no network.
	localTime = time.Minute
	// maxSaid is how many bytes of what a command says on standard error are kept.
	maxSaid = 4 << 10
	// maxTold is how many bytes of that are in an error.
	maxTold = 400
)

// errTimeLimit is the cause of a command that took longer than it may.
var errTimeLimit = errors.New("it took longer than it may")

// binary runs the git binary in one repository, with an environment made from scratch.
type binary struct {
	dir     string   // GIT_DIR
	search  string   // PATH
	env     []string // what is not the same for all sources
	config  [][2]string
	secrets []string // that no error may contain
}

// call is one run of git.
type call struct {
	args   []string
	config [][2]string // besides those of the binary
	input  io.Reader   // nil: none
	// output reads what the command writes. Its error ends the command, and is the error
	// of the call. nil: what the command writes is dropped.
	output func(io.Reader) error
	limit  time.Duration // the default is localTime
	// fileSize limits the size of each file that the command and its children write, if it
	// is not 0. The command must do nothing before it has read its input: the limit is set
	// between its start and that.
	fileSize int64
}

// exitError is the error of a command that ended with an error.
type exitError struct {
	command string // "git fetch"
	said    string // on standard error; may be empty
	state   string // "exit status 128"
	code    int    // -1: a signal
}

func (e *exitError) Error() string {
	if e.said == "" {
		return e.command + ": " + e.state
	}
	return e.command + ": " + e.said
}

// said reports whether a command ended with an error about which it said the text.
func said(err error, text string) bool {
	var exit *exitError
	return errors.As(err, &exit) && strings.Contains(exit.said, text)
}

// exited reports whether a command ran and ended with an error, rather than that it could
// not be run, was ended, or its output was refused.
func exited(err error) bool {
	var exit *exitError
	return errors.As(err, &exit)
}

// find looks the git binary up.
func (b *binary) find() (string, error) {
	for _, dir := range filepath.SplitList(b.search) {
		if !filepath.IsAbs(dir) {
			continue
		}
		if path, err := exec.LookPath(filepath.Join(dir, "git")); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("the program git is not in PATH (%s); install the package git, or in a container use the image that has it (deploy/Dockerfile, target git)", plain.Line(b.search, maxTold))
}

// environ is the whole environment of a call.
func (b *binary) environ(c call) []string {
	env := []string{
		"GIT_DIR=" + b.dir,
		"PATH=" + b.search,
		"HOME=/nonexistent",
		"LC_ALL=C",
		"GIT_CONFIG_NOSYSTEM=1",
		"GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_ATTR_NOSYSTEM=1",
		"GIT_NO_REPLACE_OBJECTS=1",
		"GIT_TERMINAL_PROMPT=0",
		"GIT_ASKPASS=/bin/false",
		"SSH_ASKPASS=/bin/false",
	}
	env = append(env, b.env...)
	config := slices.Concat(settings, b.config, c.config)
	env = append(env, fmt.Sprintf("GIT_CONFIG_COUNT=%d", len(config)))
	for i, kv := range config {
		env = append(env, fmt.Sprintf("GIT_CONFIG_KEY_%d=%s", i, kv[0]), fmt.Sprintf("GIT_CONFIG_VALUE_%d=%s", i, kv[1]))
	}
	return env
}

// settings are the configuration of every call, beside what git init wrote into the
// repository's own file.
var settings = [][2]string{
	{"core.hooksPath", "/dev/null"},
	{"core.bigFileThreshold", "16m"}, // larger blobs are not held in memory whole
	{"core.fsmonitor", "false"},
	{"credential.helper", ""},
	{"fetch.recurseSubmodules", "false"},
	{"gc.auto", "0"},
	{"http.followRedirects", "false"}, // git would send the credentials to another host
	{"http.lowSpeedLimit", "1000"},    // bytes a second
	{"http.lowSpeedTime", "20"},       // seconds
	{"maintenance.auto", "false"},
	{"pack.threads", "1"},
	{"protocol.version", "2"},
	{"transfer.fsckObjects", "true"},
}

// run runs a command to its end. All of its processes have ended when run returns. The
// error of a command that failed is an *exitError.
func (b *binary) run(ctx context.Context, c call) error {
	path, err := b.find()
	if err != nil {
		return err
	}
	name := "git " + c.args[0]
	if c.limit == 0 {
		c.limit = localTime
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.limit, errTimeLimit)
	defer cancel()

	// The kernel ends the command with the thread that started it, and so with the
	// process: the thread must not end before the command.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	ready := make(chan struct{})
	notes := &head{limit: maxSaid}
	cmd := exec.Command(path, c.args...)
	cmd.Env, cmd.Dir = b.environ(c), "/"
	cmd.SysProcAttr = attributes()
	cmd.Stderr = notes
	cmd.WaitDelay = graceTime
	if c.input != nil {
		cmd.Stdin = &gate{ready: ready, reader: c.input}
	}
	var output io.ReadCloser
	if c.output != nil {
		if output, err = cmd.StdoutPipe(); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	group := -cmd.Process.Pid // of which the command is the leader
	ended := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-ended:
			return
		case <-ctx.Done():
		}
		_ = syscall.Kill(group, syscall.SIGTERM)
		grace := time.NewTimer(graceTime)
		defer grace.Stop()
		select {
		case <-ended:
			return
		case <-grace.C:
		}
		_ = syscall.Kill(group, syscall.SIGKILL)
		if output != nil {
			_ = output.Close() // a process that left the group may still hold it
		}
	})

	var refused error
	if c.fileSize > 0 {
		if err := limitFiles(cmd.Process.Pid, c.fileSize); err != nil {
			refused = fmt.Errorf("%s: limiting the size of its files: %w", name, err)
			cancel()
		}
	}
	if refused == nil {
		close(ready)
	}
	if c.output != nil {
		if err := c.output(output); err != nil && refused == nil {
			refused = err
			cancel()
		}
		if refused == nil {
			_, err := io.Copy(io.Discard, output) // to its end
			if err != nil && ctx.Err() == nil {
				refused = fmt.Errorf("%s: %w", name, err)
				cancel()
			}
		}
	}
	awaitExit(cmd.Process.Pid)
	close(ended)
	watch.Wait()
	// The command is not reaped yet, so that no other group can have its number.
	_ = syscall.Kill(group, syscall.SIGKILL)
	if refused != nil && !isClosed(ready) {
		close(ready)
	}
	err = cmd.Wait()
	switch {
	case errors.Is(context.Cause(ctx), errTimeLimit) && err != nil:
		return fmt.Errorf("%s: %w: %v", name, errTimeLimit, c.limit)
	case refused != nil:
		return refused
	case ctx.Err() != nil && err != nil:
		return fmt.Errorf("%s: %w", name, ctx.Err())
	case err == nil || errors.Is(err, exec.ErrWaitDelay):
		return nil
	}
	return &exitError{command: name, said: b.told(notes.String()), state: cmd.ProcessState.String(), code: cmd.ProcessState.ExitCode()}
}

// text runs a command that writes little, and returns that without white space around it.
func (b *binary) text(ctx context.Context, args ...string) (string, error) {
	const most = 64 << 10
	var text []byte
	err := b.run(ctx, call{args: args, output: func(r io.Reader) (err error) {
		if text, err = io.ReadAll(io.LimitReader(r, most+1)); len(text) > most {
			err = fmt.Errorf("git %s: it writes more than %d bytes", args[0], most)
		}
		return err
	}})
	return string(bytes.TrimSpace(text)), err
}

// told is what a command said, as the end of one line, without secrets and without git's
// general advice.
func (b *binary) told(text string) string {
	for _, secret := range b.secrets {
		text = strings.ReplaceAll(text, secret, "…")
	}
	var lines []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case line == "", strings.HasPrefix(line, "hint:"), strings.HasPrefix(line, "Please make sure you have the correct access rights"),
			line == "and the repository exists.":
			continue
		}
		lines = append(lines, line)
	}
	return plain.Line(strings.Join(lines, "; "), maxTold)
}

// gate is a reader that can be read from once ready is closed.
type gate struct {
	ready  <-chan struct{}
	reader io.Reader
}

func (g *gate) Read(p []byte) (int, error) {
	<-g.ready
	return g.reader.Read(p)
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// head keeps the first bytes that are written to it.
type head struct {
	bytes.Buffer
	limit int
}

func (h *head) Write(p []byte) (int, error) {
	h.Buffer.Write(p[:min(len(p), max(0, h.limit-h.Len()))])
	return len(p), nil
}
