package history

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/statesync/statesync/shm/image"
)

// ContentDigest is the SHA-256 over the names, kinds and sums of configs that are sorted
// by name. It is equal on any two hosts that have the same configs. It reads all of the
// content.
func ContentDigest(configs []*image.Section) Digest {
	all := make([]*headConfig, len(configs))
	for i, s := range configs {
		all[i] = &headConfig{Ref: refOf(s)}
	}
	return contentDigest(all)
}

// DigestText is how the digest of a content is shown: "sha256:" and its hex digits.
func DigestText(d Digest) string { return "sha256:" + d.String() }

// contentDigest is ContentDigest of configs whose sums are known.
func contentDigest(configs []*headConfig) (d Digest) {
	const block = 4 << 10 // many small writes cost more than the hashing
	all := sha256.New()
	b := make([]byte, 0, 2*block)
	for _, c := range configs {
		b = binary.LittleEndian.AppendUint64(b, uint64(len(c.Name)))
		b = append(b, c.Name...)
		b = binary.LittleEndian.AppendUint64(b, uint64(c.Kind))
		b = append(b, c.Sum[:]...)
		if len(b) >= block {
			all.Write(b)
			b = b[:0]
		}
	}
	all.Write(b)
	all.Sum(d[:0])
	return d
}
