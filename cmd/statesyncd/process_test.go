//go:build unix

package main

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/statesync/statesync/seqlock"
	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/image"
	"github.com/statesync/statesync/shm/shmtest"
)

// beDaemon makes the test's own binary the command.
const beDaemon = "TEST_BE_STATESYNCD"

func TestMain(m *testing.M) {
	if os.Getenv(beDaemon) != "" {
		if err := os.Unsetenv(beDaemon); err != nil {
			panic(err)
		}
		main()
	}
	goleak.VerifyTestMain(m)
}

const patience = 30 * time.Second

func await(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for: %s", what)
		}
	}
}

// host is a source, a region and a state directory, and daemons on them.
type host struct {
	*testing.T
	base, source, region, state string

	binary string
	as     *syscall.SysProcAttr
	env    []string // of the daemons
}

func newHost(t *testing.T) *host {
	t.Helper()
	base, err := os.MkdirTemp("/dev/shm", "statesyncd-test-")
	if err != nil {
		base = t.TempDir()
	} else {
		t.Cleanup(func() {
			if err := os.RemoveAll(base); err != nil {
				t.Error(err)
			}
		})
	}
	h := &host{
		T: t, base: base, binary: os.Args[0],
		source: filepath.Join(base, "source"), region: filepath.Join(base, "region"), state: filepath.Join(base, "state"),
	}
	if err := os.Mkdir(h.source, 0o755); err != nil {
		t.Fatal(err)
	}
	return h
}

// process is a daemon in a process of its own.
type process struct {
	*exec.Cmd
	mu  sync.Mutex
	out bytes.Buffer
}

func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.Write(b)
}

func (p *process) log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

func (h *host) start(more ...string) *process {
	h.Helper()
	return h.startBare(append([]string{
		"--source=dir:" + h.source, "--region=" + h.region, "--state-dir=" + h.state, "--max-image=1MiB", "--listen=off",
	}, more...)...)
}

// startBare starts a daemon with these arguments only.
func (h *host) startBare(args ...string) *process {
	h.Helper()
	p := &process{Cmd: exec.Command(h.binary, args...)}
	p.SysProcAttr = h.as
	p.Env = append([]string{beDaemon + "=1", "GORACE=atexit_sleep_ms=0"}, h.env...) // the race detector rests for a second else
	p.Stderr = p
	if err := p.Start(); err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() {
		_ = p.Process.Kill() // ended already in most cases
		_ = p.Wait()
		if h.Failed() {
			h.Logf("the daemon's log:\n%s", p.log())
		}
	})
	return p
}

func (h *host) signal(p *process, s os.Signal) {
	h.Helper()
	if err := p.Process.Signal(s); err != nil {
		h.Fatal(err)
	}
}

// put gives the source's one config, a, its content.
func (h *host) put(text string) {
	h.Helper()
	temp := filepath.Join(h.base, "a.yaml")
	if err := errors.Join(os.WriteFile(temp, []byte(text), 0o644), os.Rename(temp, filepath.Join(h.source, "a.yaml"))); err != nil {
		h.Fatal(err)
	}
}

// look loads the whole region, and checks every part of it.
func (h *host) look() (id shm.ID, m *image.Image, err error) {
	r, err := shm.Open(h.region, shm.Trust{Owners: []int{nobody}})
	if err != nil {
		return id, nil, err
	}
	_, err = r.Read(func(hot seqlock.Hot, words []uint64) error {
		m, err = image.Load(words, hot.Generation())
		return err
	})
	return r.ID(), m, err
}

// status is what the daemon says of itself; nothing, if it was killed while it
// wrote that down.
func (h *host) status() shm.Status {
	h.Helper()
	r, err := shm.Open(h.region, shm.Trust{})
	if err != nil {
		h.Fatal(err)
	}
	s, err := r.Status()
	if err != nil && !errors.Is(err, shm.ErrBusy) {
		h.Fatal(err)
	}
	return s
}

func (h *host) published() bool {
	_, m, err := h.look()
	return err == nil && m != nil
}

func TestSignals(t *testing.T) {
	h := newHost(t)
	h.put("x: 1\n")
	p := h.start("--resync=1h")
	await(t, "the region", h.published)
	if s := h.status(); s.State != shm.Running || s.PID != p.Process.Pid {
		t.Errorf("the status is %+v", s)
	}
	h.signal(p, syscall.SIGHUP)
	await(t, "the reload", func() bool { return strings.Contains(p.log(), "because of a reload") })
	h.signal(p, syscall.SIGTERM)
	if err := p.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
	if s := h.status(); s.State != shm.Stopped {
		t.Errorf("the status is %+v", s)
	}
	if _, m, err := h.look(); err != nil || m.Generation() != 1 {
		t.Error(m, err)
	}
	p = h.start()
	await(t, "the daemon to attach", func() bool { return strings.Contains(p.log(), "msg=attached") })
	h.signal(p, syscall.SIGINT)
	if err := p.Wait(); err != nil {
		t.Errorf("after SIGINT: %v", err)
	}
}

