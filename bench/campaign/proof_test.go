//go:build linux

package campaign

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/statesync/statesync/client"
)

// A revision that proves itself: each of its configs has the revision's number and
// the digest of all configs' payloads. A reader that has them all verifies from the
// content alone, without the image's checksums, that they belong together and that
// no byte of them is wrong.

// proven is one config of such a revision.
type proven struct {
	Number  int    `json:"number"`
	Payload string `json:"payload"`
	Digest  string `json:"digest"`
}

// provenNames are its configs.
var provenNames = []string{"a", "b", "team/c"}

// revision makes revision number n, with payloads of up to size bytes each.
func revision(n, size int) map[string]proven { return sizedRevision(n, 1, size) }

// sizedRevision is revision with payloads of least bytes or more.
func sizedRevision(n, least, most int) map[string]proven {
	random := rand.New(rand.NewPCG(uint64(n), 1))
	configs := map[string]proven{}
	for _, name := range provenNames {
		payload := strings.Repeat(string(rune('a'+random.IntN(26))), least+random.IntN(most-least+1))
		configs[name] = proven{Number: n, Payload: payload}
	}
	sum := digest(configs)
	for name, c := range configs {
		c.Digest = sum
		configs[name] = c
	}
	return configs
}

// digest is that of all payloads and their number.
func digest(configs map[string]proven) string {
	h := sha256.New()
	for _, name := range provenNames {
		c := configs[name]
		fmt.Fprintf(h, "%s %d %d %s\n", name, c.Number, len(c.Payload), c.Payload)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// prove verifies the revision in a snapshot, and returns its number.
func prove(s *client.Snapshot) (number int, err error) {
	configs := map[string]proven{}
	for _, name := range provenNames {
		doc, err := s.Get(name)
		if err != nil {
			return 0, err
		}
		var c proven
		if err := json.Unmarshal(doc.JSON(), &c); err != nil {
			return 0, fmt.Errorf("generation %d: %s: %w", s.Generation(), name, err)
		}
		configs[name] = c
	}
	sum := digest(configs)
	for _, name := range provenNames {
		if c := configs[name]; c.Digest != sum || c.Number != configs[provenNames[0]].Number {
			return 0, fmt.Errorf("generation %d: %s: revision %d with digest %s, and the payloads have %s",
				s.Generation(), name, c.Number, c.Digest, sum)
		}
	}
	return configs[provenNames[0]].Number, nil
}

// writeRevision makes dir hold revision n as a Kubernetes volume does it: a new
// directory, and one rename that swaps the link to it. So the daemon never sees
// a mixture.
func writeRevision(t testing.TB, dir string, n, size int) {
	t.Helper()
	writeConfigs(t, dir, n, revision(n, size))
}

// writeConfigs is writeRevision for the configs of a revision that is made
// already.
func writeConfigs(t testing.TB, dir string, n int, configs map[string]proven) {
	t.Helper()
	version := fmt.Sprintf("..%d", n)
	for name, c := range configs {
		path := filepath.Join(dir, version, name+".json")
		ok(t, os.MkdirAll(filepath.Dir(path), 0o755))
		text, err := json.Marshal(c)
		ok(t, err)
		ok(t, os.WriteFile(path, text, 0o644))
	}
	old, _ := os.Readlink(filepath.Join(dir, "..data"))
	ok(t, os.Symlink(version, filepath.Join(dir, "..data_tmp")))
	ok(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
	for _, name := range provenNames {
		top, _, nested := strings.Cut(name, "/")
		if !nested {
			top += ".json"
		}
		if err := os.Symlink(filepath.Join("..data", top), filepath.Join(dir, top)); err != nil && !os.IsExist(err) {
			t.Fatal(err)
		}
	}
	// The replaced directory stays until the next call: the daemon watches it until
	// it has read the new one, and its removal would be another event to wait out.
	versions, err := filepath.Glob(filepath.Join(dir, "..[0-9]*"))
	ok(t, err)
	for _, path := range versions {
		if name := filepath.Base(path); name != version && name != old {
			ok(t, os.RemoveAll(path))
		}
	}
}

// TestProof verifies that prove accepts a revision, and refuses a mixture of two.
func TestProof(t *testing.T) {
	good := revision(7, 100)
	if digest(good) != good["a"].Digest {
		t.Error("a whole revision does not prove itself")
	}
	other := revision(8, 100)
	good["b"] = other["b"]
	if digest(good) == good["a"].Digest {
		t.Error("a mixture proves itself")
	}
}
