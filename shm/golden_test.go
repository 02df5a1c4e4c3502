//go:build unix

package shm_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/statesync/statesync/seqlock"
	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/image"
	"github.com/statesync/statesync/shm/writer"
)

// The golden files are region files as some version wrote them, compressed.
// They change with the layout's version and with nothing else.
var update = flag.Bool("update", false, "write the golden files, and the words in docs/FORMAT.md, anew")

const formatFile = "../docs/FORMAT.md"

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func document(t testing.TB, name, json string) *image.Section {
	t.Helper()
	canonical, err := image.Canonical([]byte(json))
	ok(t, err)
	s, err := image.NewDocument(name, canonical)
	ok(t, err)
	return s
}

func opaque(t testing.TB, name, data string) *image.Section {
	t.Helper()
	s, err := image.NewOpaque(name, []byte(data))
	ok(t, err)
	return s
}

// region is a new one for a test, and its writer.
func region(t testing.TB, slots int, maxImage int64) (dir string, w *writer.Writer) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "region")
	w, err := writer.Own(context.Background(), dir, writer.Options{Slots: slots, MaxImage: maxImage, Group: -1})
	ok(t, err)
	t.Cleanup(func() { ok(t, w.Close()) })
	return dir, w
}

// publish makes the next generation; prev is nil for the region's first, g.
func publish(t testing.TB, w *writer.Writer, g uint64, revision string, prev *image.Image, sections ...*image.Section) *image.Image {
	t.Helper()
	m, err := image.Build(g, revision, sections, prev)
	ok(t, err)
	if prev == nil {
		ok(t, w.Create(g, m.Words()))
	} else {
		ok(t, w.Publish(g, m.Words()))
	}
	return m
}

const everything = `{"weights": {"elo": 1500, "ping": -0.5, "limit": 18446744073709551615, "least": -9223372036854775808},
	"on": true, "off": false, "none": null, "text": "plain", "escaped": "a \"quoted\"\nline\u0000", "unicode": "é😀",
	"pools": [{"name": "eu"}, {"name": "us", "max": 9007199254740993}, [], {}], "": {"": 1}, "dotted.key": 1e21}`

// goldens make the regions of the golden files, and return the file.
var goldens = map[string]func(t *testing.T) []byte{
	"small": func(t *testing.T) []byte {
		dir, w := region(t, 2, 64<<10)
		all := document(t, "matchmaker", everything)
		raw := opaque(t, "team/certificate", "\x00\x01 not \xff JSON")
		m := publish(t, w, 1, "git:1", nil, document(t, "a", `{"n": 1}`), document(t, "gone", `{}`), all, raw)
		publish(t, w, 2, "git:2", m, document(t, "a", `{"n": 2}`), all, raw, document(t, "team/é", `[[1,2],"x"]`))
		w.Observe(shm.Observation{Observed: "git:3", SourceGood: 7 * time.Second, Problem: "config.yaml:3:1: it is not what it should be", Fresh: true, Layers: []shm.Layer{
			{Name: "base", Version: "git:3", Good: 7 * time.Second}, {Name: "host", Version: "dir:1", Problem: "host.yaml:1:1: it is not what it should be"},
		}})
		ok(t, w.Beat())
		file, err := os.ReadFile(filepath.Join(dir, shm.FileName))
		ok(t, err)
		return file
	},
	"retired": func(t *testing.T) []byte {
		dir, w := region(t, 3, 64<<10)
		publish(t, w, 1<<40+1, "", nil)
		file, err := os.Open(filepath.Join(dir, shm.FileName))
		ok(t, err)
		defer file.Close()
		publish(t, w, 1<<40+65, "", nil) // in another file
		b, err := io.ReadAll(file)
		ok(t, err)
		return b
	},
}

func goldenPath(name string) string {
	return filepath.Join("testdata", "golden", name+".v1.gz")
}

