//go:build unix

// Package configdir loads real directories of configs into an application's tests,
// through the daemon's own decoder, layers and schemas. So the CI of a repository of
// configs can run an application's types and its validation over what it is about to
// publish:
//
//	func TestConfigs(t *testing.T) {
//		region := clienttest.New(t)
//		region.Publish(configdir.Load(t, configdir.Options{}, "../config/base", "../config/hosts/a"))
//		c := region.Client()
//		matchmaker := client.Bind(c, "matchmaker", client.Options[Matchmaker]{Strict: true, Validate: (*Matchmaker).Check})
//		if err := matchmaker.Err(); err != nil {
//			t.Error(err)
//		}
//	}
//
// It is apart from clienttest because it compiles the daemon's parsers.
package configdir

import (
	"encoding/json"
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/statesync/statesync/client/clienttest"
	"github.com/statesync/statesync/daemon"
	"github.com/statesync/statesync/daemon/plan"
	"github.com/statesync/statesync/daemon/source"
	"github.com/statesync/statesync/shm/image"
)

// Options are those of the daemon that publishes the directories. The zero value is
// its default.
type Options struct {
	// Opaque are globs of files that are published as they are, as with --opaque.
	Opaque []string
	// AllowEmpty accepts directories without any config, as --allow-empty does.
	AllowEmpty bool
	// Strict makes warnings errors of the test, as statesync check --strict does.
	Strict bool
}

// Load reads directories, the lowest layer first, and returns what the daemon would
// publish of them, for [clienttest.Region.Publish]. Each thing that is wrong is an error
// of the test, with its file, line and column; if the daemon would refuse the whole, the
// test ends. It reads files and waits for those that are just being written.
func Load(t testing.TB, o Options, dirs ...string) map[string]any {
	t.Helper()
	specs := make([]source.Spec, len(dirs))
	roots := map[string]string{} // by layer
	for i, dir := range dirs {
		specs[i] = source.Spec{Name: dir, Scheme: "dir", Address: dir, Text: "dir:" + source.Escape(dir)}
		roots[dir] = dir
		if len(dirs) == 1 {
			roots[""] = dir
		}
	}
	trial, err := daemon.Try(t.Context(), daemon.Options{
		Sources: specs, Opaque: o.Opaque, AllowEmpty: o.AllowEmpty, Log: slog.New(slog.DiscardHandler),
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range trial.Problems {
		if p.Warning && !o.Strict {
			continue
		}
		t.Error(inDir(p, roots))
	}
	if trial.Refused {
		t.FailNow()
	}
	configs := map[string]any{}
	for c := range trial.Image.Configs() {
		if c.Kind() == image.Opaque {
			configs[c.Name()] = clienttest.Opaque(c.Content())
		} else {
			configs[c.Name()] = json.RawMessage(c.Content())
		}
	}
	return configs
}

// inDir is a problem with the path of its file, so that editors find it.
func inDir(p *plan.Problem, roots map[string]string) error {
	at := *p
	if at.File != "" {
		at.File = filepath.Join(roots[at.Layer], at.File)
	}
	return &at
}
