// Package origin is a published design, the one that this project began with, as
// a contestant: a sidecar writes the version and the JSON to a temporary file
// and renames it; a reader maps the file and maps it anew on a ticker.
//
// It keeps what is wrong with it. The version is the wall clock. A mapping that
// was replaced is never unmapped. The ticker's goroutine and the readers share
// two fields without any synchronization, which is a data race. What is read is
// JSON that the request has still to decode. Errors of a reload are swallowed.
package origin

import (
	"encoding/binary"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Tick is how often a reader looks for a new file.
const Tick = 5 * time.Second

// Publish is the sidecar's part.
func Publish(path string, document []byte) error {
	content := binary.LittleEndian.AppendUint64(nil, uint64(time.Now().UnixNano()))
	temp := path + ".tmp"
	if err := os.WriteFile(temp, append(content, document...), 0o644); err != nil {
		return err
	}
	return os.Rename(temp, path)
}

// Reader is the application's part.
type Reader struct {
	path    string
	data    []byte
	version uint64
	stop    chan struct{}
}

// Open maps the file and starts the ticker.
func Open(path string) (*Reader, error) {
	r := &Reader{path: path, stop: make(chan struct{})}
	if err := r.reload(); err != nil {
		return nil, err
	}
	go func() {
		ticker := time.NewTicker(Tick)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				_ = r.reload()
			case <-r.stop:
				return
			}
		}
	}()
	return r, nil
}

func (r *Reader) reload() error {
	f, err := os.Open(r.path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	data, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	if version := binary.LittleEndian.Uint64(data); version > r.version {
		r.version, r.data = version, data
	}
	return nil
}

// Get is the JSON, in the mapping.
func (r *Reader) Get() []byte { return r.data[8:] }

// Close stops the ticker. The mappings stay.
func (r *Reader) Close() error {
	close(r.stop)
	return nil
}
