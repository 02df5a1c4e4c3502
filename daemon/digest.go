//go:build unix

package daemon

import (
	"sync"

	"github.com/statesync/statesync/daemon/history"
	"github.com/statesync/statesync/shm/image"
)

// digest is that of configs, once a caller has asked for it: that reads all of their
// content, which takes a millisecond for each MiB or two.
type digest struct {
	once sync.Once
	text string
}

func (d *digest) of(configs []*image.Section) string {
	d.once.Do(func() { d.text = history.DigestText(history.ContentDigest(configs)) })
	return d.text
}

// holding is an image that the region holds, and its digest.
type holding struct {
	image  *image.Image
	digest digest
}

// Digest names the content of the current generation: "sha256:" and the hex
// digest over the names, kinds and contents of all configs. It is equal on any
// two hosts that hold the same configs, whichever revisions those came from,
// and empty while there is no generation. It may be called from any goroutine.
// The first call for a generation reads all of its content; the daemon does not wait
// for that.
func (s *State) Digest() string {
	if s.held == nil {
		return ""
	}
	return s.held.digest.of(s.held.image.Sections())
}
