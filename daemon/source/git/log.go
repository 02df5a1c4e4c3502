//go:build unix

package git

import (
	"bytes"
	"context"
	"io"
	"strings"
	"time"

	"github.com/statesync/statesync/daemon/internal/plain"
	"github.com/statesync/statesync/daemon/source"
)

// Bounds of git log. What is beyond them is not known.
const (
	maxCommits = "1000"
	maxLog     = 4 << 20 // bytes
	logTime    = 5 * time.Second
)

// commits returns the commit that last changed each file, as far as the repository has the
// history: of all files since have, and of those that are the same in have what was known
// then. What the repository's first commit changed is not known. A failure leaves commits
// out: they are for people.
func (s *gitSource) commits(ctx context.Context, now *source.Snapshot, object []byte, have *source.Snapshot) map[string]*source.Commit {
	known := map[*source.File]*source.Commit{}
	var last map[string]*source.Commit
	var all *source.Commit // that changed whatever changed since have
	if have != nil {
		for _, f := range have.Files {
			known[f] = have.Commits[f.Path]
		}
		if parents := parents(object); len(parents) == 1 && parents[0] == have.Meta[keyCommit] {
			at, _ := time.Parse(time.RFC3339, now.Meta[keyTime])
			all = &source.Commit{Name: now.Meta[keyCommit], Author: now.Meta[keyAuthor], Time: at, Subject: now.Meta[keySubject]}
		}
	}
	if all == nil {
		last = s.log(ctx, now, have)
	}
	found := map[string]*source.Commit{}
	for _, f := range now.Files {
		c, same := known[f]
		if newer := last[f.Path]; newer != nil {
			c = newer
		} else if !same {
			c = all
		}
		if c != nil {
			found[f.Path] = c
		}
	}
	return found
}

// parents are those of a commit as it is stored.
func parents(object []byte) (list []string) {
	for line := range bytes.Lines(object) {
		name, value, _ := strings.Cut(strings.TrimSuffix(string(line), "\n"), " ")
		switch name {
		case "parent":
			list = append(list, value)
		case "tree":
		default:
			return list
		}
	}
	return list
}

// log returns the newest commit of each file that changed since have, by git log.
func (s *gitSource) log(ctx context.Context, now, have *source.Snapshot) map[string]*source.Commit {
	args := []string{
		"log", "--no-merges", "--min-parents=1", "--max-count=" + maxCommits, "--name-only", "--no-renames", "-z",
		"--format=%x01%H%x00%an <%ae>%x00%cI%x00%s", now.Meta[keyCommit],
	}
	if have != nil {
		args = append(args, "^"+have.Meta[keyCommit])
	}
	args = append(args, "--")
	folder := ""
	if s.remote.folder != "" {
		args = append(args, ":(literal)"+s.remote.folder)
		folder = s.remote.folder + "/"
	}
	var out []byte
	// What a command that fails has written counts: the newest commits come first.
	_ = s.repo.git.run(ctx, call{args: args, limit: logTime, output: func(r io.Reader) (err error) {
		out, err = io.ReadAll(io.LimitReader(r, maxLog))
		return err
	}})
	return lastChanges(string(out), folder)
}

// lastChanges reads what git log writes: of each commit four texts and the files, each with
// a NUL behind it. The first file has a line feed before it. It returns the newest commit
// of each file below a folder.
func lastChanges(out, folder string) map[string]*source.Commit {
	last := map[string]*source.Commit{}
	var c *source.Commit
	next := func() (text string, ok bool) {
		text, out, ok = strings.Cut(out, "\x00")
		return text, ok
	}
	for text, ok := next(); ok; text, ok = next() {
		if name, begins := strings.CutPrefix(text, "\x01"); begins && IsObject(name) {
			author, _ := next()
			at, _ := next()
			subject, _ := next()
			when, _ := time.Parse(time.RFC3339, at)
			c = &source.Commit{
				Name: strings.Clone(name), Author: plain.Line(author, maxText), Time: when, Subject: plain.Line(subject, maxText),
			}
			continue
		}
		name, below := strings.CutPrefix(strings.TrimPrefix(text, "\n"), folder)
		if below && last[name] == nil {
			last[name] = c
		}
	}
	return last
}
