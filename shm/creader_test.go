//go:build unix

package shm_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"

	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/image"
)

// The exit codes of testdata/reader/reader.c.
const (
	found = iota
	absent
	failed
	corrupt
	notIndexed
)

// reader is the one that was written in C from docs/FORMAT.md.
type reader struct {
	t    *testing.T
	path string
}

func newReader(t *testing.T) reader {
	t.Helper()
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip("gcc is needed: ", err)
	}
	r := reader{t, filepath.Join(t.TempDir(), "reader")}
	out, err := exec.Command(gcc, "-std=c11", "-O2", "-Wall", "-Wextra", "-o", r.path,
		filepath.Join("testdata", "reader", "reader.c")).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Fatalf("gcc: %v\n%s", err, out)
	}
	return r
}

// run runs it on the region in dir.
func (r reader) run(dir string, args ...string) (generation uint64, id, value string, code int) {
	r.t.Helper()
	out, err := exec.Command(r.path, append([]string{filepath.Join(dir, shm.FileName)}, args...)...).Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.Exited() {
		return 0, "", "", exit.ExitCode()
	}
	ok(r.t, err)
	head, rest, _ := strings.Cut(string(out), "\nregion ")
	id, value, _ = strings.Cut(rest, "\n")
	generation, err = strconv.ParseUint(strings.TrimPrefix(head, "generation "), 10, 64)
	ok(r.t, err)
	return generation, id, strings.TrimSuffix(value, "\n"), found
}

// eachKey yields all dotted keys of a JSON text.
func eachKey(t *testing.T, text json.RawMessage, prefix string, yield func(key string)) {
	t.Helper()
	switch text[0] {
	case '{':
		var members map[string]json.RawMessage
		ok(t, json.Unmarshal(text, &members))
		for key, value := range members {
			yield(prefix + key)
			eachKey(t, value, prefix+key+".", yield)
		}
	case '[':
		var elements []json.RawMessage
		ok(t, json.Unmarshal(text, &elements))
		for i, value := range elements {
			key := prefix + strconv.Itoa(i)
			yield(key)
			eachKey(t, value, key+".", yield)
		}
	}
}

// sameValue reports whether the reader in C prints a value as it is.
func sameValue(v image.Value, printed string) bool {
	kind, text, _ := strings.Cut(printed, " ")
	if kind != v.Type.String() {
		return false
	}
	switch v.Type {
	case image.Bool:
		return text == strconv.FormatBool(v.Bool())
	case image.Int:
		return text == strconv.FormatInt(v.Int(), 10)
	case image.Uint:
		return text == strconv.FormatUint(v.Bits, 10)
	case image.Float:
		f, err := strconv.ParseFloat(text, 64)
		return err == nil && f == v.Float()
	}
	return text == string(v.Text)
}

// check holds it against package image, for all configs of a region and all
// of their keys.
func (r reader) check(dir string) {
	t := r.t
	t.Helper()
	region, err := shm.Open(dir, shm.Trust{})
	ok(t, err)
	hot, err := region.Hot()
	ok(t, err)
	read(t, dir, hot.Generation(), func(v *image.View) {
		for i := range v.Len() {
			e, err := v.Entry(i)
			ok(t, err)
			s, err := v.Section(e)
			ok(t, err)
			g, id, content, code := r.run(dir, s.Name())
			if code != found || g != hot.Generation() || id != region.ID().String() || content != string(s.Content()) {
				t.Errorf("%s: exit %d, generation %d, region %s: %q", s.Name(), code, g, id, content)
			}
			r.checkKeys(dir, &s)
		}
		for _, name := range []string{"absent", "gone", "", "A", "a ", strings.Repeat("long", 100)} {
			if _, _, content, code := r.run(dir, name); code != absent {
				t.Errorf("%s: exit %d, %q", name, code, content)
			}
		}
	})
}

func (r reader) checkKeys(dir string, s *image.Section) {
	t := r.t
	t.Helper()
	if s.Kind() == image.Document {
		eachKey(t, s.Content(), "", func(key string) {
			var value image.Value
			ok(t, s.Lookup(&value, key))
			if _, _, printed, code := r.run(dir, s.Name(), key); code != found || !sameValue(value, printed) {
				t.Errorf("%s: %q: exit %d, %q instead of %v", s.Name(), key, code, printed, value)
			}
		})
	}
	for _, key := range []string{"absent", "a.", ".a", "n.0"} {
		if err := s.Lookup(new(image.Value), key); !errors.Is(err, image.ErrNotFound) {
			t.Errorf("%s: %q: %v", s.Name(), key, err)
		}
		if _, _, value, code := r.run(dir, s.Name(), key); code != absent {
			t.Errorf("%s: %q: exit %d, %q", s.Name(), key, code, value)
		}
	}
}

func TestReaderInC(t *testing.T) {
	r := newReader(t)
	for _, name := range []string{"small", "retired"} {
		r.check(place(t, golden(t, name)))
	}
	// Many configs, in a region of another shape, after a lap of its ring.
	dir, w := region(t, 4, 1<<20)
	var m *image.Image
	for g := uint64(100); g < 106; g++ {
		var sections []*image.Section
		for i := range 6 {
			sections = append(sections, document(t, fmt.Sprintf("config-%d", i), fmt.Sprintf(`{"generation": %d, "list": [%d]}`, g, i)))
		}
		m = publish(t, w, g, "r", m, sections...)
	}
	r.check(dir)
}

