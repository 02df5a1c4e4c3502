package image

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
)

// TestTornReads looks things up in memory that is written at the same time,
// without the sequence that would tell. What comes out is anything but a
// panic, and what has a sum is never something that was not put in.
func TestTornReads(t *testing.T) {
	known := map[string]bool{}
	var images [][]uint64
	var names []string
	for g := range 4 {
		var sections []*Section
		for i := range 12 + 7*g {
			s := document(t, fmt.Sprintf("config-%d", i), fmt.Sprintf(`{"generation": %d, "n": [%d, "x"]}`, g, i*g))
			known[s.Name()+string(s.Content())] = true
			sections = append(sections, s)
			if g == 3 {
				names = append(names, s.Name())
			}
		}
		images = append(images, flatten(build(t, uint64(g+1), fmt.Sprintf("revision %d", g), sections, nil)))
	}
	memory := make([]uint64, len(images[3]))
	stop, done := make(chan struct{}), make(chan struct{})
	var rounds atomic.Int64
	go func() {
		defer close(done)
		for g := 0; ; g = (g + 1) % len(images) {
			select {
			case <-stop:
				return
			default:
			}
			for i, word := range images[g] {
				atomic.StoreUint64(&memory[i], word)
			}
			rounds.Add(1)
		}
	}()
	defer func() { close(stop); <-done }()

	ok := func(err error) bool {
		if err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrNotFound) {
			t.Fatalf("neither corrupt nor not found: %v", err)
		}
		return err == nil
	}
	accepted, refused := 0, 0
	for i := 0; i < 3000 || accepted == 0 || refused == 0 || rounds.Load() < 10; i++ {
		if i > 1e6 {
			t.Fatalf("%d accepted, %d refused, %d writes: nothing comes in between", accepted, refused, rounds.Load())
		}
		words := memory[:len(images[i%len(images)])]
		v, err := Open(words)
		if !ok(err) {
			continue
		}
		if _, err := v.Revision(); !ok(err) {
			refused++
		}
		for n := range 4 {
			name := names[(i+n)%len(names)]
			e, err := v.Find(name)
			if !ok(err) {
				refused++
				continue
			}
			_, err = v.SectionRevision(e)
			ok(err)
			s, err := v.Section(e)
			if !ok(err) {
				refused++
				continue
			}
			accepted++
			if s.Name() != name || !known[name+string(s.Content())] {
				t.Fatalf("%s: never written: %s %s", name, s.Name(), s.Content())
			}
			value, err := s.Lookup("n.1")
			if err != nil || value.Str() != "x" {
				t.Fatalf("%s: %v, %v", name, value, err)
			}
		}
		if i%20 == 0 {
			_, err := Load(words)
			ok(err)
		}
	}
	t.Logf("%d sections accepted, %d reads refused, %d images written", accepted, refused, rounds.Load())
}
