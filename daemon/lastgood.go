//go:build unix

package daemon

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"github.com/cespare/xxhash/v2"

	"github.com/statesync/statesync/seqlock"
	"github.com/statesync/statesync/shm/image"
)

// lastGoodMagic is "SSYNCLG1" as a little-endian word.
const lastGoodMagic = 0x31474c434e595353

// header is the beginning of the last good image's file, five little-endian
// words: magic, the image's generation, its length in bytes, its sum, and the
// sum of the four. The image's words follow, and nothing after them.
type header struct {
	generation uint64
	length     uint64
	sum        uint64 // xxhash64 of the image
}

const headerBytes = 5 * 8

var errDamaged = errors.New("it is damaged")

// decodeHeader reads and verifies a header.
func decodeHeader(r io.Reader) (header, error) {
	b := make([]byte, headerBytes)
	if _, err := io.ReadFull(r, b); err != nil {
		return header{}, fmt.Errorf("%w: its header is cut off", errDamaged)
	}
	word := func(i int) uint64 { return binary.LittleEndian.Uint64(b[i*8:]) }
	if word(0) != lastGoodMagic || word(4) != xxhash.Sum64(b[:headerBytes-8]) {
		return header{}, fmt.Errorf("%w: its header's sum does not match", errDamaged)
	}
	h := header{generation: word(1), length: word(2), sum: word(3)}
	if h.generation == 0 || h.generation > seqlock.MaxGeneration {
		return header{}, fmt.Errorf("%w: generation %d is out of range", errDamaged, h.generation)
	}
	return h, nil
}

// readHeader reads the header of the saved image.
func (s *stateDir) readHeader() (header, error) {
	f, err := s.root.Open(lastGoodFile)
	if err != nil {
		return header{}, err
	}
	defer f.Close()
	return decodeHeader(f)
}

// lastGood reads the saved image; nil without an error says that there is
// none. An image of more than limit bytes is not read.
func (s *stateDir) lastGood(limit int64) (*image.Image, error) {
	if s == nil {
		return nil, nil
	}
	f, err := s.root.Open(lastGoodFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	m, err := readLastGood(f, info.Size(), limit)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(s.path, lastGoodFile), err)
	}
	return m, nil
}

// readLastGood reads an image from a file of size bytes.
func readLastGood(r io.Reader, size, limit int64) (*image.Image, error) {
	h, err := decodeHeader(r)
	if err != nil {
		return nil, err
	}
	switch {
	case h.length > uint64(limit):
		return nil, fmt.Errorf("it has %d bytes, and --max-image allows %d", h.length, limit)
	case h.length%8 != 0 || size != headerBytes+int64(h.length):
		return nil, fmt.Errorf("%w: its length differs from its header's", errDamaged)
	}
	data := make([]byte, h.length) // the file is that long, so this asks for no more than it holds
	if _, err := io.ReadFull(r, data); err != nil {
		return nil, err
	}
	if xxhash.Sum64(data) != h.sum {
		return nil, fmt.Errorf("%w: its sum does not match", errDamaged)
	}
	words := make([]uint64, len(data)/8)
	for i := range words {
		words[i] = binary.LittleEndian.Uint64(data[i*8:])
	}
	m, err := image.Load(words, h.generation)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	}
	return m, nil
}
