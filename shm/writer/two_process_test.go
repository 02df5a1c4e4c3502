//go:build unix

package writer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/statesync/statesync/seqlock"
	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/internal/layout"
	"github.com/statesync/statesync/shm/shmtest"
)

// durationEnv lengthens the tests that try for a while: "30s".
const durationEnv = "SHM_TEST_DURATION"

func duration(t testing.TB) time.Duration {
	t.Helper()
	value := os.Getenv(durationEnv)
	if value == "" {
		return time.Second
	}
	d, err := time.ParseDuration(value)
	must(t, err)
	return d
}

// tries is how often a test tries something: n times a second of duration.
func tries(t testing.TB, n int) int {
	t.Helper()
	return max(n, int(float64(n)*duration(t).Seconds()))
}

func init() {
	// publish DIR SLOTS MAX-WORDS: waits for a word, takes the region over, says
	// at which generation, and publishes flat out, images from a kibibyte up,
	// until it hears another word or is killed. Then it says how many.
	roles["publish"] = func(args []string) error {
		slots, err := strconv.Atoi(args[1])
		if err != nil {
			return err
		}
		most, err := strconv.Atoi(args[2])
		if err != nil {
			return err
		}
		var word string
		if _, err := fmt.Scan(&word); err != nil {
			return err
		}
		o := Options{Slots: slots, MaxImage: int64(most) * layout.WordBytes, Group: -1}
		w, err := Own(context.Background(), args[0], o)
		if err != nil {
			return err
		}
		if err := w.Attach(); err != nil {
			return err
		}
		g, err := w.Generation()
		if err != nil {
			return err
		}
		fmt.Println("at", g)
		var stop atomic.Bool
		go func() {
			_, _ = fmt.Scan(&word)
			stop.Store(true)
		}()
		begin := g
		for !stop.Load() {
			g++
			n := 128 << rand.N(14)
			n = min(n+rand.N(n), most)
			if err := w.Publish(g, [][]uint64{fill(make([]uint64, n), g)}); err != nil {
				return err
			}
		}
		fmt.Println("published", g-begin)
		return w.Close()
	}
}

// Readers never see anything but whole generations in order, whenever a writer
// is killed, and the next one continues where it stopped.
func TestKilledWriters(t *testing.T) {
	for _, slots := range []int{2, 4} {
		t.Run(fmt.Sprintf("K=%d", slots), func(t *testing.T) { killWriters(t, slots, tries(t, 10)) })
	}
}

func killWriters(t *testing.T, slots, kills int) {
	const most = 64 << 10 / layout.WordBytes
	dir := filepath.Join(memoryTemp(t), "region")
	w := created(t, dir, Options{Slots: slots, MaxImage: most * layout.WordBytes, Group: -1}, 1)
	id := w.ID()
	must(t, w.Close())
	args := []string{dir, strconv.Itoa(slots), strconv.Itoa(most)}
	r, words := open(t, dir), mapping(t, dir)
	next := start(t, "publish", args...) // started ahead: it waits
	last, unfinished, reads := uint64(1), 0, 0
	read := func(r *shm.Region) {
		t.Helper()
		g, _, err := readProofs(r, nil)
		if errors.Is(err, shm.ErrBusy) {
			return
		}
		must(t, err)
		if g < last {
			t.Fatalf("generation %d came after %d", g, last)
		}
		last = g
		reads++
	}
	begin := time.Now()
	for n := range kills {
		if n >= 8 && time.Since(begin) > 3*duration(t) {
			kills = n // the machine is slow
			break
		}
		writer := next
		writer.Say("go")
		var at uint64
		writer.Scan("at %d", &at)
		if at != last {
			t.Fatalf("the writer continues at %d, and %d was current", at, last)
		}
		next = start(t, "publish", args...)
		// Every other one dies in its first publication or later, the others later.
		for n%2 == 1 && last == at && time.Since(begin) < shmtest.Patience {
			read(r)
		}
		for deadline := time.Now().Add(rand.N(10 * time.Millisecond)); time.Now().Before(deadline); {
			read(r)
		}
		writer.Kill()

		// Nothing writes now: one pass is enough.
		hot, err := r.Hot()
		must(t, err)
		read(r)
		wantGeneration(t, r, hot.Generation())
		fresh := open(t, dir)
		wantGeneration(t, fresh, hot.Generation())
		if fresh.ID() != id || fresh.Retired() || r.Replaced() {
			t.Fatal("the region is another one")
		}
		g := hot.Generation() + 1
		sequence := atomic.LoadUint64(words.Sequence(words.Ring.Slot(g)))
		if sequence == 2*g+1 {
			unfinished++
		}
	}
	t.Logf("%d writers were killed at generation %d, %d of them while they wrote an image; %d reads", kills, last, unfinished, reads)
	if last < uint64(kills)/2 {
		t.Errorf("%d writers published %d generations only", kills, last)
	}
}

