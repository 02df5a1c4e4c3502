package history

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/statesync/statesync/daemon/source"
	"github.com/statesync/statesync/shm/shmtest"
)

// holds counts how often a text is in a file.
func holds(t testing.TB, path, text string) int {
	t.Helper()
	file, err := os.ReadFile(path)
	shmtest.Must(t, err)
	return bytes.Count(file, []byte(text))
}

// What a purge takes is in no file any more, and what is live, pinned or another config's
// stays.
func TestPurgedBytes(t *testing.T) {
	path := inMemory(t)
	s := open(t, path)
	publish := func(g uint64, a, b, file string) {
		t.Helper()
		p := publication(g, opaque(t, "a", a), opaque(t, "b", b))
		p.Snapshots = []*source.Snapshot{source.NewSnapshot([]*source.File{source.NewFile("a.yaml", []byte(file))}, nil, Digest.String)}
		shmtest.Must(t, s.Record(p))
	}
	publish(1, "value of the pin", "value of b", "first file")
	_, _, err := s.Act(Entry{Command: "pin"}, func(number uint64, i *Intent) error {
		i.Pin = &Pin{Act: number, Generation: 1}
		return nil
	})
	shmtest.Must(t, err)
	publish(2, "secret value", "value of b", "secret file")
	for g := uint64(3); g < 50; g++ { // more pages than later transactions reuse
		publish(g, fmt.Sprint("secret value ", g, strings.Repeat(".", 3000)), "value of b", "secret file")
	}
	publish(50, "value of both", "value of both", "third file")
	publish(51, "live value", "other value of b", "live file")
	shmtest.Must(t, os.WriteFile(path+".damaged", []byte("secret value"), 0o600))
	texts := map[string]bool{ // whether it stays
		"secret value": false, "secret file": false, "first file": false, "third file": false,
		"value of the pin": true, "value of b": true, "value of both": true, "live value": true, "live file": true,
	}
	for text := range texts {
		if holds(t, path, text) == 0 {
			t.Errorf("%q is not in the file before the purge", text)
		}
	}
	sum := refOf(opaque(t, "a", "secret value")).Sum
	objects, err := s.Purge("a", func(layer, path string) bool { return layer == "dir" && path == "a.yaml" }, Entry{Command: "purge a"})
	shmtest.Must(t, err)
	if objects != 4+47 {
		t.Errorf("%d contents went, and should be %d", objects, 4+47)
	}
	for text, stays := range texts {
		if n := holds(t, path, text); (n > 0) != stays {
			t.Errorf("%q is in the file %d times; it stays: %v", text, n, stays)
		}
	}
	if holds(t, path, string(sum[:])) > 0 {
		t.Error("the sum of a purged value is in the file, with which a guess can be tried")
	}
	if _, err := os.Stat(path + ".damaged"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the damaged file is still there: %v", err)
	}
	shmtest.Must(t, s.view((*tx).verify))
}
