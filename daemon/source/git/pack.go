//go:build unix

package git

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/statesync/statesync/daemon/internal/keyfile"
	"github.com/statesync/statesync/daemon/internal/plain"
)

// Bounds of a pack that is not left to git fetch.
const (
	directTime = 20 * time.Second
	maxDirect  = 16 << 20 // bytes of the answer
	maxShallow = 64 << 10 // bytes of the file shallow
)

// errIndirect is the error of a fetch that is left to git.
var errIndirect = errors.New("it is left to git fetch")

// direct brings an object that a poll has named to a repository that has a commit, by one
// request, and has git index the pack. git fetch does the same by four programs and two
// requests, and takes 2.7 times the processor time (BenchmarkChange). Whatever is not as
// usual is left to it: direct returns an error then, and the repository is as before.
// fetchedRef stays where git fetch has put it: what is here besides is lost to nothing but
// shrink, which has git fetch first.
//
// That all is there that the object leads to is checked by index-pack (--strict: what a new
// object names is in the pack or in the repository), and once more where the tree is read.
func (r *repository) direct(ctx context.Context, want, have oid) (revision, error) {
	if r.ask == nil || have == "" || have.algorithm() != want.algorithm() {
		return revision{}, errIndirect
	}
	ctx, cancel := context.WithTimeout(ctx, directTime)
	defer cancel()
	args := []string{"thin-pack", "ofs-delta", "no-progress", "want " + string(want) + "\n"}
	cut, err := r.shallow()
	if err != nil {
		return revision{}, err
	}
	for _, o := range cut {
		args = append(args, "shallow "+o+"\n")
	}
	args = append(args, "have "+string(have)+"\n", "done\n")
	answer, err := r.ask(ctx, command("fetch", want, args...))
	if err != nil {
		return revision{}, err
	}
	defer answer.Close()
	pack, err := newPack(io.LimitReader(answer, maxDirect))
	if err != nil {
		return revision{}, err
	}
	if err := r.git.run(ctx, call{
		args: []string{"index-pack", "--stdin", "--fix-thin", "--strict"}, input: pack, fileSize: r.maxFile,
	}); err != nil {
		return revision{}, errors.Join(err, r.clean())
	}
	got, err := r.revision(ctx, string(want))
	if err == nil && got.commit == "" {
		err = errIndirect
	}
	return got, err
}

// shallow returns the commits whose parents the repository does not have.
func (r *repository) shallow() ([]string, error) {
	text, err := keyfile.Read(filepath.Join(r.git.dir, "shallow"), maxShallow)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return strings.Fields(string(text)), err
}

// pack reads the pack in an answer to the command fetch.
type pack struct {
	lines lines
	left  int // bytes of the line that is being read
}

// newPack reads an answer up to its pack. A server that says more than that is not
// understood: it is shallow itself, or gives URLs of packs.
func newPack(r io.Reader) (*pack, error) {
	p := &pack{lines: lines{bufio.NewReaderSize(r, maxPkt)}}
	line, err := p.line()
	if err == nil && line == "shallow-info\n" {
		if line, err = p.line(); err == nil && line == "" {
			line, err = p.line()
		}
	}
	if err == nil && line != "packfile\n" {
		err = fmt.Errorf("the answer has the line %s in the place of a pack", plain.Quote(line))
	}
	return p, err
}

// line reads a short line; "" is the end of a part.
func (p *pack) line() (string, error) {
	n, err := p.lines.length()
	switch {
	case err != nil:
		return "", err
	case n == delimPkt:
		return "", nil
	case n < 0 || n > 1000:
		return "", fmt.Errorf("the answer has a line of %d bytes in the place of a pack", n)
	}
	return p.lines.text(n)
}

// Read reads the pack. The first byte of each line is the kind of the rest: 1 is a part of
// the pack, 2 progress, and 3 an error.
func (p *pack) Read(b []byte) (int, error) {
	for p.left == 0 {
		n, err := p.lines.length()
		switch {
		case err != nil:
			return 0, err
		case n == flushPkt:
			return 0, io.EOF
		case n < 1:
			return 0, errors.New("the answer has a part behind its pack")
		}
		kind, err := p.lines.ReadByte()
		if err != nil {
			return 0, io.ErrUnexpectedEOF
		}
		switch kind {
		case 1:
			p.left = n - 1
		case 2:
			if _, err := p.lines.Discard(n - 1); err != nil {
				return 0, io.ErrUnexpectedEOF
			}
		default:
			return 0, errors.New("the server could not make the pack")
		}
	}
	n, err := p.lines.Read(b[:min(len(b), p.left)])
	p.left -= n
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}
