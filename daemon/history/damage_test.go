package history

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/statesync/statesync/shm/shmtest"
)

// sample is the bytes of a history with everything in it, and its dump.
func sample(t testing.TB) (file []byte, text string) {
	t.Helper()
	path := inMemory(t)
	w := newWorld(t, path, 3, Options{Records: 12})
	for range 40 {
		w.step()
	}
	for len(w.records) < 3 || w.pin == nil { // the seed decides when
		w.step()
	}
	text, err := dump(w.store)
	shmtest.Must(t, err)
	shmtest.Must(t, w.store.Close())
	file, err = os.ReadFile(path)
	shmtest.Must(t, err)
	w.open()
	return file, text
}

// behindMeta is where a file's pages are, without the two meta pages. Damage to the newest
// of these leads to what was before the last transaction.
func behindMeta(t testing.TB, file []byte) (start, end int) {
	t.Helper()
	m, err := newestMeta(strings.NewReader(string(file)))
	shmtest.Must(t, err)
	return int(2 * m.pageSize), int(m.high * m.pageSize)
}

// firstDifference is the first line of two texts that is not the same.
func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	i := 0
	for i < len(g) && i < len(w) && g[i] == w[i] {
		i++
	}
	return fmt.Sprintf("line %d of %d: %s\nand should have\nline %d of %d: %s",
		i, len(g), strings.Join(g[min(i, len(g)):min(i+1, len(g))], ""), i, len(w), strings.Join(w[min(i, len(w)):min(i+1, len(w))], ""))
}

// tryDamaged opens a file, and fails unless the store returns what the undamaged one
// does, or an error that says that it is damaged. older is what was in it before its last
// transaction, which it falls back to if the newest meta page is lost.
func tryDamaged(t *testing.T, path string, file []byte, what, text, older string) (found bool) {
	t.Helper()
	shmtest.Must(t, os.WriteFile(path, file, 0o600))
	s, err := Open(path, Options{Records: 12})
	if err != nil && !errors.Is(err, ErrDamaged) {
		t.Errorf("%s: %v", what, err)
		return true
	}
	if s == nil {
		t.Errorf("%s: no store with %v", what, err)
		return true
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Errorf("%s: closing: %v", what, err)
		}
	}()
	if err != nil {
		if s.Stats().Records != 0 {
			t.Errorf("%s: a damaged file was used", what)
		}
		if kept, err := os.ReadFile(path + ".damaged"); err != nil || string(kept) != string(file) {
			t.Errorf("%s: the damaged file is not kept: %v", what, err)
		}
	} else if got, err := dump(s); err == nil && got != text && got != older {
		t.Errorf("%s: the store has\n%s", what, firstDifference(got, text))
	} else if err != nil {
		found = true
		if !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", what, err)
		}
	}
	found = found || err != nil
	if err := s.Record(publication(1_000_000, document(t, "new", `{}`))); err != nil && !errors.Is(err, ErrDamaged) {
		t.Errorf("%s: writing: %v", what, err)
	}
	return found
}

// A flipped bit behind the meta pages is found before a wrong value is returned, or is in
// bytes that mean nothing.
func TestFlippedBits(t *testing.T) {
	file, text := sample(t)
	first, end := behindMeta(t, file)
	chance := rand.New(rand.NewPCG(5, 5))
	path := inMemory(t)
	flips, found := 50, 0
	if *long {
		flips = 20_000
	}
	for range flips {
		bit := 8*first + chance.IntN(8*(end-first))
		file[bit/8] ^= 1 << (bit % 8)
		if tryDamaged(t, path, file, fmt.Sprintf("bit %d of byte %d", bit%8, bit/8), text, "") {
			found++
		}
		file[bit/8] ^= 1 << (bit % 8)
	}
	if found == 0 || *long && found < flips/10 { // of a few, how many mean something is chance
		t.Errorf("%d of %d flipped bits were found; most bytes mean something", found, flips)
	}
}

