package history

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/statesync/statesync/shm/image"
)

// ContentDigest is the SHA-256 over the names, kinds and contents of configs that are
// sorted by name. It is equal on any two hosts that have the same configs. It reads all
// of the content.
func ContentDigest(configs []*image.Section) (d Digest) {
	all := sha256.New()
	var lengths []byte
	for _, c := range configs {
		lengths = binary.LittleEndian.AppendUint64(lengths[:0], uint64(len(c.Name())))
		lengths = binary.LittleEndian.AppendUint64(lengths, uint64(c.Kind()))
		lengths = binary.LittleEndian.AppendUint64(lengths, uint64(len(c.Content())))
		all.Write(lengths)
		all.Write([]byte(c.Name()))
		all.Write(c.Content())
	}
	all.Sum(d[:0])
	return d
}
