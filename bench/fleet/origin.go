//go:build linux

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// origin is what the fleet follows one source of: a server, and how its content changes.
type origin struct {
	config string // that has the number of the change
	url    string
	source string // as the daemons have it
	ca     string // the certificate, as PEM
	push   func(n int) error

	process *exec.Cmd
	tell    io.WriteCloser
	answers *json.Decoder
	changed int // the number of the newest change
}

// newOrigins starts the servers of a repository and of bundles, with the change 1.
func newOrigins(dir, statesync string, interval time.Duration) (list []*origin, err error) {
	www, keys := filepath.Join(dir, "www"), filepath.Join(dir, "ops")
	repository, err := newRepository(filepath.Join(dir, "git"))
	if err != nil {
		return nil, err
	}
	if err := run(dir, statesync, "bundle", "keygen", "--name=fleet", "--out="+keys); err != nil {
		return nil, err
	}
	git := &origin{config: "git", push: repository}
	bundle := &origin{config: "bundle", push: func(n int) error {
		content := filepath.Join(dir, "content")
		if err := write(filepath.Join(content, "bundle.yaml"), n); err != nil {
			return err
		}
		return run(dir, statesync, "bundle", "build", content, "--origin=fleet/bundle", "--key="+keys+".key", "--out="+www)
	}}
	for _, o := range []struct {
		*origin
		args           []string
		path, settings string
	}{
		{git, []string{"git", filepath.Join(dir, "git")}, "/config.git", "interval=" + interval.String()},
		{bundle, []string{"files", www}, "/bundle.note", "keys=" + keys + ".pub&interval=" + interval.String()},
	} {
		list = append(list, o.origin)
		if err := o.change(); err != nil {
			return list, err
		}
		if err := o.start(o.args); err != nil {
			return list, err
		}
		o.source = fmt.Sprintf("%s=%s:%s%s?%s", o.config, o.config, o.url, o.path, o.settings)
	}
	return list, nil
}

// newRepository makes DIR/config.git, which is served, and returns what commits a change.
func newRepository(dir string) (push func(int) error, err error) {
	served := filepath.Join(dir, "config.git")
	work := filepath.Join(dir, "work")
	if err := errors.Join(run("", "git", "init", "--quiet", "--bare", "--initial-branch=main", served),
		run("", "git", "init", "--quiet", "--initial-branch=main", work)); err != nil {
		return nil, err
	}
	return func(n int) error {
		if err := write(filepath.Join(work, "git.yaml"), n); err != nil {
			return err
		}
		return errors.Join(run(work, "git", "add", "."), run(work, "git", "commit", "--quiet", "-m", "change "+strconv.Itoa(n)),
			run(work, "git", "push", "--quiet", served, "main"))
	}, nil
}

// write writes a config of some KiB with the number of a change, twice: torn content would
// show.
func write(name string, n int) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "n: %d\nagain: %d\nroutes:\n", n, n)
	for i := range 100 {
		fmt.Fprintf(&b, "  service-%d: 10.0.%d.%d\n", i, i, n%250)
	}
	return os.WriteFile(name, []byte(b.String()), 0o644)
}

// run runs a command, as an author of the fleet.
func run(dir, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.com", "GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.com",
		"GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

// change makes the next change.
func (o *origin) change() error {
	o.changed++
	return o.push(o.changed)
}

// start starts the server.
func (o *origin) start(args []string) error {
	o.process = exec.Command(os.Args[0], args...)
	o.process.Env = append(os.Environ(), serverEnv+"=1")
	o.process.Stderr = os.Stderr
	out, err := o.process.StdoutPipe()
	if err != nil {
		return err
	}
	if o.tell, err = o.process.StdinPipe(); err != nil {
		return err
	}
	if err := o.process.Start(); err != nil {
		return err
	}
	o.answers = json.NewDecoder(bufio.NewReader(out))
	var said [2]string
	if err := o.answers.Decode(&said); err != nil {
		return fmt.Errorf("the server of %s does not start: %w", o.config, err)
	}
	o.url, o.ca = said[0], said[1]
	return nil
}

// ask gives the server one line, and reads its answer.
func (o *origin) ask(line string, into any) error {
	if _, err := fmt.Fprintln(o.tell, line); err != nil {
		return err
	}
	return o.answers.Decode(into)
}

func (o *origin) become(mode string) error {
	var done string
	return o.ask(mode, &done)
}

func (o *origin) traffic() (t traffic, err error) {
	err = o.ask("traffic", &t)
	return t, err
}

func (o *origin) stop() error {
	if o.process == nil {
		return nil
	}
	return errors.Join(o.tell.Close(), o.process.Wait())
}