// A seal that is not available is an error at every start, and not only from the
// second one on. The region stays readable.
func TestSealNeedsTheCapability(t *testing.T) {
	h := newHost(t)
	h.put("x: 1\n")
	if os.Geteuid() == 0 {
		h.asNobody()
	}
	for range 2 {
		p := h.start("--seal")
		err := p.Wait()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != exitFailed || !strings.Contains(p.log(), "--seal takes CAP_LINUX_IMMUTABLE") {
			t.Errorf("it ended with: %v", err)
		}
		if _, m, err := h.look(); err != nil || m.Generation() != 1 {
			t.Error(m, err)
		}
	}
}

const nobody = 65533

// asNobody makes the daemons run as a user without any capability, which can't
// run the test's binary where it is.
func (h *host) asNobody() {
	h.Helper()
	binary, err := os.ReadFile(h.binary)
	if err != nil {
		h.Fatal(err)
	}
	h.binary = filepath.Join(h.base, "statesyncd")
	h.as = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	err = errors.Join(os.WriteFile(h.binary, binary, 0o755), os.Chown(h.base, nobody, nobody))
	if err != nil {
		h.Fatal(err)
	}
}

// A daemon that is killed at any moment leaves a whole region, and the next
// one continues in it: same file, no generation twice, none left out.
func TestKilledAtAnyMoment(t *testing.T) {
	h := newHost(t)
	filler := strings.Repeat("f", 20_000) // makes the stores into the slot take a while
	n := 0
	change := func() {
		n++
		h.put(fmt.Sprintf("n: %d\nfiller: %s\n", n, filler))
	}
	change()
	first := h.start()
	await(t, "the region", h.published)
	id, _, err := h.look()
	if err != nil {
		t.Fatal(err)
	}
	r, err := shm.Open(h.region, shm.Trust{})
	if err != nil {
		t.Fatal(err)
	}

	// A reader that never stops: all that it sees is whole, and goes up.
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		var last uint64
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
			var m *image.Image
			_, err := r.Read(func(hot seqlock.Hot, words []uint64) (err error) {
				m, err = image.Load(words, hot.Generation())
				return err
			})
			switch {
			case errors.Is(err, shm.ErrBusy):
			case err != nil || m.Generation() < last:
				t.Errorf("after generation %d: %v, %v", last, m, err)
				return
			default:
				last = m.Generation()
			}
		}
	}()
	defer func() { close(stop); <-stopped }()

	p := first
	var last uint64
	kills, most, began := 0, shmtest.Times(20, 5), time.Now()
	for ; kills < most && (kills < 5 || time.Since(began) < 8*time.Second); kills++ { // fewer on a busy machine
		_, m, err := h.look()
		if err != nil {
			t.Fatal(err)
		}
		seen := m.Generation()
		// Let it publish, and then die while it publishes the next one.
		await(t, "the daemon to be up", func() bool { return h.status().PID == p.Process.Pid })
		changed := time.Now()
		change()
		await(t, "a publication", func() bool {
			_, m, err := h.look()
			return err == nil && m.Generation() > seen
		})
		took := time.Since(changed)
		change()
		time.Sleep(rand.N(2 * took))
		if err := p.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = p.Wait() // killed
		now, m, err := h.look()
		if err != nil {
			t.Fatalf("after the kill: %v", err)
		}
		if now != id || m.Generation() < seen || m.Generation() <= last {
			t.Fatalf("generation %d of %v after %d", m.Generation(), now, seen)
		}
		last = m.Generation()
		p = h.start()
	}
	change()
	want := fmt.Sprintf(`{"filler":"%s","n":%d}`, filler, n)
	await(t, "the last change", func() bool {
		_, m, err := h.look()
		return err == nil && string(m.Sections()[0].Content()) == want
	})
	now, m, err := h.look()
	if err != nil || now != id || m.Generation() <= last {
		t.Errorf("generation %v of %v after %d of %v (%v)", m, now, last, id, err)
	}
	t.Logf("%d kills; %d changes made %d generations", kills, n, m.Generation())
	h.signal(p, syscall.SIGTERM)
	if err := p.Wait(); err != nil {
		t.Error(err)
	}
}
