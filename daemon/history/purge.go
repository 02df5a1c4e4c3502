package history

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/statesync/statesync/shm/failpoint"
)

// Purge takes the values of a config, and the contents of the files that files reports,
// out of all records, except those that are live or pinned. Then it rewrites the file, so
// that their bytes are gone from it, and deletes a damaged file that was moved aside. It
// enters the act, and its outcome when the file is rewritten. It returns how many contents
// went.
//
// A value that another config or file has as well stays there. The audit, the commands in
// records and the digests of whole contents are not changed.
//
// If the rewriting fails, the values are out of the records, but their bytes are still in
// the file; the next Open or Purge rewrites it.
func (s *Store) Purge(name string, files func(layer, path string) bool, e Entry) (objects int, err error) {
	s.write.Lock()
	defer s.write.Unlock()
	err = s.update(func(t *tx) error {
		if err := t.enter(&e); err != nil {
			return err
		}
		before := t.totals.objects
		if err := t.purge(name, files); err != nil {
			return err
		}
		if err := t.settle(); err != nil {
			return err
		}
		objects = int(before - t.totals.objects)
		if _, err := t.meta.put(rewriteKey, numberKey(e.Number)); err != nil {
			return err
		}
		failpoint.Here("history.purge-begin")
		return nil
	})
	if err != nil {
		return 0, err
	}
	failpoint.Here("history.purge-done")
	if err := s.finishPurge(e.Number); err != nil {
		return objects, fmt.Errorf("the values are out of the records, but their bytes are still in the file: %w", err)
	}
	return objects, nil
}

// purger takes values out of changes.
type purger struct {
	*tx
	key   []byte // of the pseudonyms; it is in memory only, and goes with the purger
	name  string
	named func(layer, path string) bool
	keep  map[Digest]bool // values of the config that are live or pinned
}

// purge takes the values out of all changes.
func (t *tx) purge(name string, files func(layer, path string) bool) error {
	p := purger{tx: t, key: make([]byte, sha256.Size), name: name, named: files, keep: map[Digest]bool{}}
	if _, err := rand.Read(p.key); err != nil {
		return err
	}
	for _, table := range []table{t.configs, t.pin} {
		value, err := table.get([]byte(name))
		if err != nil {
			return err
		}
		if value == nil {
			continue
		}
		r, err := decodeHeadRef(name, value)
		if err != nil {
			return err
		}
		p.keep[r.Sum] = true
	}
	// A key is replaced only after the cursor is done.
	var generations []uint64
	err := t.changes.down(0, func(number uint64, _ []byte) (bool, error) {
		generations = append(generations, number)
		return true, nil
	})
	if err != nil {
		return err
	}
	for _, g := range generations {
		if err := p.record(g); err != nil {
			return err
		}
	}
	return nil
}

// record takes the values out of the changes of one record.
func (p *purger) record(g uint64) error {
	c, err := p.changesOf(g)
	if err != nil {
		return err
	}
	edited := false
	for i := range c.configs {
		if change := &c.configs[i]; change.Name == p.name {
			edited = p.ref(&change.Before) || edited
			edited = p.ref(&change.After) || edited
		}
	}
	for _, l := range c.layers {
		for i := range l.files {
			done, err := p.file(l.name, &l.files[i])
			if err != nil {
				return err
			}
			edited = edited || done
		}
	}
	if !edited {
		return nil
	}
	grown, err := p.changes.put(numberKey(g), c.encode())
	p.totals.bytes += grown
	return err
}

// ref takes the value out of a mention, and reports whether there was one.
func (p *purger) ref(r *Ref) bool {
	if r.Name == "" || r.Purged || p.keep[r.Sum] {
		return false
	}
	p.mentionRef(*r, -1, nil)
	r.Sum, r.Purged = p.pseudonym(r.Sum), true
	return true
}

// file takes the contents out of the change of a file.
func (p *purger) file(layer string, f *fileChange) (bool, error) {
	if f.before.state != wholeFile && f.after.state != wholeFile {
		return false, nil
	}
	named := false
	if p.named != nil {
		outside(func() { named = p.named(layer, f.path) })
	}
	if !named {
		return false, nil
	}
	live, err := p.liveFile(layer, f.path)
	if err != nil {
		return false, err
	}
	edited := false
	for _, r := range []*fileRef{&f.before, &f.after} {
		if r.state == wholeFile && *r != live {
			p.mentionFile(*r, -1, nil)
			r.sum, r.state = p.pseudonym(r.sum), purgedFile
			edited = true
		}
	}
	return edited, nil
}

// liveFile returns a file of the head, or a zero one if there is none.
func (p *purger) liveFile(layer, path string) (fileRef, error) {
	value, err := p.files.get(fileKey(layer, path))
	if err != nil || value == nil {
		return fileRef{}, err
	}
	return decodeHeadFile(path, value)
}

// pseudonym stands for the sum of a value. The sum itself would tell whether a guess at
// the value is right.
func (p *purger) pseudonym(sum Digest) (d Digest) {
	m := hmac.New(sha256.New, p.key)
	m.Write(sum[:])
	m.Sum(d[:0])
	return d
}

// rewriteDue returns the number of the entry of a Purge that did not end, or 0.
func (t *tx) rewriteDue() (uint64, error) {
	value, err := t.meta.get(rewriteKey)
	if err != nil {
		return 0, err
	}
	if len(value) != 8 {
		return 0, fmt.Errorf("%w: the rewrite is due for %x", ErrDamaged, value)
	}
	return binary.BigEndian.Uint64(value), nil
}

// finishPurge rewrites the file for the Purge of an entry, and enters that it is done.
func (s *Store) finishPurge(number uint64) error {
	if err := s.rewrite(); err != nil {
		return err
	}
	if s.path != "" {
		if err := os.Remove(s.damaged()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return s.update(func(t *tx) error {
		if _, err := t.meta.put(rewriteKey, numberKey(0)); err != nil {
			return err
		}
		e, err := t.entry(number)
		if errors.Is(err, ErrNotKept) {
			return nil
		}
		if err != nil {
			return err
		}
		e.Done, e.Outcome = now(), "purged"
		return t.putEntry(e)
	})
}