// Every bit of the meta pages is either found, or leads to the state before the last
// transaction.
func TestFlippedMeta(t *testing.T) {
	path := inMemory(t)
	s := open(t, path)
	shmtest.Must(t, s.Record(publication(1, document(t, "a", `{"n":1}`))))
	older, err := dump(s)
	shmtest.Must(t, err)
	shmtest.Must(t, s.Record(publication(2, document(t, "a", `{"n":2}`))))
	text, err := dump(s)
	shmtest.Must(t, err)
	file, err := os.ReadFile(path)
	shmtest.Must(t, err)
	m, err := newestMeta(strings.NewReader(string(file)))
	shmtest.Must(t, err)
	other := inMemory(t)
	for _, start := range []int{0, int(m.pageSize)} {
		for bit := 8 * start; bit < 8*(start+pageHeader+metaBytes); bit += 7 {
			file[bit/8] ^= 1 << (bit % 8)
			tryDamaged(t, other, file, fmt.Sprintf("bit %d of byte %d", bit%8, bit/8), text, older)
			file[bit/8] ^= 1 << (bit % 8)
		}
	}
}

// replace replaces a text that is in a file once.
func replace(t testing.TB, path, old, text string) {
	t.Helper()
	file, err := os.ReadFile(path)
	shmtest.Must(t, err)
	if n := bytes.Count(file, []byte(old)); n != 1 {
		t.Fatalf("%q is in the file %d times", old, n)
	}
	shmtest.Must(t, os.WriteFile(path, bytes.Replace(file, []byte(old), []byte(text), 1), 0o600))
}

// The name of a layer that has no files is verified by Open, and a content where it is
// read.
func TestFlippedText(t *testing.T) {
	path := inMemory(t)
	s, err := Open(path, Options{})
	shmtest.Must(t, err)
	shmtest.Must(t, s.Record(publication(1, opaque(t, "a", "the value"))))
	shmtest.Must(t, s.Close())

	replace(t, path, "the value", "the valve")
	s, err = Open(path, Options{})
	shmtest.Must(t, err)
	refs, err := s.Configs(1)
	shmtest.Must(t, err)
	shmtest.WantError(t, errOf(s.Sections(refs)), ErrDamaged)
	shmtest.WantError(t, errOf(s.Object(refs[0].Sum)), ErrDamaged)
	shmtest.Must(t, s.Close())

	replace(t, path, "the valve", "the value")
	replace(t, path, "dir\x00", "din\x00")
	s, err = Open(path, Options{})
	shmtest.WantError(t, err, ErrDamaged)
	shmtest.Must(t, s.Close())
}

// Open misses a key that is lost from any table.
func TestLostKey(t *testing.T) {
	file, _ := sample(t)
	for _, name := range append([]string{string(floorsName)}, tables...) {
		for _, last := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/last=%v", name, last), func(t *testing.T) {
				path := inMemory(t)
				shmtest.Must(t, os.WriteFile(path, file, 0o600))
				s, err := Open(path, Options{Records: 12})
				shmtest.Must(t, err)
				shmtest.Must(t, s.db.update(func(x *tx) error {
					c := x.Bucket([]byte(name)).Cursor()
					key, _ := c.First()
					if last {
						key, _ = c.Last()
					}
					if key == nil {
						return fmt.Errorf("%s is empty", name)
					}
					return c.Delete()
				}))
				shmtest.Must(t, s.Close())
				s, err = Open(path, Options{Records: 12})
				shmtest.WantError(t, err, ErrDamaged)
				shmtest.Must(t, s.Close())
			})
		}
	}
}

// A file that is shorter than its pages is damaged, whatever its length.
func TestTruncatedFile(t *testing.T) {
	file, text := sample(t)
	_, n := behindMeta(t, file)
	path := inMemory(t)
	for _, length := range []int{1, 15, 64, 4095, 4096, 8191, 8192, n / 2, n - 4096, n - 1} {
		if !tryDamaged(t, path, file[:length], fmt.Sprintf("%d of %d bytes", length, n), text, "") {
			t.Errorf("%d of %d bytes are taken for a whole file", length, n)
		}
	}
	if tryDamaged(t, path, file[:n], "all pages", text, "") {
		t.Error("the room behind the last page is missed")
	}
}

