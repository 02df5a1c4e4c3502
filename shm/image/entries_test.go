package image

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/statesync/statesync/seqlock"
)

// list collects what Entries yields.
func list(v *View, prefix string) (names []string, entries []Entry, err error) {
	for e, err := range v.Entries(prefix) {
		if err != nil {
			return names, entries, err
		}
		names, entries = append(names, e.Name), append(entries, e.Entry)
	}
	return names, entries, nil
}

func TestEntriesWithAPrefix(t *testing.T) {
	all := []string{
		"a", "a/b", "a/b/c", "ab", "b", "b.", "b0", strings.Repeat("n", MaxName), strings.Repeat("n", MaxName-1) + "o",
		"team/a", "team/b", "team-1/a", "é", "12345678", "123456789",
	}
	prefixes := append(slices.Clone(all), "", "0", "a/", "t", "team", "team/", "team/c", "z", "\xc3", "\xff", "n", "1234567", strings.Repeat("n", MaxName+1))
	slices.Sort(all)
	for n := range len(all) + 1 {
		names := all[:n]
		var sections []*Section
		for _, name := range names {
			sections = append(sections, opaque(t, name, "content"))
		}
		v := open(t, flatten(build(t, 1, "r", sections, nil)))
		for _, prefix := range prefixes {
			want := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !strings.HasPrefix(name, prefix) })
			got, entries, err := list(&v, prefix)
			if err != nil || !slices.Equal(got, want) {
				t.Fatalf("%d configs, %.20q: %.20q, %v instead of %.20q", n, prefix, got, err, want)
			}
			for i, e := range entries {
				if found, err := v.Find(HashName(got[i])); err != nil || found != e {
					t.Fatalf("%q: Find has another entry: %v", got[i], err)
				}
			}
		}
	}
}

func TestEntriesCanBeLeft(t *testing.T) {
	v := open(t, flatten(build(t, 1, "r", []*Section{opaque(t, "a", "x"), opaque(t, "b", "y"), opaque(t, "c", "z")}, nil)))
	var got []string
	for e, err := range v.Entries("") {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, e.Name); e.Name == "b" {
			break
		}
	}
	if !slices.Equal(got, []string{"a", "b"}) {
		t.Error(got)
	}
}

// TestEntriesReadFew damages every other entry: a prefix is found by a search, and
// the contents of sections are not read.
func TestEntriesReadFew(t *testing.T) {
	const n = 1000
	var sections []*Section
	for i := range n {
		sections = append(sections, opaque(t, fmt.Sprintf("config-%03d", i), "the content"))
	}
	words := flatten(build(t, 1, "r", sections, nil))
	v := open(t, words)
	refusals := 0
	for i := range uint64(n) {
		at := v.entriesAt + i*entryWords
		words[at] ^= 1
		names, _, err := list(&v, "config-33")
		if errors.Is(err, ErrCorrupt) {
			refusals++
		} else if err != nil || len(names) != 10 {
			t.Fatalf("entry %d is damaged: %q, %v", i, names, err)
		}
		words[at] ^= 1
	}
	if refusals < 12 || refusals > 10+1+10 {
		t.Errorf("%d of %d entries are read to find 10", refusals, n)
	}
	for i := range uint64(n) { // every word behind the names
		e, err := v.Entry(int(i))
		if err != nil {
			t.Fatal(err)
		}
		for at := e.offset/wordBytes + sectionHeaderWords + 2; at < (e.offset+e.length)/wordBytes; at++ {
			words[at] = 0
		}
	}
	if names, _, err := list(&v, ""); err != nil || len(names) != n {
		t.Errorf("%d names, %v", len(names), err)
	}
	allocated := testing.AllocsPerRun(10, func() {
		for _, err := range v.Entries("config-3") {
			if err != nil {
				t.Error(err)
			}
		}
	})
	if allocated > 100+3 {
		t.Errorf("100 names of %d take %v allocations", n, allocated)
	}
}

