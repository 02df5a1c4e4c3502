package process

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// patience is how long a process that is told to end may take before it is
// killed.
const patience = 5 * time.Second

// Process is a running process that this one started. Its methods are for one
// goroutine.
type Process struct {
	Address string        // what the part gave Ready
	In      io.Writer     // its standard input
	Out     *bufio.Reader // its standard output, after the line of Ready

	cmd     *exec.Cmd
	stdin   io.Closer
	isPart  bool // it ends when its standard input does
	stopped bool
}

// Start runs a part of this program with these arguments, and returns when it
// is ready. The context is that of the start alone; Stop ends the process.
func Start(ctx context.Context, part string, args ...string) (*Process, error) {
	return StartUnder(ctx, nil, part, args...)
}

// StartUnder is Start with a command before the program's path, such as strace
// and its flags.
func StartUnder(ctx context.Context, before []string, part string, args ...string) (*Process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	argv := append(append(append([]string{}, before...), self), args...)
	p, err := run(argv, env+"="+part)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", part, err)
	}
	p.isPart = true
	line, err := p.Line(ctx)
	if err == nil {
		rest, ok := strings.CutPrefix(line, "ready ")
		if p.Address, err = strconv.Unquote(rest); !ok || err != nil {
			err = fmt.Errorf("it says %q and not that it is ready", line)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", part, errors.Join(err, p.Stop()))
	}
	return p, nil
}

// Command runs a program that is not a part. What it prints goes to this program's
// standard error.
func Command(name string, args ...string) (*Process, error) {
	return run(append([]string{name}, args...))
}

func run(argv []string, environ ...string) (*Process, error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), environ...)
	cmd.Stderr = os.Stderr
	// Ctrl-C is for the program that started it all, which stops the others in
	// order. If it is killed, they are, even those that are paused.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	p := &Process{cmd: cmd}
	if len(environ) == 0 {
		cmd.Stdout = os.Stderr
		return p, cmd.Start()
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.In, p.stdin, p.Out = in, in, bufio.NewReader(out)
	return p, cmd.Start()
}

// Line reads one line of what the process writes. When the context ends before
// it has come, the process is killed.
func (p *Process) Line(ctx context.Context) (string, error) {
	release := context.AfterFunc(ctx, func() { _ = p.cmd.Process.Kill() })
	defer release()
	line, err := p.Out.ReadString('\n')
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	if err != nil {
		return "", fmt.Errorf("process %d ended early, see its message above: %w", p.Pid(), err)
	}
	return strings.TrimSuffix(line, "\n"), nil
}

// Pid is the process's id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Pause stops the process, as a node that hangs does: its connections stay
// open, and nothing answers.
func (p *Process) Pause() error { return p.cmd.Process.Signal(syscall.SIGSTOP) }

// Resume lets a paused process continue.
func (p *Process) Resume() error { return p.cmd.Process.Signal(syscall.SIGCONT) }

// Kill ends the process at once, and returns when it has ended.
func (p *Process) Kill() {
	if !p.stopped {
		p.stopped = true
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	}
}

// Stop asks the process to end and returns when it has. One that takes more
// than some seconds is killed. To stop it again does nothing.
func (p *Process) Stop() error {
	if p.stopped {
		return nil
	}
	p.stopped = true
	_ = p.Resume()
	if p.isPart {
		_ = p.stdin.Close()
	} else {
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
	}
	killed := false
	timer := time.AfterFunc(patience, func() {
		killed = true
		_ = p.cmd.Process.Kill()
	})
	err := p.cmd.Wait()
	if !timer.Stop() && killed {
		return fmt.Errorf("process %d did not end in %v, and was killed", p.Pid(), patience)
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) && !p.isPart {
		return nil // how a program answers SIGTERM is its own business
	}
	return err
}
