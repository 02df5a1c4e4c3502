// Package contestant holds everything that is compared: each way to bring a
// config to a request, behind one small interface. The side that publishes and
// the side that reads are in two processes.
package contestant

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/statesync/statesync/bench/peers/report"
	"github.com/statesync/statesync/bench/peers/server"
)

// Contestant is one way to bring a config to a request.
type Contestant struct {
	Name   string // what --only takes
	Title  string // what the document calls it
	Module string // of the Go module whose version belongs to it, if there is one
	Ours   bool   // it is this project
	Floor  bool   // it is what the others are compared with
	Raw    bool   // it hands out bytes, and no setting
	Note   string // what one must know to read its figures

	// Publish gives the config of a place, in version 1, to whatever the readers
	// read. It returns what changes it.
	Publish func(ctx context.Context, p *Place, fleet *server.Fleet) (Source, error)
	// Open is called in the reader's process.
	Open func(ctx context.Context, p Place) (*Reader, error)
}

// Place is where a contestant's config is.
type Place struct {
	Dir  string // the contestant's own folder, on a real file system
	Shm  string // the same in shared memory
	Size int    // of the config, one of config.Sizes
	Addr string // of the server, as Publish has set it
	// Server is the server's name and version, as Publish has set it, where it is
	// no Go module.
	Server string
}

// Versions names what a contestant's figures are about: the library's version, and
// the server's where Publish has set one.
func (c *Contestant) Versions(p Place) string {
	version := report.Version(c.Module)
	// Of a version that was never tagged, the commit's date is enough.
	if parts := strings.Split(version, "-"); len(parts) == 3 && len(parts[1]) == 14 {
		version = "of " + parts[1][:4] + "-" + parts[1][4:6] + "-" + parts[1][6:8]
	}
	return strings.Trim(version+", "+p.Server, ", ")
}

// Heading names the contestant in a table: this project's in bold, and with the version
// that was measured.
func (c *Contestant) Heading(title, version string) string {
	if c.Ours {
		title = "**" + title + "**"
	}
	if version != "" {
		title += " (" + version + ")"
	}
	return title
}

// Sub is a place of its own below this one. The folders exist.
func (p Place) Sub(name string) (Place, error) {
	p.Dir, p.Shm = filepath.Join(p.Dir, name), filepath.Join(p.Shm, name)
	if err := os.MkdirAll(p.Dir, 0o755); err != nil {
		return p, err
	}
	return p, os.MkdirAll(p.Shm, 0o755)
}

// Source is the publishing side.
type Source struct {
	Put   func(ctx context.Context, version int) error // returns when the change is on its way
	Close func() error
	// Renamed returns when the newest Put renamed the file that it had written. It is
	// nil if Put renames no file.
	Renamed func() time.Time
}

// Reader is the reading side.
type Reader struct {
	// Loop reads the setting n times, as n requests would, and returns the sum
	// of the values.
	Loop func(n int) (sum int, err error)
	// Watch calls seen with the current value once it is subscribed to changes,
	// and with the new value for each change that it is notified of, until the
	// context ends. It is nil if the contestant does not notify of changes.
	Watch func(ctx context.Context, seen func(elo int)) error
	// Exact says that Loop has every change that was committed before it began,
	// without being told.
	Exact bool
	// Polled says that requests see changes through Loop, which is told of them
	// behind the scenes, and not through Watch.
	Polled bool
	Close  func() error
}

// each makes a Loop of a read that costs far more than the call.
func each(read func() (int, error)) func(n int) (int, error) {
	return func(n int) (sum int, err error) {
		for range n {
			v, err := read()
			if err != nil {
				return 0, err
			}
			sum += v
		}
		return sum, nil
	}
}

// replacer replaces a file as a whole.
type replacer struct {
	path    string
	renamed time.Time
}

func (r *replacer) replace(content []byte) error {
	temp := filepath.Join(filepath.Dir(r.path), ".new")
	if err := os.WriteFile(temp, content, 0o644); err != nil {
		return err
	}
	r.renamed = time.Now()
	return os.Rename(temp, r.path)
}

// source makes changes by put, which calls replace.
func (r *replacer) source(put func(ctx context.Context, version int) error, end func() error) Source {
	return Source{Put: put, Close: end, Renamed: func() time.Time { return r.renamed }}
}

// unlessEnded is err, or nil when the context has ended, which is why.
func unlessEnded(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return nil
}

func nothing() error { return nil }

// All are all contestants, in the order in which they are measured.
func All() []*Contestant {
	var all []*Contestant
	for _, group := range [][]*Contestant{floors, ours, inProcess, libraries, files, stores, redises, services} {
		all = append(all, group...)
	}
	return all
}

// Find is the contestant of that name, or nil.
func Find(name string) *Contestant {
	for _, c := range All() {
		if c.Name == name {
			return c
		}
	}
	return nil
}
