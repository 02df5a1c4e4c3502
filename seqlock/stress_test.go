//go:build unix

package seqlock

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// This file lets a writer publish flat out against readers on real shared
// memory: between goroutines, and between processes of which the writing one
// is killed again and again. Readers map the memory read-only, so that one
// that stores to it faults. The memory is none of Go's, so that the race
// detector says nothing about its deliberate plain stores.

// shape is how many slots a region has, and how long they are.
type shape struct{ slots, words int }

func (s shape) String() string { return fmt.Sprintf("%d slots of %d words", s.slots, s.words) }

// region is the protocol's memory, mapped from a file.
type region struct {
	ring  Ring
	slots [][]uint64
}

// The hot word and each sequence have a cache line pair of their own; the
// slots follow on the next page.
const (
	lineWords = 16
	pageWords = 512
)

func (s shape) size() int64 { return int64(pageWords+s.slots*s.words) * 8 }

// mapRegion maps a region from a file that has its size.
func mapRegion(path string, s shape, writable bool) (region, func() error, error) {
	flags, protection := os.O_RDONLY, unix.PROT_READ
	if writable {
		flags, protection = os.O_RDWR, unix.PROT_READ|unix.PROT_WRITE
	}
	file, err := os.OpenFile(path, flags, 0)
	if err != nil {
		return region{}, nil, err
	}
	defer func() { _ = file.Close() }() // the mapping stays
	mapped, err := unix.Mmap(int(file.Fd()), 0, int(s.size()), protection, unix.MAP_SHARED)
	if err != nil {
		return region{}, nil, fmt.Errorf("map %s: %w", path, err)
	}
	words := unsafe.Slice((*uint64)(unsafe.Pointer(&mapped[0])), len(mapped)/8)
	var r region
	var sequences []*uint64
	for i := range s.slots {
		sequences = append(sequences, &words[lineWords*(i+1)])
		r.slots = append(r.slots, words[pageWords+i*s.words:][:s.words])
	}
	r.ring = NewRing(&words[0], sequences)
	return r, func() error { return unix.Munmap(mapped) }, nil
}

// newRegion makes a region in a temporary folder. The mappings for the test's
// own use last as long as the test.
func newRegion(t *testing.T, s shape) (path string, writable, readable region) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "region")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, s.size()); err != nil {
		t.Fatal(err)
	}
	open := func(writable bool) region {
		r, unmap, err := mapRegion(path, s, writable)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := unmap(); err != nil {
				t.Error(err)
			}
		})
		return r
	}
	return path, open(true), open(false)
}

// fill makes the words of a generation: the first two tell which one it is and
// its writer, and every other one follows from them and from its place.
func fill(words []uint64, generation, writer uint64) {
	words[0], words[1] = generation, writer
	base := mix(generation, writer)
	for i := range words[2:] {
		words[2+i] = base + uint64(i)
	}
}

func mix(generation, writer uint64) uint64 {
	return (generation ^ writer<<48) * 0x9e3779b97f4a7c15
}

// filled reports whether words are one whole generation.
func filled(words []uint64) bool {
	base := mix(words[0], words[1])
	for i, word := range words[2:] {
		if word != base+uint64(i) {
			return false
		}
	}
	return true
}

// publish continues behind the current generation, flat out.
func (r region) publish(writer uint64, stop *atomic.Bool) {
	private := make([]uint64, len(r.slots[0]))
	for g := r.ring.Hot().Generation() + 1; !stop.Load(); g++ {
		fill(private, g, writer)
		r.ring.Begin(g)
		StoreWords(r.slots[r.ring.Slot(g)], private)
		r.ring.Complete(g)
		r.ring.Commit(g)
	}
}

// follower is a reader and what it saw.
type follower struct {
	region
	private []uint64
	last    uint64 // the generation accepted last

	accepted, overtaken, torn int
}

func (r region) newFollower() *follower {
	return &follower{region: r, private: make([]uint64, len(r.slots[0]))}
}

// pass is one pass of a reader. The error is a broken promise.
func (f *follower) pass() (accepted bool, err error) {
	g := f.ring.Hot().Generation()
	if g == 0 {
		return false, nil
	}
	if !f.ring.Whole(g) {
		f.overtaken++
		return false, nil
	}
	LoadWords(f.private, f.slots[f.ring.Slot(g)])
	if !f.ring.Whole(g) {
		f.overtaken++
		if !filled(f.private) {
			f.torn++ // and found out by the second look alone
		}
		return false, nil
	}
	f.accepted++
	switch {
	case f.private[0] != g:
		return true, fmt.Errorf("accepted as generation %d: one that begins as %d", g, f.private[0])
	case !filled(f.private):
		return true, fmt.Errorf("accepted as generation %d: a torn copy", g)
	case g < f.last:
		return true, fmt.Errorf("generation %d was accepted behind %d", g, f.last)
	}
	f.last = g
	return true, nil
}

// follow passes until it is told to stop, and once more. That last pass,
// while no writer is running, must be accepted. The first copy that it accepts
// before that sets some.
func (f *follower) follow(stop, some *atomic.Bool) error {
	for !stop.Load() {
		accepted, err := f.pass()
		if err != nil {
			return err
		}
		if accepted && f.accepted == 1 {
			some.Store(true)
		}
	}
	return f.alone()
}

// alone is a pass while the writer pauses or is dead.
func (f *follower) alone() error {
	accepted, err := f.pass()
	if err == nil && !accepted {
		err = fmt.Errorf("a reader alone was not done in one pass at generation %d", f.ring.Hot().Generation())
	}
	return err
}