// A file that is truncated or overwritten under an open store makes its methods fail, and
// not the process. Then the store can be closed, and a new one opened.
func TestFileChangesUnderStore(t *testing.T) {
	for _, harm := range []string{"empty", "half", "garbage"} {
		t.Run(harm, func(t *testing.T) {
			file, _ := sample(t)
			path := inMemory(t)
			shmtest.Must(t, os.WriteFile(path, file, 0o600))
			s, err := Open(path, Options{Records: 12})
			shmtest.Must(t, err)
			_, n := behindMeta(t, file)
			switch harm {
			case "empty":
				shmtest.Must(t, os.Truncate(path, 0))
			case "half":
				shmtest.Must(t, os.Truncate(path, int64(n/8192*4096)))
			case "garbage":
				f, err := os.OpenFile(path, os.O_WRONLY, 0)
				shmtest.Must(t, err)
				_, err = f.WriteAt([]byte(strings.Repeat("garbage!", n/8)), 0)
				shmtest.Must(t, errors.Join(err, f.Close()))
			}
			done := make(chan error)
			for range 4 { // none of them waits for a lock that another one took to its end
				go func() { done <- errOf(dump(s)) }()
				go func() { done <- s.Record(publication(1_000_000, document(t, "new", `{}`))) }()
			}
			failed := 0
			for range 8 {
				if err, _ := shmtest.Within(t, "a method returns", done); err != nil {
					failed++
					shmtest.WantError(t, err, ErrDamaged)
				}
			}
			if failed == 0 {
				t.Error("nothing failed")
			}
			shmtest.Must(t, s.Close())
			again, err := Open(path, Options{})
			if harm != "empty" { // an empty file is a new one
				shmtest.WantError(t, err, ErrDamaged, path+".damaged")
			}
			shmtest.Must(t, again.Record(publication(1, document(t, "new", `{}`))))
			shmtest.Must(t, again.Close())
		})
	}
}

// A file of a newer version is refused, and stays where it is.
func TestNewerFormat(t *testing.T) {
	path := inMemory(t)
	s, err := Open(path, Options{})
	shmtest.Must(t, err)
	shmtest.Must(t, s.db.update(func(x *tx) error {
		return errOf(x.meta.put(formatKey, binary.LittleEndian.AppendUint64(nil, format+1)))
	}))
	shmtest.Must(t, s.Close())
	for range 2 {
		_, err = Open(path, Options{})
		if err == nil || errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "format 2") {
			t.Fatalf("the error is %v", err)
		}
	}
}

// Another process's lock is waited for, and then refused.
func TestFileInUse(t *testing.T) {
	t.Parallel()
	path := inMemory(t)
	open(t, path)
	if _, err := Open(path, Options{}); err == nil || errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "another process") {
		t.Errorf("the error is %v", err)
	}
}

// Whatever bytes behind the meta pages are overwritten, the store has what it had, or says that it
// is damaged.
func FuzzFile(f *testing.F) {
	file, text := sample(f)
	start, end := behindMeta(f, file)
	dir := shmtest.MemoryTemp(f)
	f.Add([]byte{})
	f.Add([]byte{0, 0, 0, 10, 0xff})
	f.Add([]byte{0, 0, 0x10, 10, 1, 0, 0, 0x10, 16, 200})
	f.Fuzz(func(t *testing.T, patches []byte) {
		damaged := append([]byte(nil), file...)
		for ; len(patches) >= 5; patches = patches[5:] {
			damaged[start+int(binary.BigEndian.Uint32(patches))%(end-start)] = patches[4]
		}
		tryDamaged(t, filepath.Join(dir, fmt.Sprint(os.Getpid())), damaged, fmt.Sprintf("%x", patches), text, "")
	})
}
