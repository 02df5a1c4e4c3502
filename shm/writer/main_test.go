//go:build unix

package writer

import (
	"bufio"
	"bytes"
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

	"go.uber.org/goleak"

	"github.com/cespare/xxhash/v2"
	"github.com/statesync/statesync/seqlock"
	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/internal/access"
	"github.com/statesync/statesync/shm/internal/layout"
)

// patience bounds every wait for something that must happen, in milliseconds
// that are counted one by one: a machine that stands still for a while does not
// use it up.
const patience = 20_000

// childEnv names the role that a process of the test binary plays instead of
// running tests.
const childEnv = "SHM_TEST_CHILD"

// roles are what a child process can be. Each file adds its own.
var roles = map[string]func(args []string) error{}

func TestMain(m *testing.M) {
	name := os.Getenv(childEnv)
	if name == "" {
		goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
			if publicDir != "" {
				_ = os.RemoveAll(publicDir)
			}
			os.Exit(code)
		}))
	}
	go func() { // not to outlive a parent that was killed
		for parent := os.Getppid(); os.Getppid() == parent; {
			time.Sleep(time.Second)
		}
		os.Exit(1)
	}()
	if err := roles[name](os.Args[1:]); err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
}

// child is a process of the test binary that plays a role. Lines are how the
// two talk.
type child struct {
	t     testing.TB
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan string // closed at the end
	err   bytes.Buffer
}

// start starts a child, which is killed at the end of the test if it has not
// ended by itself.
func start(t testing.TB, role string, args ...string) *child {
	t.Helper()
	return startAs(t, 0, role, args...)
}

// startAs is start as another user, if uid is not 0. That takes root.
func startAs(t testing.TB, uid uint32, role string, args ...string) *child {
	t.Helper()
	path, err := self()
	if uid != 0 {
		path, err = publicBinary()
	}
	must(t, err)
	c := &child{t: t, cmd: exec.Command(path, args...), lines: make(chan string, 100)}
	// The race detector would sleep for a second at the end.
	c.cmd.Env = append(os.Environ(), childEnv+"="+role, "GORACE=atexit_sleep_ms=0")
	c.cmd.Stderr = &c.err
	c.cmd.Dir = "/"
	if uid != 0 {
		c.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	}
	var out io.Reader
	if c.in, err = c.cmd.StdinPipe(); err == nil {
		out, err = c.cmd.StdoutPipe()
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(c.lines)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			c.lines <- lines.Text()
		}
	}()
	t.Cleanup(c.kill)
	return c
}

// stop stops the child with SIGSTOP, and returns when it has stopped.
func (c *child) stop() {
	c.t.Helper()
	must(c.t, c.cmd.Process.Signal(syscall.SIGSTOP))
	var status syscall.WaitStatus
	for {
		_, err := syscall.Wait4(c.cmd.Process.Pid, &status, syscall.WUNTRACED, nil)
		if err == nil && status.Stopped() {
			return
		}
		if !errors.Is(err, syscall.EINTR) {
			c.t.Fatalf("stopping the child: %v, %v", status, err)
		}
	}
}

// cont lets it go on.
func (c *child) cont() {
	c.t.Helper()
	must(c.t, c.cmd.Process.Signal(syscall.SIGCONT))
}

// line is the child's next line.
func (c *child) line() string {
	c.t.Helper()
	line, ok := within(c.t, c.lines)
	if !ok {
		c.t.Fatalf("the child ended: %v %s", c.cmd.Wait(), &c.err)
	}
	return line
}

// scan reads the child's next line with a format.
func (c *child) scan(format string, values ...any) {
	c.t.Helper()
	line := c.line()
	if _, err := fmt.Sscanf(line, format, values...); err != nil {
		c.t.Fatalf("the child said %q, and %q was expected", line, format)
	}
}

// say sends the child a line.
func (c *child) say(line string) {
	c.t.Helper()
	if _, err := fmt.Fprintln(c.in, line); err != nil {
		c.t.Fatal(err)
	}
}

// end waits until the child ends by itself, and returns what else it said.
func (c *child) end() (said string, err error) {
	c.t.Helper()
	var out []string
	for {
		line, ok := within(c.t, c.lines)
		if !ok {
			break
		}
		out = append(out, line)
	}
	err = c.cmd.Wait()
	return strings.TrimSpace(strings.Join(out, "\n") + c.err.String()), err
}

