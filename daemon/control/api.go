//go:build unix

package control

import (
	"encoding/json"
	"time"

	"github.com/statesync/statesync/daemon/diff"
	"github.com/statesync/statesync/daemon/history"
	"github.com/statesync/statesync/daemon/source"
)

// Status answers /v1/status. What never happened is null.
type Status struct {
	Version       string     `json:"version"` // of the daemon
	Generation    uint64     `json:"generation"`
	Revision      string     `json:"revision"`
	Digest        string     `json:"digest"`
	Configs       int        `json:"configs"`
	Bytes         int        `json:"bytes"`
	Published     *time.Time `json:"published"`
	Ready         bool       `json:"ready"`
	Fresh         bool       `json:"fresh"`
	Converged     bool       `json:"converged"`
	Held          bool       `json:"held"`
	BehindSince   *time.Time `json:"behind_since"`
	PlanningSince *time.Time `json:"planning_since"`
	Problem       string     `json:"problem"`
	Problems      []Problem  `json:"problems"`       // the first 100 of each cause
	ProblemsFound int        `json:"problems_found"` // all of them
	Alarm         string     `json:"alarm"`
	Layers        []Layer    `json:"layers"`

	Pin       *Pin       `json:"pin"`       // what an operator holds
	Overrides []Override `json:"overrides"` // in force, those that the pin suspends included
	Waiting   *Waiting   `json:"waiting"`   // what would be live were it not held or guarded
	History   History    `json:"history"`
	Control   string     `json:"control"` // the path of the control socket; empty: there is none
}

// By says which process asked for an act.
type By = history.By

// Pin is what an operator holds.
type Pin struct {
	Act        uint64    `json:"act"`
	Generation uint64    `json:"generation"` // whose content is held
	Rollback   bool      `json:"rollback"`
	Time       time.Time `json:"time"`
	By         By        `json:"by"`
	Why        string    `json:"why"`
}

// Override is a value that an operator set for a time.
type Override struct {
	Act       uint64          `json:"act"`
	Config    string          `json:"config"`
	Key       string          `json:"key"`
	Value     json.RawMessage `json:"value"`
	Time      time.Time       `json:"time"`
	Until     time.Time       `json:"until"`
	Suspended bool            `json:"suspended"` // by a pin that is newer
	By        By              `json:"by"`
	Why       string          `json:"why"`
}

// Waiting is what would be live were it not held or guarded.
type Waiting struct {
	Revision string  `json:"revision"`
	Digest   string  `json:"digest"` // that statesync accept takes
	Changes  Changes `json:"changes"`
}

// Changes are what a generation changed, or would change.
type Changes struct {
	Added   int      `json:"added"`
	Changed int      `json:"changed"`
	Removed int      `json:"removed"`
	Names   []string `json:"names"` // the first ten
}

// History says how much is remembered.
type History struct {
	Records   int    `json:"records"`
	Oldest    uint64 `json:"oldest"` // generation
	Newest    uint64 `json:"newest"`
	Bytes     int64  `json:"bytes"`
	FileBytes int64  `json:"file_bytes"`
}

// Record is one generation in the answers to /v1/log and /v1/show.
type Record struct {
	Generation uint64        `json:"generation"`
	Time       time.Time     `json:"time"`
	Revision   string        `json:"revision"`
	Digest     string        `json:"digest"`
	Layers     []RecordLayer `json:"layers"`
	Changes    Changes       `json:"changes"`
	Act        uint64        `json:"act"`     // that caused it; 0: none
	Command    string        `json:"command"` // of the act
	Why        string        `json:"why"`
	By         *By           `json:"by"`
	Live       bool          `json:"live"`
	Pinned     bool          `json:"pinned"` // its content is what a pin holds
}

// RecordLayer is one source of a generation.
type RecordLayer struct {
	Name    string            `json:"name"`
	Source  string            `json:"source"`
	Version string            `json:"version"`
	Meta    map[string]string `json:"meta,omitempty"`
}

// Show answers /v1/show.
type Show struct {
	Record  Record         `json:"record"`
	Changed []ConfigChange `json:"changed"` // by the generation; without a config asked for
	Configs []string       `json:"configs"` // that it had; without a config asked for
	Config  *Config        `json:"config"`  // that was asked for
}

