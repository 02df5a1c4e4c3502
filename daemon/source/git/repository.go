//go:build unix

package git

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/statesync/statesync/daemon/internal/plain"
	"github.com/statesync/statesync/daemon/source"
)

// fetchedRef is the one ref of the repository: what the remote had at the last git fetch.
// Nothing else is removed before shrink, so what was accepted before stays, too.
const fetchedRef = "refs/statesync/fetched"

const (
	// fetchTime is how long a fetch may take.
	fetchTime = 5 * time.Minute
	// maxFetched limits the size of each file that a fetch writes, and so of a pack.
	maxFetched = 1 << 30
	// maxChanges is after how many changes the history is cut off and repacked.
	maxChanges = 64
	// orphanTime is how long a directory is tried to be deleted into which something else
	// still writes.
	orphanTime = time.Second
)

// errDamaged is the error of a repository that does not have what it should have: it is
// deleted, and fetched anew.
var errDamaged = errors.New("the local copy of the repository is damaged")

// oid is the name of an object, in hex.
type oid string

var objectName = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)

// IsObject reports whether a text is the whole name of an object.
func IsObject(text string) bool { return objectName.MatchString(text) }

// algorithm is the hash that makes an object's name.
func (o oid) algorithm() string {
	if len(o) == 64 {
		return "sha256"
	}
	return "sha1"
}

// revision is what the remote has.
type revision struct {
	ref    string // that is followed: "refs/heads/main"
	tip    oid    // what the ref names: the commit, or a tag of it
	commit oid
	tag    string // the object of tip as it is stored: a tag, or the commit
	object string // that of commit
}

// repository is the bare repository that a source fetches into. It has no work tree, no
// hooks and no remotes, and belongs to one goroutine.
type repository struct {
	git     binary
	remote  *remote
	maxFile int64 // maxFetched

	root    oid       // the commit that later ones must descend from; "": none
	begun   oid       // the root that this repository was begun with
	ready   bool      // it was looked at since the start, and can be used
	pulled  time.Time // when git fetch ended last that worked
	changes int       // since its history was cut off last

	// ask sends the remote a request of Git's protocol, version 2. nil: only git can.
	ask func(ctx context.Context, request string) (io.ReadCloser, error)
}

// open makes the repository usable: what a fetch left that did not end is removed, and a
// repository that cannot be used is made anew.
func (r *repository) open(ctx context.Context) error {
	if r.ready {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(r.git.dir), 0o700); err != nil {
		return err
	}
	if err := r.clean(); err != nil {
		return err
	}
	usable := false
	if _, err := os.Lstat(r.git.dir); err == nil {
		got, err := r.revision(ctx, fetchedRef)
		switch {
		case err != nil && !exited(err) && !errors.Is(err, errDamaged) && !refuses(err):
			return err
		case err == nil && got.commit != "":
			count, err := r.git.text(ctx, "rev-list", "--count", fetchedRef)
			if err != nil && !exited(err) {
				return err
			}
			r.changes, err = strconv.Atoi(count)
			usable = err == nil
		}
	}
	if !usable {
		return r.create(ctx, "sha1")
	}
	r.ready = true
	return nil
}

// create makes an empty repository in the place of the one that is there.
func (r *repository) create(ctx context.Context, algorithm string) error {
	if err := r.remove(); err != nil {
		return err
	}
	// A repository that holds nothing yet is not ready: the next open makes it anew.
	return r.git.run(ctx, call{args: []string{"init", "--quiet", "--bare", "--template=", "--object-format=" + algorithm}})
}

// remove deletes the repository.
func (r *repository) remove() error {
	r.ready, r.changes, r.begun = false, 0, ""
	return removeAll(r.git.dir)
}

// removeAll deletes what is at a path. A process that was killed may have left commands
// behind whose parent is gone: they end soon, and until then may write into it.
func removeAll(path string) error {
	for end := time.Now().Add(orphanTime); ; time.Sleep(orphanTime / 100) {
		err := os.RemoveAll(path)
		if !errors.Is(err, syscall.ENOTEMPTY) || time.Now().After(end) {
			return err
		}
	}
}

// clean removes the locks and the temporary files that killed processes left.
func (r *repository) clean() error {
	return filepath.WalkDir(r.git.dir, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // no repository, or what a command deletes that has not ended yet
		case err != nil:
			return err
		}
		name := entry.Name()
		if strings.HasSuffix(name, ".lock") || strings.HasPrefix(name, "tmp_") || strings.HasPrefix(name, ".tmp-") {
			if err := removeAll(path); err != nil {
				return err
			}
			if entry.IsDir() {
				return fs.SkipDir
			}
		}
		return nil
	})
}

// revision returns what a name leads to, of an object or of fetchedRef, and zero if the
// repository does not have it.
func (r *repository) revision(ctx context.Context, name string) (got revision, err error) {
	err = r.git.run(ctx, call{
		args: []string{"cat-file", "--batch"}, input: strings.NewReader(name + "\n" + name + "^{commit}\n"),
		output: func(in io.Reader) (err error) {
			objects := bufio.NewReader(in)
			if got.tip, got.tag, err = readWhole(objects); err == nil && got.tip != "" {
				got.commit, got.object, err = readWhole(objects)
			}
			return err
		},
	})
	switch {
	case err != nil:
		return revision{}, err
	case got.tip == "":
		return revision{}, nil
	case got.commit == "":
		return revision{}, refusef("the ref %s names no commit", plain.Quote(r.remote.name))
	}
	return got, nil
}

