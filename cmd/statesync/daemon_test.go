package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/statesync/statesync/daemon"
	"github.com/statesync/statesync/daemon/control"
	"github.com/statesync/statesync/shm/writer"
)

// host is a source, a region and a state directory, with a daemon on them that runs in
// this process.
type host struct {
	*testing.T
	source, region, state string
	more                  []string // sources above the directory
	guards                daemon.Guards
	*daemon.Daemon
	stop func()
}

const patience = 20 * time.Second

func await(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for: %s", what)
		}
	}
}

// newHost starts a daemon whose lowest source has these files.
func newHost(t *testing.T, files map[string]string, more ...string) *host {
	t.Helper()
	base := t.TempDir()
	h := &host{
		T: t, source: filepath.Join(base, "source"), region: filepath.Join(base, "region"), state: filepath.Join(base, "state"),
		more: more, guards: daemon.Guards{MaxRemoved: 50, MaxRemovedKeys: 100},
	}
	for name, text := range files {
		h.write(name, text)
	}
	h.start()
	await(t, "the first generation", func() bool { return h.State().Converged })
	h.settle()
	return h
}

// start starts a daemon, and returns when its sockets answer.
func (h *host) start() {
	h.Helper()
	specs, err := daemon.Schemes.Parse(append([]string{"dir:" + h.source}, h.more...))
	if err != nil {
		h.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	h.Daemon = daemon.New(daemon.Options{
		Sources: specs, Region: h.region, StateDir: h.state, Guards: h.guards,
		Writer: writer.Options{MaxImage: 1 << 20, Group: -1}, Resync: 50 * time.Millisecond, Log: log,
		LockWait: time.Minute, // a child that is being started has the lock for a moment
	})
	d := h.Daemon
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := d.Run(ctx); err != nil {
			h.Error(err)
		}
	})
	running.Go(func() {
		for d.State().Turned.IsZero() && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		if err := control.Serve(ctx, d, control.Options{
			Region: h.region, Mode: 0o644, Group: -1, Version: "v1", Control: h.state, ControlGroup: -1, Log: log,
		}); err != nil {
			h.Error(err)
		}
	})
	h.stop = sync.OnceFunc(func() { cancel(); running.Wait() })
	h.Cleanup(func() { h.stop() })
	for _, path := range []string{filepath.Join(h.region, control.SocketName), filepath.Join(h.state, control.ControlName)} {
		await(h, path, func() bool {
			_, err := control.DialSocket(path, []int{os.Geteuid()}).Status(context.Background())
			return err == nil
		})
	}
}

// write gives a file of the source its content, at once.
func (h *host) write(name, text string) {
	h.Helper()
	path := filepath.Join(h.source, name)
	temp := path + ".tmp"
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(temp, []byte(text), 0o644), os.Rename(temp, path)); err != nil {
		h.Fatal(err)
	}
}

// put is write, and waits until the generation that it leads to is live.
func (h *host) put(name, text string) {
	h.Helper()
	before := h.State().Generation
	h.write(name, text)
	await(h, name+" to be published", func() bool { return h.State().Generation > before })
	h.settle()
}

// settle waits until the history has what is live.
func (h *host) settle() {
	h.Helper()
	await(h, "the record", func() bool {
		h.State().Past().Await(h.Context())
		newest, ok, err := h.State().Past().Newest()
		return err == nil && ok && newest.Generation == h.State().Generation
	})
}

// call runs the program on the host's region.
func (h *host) call(args ...string) outcome {
	h.Helper()
	return call(h.T, h.region, args...)
}

// has wants parts in the output of a call that ends with a code.
func (o outcome) has(t *testing.T, code int, parts ...string) {
	t.Helper()
	missing := slices.DeleteFunc(slices.Clone(parts), func(part string) bool { return strings.Contains(o.stdout+o.stderr, part) })
	if o.code != code || len(missing) > 0 {
		t.Errorf("exit code %d, want %d; it lacks %q\nstderr:\n%s\nstdout:\n%s", o.code, code, missing, o.stderr, o.stdout)
	}
}

// decode reads one JSON value of the output.
func decode[T any](t *testing.T, o outcome) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(o.stdout), &v); err != nil {
		t.Fatalf("%v:\n%s%s", err, o.stderr, o.stdout)
	}
	return v
}

// threeGenerations is a host whose config a has had the values 1, 2 and 3 of x.
func threeGenerations(t *testing.T) *host {
	t.Helper()
	h := newHost(t, map[string]string{"a.yaml": "x: 1\ny: one\n", "b.yaml": "z: 1\n"})
	for x := 2; x <= 3; x++ {
		h.put("a.yaml", fmt.Sprintf("x: %d\ny: one\n", x))
	}
	return h
}