// ConfigChange is one config that a generation changed.
type ConfigChange struct {
	Name string `json:"name"`
	What string `json:"what"` // added, changed, removed or purged
}

// Config is one config as a generation had it.
type Config struct {
	Name    string `json:"name"`
	Kind    string `json:"kind"`
	Content []byte `json:"content"` // base64 in JSON: canonical JSON, or an opaque config's bytes
}

// Entry is one act in the answer to /v1/audit.
type Entry = history.Entry

// Floor is what was accepted last of one source, in the answer to /v1/floors.
type Floor struct {
	Source string    `json:"source"` // what it is of: the address, with what else the history tells sources apart by
	Layers []string  `json:"layers"` // those of the daemon that are held to it
	State  string    `json:"state"`  // a commit; of a bundle its origin, sequence and digest, and the last time seen
	Time   time.Time `json:"time"`   // since when
	Act    uint64    `json:"act"`    // that set it; 0: none did
}

// Reply answers a command.
type Reply struct {
	Act        uint64     `json:"act"`        // its number in the audit; 0: it has none
	Generation uint64     `json:"generation"` // that is live now
	Record     uint64     `json:"record"`     // the generation whose content a pin holds; 0: nothing is pinned
	Published  bool       `json:"published"`  // the command led to a new generation
	Refused    string     `json:"refused"`    // why what was asked for is not live; empty: it is
	Warnings   []string   `json:"warnings"`
	Changes    Changes    `json:"changes"` // by the command
	Diff       *diff.Diff `json:"diff"`    // of a preview: what the command would change
}

// Command is the body of a command. Each command uses the fields that it needs.
type Command struct {
	To      uint64 `json:"to,omitempty"`     // rollback: the generation; 0: the one before
	Config  string `json:"config,omitempty"` // override, override/clear, purge
	Key     string `json:"key,omitempty"`    // override, override/clear
	Value   string `json:"value,omitempty"`  // override: YAML
	For     string `json:"for,omitempty"`    // override: a duration, such as 1h
	Digest  string `json:"digest,omitempty"` // accept
	Source  string `json:"source,omitempty"` // accept: with a commit in the place of a digest; floors/reset
	Commit  string `json:"commit,omitempty"`
	Why     string `json:"why,omitempty"`
	Preview bool   `json:"preview,omitempty"` // say what it would change, and change nothing
}

// Problem is one reason why a newer revision is not published.
type Problem struct {
	Reason  string `json:"reason"`
	Layer   string `json:"layer"`
	File    string `json:"file"`
	Line    int    `json:"line"`   // 0: the whole file
	Column  int    `json:"column"` // 0: not known
	Key     string `json:"key"`
	Message string `json:"message"`
}

// Layer is one source in the answers to /v1/status and /v1/layers.
type Layer struct {
	Name    string            `json:"name"`
	Source  string            `json:"source"`
	Version string            `json:"version"`        // in use
	Meta    map[string]string `json:"meta,omitempty"` // of that version
	Newest  string            `json:"newest"`         // what the source has, where that is not in use
	Good    *time.Time        `json:"last_good"`
	Looked  *time.Time        `json:"last_looked"`
	Looks   uint64            `json:"looks"`
	Failed  uint64            `json:"looks_failed"`
	Problem string            `json:"problem"`
}

// Why answers /v1/why.
type Why struct {
	Config     string   `json:"config"`
	Key        string   `json:"key"`
	Generation uint64   `json:"generation"`
	Since      uint64   `json:"since_generation"` // in which the config last changed
	Origins    []Origin `json:"origins"`          // the winner first
}

// Commit is what a source's history says of a change.
type Commit = source.Commit

// Origin is what one layer says of a value.
type Origin struct {
	Layer   string  `json:"layer"`
	Version string  `json:"version"` // of the layer
	File    string  `json:"file"`
	Line    int     `json:"line"` // 0: the whole file
	Column  int     `json:"column"`
	Value   string  `json:"value"` // canonical JSON; empty for an opaque config and for what is deleted
	Deleted bool    `json:"deleted"`
	Opaque  bool    `json:"opaque"`
	Schema  string  `json:"schema"`           // the file of the schema that checked the config
	Commit  *Commit `json:"commit,omitempty"` // that last changed the file, of a git: source, if it is known
}