// readWhole reads an answer of cat-file about a commit or a tag. It returns no name if the
// repository does not have it.
func readWhole(r *bufio.Reader) (oid, string, error) {
	o, err := readObject(r)
	switch {
	case err != nil || o.name == "":
		return "", "", err
	case o.size > maxObject:
		return "", "", refusef("the %s %s has more than %d bytes", o.kind, o.name, maxObject)
	}
	data, err := o.content()
	return o.name, string(data), err
}

// fetch brings what the remote has of a ref. The first fetch of a repository brings one
// commit; each one after it what is new, so that it is known what descends from what.
// If the ref's tip is known, that alone is asked for, and not the ref first, unless the
// remote gives no object by its name. have is a commit that an earlier fetch brought, and
// "" if there was none since the start.
func (r *repository) fetch(ctx context.Context, from ref, have oid) (revision, error) {
	if err := r.open(ctx); err != nil {
		return revision{}, err
	}
	if r.ready && from.tip != "" {
		switch got, err := r.direct(ctx, from.tip, have); {
		case err == nil:
			got.ref = from.name
			return got, nil
		case errors.Is(err, errNoAnswer) && errors.Is(err, context.DeadlineExceeded): // as for a poll
			return revision{}, source.Unreachable(err)
		}
	}
	first := !r.ready
	var err error
	switch {
	case first:
		err = r.begin(ctx, from.name)
	case from.tip != "":
		if err = r.pull(ctx, string(from.tip), false); !exited(err) {
			break
		}
		fallthrough
	default:
		err = r.pull(ctx, from.name, false)
	}
	if err != nil {
		return revision{}, r.failed(ctx, err, first)
	}
	got, err := r.revision(ctx, fetchedRef)
	switch {
	case exited(err):
		return revision{}, fmt.Errorf("%w: %w", errDamaged, err)
	case err != nil:
		return revision{}, err
	case got.commit == "":
		return revision{}, fmt.Errorf("%w: it does not have what was fetched", errDamaged)
	}
	r.ready = true
	got.ref = from.name
	return got, nil
}

// begin is the first fetch of a repository. If later commits must descend from one that
// was accepted before, that one is fetched first, and then what came after it.
func (r *repository) begin(ctx context.Context, ref string) error {
	r.begun = r.root
	if r.root != "" {
		switch err := r.pullFirst(ctx, string(r.root)); {
		case err == nil:
			return r.pull(ctx, ref, false)
		case !said(err, "not our ref") && !said(err, "unadvertised object"):
			return err
		}
	}
	return r.pullFirst(ctx, ref)
}

// pullFirst fetches one commit into an empty repository, which is made anew if the remote
// uses the other hash.
func (r *repository) pullFirst(ctx context.Context, what string) error {
	err := r.pull(ctx, what, true)
	if !said(err, "mismatched algorithms") {
		return err
	}
	if err := r.create(ctx, "sha256"); err != nil {
		return err
	}
	return r.pull(ctx, what, true)
}

// pull fetches a ref or a commit of the remote into fetchedRef. git reads what to fetch
// after it started, so that the limit of its files is set before it writes any.
func (r *repository) pull(ctx context.Context, what string, one bool) error {
	args := []string{
		"fetch", "--quiet", "--stdin", "--no-tags", "--no-recurse-submodules", "--no-auto-maintenance", "--no-write-fetch-head", "--atomic",
	}
	if one {
		args = append(args, "--depth=1")
	}
	err := r.git.run(ctx, call{
		args: append(args, "--end-of-options", r.remote.url.String()), limit: fetchTime, fileSize: r.maxFile,
		input: strings.NewReader("+" + what + ":" + fetchedRef + "\n"),
	})
	if err == nil {
		r.pulled = time.Now()
	}
	return err
}

// failed looks at the repository after a fetch failed, since that may be why.
func (r *repository) failed(ctx context.Context, err error, first bool) error {
	if ctx.Err() != nil {
		r.ready = false // what the fetch left is removed before the next one
		return err
	}
	if cleaned := r.clean(); cleaned != nil {
		return errors.Join(err, cleaned)
	}
	if first {
		return errors.Join(err, r.remove())
	}
	probe := r.git.run(ctx, call{args: []string{"rev-list", "--max-count=1", "--objects", "--quiet", fetchedRef}})
	if probe != nil && exited(probe) {
		return fmt.Errorf("%w: %w", errDamaged, probe)
	}
	return err
}

// accepted is told of each commit that became a snapshot. Now and then it cuts off the
// history before it: otherwise the repository would grow for ever. A failure to shrink it
// is not one of the source.
func (r *repository) accepted(ctx context.Context, commit oid) {
	if r.changes++; r.changes >= maxChanges {
		r.shrink(ctx, commit)
	}
}

// shrink keeps of the history the accepted commit alone. It fetches that commit by its
// name: the ref of the remote may be newer by now, and a newer commit without its history
// could not be told to descend from this one.
func (r *repository) shrink(ctx context.Context, commit oid) {
	if r.pull(ctx, string(commit), true) != nil {
		return
	}
	for _, args := range [][]string{{"repack", "-adq"}, {"prune", "--expire=now"}} {
		if r.git.run(ctx, call{args: args, limit: fetchTime}) != nil {
			return
		}
	}
	r.changes = 0
}
