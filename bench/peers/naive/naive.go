// Package naive is what a colleague would write in an afternoon: one buffer in
// shared memory behind a sequence counter, which is odd while the writer is at
// it. A reader copies the whole image and begins anew when the counter moved.
//
// There are no notifications: a reader has to poll. A writer that dies while the
// counter is odd leaves readers that wait for ever. Nothing proves that the bytes
// are those that were written. By Go's memory model the copy is a data race, which
// does no harm with the memory order of amd64.
package naive

import (
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The layout: the counter, the document's length, the document.
const (
	lengthAt = 8
	dataAt   = 64
)

// Map is a mapping of the buffer.
type Map struct {
	data []byte
}

// Create makes the buffer with room for so many bytes, for its writer.
func Create(path string, size int) (*Map, error) {
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		return nil, err
	}
	if err := os.Truncate(path, int64(dataAt+size)); err != nil {
		return nil, err
	}
	return mapFile(path, os.O_RDWR, unix.PROT_READ|unix.PROT_WRITE)
}

// Open maps the buffer for reading.
func Open(path string) (*Map, error) { return mapFile(path, os.O_RDONLY, unix.PROT_READ) }

func mapFile(path string, flag, prot int) (*Map, error) {
	f, err := os.OpenFile(path, flag, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	data, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), prot, unix.MAP_SHARED)
	return &Map{data}, err
}

func (m *Map) word(at int) *uint64 { return (*uint64)(unsafe.Pointer(&m.data[at])) }

// Write replaces the document.
func (m *Map) Write(document []byte) error {
	if len(document) > len(m.data)-dataAt {
		return fmt.Errorf("a document of %d bytes does not fit into %d", len(document), len(m.data)-dataAt)
	}
	atomic.AddUint64(m.word(0), 1)
	atomic.StoreUint64(m.word(lengthAt), uint64(len(document)))
	copy(m.data[dataAt:], document)
	atomic.AddUint64(m.word(0), 1)
	return nil
}

// Read copies the document into buf, which grows as it must, and returns it.
func (m *Map) Read(buf []byte) []byte {
	for {
		before := atomic.LoadUint64(m.word(0))
		if before%2 == 0 {
			length := min(atomic.LoadUint64(m.word(lengthAt)), uint64(len(m.data)-dataAt))
			buf = append(buf[:0], m.data[dataAt:dataAt+length]...)
			if atomic.LoadUint64(m.word(0)) == before {
				return buf
			}
		}
		runtime.Gosched()
	}
}

// Sequence returns the counter, for polling.
func (m *Map) Sequence() uint64 { return atomic.LoadUint64(m.word(0)) }

// Close unmaps the buffer.
func (m *Map) Close() error { return unix.Munmap(m.data) }
