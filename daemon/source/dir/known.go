package dir

import (
	"slices"
	"strings"

	"github.com/statesync/statesync/daemon/source"
)

// known are the files that are certain to exist: those of the last snapshot without
// those that an event was about since the scan began that found them. A creation of such
// a name can only be a rename or a link over it, so that the file is whole.
type known struct {
	files  []*source.File // sorted by path
	since  touched        // since the present scan began
	before touched        // in the time of the scan before, which is not finished
}

// touched are paths that events were about.
type touched struct {
	paths map[string]bool
	more  bool // there were more than maxNames
}

func (t *touched) add(path string) {
	if t.more = t.more || len(t.paths) >= maxNames; t.more {
		t.paths = nil
		return
	}
	if t.paths == nil {
		t.paths = map[string]bool{}
	}
	t.paths[path] = true
}

func (t *touched) has(path string) bool { return t.more || t.paths[path] }

// event notes that an event is about a file, and reports whether the file was certain to
// exist before it.
func (k *known) event(path string) bool {
	if k.since.has(path) || k.before.has(path) {
		k.since.add(path)
		return false
	}
	k.since.add(path)
	_, there := slices.BinarySearchFunc(k.files, path, func(f *source.File, path string) int { return strings.Compare(f.Path, path) })
	return there
}

// scanning notes that a scan begins. What it finds says nothing of later events.
func (k *known) scanning() {
	if k.before.more = k.before.more || k.since.more; k.before.more {
		k.before.paths = nil
	}
	for path := range k.since.paths {
		k.before.add(path)
	}
	k.since = touched{}
}

// finished takes the files that a scan found, all of them at rest.
func (k *known) finished(files []*source.File) {
	k.files, k.before = files, touched{}
}