// kill ends the child with SIGKILL, and returns when it is gone.
func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	for range c.lines { // all that it said is read before Wait closes the pipe
	}
	_ = c.cmd.Wait()
}

// self is what this process was started as. Under an emulator of another
// machine that is a script which starts the emulator, and os.Executable would
// be a binary that this machine can't start.
func self() (string, error) { return filepath.Abs(os.Args[0]) }

// publicBinary is a copy of the test binary that every user can execute: the
// one that runs lies where other users cannot get to. TestMain removes it.
var publicBinary = sync.OnceValues(func() (path string, err error) {
	dir, err := os.MkdirTemp("", "shm-test-")
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
	publicDir, path = dir, filepath.Join(dir, "shm.test")
	return path, errors.Join(os.Chmod(dir, 0o755), os.WriteFile(path, data, 0o755))
})

var publicDir string

// needRoot skips a test that other users can't do.
func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("this takes root: other users, mounts, cgroups or inode flags")
	}
}

// openTemp is a temporary directory that other users can get to.
func openTemp(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	must(t, os.Chmod(filepath.Dir(dir), 0o755))
	must(t, os.Chmod(dir, 0o755))
	return dir
}

// memoryTemp is a temporary directory in memory, where there is one: what is
// published flat out there is not written to a disk.
func memoryTemp(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "shm-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// regionIn is the path of a region in a fresh directory.
func regionIn(t testing.TB) string {
	t.Helper()
	return filepath.Join(memoryTemp(t), "region")
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantError fails the test unless err matches target and names every word.
func wantError(t testing.TB, err, target error, words ...string) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("the error is %v, and %q was expected", err, target)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("the error does not name %q: %v", word, err)
		}
	}
}

