//go:build unix

package daemon

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/statesync/statesync/seqlock"
	"github.com/statesync/statesync/shm/failpoint"
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

func (h header) encode() []byte {
	b := make([]byte, 0, headerBytes)
	for _, word := range []uint64{lastGoodMagic, h.generation, h.length, h.sum} {
		b = binary.LittleEndian.AppendUint64(b, word)
	}
	return binary.LittleEndian.AppendUint64(b, xxhash.Sum64(b))
}

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

// writeWords writes an image's parts as they are in memory, which is little-endian as
// on every machine that a region is for.
func writeWords(w io.Writer, parts [][]uint64) error {
	out := bufio.NewWriterSize(w, 256<<10) // an image may have 100,000 small parts
	for _, part := range parts {
		if _, err := out.Write(seqlock.BytesOf(part)); err != nil {
			return err
		}
	}
	return out.Flush()
}

// headerOf is the header for an image.
func headerOf(m *image.Image) (header, error) {
	sum := xxhash.New()
	if err := writeWords(sum, m.Words()); err != nil {
		return header{}, err
	}
	return header{generation: m.Generation(), length: uint64(m.Size()), sum: sum.Sum64()}, nil
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

// saved is the header of the saved image if the whole file is what it says,
// and else a zero one.
func (s *stateDir) saved() header {
	f, err := s.root.Open(lastGoodFile)
	if err != nil {
		return header{}
	}
	defer f.Close()
	h, err := decodeHeader(f)
	if err != nil {
		return header{}
	}
	sum := xxhash.New()
	n, err := io.Copy(sum, f)
	if err != nil || uint64(n) != h.length || sum.Sum64() != h.sum {
		return header{}
	}
	return h
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

// How long the saver rests after an image was saved, and after one could not
// be.
const (
	saveInterval = time.Second
	saveRetry    = 10 * time.Second
)

// saver saves images in the background. Of those that come while
// it saves or rests, the newest counts.
type saver struct {
	state *stateDir
	next  chan *image.Image // capacity 1
	done  chan struct{}

	// Of the saver's goroutine.
	known header // of the file; zero: not known
	fails string // why the last saving failed
}

func startSaver(s *stateDir) *saver {
	v := &saver{state: s, next: make(chan *image.Image, 1), done: make(chan struct{})}
	go v.run()
	return v
}

// save has an image saved soon.
func (s *stateDir) save(m *image.Image) {
	if s == nil {
		return
	}
	select {
	case <-s.saver.next: // an older one that was not taken
	default:
	}
	s.saver.next <- m // there is room: this is the only sender
}

// close waits until the newest image is saved, or can't be.
func (v *saver) close() {
	close(v.next)
	<-v.done
}

func (v *saver) run() {
	defer close(v.done)
	v.known = v.state.saved()
	rest := time.NewTimer(saveInterval)
	rest.Stop()
	var newest *image.Image
	resting := false
	for open := true; open; {
		select {
		case m, ok := <-v.next:
			if open = ok; ok {
				newest = m
			}
		case <-rest.C:
			resting = false
		}
		if newest == nil || resting && open {
			continue
		}
		pause := saveRetry
		if v.save(newest) {
			newest, pause = nil, saveInterval
		}
		rest.Reset(pause)
		resting = true
	}
}

// save writes an image, if the file does not hold it already.
func (v *saver) save(m *image.Image) bool {
	s := v.state
	h := header{generation: m.Generation(), length: uint64(m.Size())}
	if v.known.generation == h.generation { // it may be the same
		if same, err := headerOf(m); err == nil && same == v.known {
			return true
		}
	}
	failpoint.Here("last-good.begin")
	err := s.replace(lastGoodFile, func(f *os.File) error {
		if _, err := f.Write(make([]byte, headerBytes)); err != nil {
			return err
		}
		failpoint.Here("last-good.header")
		sum := xxhash.New()
		if err := writeWords(io.MultiWriter(f, sum), m.Words()); err != nil {
			return err
		}
		h.sum = sum.Sum64()
		_, err := f.WriteAt(h.encode(), 0)
		return err
	})
	failpoint.Here("last-good.done")
	if err != nil {
		v.known = header{}
		s.errors.Inc()
		if text := err.Error(); text != v.fails {
			v.fails = text
			s.log.Error("the last good image cannot be saved and will be retried", "state_dir", s.path,
				"generation", m.Generation(), "retry", saveRetry, "error", err)
		}
		return false
	}
	if v.fails != "" {
		v.fails = ""
		s.log.Info("the last good image is saved again", "state_dir", s.path, "generation", m.Generation())
	}
	v.known = h
	s.log.Debug("saved the last good image", "state_dir", s.path, "generation", m.Generation(), "bytes", m.Size())
	return true
}
