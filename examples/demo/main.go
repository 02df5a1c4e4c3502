// Demo is what `make demo` runs: the daemon on a copy of examples/config, an
// app that reads it, a change, a mistake, and a daemon that is killed.
package main

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
	"syscall"
	"time"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: demo BIN-DIRECTORY CONFIG-DIRECTORY")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// demo is the processes and folders of one run.
type demo struct {
	bin, config, region, state string
	lines                      chan string // of the app
}

func run(bin, examples string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "statesync-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	shm := "/dev/shm"
	if _, err := os.Stat(shm); err != nil {
		shm = dir
	}
	region, err := os.MkdirTemp(shm, "statesync-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(region)
	d := &demo{
		bin: bin, config: filepath.Join(dir, "config"), region: filepath.Join(region, "demo"),
		state: filepath.Join(dir, "state"), lines: make(chan string, 64),
	}
	if err := os.CopyFS(d.config, os.DirFS(examples)); err != nil {
		return err
	}

	say("1. The daemon publishes a copy of %s", examples)
	daemon, err := d.start(ctx, os.Stderr, "statesyncd", "--source", "dir:"+d.config, "--region", d.region, "--state-dir", d.state, "--listen", "off", "--log-level", "warn")
	if err != nil {
		return err
	}
	defer stop(daemon)
	if err := d.tool(ctx, "wait", "--timeout", "20s"); err != nil {
		return err
	}
	if err := d.tool(ctx, "ls"); err != nil {
		return err
	}

	say("2. An app reads it in a loop, from shared memory")
	reader, writer := io.Pipe()
	app, err := d.start(ctx, writer, "app", "--region", d.region)
	if err != nil {
		return err
	}
	defer stop(app)
	go func() {
		for scanner := bufio.NewScanner(reader); scanner.Scan(); {
			d.lines <- scanner.Text()
		}
	}()
	if _, err := d.expect(ctx, "saw "); err != nil {
		return err
	}
	if _, err := d.expect(ctx, "read "); err != nil {
		return err
	}

	say("3. A user changes weights.elo from 1500 to 1600 (a new file, renamed into place)")
	took, err := d.change(ctx, "elo: 1500", "elo: 1600", "weights.elo 1600")
	if err != nil {
		return err
	}
	fmt.Printf("   -> from the file's change to the app: %s\n", took.Round(10*time.Microsecond))

	say("4. A user makes a mistake: the daemon says where, and the app keeps the last good generation")
	if err := d.rewrite("elo: 1600", "elo: far too much"); err != nil {
		return err
	}
	if err := d.expectProblem(ctx); err != nil {
		return err
	}
	if err := d.rewrite("elo: far too much", "elo: 1600"); err != nil {
		return err
	}

	say("5. The daemon is killed (SIGKILL), and the app keeps reading")
	if err := daemon.Process.Kill(); err != nil {
		return err
	}
	_ = daemon.Wait() // killed, as it was meant to be
	if _, err := d.expect(ctx, "the daemon is dead"); err != nil {
		return err
	}

	say("6. A new daemon continues in the same region, one generation later")
	daemon, err = d.start(ctx, os.Stderr, "statesyncd", "--source", "dir:"+d.config, "--region", d.region, "--state-dir", d.state, "--listen", "off", "--log-level", "warn")
	if err != nil {
		return err
	}
	defer stop(daemon)
	took, err = d.change(ctx, "elo: 1600", "elo: 1700", "weights.elo 1700")
	if err != nil {
		return err
	}
	fmt.Printf("   -> from the file's change to the app, a daemon's start included: %s\n", took.Round(10*time.Microsecond))
	fmt.Println("\nThat was all. Nothing is left behind.")
	return nil
}

func say(format string, args ...any) { fmt.Printf("\n"+format+"\n\n", args...) }

// start starts one of the project's programs.
func (d *demo) start(ctx context.Context, out io.Writer, name string, args ...string) (*exec.Cmd, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(d.bin, name), args...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	return cmd, cmd.Start()
}

// stop ends a program in good order.
func stop(cmd *exec.Cmd) {
	if cmd.ProcessState != nil {
		return
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	_ = cmd.Wait()
}

// tool runs the operator's tool.
func (d *demo) tool(ctx context.Context, args ...string) error {
	cmd, err := d.start(ctx, os.Stdout, "statesync", append(args, "--region", d.region)...)
	if err != nil {
		return err
	}
	return cmd.Wait()
}

// expect shows the app's lines up to one that has a text in it.
func (d *demo) expect(ctx context.Context, text string) (string, error) {
	for {
		select {
		case line := <-d.lines:
			shown := line
			if rest, ok := strings.CutPrefix(line, "saw "); ok {
				_, shown, _ = strings.Cut(rest, ": ")
			}
			fmt.Println("   app:", shown)
			if strings.Contains(line, text) {
				return line, nil
			}
		case <-ctx.Done():
			return "", fmt.Errorf("the app never said %q: %w", text, ctx.Err())
		}
	}
}

// rewrite changes the config as a careful editor does it: under another name
// first.
func (d *demo) rewrite(from, to string) error {
	path := filepath.Join(d.config, "matchmaker.yaml")
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	changed := strings.Replace(string(text), from, to, 1)
	if changed == string(text) {
		return fmt.Errorf("%s has no %q", path, from)
	}
	temp := filepath.Join(d.config, ".matchmaker.yaml.new")
	if err := os.WriteFile(temp, []byte(changed), 0o644); err != nil {
		return err
	}
	return os.Rename(temp, path)
}

// change changes the config, and returns how long the app took to see it.
func (d *demo) change(ctx context.Context, from, to, seen string) (time.Duration, error) {
	start := time.Now()
	if err := d.rewrite(from, to); err != nil {
		return 0, err
	}
	line, err := d.expect(ctx, seen)
	if err != nil {
		return 0, err
	}
	var at int64
	if _, err := fmt.Sscanf(line, "saw %d:", &at); err != nil {
		return 0, fmt.Errorf("%q: %w", line, err)
	}
	return time.Unix(0, at).Sub(start), nil
}

// expectProblem waits until the region's status tells of a problem.
func (d *demo) expectProblem(ctx context.Context) error {
	for ctx.Err() == nil {
		cmd := exec.CommandContext(ctx, filepath.Join(d.bin, "statesync"), "status", "--region", d.region)
		out, err := cmd.Output()
		if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
			return err
		}
		if strings.Contains(string(out), "matchmaker.yaml") {
			fmt.Print(string(out))
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return ctx.Err()
}
