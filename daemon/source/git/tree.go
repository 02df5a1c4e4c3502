//go:build unix

package git

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/statesync/statesync/daemon/internal/plain"
	"github.com/statesync/statesync/daemon/source"
)

const (
	maxDepth    = 64       // of folders
	maxLink     = 4096     // bytes of a symlink's target
	maxLinks    = 10_000   // symlinks that are read
	maxEntry    = 16 << 10 // bytes of one entry of ls-tree
	maxProblems = 32       // that are told
	maxPointer  = 1024     // bytes of a pointer of Git LFS
)

// pointer is how the file of a pointer begins that Git LFS left in the place of a content.
var pointer = []byte("version https://git-lfs.github.com/spec/")

// entry is one entry of the tree, below the source's folder.
type entry struct {
	path string
	mode string // "100644"
	oid  oid
	size int64 // of a blob
}

const (
	modeLink      = "120000"
	modeSubmodule = "160000"
)

// reading reads the files of one commit.
type reading struct {
	s       *gitSource
	commit  oid
	entries map[string]*entry // by path; those that are ignored are not in it
	links   []*entry
	files   []*entry // what the snapshot has, links with what they lead to
	of      []string // their paths
	total   int64    // bytes of what is wanted

	problems []error
}

// read returns the files of a commit, in the order of their paths. What is known from
// the snapshot before is not read again.
func (s *gitSource) read(ctx context.Context, commit oid) ([]*source.File, map[oid][]byte, error) {
	t := &reading{s: s, commit: commit, entries: map[string]*entry{}}
	if err := t.list(ctx); err != nil {
		return nil, nil, err
	}
	targets, err := t.readLinks(ctx)
	if err != nil {
		return nil, nil, err
	}
	t.resolve(targets)
	wanted := t.limit()
	if t.problems != nil {
		return nil, nil, errors.Join(t.problems...)
	}
	contents, err := t.contents(ctx, wanted)
	if err != nil {
		return nil, nil, err
	}
	files := make([]*source.File, len(t.files))
	for i, e := range t.files {
		if !s.opt.Wanted(t.of[i]) {
			files[i] = &source.File{Path: t.of[i]}
			continue
		}
		data := contents[e.oid]
		if len(data) <= maxPointer && bytes.HasPrefix(data, pointer) {
			t.fail(t.of[i], errors.New("is a pointer of Git LFS, whose content is not in the repository; commit the file itself"))
		}
		files[i] = source.NewFile(t.of[i], data)
	}
	if t.problems != nil {
		return nil, nil, errors.Join(t.problems...)
	}
	return files, contents, nil
}

// fail notes what is wrong with a file.
func (t *reading) fail(name string, err error) {
	switch {
	case len(t.problems) < maxProblems:
		t.problems = append(t.problems, &source.FileError{Root: t.s.remote.folder, Path: name, Err: err})
	case len(t.problems) == maxProblems:
		t.problems = append(t.problems, refusef("and more"))
	}
}

// tree names the source's folder in the commit.
func (t *reading) tree() string {
	if t.s.remote.folder == "" {
		return string(t.commit)
	}
	return string(t.commit) + ":" + t.s.remote.folder
}

// list reads the entries of the tree.
func (t *reading) list(ctx context.Context) error {
	seen := 0
	err := t.s.repo.git.run(ctx, call{
		args: []string{"ls-tree", "-r", "-t", "-z", "-l", "--full-tree", t.tree()},
		output: func(r io.Reader) error {
			lines := bufio.NewReaderSize(r, maxEntry)
			for {
				line, err := lines.ReadSlice(0)
				switch {
				case errors.Is(err, io.EOF) && len(line) == 0:
					return nil
				case errors.Is(err, bufio.ErrBufferFull):
					return refusef("the commit has a path of more than %d bytes", maxEntry)
				case errors.Is(err, io.EOF):
					return fmt.Errorf("%w: its tree is listed in part", errDamaged)
				case err != nil:
					return err
				}
				if seen++; seen > t.s.opt.MaxFiles {
					return refusef("the commit has more than %d files and folders, which is the limit; give path=FOLDER", t.s.opt.MaxFiles)
				}
				if err := t.add(string(line[:len(line)-1])); err != nil {
					return err
				}
			}
		},
	})
	if exited(err) && t.s.remote.folder != "" {
		if why := t.noFolder(ctx); why != nil {
			return why
		}
	}
	return t.local(err)
}