// golden is a golden file's content.
func golden(t testing.TB, name string) []byte {
	t.Helper()
	file, err := os.Open(goldenPath(name))
	ok(t, err)
	defer file.Close()
	z, err := gzip.NewReader(file)
	ok(t, err)
	b, err := io.ReadAll(z)
	ok(t, err)
	return b
}

// place puts a region file into a directory of its own.
func place(t testing.TB, file []byte) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "region")
	ok(t, os.Mkdir(dir, 0o700))
	ok(t, os.WriteFile(filepath.Join(dir, shm.FileName), file, 0o600))
	return dir
}

// masked is a region file without what another run makes otherwise: ids,
// times, and the sums over them.
func masked(file []byte) []byte {
	file = slices.Clone(file)
	word := func(at int) uint64 { return binary.LittleEndian.Uint64(file[at:]) }
	mask := []int{
		0x30, 0x38, 0x40, 0x78, // region id, created, sum
		0x2000, 0x2010, 0x2018, 0x2020, 0x2030, // the status's sequence, pid, incarnation, heartbeat, start
	}
	for n := range int(word(0x20)) {
		if slot := 0x8000 + n*int(word(0x28)); word(0x1000+0x80*n) != 0 {
			mask = append(mask, slot+0x40, slot+0x78) // published, sum
		}
	}
	for _, at := range mask {
		clear(file[at : at+8])
	}
	return file
}

// TestGoldenBytes makes the golden files' regions again.
func TestGoldenBytes(t *testing.T) {
	for name, build := range goldens {
		got := build(t)
		if *update {
			var b bytes.Buffer
			z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
			ok(t, err)
			_, err = z.Write(got)
			ok(t, errors.Join(err, z.Close()))
			ok(t, os.MkdirAll(filepath.Dir(goldenPath(name)), 0o755))
			ok(t, os.WriteFile(goldenPath(name), b.Bytes(), 0o644))
		}
		got, want := masked(got), masked(golden(t, name))
		if len(got) != len(want) {
			t.Fatalf("%s: %d bytes instead of %d", name, len(got), len(want))
		}
		for at := 0; at < len(got); at += 8 {
			if !bytes.Equal(got[at:at+8], want[at:at+8]) {
				t.Fatalf("%s: the word at %#x is %#x and was %#x: a change of the layout needs another version of it",
					name, at, binary.LittleEndian.Uint64(got[at:]), binary.LittleEndian.Uint64(want[at:]))
			}
		}
	}
}

// read calls fn with a generation of a region.
func read(t testing.TB, dir string, g uint64, fn func(v *image.View)) {
	t.Helper()
	r, err := shm.Open(dir, shm.Trust{})
	ok(t, err)
	ok(t, r.ReadGeneration(g, func(_ seqlock.Hot, words []uint64) error {
		v, err := image.Open(words, g)
		if err != nil {
			return err
		}
		if _, err := image.Load(words, g); err != nil {
			return err
		}
		fn(&v)
		return nil
	}))
}