// A writer that is stopped in the middle holds no reader up.
func TestStoppedWriter(t *testing.T) {
	dir := filepath.Join(memoryTemp(t), "region")
	const most = 64 << 10 / layout.WordBytes
	w := own(t, dir, Options{Slots: 2, MaxImage: most * layout.WordBytes, Group: -1})
	must(t, w.Create(1, proofs(1, most)))
	must(t, w.Close())
	r := open(t, dir)
	writer := start(t, "publish", dir, "2", strconv.Itoa(most))
	writer.Say("go")
	var at uint64
	writer.Scan("at %d", &at)
	for range 50 {
		writer.Stop()
		hot, err := r.Hot()
		must(t, err)
		wantGeneration(t, r, hot.Generation())
		writer.Continue()
		eventually(t, "the writer continues", func() bool { now, _ := r.Hot(); return now != hot })
	}
}

// One process publishes flat out, and another reads: what it accepts is one
// whole generation, and never an older one than before.
func TestFlatOut(t *testing.T) {
	const most = 1 << 20 / layout.WordBytes
	for _, slots := range []int{2, shm.DefaultSlots} {
		t.Run(fmt.Sprintf("K=%d", slots), func(t *testing.T) {
			dir := filepath.Join(memoryTemp(t), "region")
			w := own(t, dir, Options{Slots: slots, MaxImage: most * layout.WordBytes, Group: -1})
			must(t, w.Create(1, proofs(1, most))) // into slots for all that follows
			must(t, w.Close())
			r := open(t, dir)
			writer := start(t, "publish", dir, strconv.Itoa(slots), strconv.Itoa(most))
			writer.Say("go")
			var at uint64
			writer.Scan("at %d", &at)

			buffer := make([]uint64, 0, most)
			var reads, generations, busy, lapped, torn int
			var last, published uint64
			for deadline := time.Now().Add(duration(t) / 2); time.Now().Before(deadline) || generations < 3; {
				g, effort, err := readProofs(r, buffer)
				lapped += effort.Lapped
				torn += effort.Torn
				if errors.Is(err, shm.ErrBusy) {
					busy++
					continue
				}
				must(t, err)
				if g < last {
					t.Fatalf("generation %d came after %d", g, last)
				}
				if g > last {
					generations++
				}
				last = g
				reads++
			}
			writer.Say("stop")
			writer.Scan("published %d", &published)
			t.Logf("%d publications; %d reads of %d generations, %d passes lapped, %d torn, %d reads given up",
				published, reads, generations, lapped, torn, busy)
			wantGeneration(t, r, at+published)
		})
	}
}

// Images change under a reader that does not copy and look again: the
// test above could fail.
func TestTornImagesAreThere(t *testing.T) {
	dir := regionIn(t)
	w := created(t, dir, Options{Slots: 2, MaxImage: layout.SlotAlign, Group: -1}, 1)
	r := open(t, dir)
	copied := make([]uint64, 512)
	effort, err := r.Read(func(hot seqlock.Hot, image []uint64) error {
		seqlock.LoadWords(copied[:256], image)
		if hot.Generation() == 1 {
			publish(t, w, 512)
			publish(t, w, 512)
		}
		seqlock.LoadWords(copied[256:], image[256:])
		err := verifyProofs(hot.Generation(), copied)
		if torn := errors.Is(err, errTorn); torn != (hot.Generation() == 1) {
			t.Errorf("generation %d: %v", hot.Generation(), err)
		}
		return err
	})
	must(t, err)
	if effort != (shm.Effort{Torn: 1}) {
		t.Errorf("it took %+v", effort)
	}
}
