package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/image"
	"github.com/statesync/statesync/shm/writer"
)

// forVerify is a region of three slots with generations 1 to 4, of which 2 to 4
// are in it.
func forVerify(t *testing.T) *regionWriter {
	w := newWriter(t, writer.Options{Slots: 3})
	same := document(t, "same", `{"k":["v"]}`)
	for g := range 4 {
		w.publish(fmt.Sprint("revision ", g), same, document(t, "other", fmt.Sprintf("[%d]", g)))
	}
	return w
}

// slotOf is where the slot of a generation begins.
func slotOf(g int64) int64 { return slots + g%3*(256<<10) }

func TestVerify(t *testing.T) {
	for _, test := range []struct {
		name string
		at   int64
		data []byte
		// findings are what the lines on stdout have in them.
		findings []string
		whole    int
	}{
		{name: "whole", whole: 3},
		{name: "current header", at: slotOf(4) + 16, data: []byte{1}, findings: []string{"generation 4, in slot 1: header of generation 4 is corrupt"}, whole: 2},
		{name: "older header", at: slotOf(2), data: []byte{1}, findings: []string{"generation 2, in slot 2: "}, whole: 2},
		{name: "bucket line", at: slotOf(4) + 128, data: []byte{0xff}, findings: []string{"generation 4, in slot 1: bucket line 0"}, whole: 2},
		{name: "entry", at: slotOf(4) + 128 + 64, data: []byte{0xff}, findings: []string{"generation 4, in slot 1: entry 0"}, whole: 2},
		{name: "length", at: slotTable + 128 + 8, data: words(1 << 40), findings: []string{"slot 1 has 1099511627776 bytes"}, whole: 2},
		{name: "another generation's image", at: slotTable, data: words(2*6 + 2), whole: 2}, // beyond the hot word
		{name: "being written", at: slotTable + 2*128, data: words(2*5 + 1), whole: 2},
		{name: "older sequence", at: slotTable + 2*128, data: words(2*3 + 2), findings: []string{"slot 2: its sequence 8 should be 6"}, whole: 2},
		{name: "current not whole", at: slotTable + 128, data: words(2*4 + 1), findings: []string{"corrupt region: the slot of its generation 4 is not whole"}, whole: 2},
		{name: "hot word ahead", at: hotWord, data: words(5 << 1), findings: []string{"corrupt region: the slot of its generation 5 is not whole"}, whole: 2},
		{name: "hot word 0", at: hotWord, data: words(0), findings: []string{"it names no generation"}},
		{name: "identity", at: 0x20, data: []byte{9}, findings: []string{"the identity's sum does not match"}},
		{name: "no region", at: 0, data: []byte("x"), findings: []string{"it does not begin with the magic of a region"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := forVerify(t)
			overwrite(t, w.dir, test.at, test.data)
			code, findings := exitOK, "0 findings"
			if n := len(test.findings); n > 0 {
				code, findings = exitNo, count(n, "finding")
			}
			o := call(t, w.dir, "verify")
			o.expect(t, code, "*", w.dir, fmt.Sprintf(": %s whole, %s\n", count(test.whole, "generation"), findings))
			lines := strings.Count(o.stdout, "\n")
			for _, part := range test.findings {
				if lines != len(test.findings) || !strings.Contains(o.stdout, part) {
					t.Errorf("%q is not the finding:\n%s", part, o.stdout)
				}
			}
			if len(test.findings) == 0 && lines > 0 {
				t.Error(o.stdout)
			}
		})
	}
}

// Every word of the current image is one that verify looks at, unless it lies
// between sections. There is nothing between these revisions and the sections:
// their records fill 64 bytes.
func TestVerifyEveryWord(t *testing.T) {
	w := forVerify(t)
	file := filepath.Join(w.dir, shm.FileName)
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	between := padding(w.current)
	start := slotOf(4)
	for word := range int64(w.current.Size() / 8) {
		at := 8*word + word%8
		overwrite(t, w.dir, start+at, []byte{before[start+at] ^ 0x40})
		code := call(t, w.dir, "verify").code
		overwrite(t, w.dir, start+at, before[start+at:start+at+1])
		if (code == exitOK) != between[at] {
			t.Errorf("byte %d of %d: exit code %d", at, w.current.Size(), code)
		}
	}
	call(t, w.dir, "verify").expect(t, exitOK, "", "0 findings")
}

// padding marks the bytes of an image that fill its sections up to 64 bytes, as
// the directory has them: docs/FORMAT.md says where.
func padding(m *image.Image) map[int64]bool {
	const counts, entriesAt, entryWords, offset, length = 3, 4, 8, 2, 3
	marks := map[int64]bool{}
	directory := m.Words()[0]
	for i := range directory[counts] & 0xffffffff {
		entry := directory[directory[entriesAt]/8+i*entryWords:]
		for at := entry[offset] + entry[length]; at%64 != 0; at++ {
			marks[int64(at)] = true
		}
	}
	return marks
}

// A damaged region is refused by what reads from it, with a way out.
func TestDamaged(t *testing.T) {
	w := forVerify(t)
	data, err := os.ReadFile(filepath.Join(w.dir, shm.FileName))
	if err != nil {
		t.Fatal(err)
	}
	slot := data[slotOf(4):]
	at := bytes.Index(slot[:w.current.Size()], []byte(`{"k":["v"]}`))
	overwrite(t, w.dir, slotOf(4)+int64(at), []byte("!"))
	for _, args := range []string{"get same", "ls"} {
		call(t, w.dir, strings.Fields(args)...).expect(t, exitNo, "", "is damaged", "statesync verify", "restarting statesyncd")
	}
	call(t, w.dir, "get", "other").expect(t, exitOK, "[3]\n") // it is whole
	call(t, w.dir, "status").expect(t, exitOK, "*")           // it does not look at configs

	overwrite(t, w.dir, slotOf(4), []byte("!"))
	o := call(t, w.dir, "status")
	o.expect(t, exitNo, "*")
	if !strings.Contains(o.stdout, "generation  4, which can't be read") || !strings.Contains(o.stdout, "DAMAGED: the region in "+w.dir) {
		t.Error(o.stdout)
	}
	o = call(t, w.dir, "status", "-o", "json")
	o.expect(t, exitNo, "*")
	if s := decodeStatus(t, o); s["generation"] != 4.0 || s["configs"] != nil || s["writer_alive"] != true || s["damage"] == nil {
		t.Error(o.stdout)
	}
	call(t, w.dir, "watch", "same", "--count", "1").expect(t, exitNo, "", "is damaged")

	if err := os.Truncate(filepath.Join(w.dir, shm.FileName), 0); err != nil {
		t.Fatal(err)
	}
	for _, args := range []string{"get same", "ls", "status", "verify"} {
		o := call(t, w.dir, strings.Fields(args)...)
		o.expect(t, exitNo, "*", w.dir)
		if !strings.Contains(o.stdout+o.stderr, "0 bytes are too few") {
			t.Error(o)
		}
	}
}

// Verify may be called at any time: a busy writer is not damage.
func TestVerifyBesideWriter(t *testing.T) {
	w := forVerify(t)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for g := 0; ; g++ {
			select {
			case <-stop:
				return
			default:
				w.publish("r", document(t, "c", fmt.Sprintf("[%d]", g)))
			}
		}
	}()
	for range 30 {
		o := call(t, w.dir, "verify")
		if o.code != exitOK && !strings.Contains(o.stdout, shm.ErrBusy.Error()) {
			t.Error(o)
			break
		}
	}
	close(stop)
	<-stopped
}