func TestGoldenSmall(t *testing.T) {
	dir := place(t, golden(t, "small"))
	r, err := shm.Open(dir, shm.Trust{})
	ok(t, err)
	if r.Geometry() != (shm.Geometry{Slots: 2, SlotSize: 64 << 10}) {
		t.Errorf("its geometry is %v", r.Geometry())
	}
	if hot, err := r.Hot(); err != nil || hot.Generation() != 2 || hot.Retired() {
		t.Errorf("its hot word is %#x: %v", hot, err)
	}
	s, err := r.Status()
	ok(t, err)
	if s.State != shm.Running || s.PID == 0 || s.Heartbeat == 0 || s.SourceGood != 7*time.Second ||
		s.Observed != "git:3" || s.Problem != "config.yaml:3:1: it is not what it should be" {
		t.Errorf("its writer says %+v", s)
	}
	type config struct {
		changed                 uint64
		revision, name, content string
		kind                    image.Kind
	}
	canonical, err := image.Canonical([]byte(everything))
	ok(t, err)
	all := config{1, "git:1", "matchmaker", string(canonical), image.Document}
	raw := config{1, "git:1", "team/certificate", "\x00\x01 not \xff JSON", image.Opaque}
	for g, want := range map[uint64][]config{
		1: {{1, "git:1", "a", `{"n":1}`, image.Document}, {1, "git:1", "gone", `{}`, image.Document}, all, raw},
		2: {{2, "git:2", "a", `{"n":2}`, image.Document}, all, raw, {2, "git:2", "team/é", `[[1,2],"x"]`, image.Document}},
	} {
		read(t, dir, g, func(v *image.View) {
			if revision, err := v.Revision(); err != nil || revision != fmt.Sprintf("git:%d", g) || v.Generation() != g || v.Len() != len(want) {
				t.Errorf("generation %d is %d, of revision %q with %d configs: %v", g, v.Generation(), revision, v.Len(), err)
			}
			for i, want := range want {
				e, err := v.Entry(i)
				ok(t, err)
				if found, err := v.Find(image.HashName(want.name)); err != nil || found != e {
					t.Errorf("generation %d: %s is not entry %d: %v", g, want.name, i, err)
				}
				s, err := v.Section(e)
				ok(t, err)
				revision, err := v.SectionRevision(e)
				ok(t, err)
				if got := (config{e.Changed, revision, s.Name(), string(s.Content()), s.Kind()}); got != want {
					t.Errorf("generation %d: entry %d is %v instead of %v", g, i, got, want)
				}
			}
			if _, err := v.Find(image.HashName("absent")); !errors.Is(err, image.ErrNotFound) {
				t.Errorf("generation %d: an absent config: %v", g, err)
			}
		})
	}
}

func TestGoldenRetired(t *testing.T) {
	dir := place(t, golden(t, "retired"))
	r, err := shm.Open(dir, shm.Trust{})
	ok(t, err)
	if hot, err := r.Hot(); err != nil || hot.Generation() != 1<<40+1 || !hot.Retired() {
		t.Errorf("its hot word is %#x: %v", hot, err)
	}
	if r.Geometry() != (shm.Geometry{Slots: 3, SlotSize: 64 << 10}) {
		t.Errorf("its geometry is %v", r.Geometry())
	}
	read(t, dir, 1<<40+1, func(v *image.View) {
		if revision, err := v.Revision(); err != nil || revision != "" || v.Len() != 0 {
			t.Errorf("its image has the revision %q and %d configs: %v", revision, v.Len(), err)
		}
		if _, err := v.Find(image.HashName("a")); !errors.Is(err, image.ErrNotFound) {
			t.Errorf("an absent config: %v", err)
		}
	})
}

// TestFormatShowsTheGoldenFile compares the words that docs/FORMAT.md shows
// with those that are there.
func TestFormatShowsTheGoldenFile(t *testing.T) {
	file := golden(t, "small")
	text, err := os.ReadFile(formatFile)
	ok(t, err)
	line := regexp.MustCompile(`(?m)^    0x([0-9a-f]{5})  0x[0-9a-f]{16}  `)
	lines := 0
	shown := line.ReplaceAllStringFunc(string(text), func(line string) string {
		lines++
		var at int
		_, err := fmt.Sscanf(line, "    0x%x", &at)
		ok(t, err)
		return fmt.Sprintf("    0x%05x  0x%016x  ", at, binary.LittleEndian.Uint64(file[at:]))
	})
	if *update {
		ok(t, os.WriteFile(formatFile, []byte(shown), 0o644))
		return
	}
	if lines < 20 {
		t.Fatalf("%s shows only %d words", formatFile, lines)
	}
	was, is := strings.Split(string(text), "\n"), strings.Split(shown, "\n")
	for i := range was {
		if was[i] != is[i] {
			t.Errorf("%s:%d: %s\n\tbut the file has\n\t%s", formatFile, i+1, was[i], is[i])
		}
	}
}
