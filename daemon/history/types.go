package history

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/statesync/statesync/daemon/source"
	"github.com/statesync/statesync/shm/image"
)

// Digest is a SHA-256.
type Digest = source.Digest

// Errors of a store, to be matched with errors.Is.
var (
	// ErrDamaged matches the errors about bytes of the file that this package did not
	// write. After one, close the store and open it again: Open decides whether the
	// file can be used.
	ErrDamaged = errors.New("the history is damaged")
	// ErrNotKept matches the errors about a record, an entry or a value that is not in
	// the store, or not any more.
	ErrNotKept = errors.New("not kept")
	// ErrPurged matches the errors about a value that Purge removed.
	ErrPurged = errors.New("purged")
)

// By says which process asked for an act.
type By struct {
	UID     int    `json:"uid"` // -1: the daemon itself
	User    string `json:"user"`
	PID     int    `json:"pid"`
	Program string `json:"program"` // "": it could not be read
}

// Name is what people call the user: as the host does, or else by number.
func (b By) Name() string {
	switch {
	case b.UID < 0:
		return "the daemon"
	case b.User != "":
		return b.User
	}
	return fmt.Sprintf("uid %d", b.UID)
}

// Ref is one config of a generation.
type Ref struct {
	Name string
	Kind image.Kind
	// Sum is that of the canonical text, or of an opaque config's bytes. If Purged, it
	// is a pseudonym: equal for values that one Purge removed and that were equal, and
	// of no use for guessing the value.
	Sum    Digest
	Purged bool
}

// Layer is one source of a record.
type Layer struct {
	Name    string            `json:"name"`
	Source  string            `json:"source"`
	Version string            `json:"version"`
	Meta    map[string]string `json:"meta,omitempty"`
}

// FileCommit is the commit that last changed some of the files that a record changed.
type FileCommit struct {
	source.Commit
	Layer string   `json:"layer"`
	Files []string `json:"files"`
}

// Record is one published generation.
type Record struct {
	Generation uint64    `json:"generation"`
	Time       time.Time `json:"time"`    // of the publication
	Content    Digest    `json:"content"` // of all configs: ContentDigest
	Revision   string    `json:"revision,omitempty"`
	Layers     []Layer   `json:"layers,omitempty"`
	// Commits are known of at most maxCommitFiles of the files that the record changed.
	Commits []FileCommit `json:"commits,omitempty"`

	// Act is the number of the audit's entry of the act that caused the publication, and
	// 0 if there was none. Command, Why and By are those of that entry, which the record
	// may outlive.
	Act     uint64 `json:"act,omitempty"`
	Command string `json:"command,omitempty"`
	Why     string `json:"why,omitempty"`
	By      *By    `json:"by,omitempty"`

	Added   int    `json:"added,omitempty"` // configs
	Changed int    `json:"changed,omitempty"`
	Removed int    `json:"removed,omitempty"`
	Region  string `json:"region,omitempty"`
}

// Change is what a record did to one config, or what several records come to. A Ref
// without a name says that there was none, or is none.
type Change struct {
	Name          string
	Before, After Ref
}

// Publication is what Record takes.
type Publication struct {
	Record                   // the store fills in the counts, Content and Commits
	Configs []*image.Section // all that is live, sorted by name
	// Snapshots are those of Layers, in their order. Where an element is nil, the files of
	// that layer stay as the head has them; a nil slice is nil for every layer.
	Snapshots []*source.Snapshot
}

// Pin holds back what is published.
type Pin struct {
	Act        uint64    `json:"act"`        // the entry of the act that made it
	Generation uint64    `json:"generation"` // of the record whose configs it holds
	Content    Digest    `json:"content"`
	Revision   string    `json:"revision,omitempty"` // of that record, as Layers
	Layers     []Layer   `json:"layers,omitempty"`
	Time       time.Time `json:"time"`
	By         By        `json:"by"`
	Why        string    `json:"why,omitempty"`
	Rollback   bool      `json:"rollback,omitempty"`
}

// Override is a value above all layers.
type Override struct {
	Act       uint64          `json:"act"`
	Config    string          `json:"config"`
	Key       string          `json:"key"`
	Value     json.RawMessage `json:"value"`
	Time      time.Time       `json:"time"`
	Until     time.Time       `json:"until,omitzero"`
	Boot      string          `json:"boot,omitempty"`
	UntilBoot time.Duration   `json:"until_boot,omitempty"`
	By        By              `json:"by"`
	Why       string          `json:"why,omitempty"`
}

// Acceptance lets one content pass the guards.
type Acceptance struct {
	Act    uint64    `json:"act"`
	Digest string    `json:"digest"`
	Time   time.Time `json:"time"`
	By     By        `json:"by"`
	Why    string    `json:"why,omitempty"`
}

// Intent is what operators asked for.
type Intent struct {
	Pin       *Pin         `json:"pin,omitempty"`
	Overrides []Override   `json:"overrides,omitempty"`
	Accepted  []Acceptance `json:"accepted,omitempty"`
}

// Entry is one act in the audit.
type Entry struct {
	Number     uint64    `json:"number"`
	Time       time.Time `json:"time"`
	Command    string    `json:"command"` // "rollback 12"
	By         By        `json:"by"`
	Why        string    `json:"why,omitempty"`
	Done       time.Time `json:"done,omitzero"` // zero: it was begun and is not done
	Outcome    string    `json:"outcome,omitempty"`
	Generation uint64    `json:"generation,omitempty"` // that it led to
}

// Stats are the store's figures after its last transaction.
type Stats struct {
	Records        int
	Oldest, Newest uint64 // generations; 0: there is no record
	Objects        int
	Bytes          int64 // of contents, records and changes: what Options.Bytes bounds
	FileBytes      int64
}