// TestReaderInCSaysWhatItDoesNotKnow is about keys that are not in the index,
// and a name that has another one's hash.
func TestReaderInCSaysWhatItDoesNotKnow(t *testing.T) {
	r := newReader(t)
	const twin, other = "CAm8Pwfn-and-the-rest-is-equal--KjHK3uNc--up-to-the-end-of-names",
		"4MTONSvf-and-the-rest-is-equal--9F1kbK78--up-to-the-end-of-names"
	dir, w := region(t, 2, 1<<20)
	publish(t, w, 1, "r", nil, document(t, "long", `{"a": [`+strings.Repeat("7,", 1500)+`7]}`), document(t, twin, `{}`))
	for _, test := range []struct {
		args []string
		code int
	}{
		{[]string{"long", "a.1023"}, found},
		{[]string{"long", "a.1024"}, notIndexed},
		{[]string{"long", "absent"}, notIndexed},
		{[]string{twin}, found},
		{[]string{other}, absent},
		{nil, failed},
	} {
		if _, _, value, code := r.run(dir, test.args...); code != test.code {
			t.Errorf("%.20q: exit %d instead of %d: %s", test.args, code, test.code, value)
		}
	}
}

func TestReaderInCSeesDamage(t *testing.T) {
	r := newReader(t)
	intact := golden(t, "small") // generation 2 is in slot 0
	for what, test := range map[string]struct {
		damage func(file []byte) []byte
		code   int
	}{
		"none":                     {func(file []byte) []byte { return file }, found},
		"magic":                    {func(file []byte) []byte { file[0]++; return file }, corrupt},
		"layout version":           {func(file []byte) []byte { file[8]++; return file }, failed},
		"region id":                {func(file []byte) []byte { file[0x30]++; return file }, corrupt},
		"size":                     {func(file []byte) []byte { return file[:len(file)-1] }, corrupt},
		"too short":                {func(file []byte) []byte { return file[:0x7fff] }, corrupt},
		"no generation":            {func(file []byte) []byte { clear(file[0x80:0x88]); return file }, corrupt},
		"generation not there":     {func(file []byte) []byte { file[0x80] = 4 << 1; return file }, corrupt},
		"sequence":                 {func(file []byte) []byte { file[0x1000]++; return file }, corrupt},
		"length beyond the slot":   {func(file []byte) []byte { file[0x100a] = 2; return file }, corrupt},
		"another length":           {func(file []byte) []byte { file[0x1008] += 8; return file }, corrupt},
		"image of 0 bytes":         {func(file []byte) []byte { clear(file[0x1008:0x1010]); return file }, corrupt},
		"image header":             {func(file []byte) []byte { file[0x8008]++; return file }, corrupt},
		"image of another":         {func(file []byte) []byte { copy(file[0x8000:], file[0x18000:0x18080]); return file }, corrupt},
		"bucket line":              {func(file []byte) []byte { clear(file[0x8080:0x8088]); clear(file[0x80c0:0x80c8]); return file }, corrupt},
		"entry":                    {func(file []byte) []byte { file[0x8108]++; return file }, corrupt},
		"section":                  {func(file []byte) []byte { return bytes.Replace(file, []byte(`{"n":2}`), []byte(`{"n":3}`), 1) }, corrupt},
		"a section of another one": {func(file []byte) []byte { return bytes.Replace(file, []byte("matchmaker"), []byte("matchmuker"), 2) }, found},
	} {
		dir := place(t, test.damage(slices.Clone(intact)))
		if _, _, content, code := r.run(dir, "a"); code != test.code {
			t.Errorf("%s: exit %d instead of %d: %q", what, code, test.code, content)
		}
	}
}

// TestReaderInCBesideAWriter reads while generations go by.
func TestReaderInCBesideAWriter(t *testing.T) {
	r := newReader(t)
	dir, w := region(t, 4, 1<<20)
	padding := strings.Repeat("x", 1<<12)
	next := func(m *image.Image) *image.Image {
		g := uint64(1)
		if m != nil {
			g = m.Generation() + 1
		}
		return publish(t, w, g, "r", m, document(t, "a", fmt.Sprintf(`{"n": %d, "padding": %q}`, g, padding[:g%(1<<12)])))
	}
	m := next(nil)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				m = next(m)
			}
		}
	}()
	last := uint64(0)
	for range 20 {
		g, _, value, code := r.run(dir, "a", "n")
		if code != found || value != fmt.Sprintf("int %d", g) || g < last {
			t.Errorf("exit %d, %q in generation %d after %d", code, value, g, last)
		}
		last = g
	}
	close(stop)
	<-done
	if last < 2 {
		t.Error("no generations went by")
	}
}

// TestReaderInCFollowsSeeds has names and keys that are all at home in one place
// of their tables, so that both have another seed than 0.
func TestReaderInCFollowsSeeds(t *testing.T) {
	r := newReader(t)
	const n = 12
	lines, cells := uint64(1+n/4), uint64(32)
	var names, keys []string
	for i := 0; len(names) < n || len(keys) < n; i++ {
		text := fmt.Sprintf("n%d", i)
		hash := xxhash.Sum64String(text)
		if hash>>32*lines>>32 == 1 && len(names) < n {
			names = append(names, text)
		}
		if hash%cells == 1 && len(keys) < n {
			keys = append(keys, fmt.Sprintf("%q:%d", text, i))
		}
	}
	dir, w := region(t, 2, 1<<20)
	var sections []*image.Section
	for _, name := range names {
		sections = append(sections, document(t, name, "{"+strings.Join(keys, ",")+"}"))
	}
	m := publish(t, w, 1, "r", nil, sections...)
	if header := m.Words()[0]; header[9] == 0 || m.Words()[1][3] == 0 {
		t.Error("the tables have no seed")
	}
	r.check(dir)
}