// noFolder says why the commit has no such folder, if it has none.
func (t *reading) noFolder(ctx context.Context) error {
	if _, err := t.s.repo.git.text(ctx, "rev-parse", "--verify", "--quiet", string(t.commit)+"^{tree}"); err != nil {
		return t.local(err)
	}
	kind, err := t.s.repo.git.text(ctx, "cat-file", "-t", t.tree())
	switch {
	case exited(err):
		return refusef("the commit has no folder %s; correct path=, or commit the folder", plain.Text(t.s.remote.folder))
	case err != nil:
		return err
	case kind != "tree":
		return refusef("path=%s is no folder of the commit", plain.Text(t.s.remote.folder))
	}
	return nil
}

// local makes the error of a command that reads the repository one of its damage.
func (*reading) local(err error) error {
	if exited(err) {
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	return err
}

// add takes an entry: "MODE TYPE OID SIZE\tPATH".
func (t *reading) add(line string) error {
	head, name, ok := strings.Cut(line, "\t")
	fields := strings.Fields(head)
	if !ok || len(fields) != 4 || !IsObject(fields[2]) || name == "" {
		return fmt.Errorf("%w: its tree has the entry %s", errDamaged, plain.Quote(line))
	}
	e := &entry{path: name, mode: fields[0], oid: oid(fields[2])}
	if source.IgnoredPath(name) {
		return nil
	}
	if fields[1] == "blob" {
		size, err := strconv.ParseInt(fields[3], 10, 64)
		if err != nil || size < 0 {
			return fmt.Errorf("%w: its tree has the entry %s", errDamaged, plain.Quote(line))
		}
		e.size = size
	}
	depth := strings.Count(name, "/")
	switch {
	case !utf8.ValidString(name):
		t.fail(name, errors.New("has a name that is not UTF-8; rename it"))
		return nil
	case t.entries[name] != nil || !source.IsPath(name, maxPath):
		t.fail(name, errors.New("is in the tree twice, or under a name that no file can have"))
		return nil
	case depth > maxDepth:
		t.fail(name, fmt.Errorf("is more than %d folders deep", maxDepth))
		return nil
	}
	t.entries[name] = e
	switch {
	case e.mode == modeSubmodule:
		t.fail(name, errors.New("is a submodule, which is never followed; commit its files, or make a source of its repository"))
	case e.mode == modeLink:
		t.links = append(t.links, e)
	case fields[1] == "blob":
		t.files, t.of = append(t.files, e), append(t.of, name)
	}
	return nil
}

// readLinks reads the targets of the symlinks, in their order.
func (t *reading) readLinks(ctx context.Context) ([]string, error) {
	if len(t.links) > maxLinks {
		return nil, refusef("the commit has more than %d symlinks", maxLinks)
	}
	var long bool
	var list []oid
	for _, e := range t.links {
		if e.size > maxLink {
			t.fail(e.path, fmt.Errorf("is a symlink with a target of %d bytes", e.size))
			long = true
		}
		list = append(list, e.oid)
	}
	if long || len(list) == 0 {
		return nil, nil
	}
	targets := make([]string, 0, len(list))
	err := t.batch(ctx, list, func(_ oid, data []byte) { targets = append(targets, string(data)) })
	return targets, err
}

// resolve has the files include what the symlinks lead to. As in a directory, a symlink
// leads to a file of the source, by a relative target that passes no other symlink.
func (t *reading) resolve(targets []string) {
	for i, target := range targets {
		link := t.links[i]
		to, err := t.follow(link.path, target)
		if err != nil {
			t.fail(link.path, fmt.Errorf("is a symlink to %s, %w", plain.Line(strconv.Quote(target), 200), err))
			continue
		}
		t.files, t.of = append(t.files, to), append(t.of, link.path)
	}
}

// follow returns the entry that a symlink leads to. The error is the end of a sentence.
func (t *reading) follow(name, target string) (*entry, error) {
	if target == "" || path.IsAbs(target) || !utf8.ValidString(target) || strings.ContainsRune(target, 0) {
		return nil, errors.New("which is not a relative path in the source; commit the file itself")
	}
	at := path.Dir(name)
	for part := range strings.SplitSeq(target, "/") {
		switch part {
		case "", ".":
			continue
		case "..":
			if at == "." {
				return nil, errors.New("which leads out of the source; commit the file itself")
			}
			at = path.Dir(at)
			continue
		}
		at = path.Join(at, part)
		if e := t.entries[at]; e != nil && e.mode == modeLink {
			return nil, errors.New("which leads by another symlink; let it lead to the file directly")
		}
	}
	e := t.entries[at]
	switch {
	case e == nil:
		return nil, errors.New("which is not in the source; commit the file itself")
	case !strings.HasPrefix(e.mode, "100"):
		return nil, errors.New("which is not a file; link to each of its files")
	}
	return e, nil
}

// limit holds the files against the limits, and returns the blobs that are to be read, once
// each.
func (t *reading) limit() (list []oid) {
	o := &t.s.opt
	listed, wanted := map[oid]bool{}, false
	for i, e := range t.files {
		if !o.Wanted(t.of[i]) {
			continue
		}
		wanted = true
		if e.size > o.MaxFile {
			t.fail(t.of[i], fmt.Errorf("has %d bytes, and the limit is %d; make it smaller, or raise --max-image", e.size, o.MaxFile))
			continue
		}
		t.total += e.size
		if listed[e.oid] {
			continue
		}
		listed[e.oid] = true
		list = append(list, e.oid)
	}
	if t.total > o.MaxTotal {
		t.problems = append(t.problems, refusef("its files have %d bytes together, and the limit is %d; make them fewer or smaller, or raise --max-image",
			t.total, o.MaxTotal))
	}
	if !wanted && !o.AllowEmpty && t.problems == nil {
		t.problems = append(t.problems, fmt.Errorf("%w; an empty source is taken for a mistake unless --allow-empty is given", source.ErrEmpty))
	}
	return list
}

// contents returns the content of each blob. Those that are known are not read.
func (t *reading) contents(ctx context.Context, list []oid) (map[oid][]byte, error) {
	contents := make(map[oid][]byte, len(list))
	var missing []oid
	for _, o := range list {
		if data, ok := t.s.known[o]; ok {
			contents[o] = data
		} else {
			missing = append(missing, o)
		}
	}
	if len(missing) == 0 {
		return contents, nil
	}
	return contents, t.batch(ctx, missing, func(o oid, data []byte) { contents[o] = data })
}

// batch reads blobs, and calls take for each of them, in order.
func (t *reading) batch(ctx context.Context, list []oid, take func(oid, []byte)) error {
	var names strings.Builder
	for _, o := range list {
		names.WriteString(string(o) + "\n")
	}
	err := t.s.repo.git.run(ctx, call{
		args: []string{"cat-file", "--batch", "--buffer"}, input: strings.NewReader(names.String()),
		output: func(r io.Reader) error {
			objects := bufio.NewReaderSize(r, 64<<10)
			room := source.Allowance{Room: t.s.opt.Room}
			for _, o := range list {
				data, err := t.blob(objects, o, &room)
				if err != nil {
					return err
				}
				take(o, data)
			}
			return nil
		},
	})
	return t.local(err)
}

// blob reads one answer of cat-file, about a blob.
func (t *reading) blob(r *bufio.Reader, want oid, room *source.Allowance) ([]byte, error) {
	o, err := readObject(r)
	if err != nil {
		return nil, fmt.Errorf("the object %s: %w", want, err)
	}
	// What was listed was not larger.
	if o.name != want || o.kind != "blob" || o.size > max(t.s.opt.MaxFile, maxLink) {
		return nil, fmt.Errorf("%w: of the object %s it says %s", errDamaged, want, plain.Quote(o.said))
	}
	if err := room.Take(o.size); err != nil {
		return nil, err
	}
	return o.content()
}