// eventually polls until done says so.
func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	for n := 0; !done(); n++ {
		if n == patience {
			t.Fatalf("it never came to be that %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// within is what comes out of a channel, in time, and whether anything does.
func within[T any](t testing.TB, from <-chan T) (v T, ok bool) {
	t.Helper()
	for range patience {
		select {
		case v, ok = <-from:
			return v, ok
		case <-time.After(time.Millisecond):
		}
	}
	t.Fatal("it takes too long")
	return v, false
}

// result is an error that comes out of a channel, in time.
func result(t testing.TB, from <-chan error) error {
	t.Helper()
	err, _ := within(t, from)
	return err
}

// page is the size of a page on the machines that the tests know, in bytes.
const page = 4096

// small are the options of most tests: a ring of four slots of 64 KiB.
func small() Options { return Options{Slots: 4, MaxImage: layout.SlotAlign, Group: -1} }

// own takes the lock of a region; the writer is closed at the end of the test.
func own(t testing.TB, dir string, o Options) *Writer {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience*time.Millisecond)
	defer cancel()
	w, err := Own(ctx, dir, o)
	must(t, err)
	t.Cleanup(func() {
		if w.lock.Fd() != ^uintptr(0) { // not closed yet
			must(t, w.Close())
		}
	})
	return w
}

// created is a writer of a new region whose current generation is g.
func created(t testing.TB, dir string, o Options, g uint64) *Writer {
	t.Helper()
	w := own(t, dir, o)
	must(t, w.Create(g, proofs(g, 512)))
	return w
}

// roomy is a writer of a new region whose slots have room for images of so many
// words, and hold small ones.
func roomy(t testing.TB, dir string, o Options, words int) *Writer {
	t.Helper()
	w := own(t, dir, o)
	must(t, w.Create(1, proofs(1, words)))
	for range w.l.Slots {
		publish(t, w, 8)
	}
	return w
}

// attached is a writer that continues the region that is there.
func attached(t testing.TB, dir string, o Options) *Writer {
	t.Helper()
	w := own(t, dir, o)
	must(t, w.Attach())
	return w
}

// die releases everything that a writer has, as the kernel does when a process is
// killed.
func die(t testing.TB, w *Writer) {
	t.Helper()
	must(t, errors.Join(w.release(), w.lock.Close(), syscall.Close(w.dirFD)))
}

// publish publishes the next generation, and returns which it was.
func publish(t testing.TB, w *Writer, words int) uint64 {
	t.Helper()
	g := generation(t, w) + 1
	must(t, w.Publish(g, proofs(g, words)))
	return g
}

func generation(t testing.TB, w *Writer) uint64 {
	t.Helper()
	g, err := w.Generation()
	must(t, err)
	return g
}

func open(t testing.TB, dir string) *shm.Region {
	t.Helper()
	r, err := shm.Open(dir, shm.Trust{})
	must(t, err)
	return r
}

// mapped maps a region's file as a reader does.
func mapped(path string) (*layout.Layout, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	l, _, err := access.Map(int(file.Fd()), path, uint32(os.Geteuid()), shm.Trust{}, syscall.PROT_READ)
	return l, err
}

// mapping is mapped in a test, which unmaps it.
func mapping(t testing.TB, dir string) *layout.Layout {
	t.Helper()
	l, err := mapped(filepath.Join(dir, shm.FileName))
	must(t, err)
	t.Cleanup(func() { must(t, access.Unmap(l)) })
	return l
}

// sum makes an identity's sum right again.
func sum(w [layout.IdentityWords]uint64) [layout.IdentityWords]uint64 {
	w[layout.IdentitySum] = xxhash.Sum64(seqlock.BytesOf(w[:layout.IdentitySum]))
	return w
}

// wantGeneration fails the test unless the region's current generation is g,
// whole, and got in one pass.
func wantGeneration(t testing.TB, r *shm.Region, g uint64) {
	t.Helper()
	got, effort, err := readProofs(r, nil)
	must(t, err)
	if got != g {
		t.Fatalf("generation %d is current, and %d was expected", got, g)
	}
	if effort != (shm.Effort{}) {
		t.Fatalf("it took %+v to read what is not being written", effort)
	}
}

// proof is what word i of generation g must be: a word of another generation,
// from another place, or out of another length of the same slot is seen.
//
//go:norace
func proof(g uint64, i int) uint64 {
	return (g+1)*0x9e3779b97f4a7c15 ^ uint64(i)*0xc2b2ae3d27d4eb4f
}

// fill makes words the image of g. The first one is also their number.
//
// The race detector would take ten times as long as the rest of the tests that
// publish flat out, and has nothing to find in private words.
//
//go:norace
func fill(words []uint64, g uint64) []uint64 {
	for i := range words {
		words[i] = proof(g, i)
	}
	words[0] ^= uint64(len(words))
	return words
}

// proofs is an image of n words, in three parts, that proves its generation.
func proofs(g uint64, n int) [][]uint64 {
	words := fill(make([]uint64, n), g)
	return [][]uint64{words[:1], words[1 : n/2+1], words[n/2+1:]}
}

// errTorn is a reader's word for an image that is not one whole generation.
var errTorn = errors.New("torn image")

// verifyProofs says whether words are the image of g.
//
//go:norace
func verifyProofs(g uint64, words []uint64) error {
	if len(words) == 0 || words[0]^proof(g, 0) != uint64(len(words)) {
		return fmt.Errorf("%w: generation %d has %d words", errTorn, g, len(words))
	}
	for i, word := range words[1:] {
		if word != proof(g, i+1) {
			return fmt.Errorf("%w: generation %d, word %d of %d", errTorn, g, i+1, len(words))
		}
	}
	return nil
}

// readProofs copies the current image into the buffer, as a reader does, and
// verifies the copy once it was accepted.
func readProofs(r *shm.Region, buffer []uint64) (g uint64, effort shm.Effort, err error) {
	effort, err = r.Read(func(hot seqlock.Hot, image []uint64) error {
		g = hot.Generation()
		buffer = append(buffer[:0], make([]uint64, len(image))...)
		seqlock.LoadWords(buffer, image)
		return nil
	})
	if err == nil {
		err = verifyProofs(g, buffer)
	}
	return g, effort, err
}

// verifyCopy is readProofs' half for Read and ReadGeneration: it verifies a
// copy while it is not known yet whether it counts.
func verifyCopy(hot seqlock.Hot, image []uint64) error {
	words := make([]uint64, len(image))
	seqlock.LoadWords(words, image)
	return verifyProofs(hot.Generation(), words)
}
