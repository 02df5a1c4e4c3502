package shm

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func init() {
	// touch DIR: touches each page of a region's mapping once, says so, and goes
	// on with it again and again until it is killed.
	roles["touch"] = func(args []string) error {
		r, err := Open(args[0], Trust{})
		if err != nil {
			return err
		}
		for first := true; ; first = false {
			for at := 0; at < len(r.words); at += page / wordBytes {
				// On a full file system a page may not be there.
				_ = r.guarded(func() error { atomic.LoadUint64(&r.words[at]); return nil })
			}
			if first {
				fmt.Println("touched")
			}
		}
	}
}

// touchAll has a reader touch every page of its mapping.
func touchAll(t testing.TB, r *Region) {
	t.Helper()
	for at := 0; at < len(r.words); at += page / wordBytes {
		must(t, r.guarded(func() error { atomic.LoadUint64(&r.words[at]); return nil }))
	}
}

func allocated(t testing.TB, path string) int64 {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Stat(path, &st))
	return st.Blocks * 512
}

// Pages that a reader makes by touching holes of the file are given back by
// the next Check, whoever filled the slots.
func TestTouchedHolesAreGivenBack(t *testing.T) {
	dir := filepath.Join(tmpfs(t, 8<<20), "region")
	o := WriterOptions{Slots: 3, MaxImage: 1 << 20, Group: -1}
	w := roomy(t, dir, o, 3000)
	for range 2 {
		before := allocated(t, w.Path())
		r := open(t, dir)
		touchAll(t, r)
		if got := allocated(t, w.Path()); got != w.FileSize() {
			t.Fatalf("the reader took %d bytes, and the file has %d", got, w.FileSize())
		}
		must(t, w.Check())
		if got := allocated(t, w.Path()); got != before {
			t.Errorf("the file takes %d bytes, and took %d", got, before)
		}
		for g := generation(t, w); g > generation(t, w)-3; g-- {
			must(t, r.ReadGeneration(g, verifyCopy))
		}
		// A writer that finds them at its start gives them back as well.
		touchAll(t, r)
		die(t, w)
		w = attached(t, dir, o)
		must(t, w.Check())
		if got := allocated(t, w.Path()); got > before {
			t.Errorf("after a restart the file takes %d bytes, and took %d", got, before)
		}
		publish(t, w, 3000)
		publish(t, w, 8)
		publish(t, w, 8)
		publish(t, w, 8)
	}
}

// A writer knows which pages its slots have when it attaches.
func TestAttachLearnsPages(t *testing.T) {
	dir := filepath.Join(tmpfs(t, 8<<20), "region")
	o := WriterOptions{Slots: 4, MaxImage: 1 << 20, Group: -1}
	w := own(t, dir, o)
	must(t, w.Create(1, proofs(1, 9000)))
	publish(t, w, 2000)
	publish(t, w, 600)
	die(t, w)
	w = attached(t, dir, o)
	for g, words := range map[uint64]int64{1: 9000, 2: 2000, 3: 600, 4: 0} {
		if got, want := w.reserved[w.ring.Slot(g)], wholePages(words*wordBytes); got != want {
			t.Errorf("the slot of generation %d has %d bytes of pages, and is said to have %d", g, want, got)
		}
	}
}

// On a full file system, what readers have touched is taken back before a
// revision is refused, and a refusal says what the region itself holds.
func TestTouchedHolesAndFullFileSystem(t *testing.T) {
	root := tmpfs(t, 8<<20)
	dir := filepath.Join(root, "region")
	o := WriterOptions{Slots: 2, MaxImage: 2 << 20, Group: -1}
	const words = 1 << 20 / wordBytes
	w := roomy(t, dir, o, words)
	r := open(t, dir)
	touchAll(t, r)
	leave(t, root, 0)
	wantGeneration(t, r, publish(t, w, words))

	// In a larger file, too, for which the old one gives back what it has.
	touchAll(t, r)
	g := generation(t, w)
	must(t, w.Create(g+1, proofs(g+1, words)))
	wantGeneration(t, open(t, dir), g+1)
}

// A process that touches all of the region again and again holds no
// publication up, also where the region could fill its file system.
func TestHostileTouching(t *testing.T) {
	root := tmpfs(t, 5<<20)
	dir := filepath.Join(root, "region")
	o := WriterOptions{Slots: 4, MaxImage: 2 << 20, Group: -1}
	const words = 1 << 20 / wordBytes
	w := roomy(t, dir, o, words) // 8 MiB, which could fill the file system
	r := open(t, dir)
	toucher := start(t, "touch", dir)
	if line := toucher.line(); line != "touched" {
		t.Fatal(line)
	}
	var worst time.Duration
	for n := range 60 {
		size := words
		if n%4 == 3 {
			size = 8
		}
		begin := Boottime()
		wantGeneration(t, r, publish(t, w, size))
		worst = max(worst, Boottime()-begin)
		if n%10 == 0 {
			must(t, w.Check())
		}
	}
	t.Logf("the slowest of 60 publications took %v", worst)
}

func init() {
	// republish-in-cgroup DIR: waits until it has been put into a cgroup, leaves
	// less room in it than an image of 4 MiB takes, goes on with the region and
	// publishes 6 of them.
	roles["republish-in-cgroup"] = func(args []string) error {
		var word string
		if _, err := fmt.Scan(&word); err != nil {
			return err
		}
		w, err := try(args[0])
		if err != nil {
			return err
		}
		defer w.Close()
		w.options.MaxImage = 4 << 20
		image := proofs(0, 4<<20/wordBytes)
		if free, _, _ := headroom(); free > 5<<20 {
			ballast, err := unix.Mmap(-1, 0, int(free-5<<20), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_POPULATE)
			if err != nil {
				return err
			}
			defer unix.Munmap(ballast)
		}
		if err := w.Attach(); err != nil {
			return err
		}
		g, err := w.Generation()
		for range 6 {
			if err == nil {
				g++
				err = w.Publish(g, image)
			}
		}
		fmt.Println("at", g, err)
		_, _ = fmt.Scan(&word)
		return nil
	}
}

// A writer that restarts in a memory cgroup with no room for another image goes
// on in the pages that its slots have.
func TestRestartInSmallCgroup(t *testing.T) {
	cgroup := memoryCgroup(t)
	dir := filepath.Join(memoryTemp(t), "region")
	w := own(t, dir, WriterOptions{Slots: 4, MaxImage: 4 << 20, Group: -1})
	for g := uint64(1); g <= 4; g++ {
		if g == 1 {
			must(t, w.Create(g, proofs(0, 4<<20/wordBytes)))
		} else {
			must(t, w.Publish(g, proofs(0, 4<<20/wordBytes)))
		}
	}
	must(t, w.Close())
	c := start(t, "republish-in-cgroup", dir)
	pid := strconv.Itoa(c.cmd.Process.Pid)
	must(t, os.WriteFile(filepath.Join(cgroup, "cgroup.procs"), []byte(pid), 0o644))
	c.say("go")
	if said := c.line(); said != "at 10 <nil>" {
		t.Error(said)
	}
	c.say("end")
	if said, err := c.end(); err != nil {
		t.Error(said)
	}
}
