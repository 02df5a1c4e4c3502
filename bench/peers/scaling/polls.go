package scaling

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/statesync/statesync/bench/peers/process"
)

// polls are what Git's own HTTP server does for one client.
type polls struct {
	Files  int   // in the repository
	Poll   asked // ls-remote of one branch, nothing new
	Change asked // a shallow fetch after one file of a KiB has changed
}

// asked is what one operation of a client takes on the server, as a mean.
type asked struct {
	Requests float64
	Bytes    float64 // of bodies, both ways
	CPU      float64 // nanoseconds, of the server and its programs
}

// errNoGit says that this machine can't serve Git.
var errNoGit = errors.New("no git-http-backend: apt-get install git; the poll of a repository is not measured")

const (
	pollFiles = 100
	pollTimes = 20
)

func measurePolls(ctx context.Context, times int, dir string, say func(string, ...any)) (*polls, error) {
	say("a Git server, polled")
	execPath, err := output(ctx, dir, "git", "--exec-path")
	if err != nil {
		return nil, errNoGit
	}
	backend := filepath.Join(execPath, "git-http-backend")
	if _, err := os.Stat(backend); err != nil {
		return nil, errNoGit
	}
	g := &repository{root: filepath.Join(dir, "git"), work: filepath.Join(dir, "work"), clone: filepath.Join(dir, "clone")}
	if err := g.make(ctx); err != nil {
		return nil, err
	}
	if g.server, err = process.Start(ctx, gitPart, backend, g.root); err != nil {
		return nil, err
	}
	defer func() { _ = g.server.Stop() }()
	url := "http://" + g.server.Address + "/config.git"
	if _, err := output(ctx, dir, "git", "clone", "-q", "--depth", "1", url, g.clone); err != nil {
		return nil, err
	}
	p := &polls{Files: pollFiles}
	nothing := func(int) error { return nil }
	if p.Poll, err = g.mean(ctx, times, nothing, "git", "ls-remote", "-q", url, "refs/heads/main"); err != nil {
		return nil, err
	}
	change := func(version int) error { return g.commit(ctx, version) }
	p.Change, err = g.mean(ctx, times, change, "git", "fetch", "-q", "--depth", "1", "origin", "main")
	return p, err
}

// repository is one with configs, a clone to change it from, and a client's.
type repository struct {
	root, work, clone string
	server            *process.Process
}

func (g *repository) make(ctx context.Context) error {
	bare := filepath.Join(g.root, "config.git")
	for _, dir := range []string{bare, g.work} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if _, err := output(ctx, bare, "git", "init", "-q", "--bare", "-b", "main"); err != nil {
		return err
	}
	if _, err := output(ctx, g.work, "git", "init", "-q", "-b", "main"); err != nil {
		return err
	}
	for i := range pollFiles {
		if err := os.WriteFile(filepath.Join(g.work, fmt.Sprintf("config-%d.json", i)), text(30, 0), 0o644); err != nil {
			return err
		}
	}
	if _, err := output(ctx, g.work, "git", "remote", "add", "origin", bare); err != nil {
		return err
	}
	return g.commit(ctx, 0)
}

// commit changes a file in the repository.
func (g *repository) commit(ctx context.Context, version int) error {
	if err := os.WriteFile(filepath.Join(g.work, "config-0.json"), text(30, version), 0o644); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"add", "-A"},
		{"-c", "user.name=bench", "-c", "user.email=bench@localhost", "commit", "-q", "-m", fmt.Sprint("version ", version)},
		{"push", "-q", "origin", "main"},
	} {
		if _, err := output(ctx, g.work, "git", args...); err != nil {
			return err
		}
	}
	return nil
}

// mean is what the server does for a command of the client, before each of
// which another is run.
func (g *repository) mean(ctx context.Context, times int, before func(version int) error, name string, args ...string) (a asked, err error) {
	for i := range times {
		if err := before(i + 1); err != nil {
			return a, err
		}
		from, err := ask[served](ctx, []*process.Process{g.server}, "count")
		if err != nil {
			return a, err
		}
		if _, err := output(ctx, g.clone, name, args...); err != nil {
			return a, err
		}
		to, err := ask[served](ctx, []*process.Process{g.server}, "count")
		if err != nil {
			return a, err
		}
		a.Requests += float64(to[0].Requests-from[0].Requests) / float64(times)
		a.Bytes += float64(to[0].Bytes-from[0].Bytes) / float64(times)
		a.CPU += float64(to[0].CPU-from[0].CPU) / float64(times)
	}
	return a, nil
}

// output runs a command of a fixed name and is what it prints.
func output(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_TERMINAL_PROMPT=0")
	return process.Output(cmd)
}

// served is what the server has done so far.
type served struct {
	Requests, Bytes int64
	CPU             time.Duration
}

// gitPart serves Git over smart HTTP. Asked to count, it says what it served.
var gitPart = process.Register("scaling-git", func(_ context.Context, args []string, in *bufio.Reader, out io.Writer) error {
	if len(args) != 2 {
		return fmt.Errorf("%d arguments, want git-http-backend and the folder of the repositories", len(args))
	}
	handler := &cgi.Handler{Path: args[0], Env: []string{
		"GIT_PROJECT_ROOT=" + args[1], "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_COUNT=1",
		"GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*",
	}}
	var requests, bytes atomic.Int64
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		bytes.Add(max(r.ContentLength, 0))
		handler.ServeHTTP(&countingWriter{w, &bytes}, r)
	})}
	go func() { _ = server.Serve(listener) }()
	defer server.Close()
	if err := process.Ready(out, listener.Addr().String()); err != nil {
		return err
	}
	answers := json.NewEncoder(out)
	for {
		if _, err := in.ReadString('\n'); err != nil {
			return nil // told to stop
		}
		s := served{Requests: requests.Load(), Bytes: bytes.Load()}
		for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
			var u unix.Rusage
			if err := unix.Getrusage(who, &u); err != nil {
				return err
			}
			s.CPU += time.Duration(u.Utime.Nano() + u.Stime.Nano())
		}
		if err := answers.Encode(s); err != nil {
			return err
		}
	}
})

// countingWriter counts what is answered.
type countingWriter struct {
	http.ResponseWriter
	bytes *atomic.Int64
}

func (w *countingWriter) Write(b []byte) (int, error) {
	w.bytes.Add(int64(len(b)))
	return w.ResponseWriter.Write(b)
}