func TestHostileEntries(t *testing.T) {
	sections := []*Section{opaque(t, "a", "x"), opaque(t, "b", "y"), opaque(t, "c", "z")}
	m := build(t, 1, "r", sections, nil)
	intact := flatten(m)
	view := open(t, intact)
	at := int(view.entriesAt) + entryWords // b's entry
	section := int(intact[at+entryOffset] / wordBytes)
	for what, damage := range map[string]func(words []uint64){
		"a section that is not aligned":    func(words []uint64) { words[at+entryOffset] += 4 },
		"a section of half a word":         func(words []uint64) { words[at+entryLength] -= 4 },
		"a section of no bytes":            func(words []uint64) { words[at+entryLength] = 0 },
		"a section of less than a header":  func(words []uint64) { words[at+entryLength] = 24 },
		"a section of its header":          func(words []uint64) { words[at+entryLength] = 32 },
		"a section at the end":             func(words []uint64) { words[at+entryOffset] = words[headerLength] },
		"a section far past the end":       func(words []uint64) { words[at+entryOffset] = 1<<64 - 8 },
		"a section in the directory":       func(words []uint64) { words[at+entryOffset] = headerWords * wordBytes },
		"a section of another config":      func(words []uint64) { words[at+entryOffset] = words[at+entryWords+entryOffset] },
		"no name":                          func(words []uint64) { words[section] &^= math.MaxUint32 },
		"a name that is too long":          func(words []uint64) { words[section] |= MaxName + 1 },
		"a name of 4 GiB":                  func(words []uint64) { words[section] |= math.MaxUint32 },
		"a name longer than its section":   func(words []uint64) { words[section] += 16 },
		"a name with more behind it":       func(words []uint64) { words[section]++ },
		"another name":                     func(words []uint64) { words[section+sectionHeaderWords] ^= 1 },
		"a name that is not in its place":  func(words []uint64) { words[section+sectionHeaderWords] = 'z'; words[at] = HashName("z") },
		"the name of the config before":    func(words []uint64) { words[section+sectionHeaderWords] = 'a'; words[at] = HashName("a") },
		"an entry's name is another one's": func(words []uint64) { words[at] = HashName("a") },
	} {
		words := slices.Clone(intact)
		damage(words)
		seal(words)
		v := open(t, words)
		if names, _, err := list(&v, ""); !errors.Is(err, ErrCorrupt) || len(names) == 0 || names[0] != "a" {
			t.Errorf("%s: %q, %v", what, names, err)
		}
	}
	unsorted := &Image{generation: 5, configs: slices.Clone(m.configs), sections: slices.Clone(m.sections)}
	slices.Reverse(unsorted.configs)
	slices.Reverse(unsorted.sections)
	if err := unsorted.layOut(nil, 0); err != nil {
		t.Fatal(err)
	}
	v := open(t, flatten(unsorted))
	if names, _, err := list(&v, ""); !errors.Is(err, ErrCorrupt) || !slices.Equal(names, []string{"c"}) {
		t.Errorf("entries that are not sorted: %q, %v", names, err)
	}
}

// TestEntriesWhileTheMemoryChanges lists an image's entries while a writer stores
// one image over another in the same words.
func TestEntriesWhileTheMemoryChanges(t *testing.T) {
	images := make([][]uint64, 2)
	for i := range images {
		var sections []*Section
		for n := range 40 {
			sections = append(sections, opaque(t, fmt.Sprintf("config-%02d-%s", n, strings.Repeat("x", n*i)), "content"))
		}
		images[i] = flatten(build(t, 1, "r", sections, nil))
	}
	words := make([]uint64, max(len(images[0]), len(images[1])))
	seqlock.StoreWords(words, images[0])
	v := open(t, words[:len(images[0])])
	v.words = words
	var stores atomic.Int64
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				seqlock.StoreWords(words, images[stores.Add(1)%2])
			}
		}
	}()
	for whole, damaged := 0, 0; whole == 0 || damaged == 0 || stores.Load() < 1000; {
		names, _, err := list(&v, "config-1")
		if err != nil && !errors.Is(err, ErrCorrupt) {
			t.Fatal(err)
		}
		if !slices.IsSorted(names) || len(names) > 40 {
			t.Fatalf("%q", names)
		}
		if err == nil {
			whole++
		} else {
			damaged++
		}
	}
	close(stop)
	<-stopped
}