// followers are readers in goroutines.
type followers struct {
	list     []*follower
	accepted atomic.Bool // one of them has accepted a copy
	stop     atomic.Bool
	done     sync.WaitGroup
}

func startFollowers(t *testing.T, r region, n int) *followers {
	t.Helper()
	fs := &followers{}
	for range n {
		f := r.newFollower()
		fs.list = append(fs.list, f)
		fs.done.Go(func() {
			if err := f.follow(&fs.stop, &fs.accepted); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(fs.wait) // before the memory is unmapped, also when the test ends early
	return fs
}

func (fs *followers) wait() {
	fs.stop.Store(true)
	fs.done.Wait()
}

// report waits for the readers, of which one must have accepted something
// before they were told to stop.
func (fs *followers) report(t *testing.T) {
	t.Helper()
	fs.wait()
	var accepted, overtaken, torn int
	for _, f := range fs.list {
		accepted += f.accepted
		overtaken += f.overtaken
		torn += f.torn
	}
	t.Logf("%d generations; %d copies accepted; %d passes overtaken, %d of them with a torn copy",
		fs.list[0].last, accepted, overtaken, torn)
	if !fs.accepted.Load() {
		t.Error("no copy was accepted beside the writer")
	}
}

// patience is how long a test waits for what does not happen.
const patience = 20 * time.Second

var shapes = []shape{
	{slots: 2, words: 8},
	{slots: 2, words: 8 << 10}, // 64 KiB: long enough to be overtaken in
	{slots: 4, words: 128},
}

func TestGoroutines(t *testing.T) {
	duration := 200 * time.Millisecond
	if testing.Short() {
		duration = 70 * time.Millisecond
	}
	for _, s := range shapes {
		t.Run(s.String(), func(t *testing.T) {
			_, writable, readable := newRegion(t, s)
			fs := startFollowers(t, readable, 3)
			var stop atomic.Bool
			time.AfterFunc(duration, func() {
				// A busy machine may not have let a reader run yet.
				for deadline := time.Now().Add(patience); !fs.accepted.Load() && time.Now().Before(deadline); {
					time.Sleep(time.Millisecond)
				}
				stop.Store(true)
			})
			writable.publish(1, &stop)
			fs.report(t)
		})
	}
}

// TestKilledWriters reads what other processes write, each of which is killed
// at some moment and followed by the next.
func TestKilledWriters(t *testing.T) {
	const writers = 3
	for _, s := range shapes {
		t.Run(s.String(), func(t *testing.T) {
			path, _, readable := newRegion(t, s)
			fs := startFollowers(t, readable, 2)
			mine := readable.newFollower()
			unfinished := 0
			for writer := 1; writer <= writers; writer++ {
				runWriter(t, readable, path, s, writer)
				if err := mine.alone(); err != nil {
					t.Fatalf("after writer %d was killed: %v", writer, err)
				}
				if by := mine.private[1]; by != uint64(writer) {
					t.Errorf("the current generation is by writer %d after writer %d was killed", by, writer)
				}
				next := mine.last + 1
				if sequence := atomic.LoadUint64(readable.ring.sequences[readable.ring.Slot(next)]); sequence == 2*next+1 {
					unfinished++
				}
			}
			t.Logf("%d of %d writers were killed in the middle of a generation", unfinished, writers)
			fs.report(t)
		})
	}
}

// runWriter runs a writer in a process of its own, and kills it some
// generations later.
func runWriter(t *testing.T, r region, path string, s shape, writer int) {
	t.Helper()
	self, err := filepath.Abs(os.Args[0]) // and not os.Executable, which an emulator hides behind
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(self, path, strconv.Itoa(s.slots), strconv.Itoa(s.words), strconv.Itoa(writer))
	command.Env = append(os.Environ(), writerVariable+"=1")
	var output bytes.Buffer
	command.Stdout, command.Stderr = &output, &output
	alive, err := command.StdinPipe() // closed when this process dies, however that happens
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = alive.Close() }()
	enough := r.ring.Hot().Generation() + uint64(10*writer)
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(patience)
	for r.ring.Hot().Generation() < enough && time.Now().Before(deadline) {
		time.Sleep(50 * time.Microsecond)
	}
	err = command.Process.Kill()
	_ = command.Wait() // it was killed, which is an error
	if err != nil || r.ring.Hot().Generation() < enough {
		t.Fatalf("writer %d came to generation %d of %d (kill: %v); it said: %s", writer, r.ring.Hot().Generation(), enough, err, &output)
	}
}

// writerVariable makes the test's binary a writer.
const writerVariable = "SEQLOCK_TEST_WRITER"

func TestMain(m *testing.M) {
	if os.Getenv(writerVariable) != "" {
		fmt.Fprintln(os.Stderr, writerMain(os.Args[1:]))
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// writerMain publishes until the process is killed, or the one that started it
// is gone. It only returns with an error.
func writerMain(args []string) error {
	if len(args) != 4 {
		return fmt.Errorf("a writer takes a path, slots, words and its number, not %q", args)
	}
	var numbers [3]int
	for i := range numbers {
		n, err := strconv.Atoi(args[1+i])
		if err != nil {
			return err
		}
		numbers[i] = n
	}
	r, _, err := mapRegion(args[0], shape{slots: numbers[0], words: numbers[1]}, true)
	if err != nil {
		return err
	}
	var stop atomic.Bool
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop.Store(true)
	}()
	r.publish(uint64(numbers[2]), &stop)
	return errors.New("the process that started this writer is gone")
}
