//go:build unix

package daemon

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"sync"

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
		sum := sha256.New()
		for c := range h.image.Configs() { // sorted by name
			lengths := binary.LittleEndian.AppendUint64(nil, uint64(len(c.Name())))
			lengths = binary.LittleEndian.AppendUint64(lengths, uint64(c.Kind()))
			lengths = binary.LittleEndian.AppendUint64(lengths, uint64(len(c.Content())))
			sum.Write(lengths)
			sum.Write([]byte(c.Name()))
			sum.Write(c.Content())
		}
		h.digest = "sha256:" + hex.EncodeToString(sum.Sum(nil))
	})
	return h.digest
}
