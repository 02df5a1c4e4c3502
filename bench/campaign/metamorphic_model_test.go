//go:build linux

package campaign

import (
	"maps"
	"slices"
)

// metaContent is what a region holds: each config's number. nil means that there is no region.
type metaContent map[string]int

// metaModel models a script's source, daemon and region in a few variables. Each
// revision that the daemon may have published is an entry of history. The region may
// hold any of the newest entries; at a sync it holds the last one.
type metaModel struct {
	files   map[string]int    // the source, as it was last whole
	under   map[string]int    // the layer below it
	masked  map[string]bool   // configs of that which the source removes
	layer   string            // that changed since the last sync, "source" or "under"; never both
	broken  map[string]string // configs that are broken in the source, and how
	running bool              // the daemon
	ready   bool              // and it listens to signals
	slots   string            // the daemon's
	damaged bool              // the region, since the last sync
	moved   bool              // the region was or will be another file, since the last sync

	history []metaContent
	floor   int           // the region holds this entry or a later one
	atomic  bool          // the source is read as it was at one moment
	passed  []metaContent // what the source came to since the last sync, also while a part of it was broken
	syncs   int
}

func newMetaModel() *metaModel {
	return &metaModel{
		files: map[string]int{}, under: map[string]int{}, masked: map[string]bool{}, broken: map[string]string{},
		history: []metaContent{nil},
	}
}

// merged is what the two layers come to.
func (m *metaModel) merged() metaContent {
	content := metaContent{}
	for name, n := range m.under {
		if !m.masked[name] {
			content[name] = n
		}
	}
	maps.Copy(content, m.files)
	return content
}

// changed records what the daemon may publish now.
func (m *metaModel) changed() {
	m.passed = append(m.passed, m.merged())
	if now := m.merged(); m.running && len(m.broken) == 0 && len(now) > 0 && !maps.Equal(m.last(), now) {
		m.history = append(m.history, now)
	}
}

func (m *metaModel) last() metaContent { return m.history[len(m.history)-1] }

// settled records that the region holds an entry, and that later ones were never
// published.
func (m *metaModel) settled(at int) {
	m.history = m.history[:at+1]
	m.floor, m.passed = at, nil
}

// next is the first entry, not before from, for which a condition holds, or -1.
func (m *metaModel) next(from int, is func(metaContent) bool) int {
	for i := from; i < len(m.history); i++ {
		if is(m.history[i]) {
			return i
		}
	}
	return -1
}

// mixed reports whether each config is as in some entry, not before from. Files that are
// replaced one after the other are read as they are found: a look that takes long has one
// as it was and the next as it is.
func (m *metaModel) mixed(from int, c metaContent) bool {
	if m.atomic {
		return false
	}
	for _, name := range append(slices.Collect(maps.Keys(c)), metaConfigs...) {
		n, there := c[name]
		if !there {
			n = absent
		}
		if m.nextWith(from, name, n) < 0 {
			return false
		}
	}
	return c != nil
}

// nextWith is the first entry, not before from, in which a config has a number, absent
// included. It is from itself if the config only passed by that number since the last
// sync: a look that finds it may have missed what was broken before that in another file.
func (m *metaModel) nextWith(from int, name string, n int) int {
	at := m.next(from, func(entry metaContent) bool { return entry != nil && entry.has(name, n) })
	if at < 0 && !m.atomic && slices.ContainsFunc(m.passed, func(c metaContent) bool { return c.has(name, n) }) {
		return from
	}
	return at
}

// newest is the last entry that is a content, or -1.
func (m *metaModel) newest(c metaContent) int {
	for i, entry := range slices.Backward(m.history) {
		if same(entry, c) {
			return i
		}
	}
	return -1
}

func same(a, b metaContent) bool { return (a == nil) == (b == nil) && maps.Equal(a, b) }

// possible reports whether an operation makes sense in the current state. The others
// are skipped, so that a script stays valid when operations are removed from it.
func (m *metaModel) possible(op metaOp) bool {
	_, there := m.files[op.arg(0)]
	if layer := metaLayer[op.verb()]; layer != "" && m.layer != "" && layer != m.layer {
		// The daemon may read either layer first, and the model knows one order.
		return false
	}
	switch op.verb() {
	case "write", "rename":
		return m.broken[op.arg(0)] == ""
	case "delete":
		return (there || m.masked[op.arg(0)]) && m.broken[op.arg(0)] == ""
	case "mask":
		return !m.masked[op.arg(0)] && m.broken[op.arg(0)] == ""
	case "under":
		// A layer moves on while another is broken, and one source does not.
		return len(m.broken) == 0
	case "bare":
		_, below := m.under[op.arg(0)]
		return below && len(m.broken) == 0
	case "break":
		// A daemon that has only begun to start without a whole region may find this
		// before it has read the source, and then has an older image; see "start".
		return there && m.broken[op.arg(0)] == "" && (!m.running || !m.damaged || m.ready)
	case "mend":
		return m.broken[op.arg(0)] != ""
	case "start":
		// A daemon that finds neither a valid source nor a valid region publishes the
		// state directory's last good image, which may be older.
		return !m.running && (!m.damaged || len(m.broken) == 0)
	case "term", "kill":
		return m.running
	case "hup":
		return m.ready
	case "region":
		// A daemon that has only begun to start may find the damage before it knows
		// what the region held, and the state directory's image may be older.
		return m.ready && m.floor > 0
	case "sync":
		return m.running && (len(m.broken) == 0 || m.floor > 0)
	}
	return true
}

// metaLayer is the layer that an operation changes.
var metaLayer = map[string]string{
	"write": "source", "rename": "source", "delete": "source", "break": "source", "mask": "source", "under": "under", "bare": "under",
}

// apply applies an operation to the model.
func (m *metaModel) apply(op metaOp) {
	if layer := metaLayer[op.verb()]; layer != "" {
		m.layer = layer
	}
	switch op.verb() {
	case "write", "rename":
		m.files[op.arg(0)] = op.number(1)
		delete(m.masked, op.arg(0))
	case "delete":
		delete(m.files, op.arg(0))
		delete(m.masked, op.arg(0))
	case "mask":
		delete(m.files, op.arg(0))
		m.masked[op.arg(0)] = true
	case "under":
		m.under[op.arg(0)] = op.number(1)
	case "bare":
		delete(m.under, op.arg(0))
	case "break":
		m.broken[op.arg(0)] = op.arg(1)
	case "mend":
		delete(m.broken, op.arg(0))
	case "start":
		m.running = true
		m.moved = m.moved || op.arg(0) != m.slots
		m.slots = op.arg(0)
	case "term", "kill":
		m.running, m.ready = false, false
	case "region":
		m.damaged, m.moved = true, true
	case "sync":
		m.syncs++
		if len(m.broken) == 0 {
			m.layer = ""
			m.files["sync"] = m.syncs
		}
	}
	m.changed()
}
