//go:build unix

package daemon

import (
	"sync"

	"github.com/statesync/statesync/daemon/history"
	"github.com/statesync/statesync/shm/image"
)

// holding is an image that the region holds, and its digest once a caller has
// asked for it.
type holding struct {
	image  *image.Image
	once   sync.Once
	digest string
}

// Digest names the content of the current generation: "sha256:" and the hex
// digest over the names, kinds and contents of all configs. It is equal on any
// two hosts that hold the same configs, whichever revisions those came from,
// and empty while there is no generation. It may be called from any goroutine.
// The first call for a generation reads all of its content, which takes a
// millisecond for each MiB or two; the daemon does not wait for that.
func (s *State) Digest() string {
	h := s.held
	if h == nil {
		return ""
	}
	h.once.Do(func() {
		h.digest = "sha256:" + history.ContentDigest(h.image.Sections()).String()
	})
	return h.digest
}
