package history

import (
	"fmt"
)

// verify reads everything but the contents, and recounts. Damage that it finds would
// otherwise make each later transaction fail that meets it.
func (t *tx) verify() error {
	n := recount{mentions: map[Digest]uint64{}}
	if err := n.head(t); err != nil {
		return err
	}
	if err := n.records(t); err != nil {
		return err
	}
	if err := n.compare(t); err != nil {
		return err
	}
	if _, err := t.readIntent(); err != nil {
		return err
	}
	if _, err := t.readFloors(); err != nil {
		return err
	}
	return t.verifyAudit()
}

// verifyAudit looks for each number that should be there, so that none is lost.
func (t *tx) verifyAudit() error {
	next := uint64(1)
	if t.totals.entry > auditEntries {
		next = t.totals.entry - auditEntries + 1
	}
	err := t.audit.each(func(key, _ []byte) error {
		number, err := t.audit.keyNumber(key)
		if err == nil && number != next {
			err = fmt.Errorf("%w: the audit has entry %d in the place of %d", ErrDamaged, number, next)
		}
		next++
		return err
	})
	if err == nil && next != t.totals.entry+1 {
		err = fmt.Errorf("%w: the audit ends before entry %d, and should end with %d", ErrDamaged, next, t.totals.entry)
	}
	return err
}

// recount counts what totals and refs have.
type recount struct {
	mentions map[Digest]uint64
	totals   totals
}

func (n *recount) ref(r Ref) {
	if r.Name != "" && !r.Purged {
		n.mentions[r.Sum]++
	}
}

func (n *recount) file(f fileRef) {
	if f.state == wholeFile {
		n.mentions[f.sum]++
	}
}

// head counts what the head and the pin mention.
func (n *recount) head(t *tx) error {
	h, err := t.readHead()
	if err != nil {
		return err
	}
	for _, c := range h.configs {
		n.ref(c.Ref)
	}
	for _, l := range h.layers {
		for _, f := range l.files {
			n.file(f.ref)
		}
	}
	pinned, err := t.pinned()
	for _, r := range pinned {
		n.ref(r)
	}
	return err
}

// records counts the records, and what their changes mention.
func (n *recount) records(t *tx) error {
	changes := uint64(0)
	err := t.changes.each(func(key, value []byte) error {
		c, err := decodeChanges(value)
		if err != nil {
			return err
		}
		changes++
		n.totals.bytes += int64(len(key) + len(value) + sealBytes)
		for _, change := range c.configs {
			n.ref(change.Before)
			n.ref(change.After)
		}
		for _, l := range c.layers {
			for _, f := range l.files {
				n.file(f.before)
				n.file(f.after)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = t.records.each(func(key, value []byte) error {
		if _, err := t.records.keyNumber(key); err != nil {
			return err
		}
		n.totals.records++
		n.totals.bytes += int64(len(key) + len(value) + sealBytes)
		if t.changes.bucket.Get(key) == nil {
			return fmt.Errorf("%w: the record %x has no changes", ErrDamaged, key)
		}
		return nil
	})
	if err == nil && changes != n.totals.records {
		err = fmt.Errorf("%w: %d records have changes, and there are %d", ErrDamaged, changes, n.totals.records)
	}
	return err
}

// compare holds the counts against those of the file, and counts the contents.
func (n *recount) compare(t *tx) error {
	refs := 0
	err := t.refs.each(func(key, _ []byte) error {
		refs++
		var sum Digest
		if copy(sum[:], key) != len(key) || len(key) != len(sum) {
			return fmt.Errorf("%w: refs has the key %x", ErrDamaged, key)
		}
		stored, err := t.count(key)
		if err == nil && stored != n.mentions[sum] {
			err = fmt.Errorf("%w: the content %v is mentioned %d times, and not %d", ErrDamaged, sum, n.mentions[sum], stored)
		}
		return err
	})
	if err != nil {
		return err
	}
	c := t.objects.Cursor()
	for key, value := c.First(); key != nil; key, value = c.Next() {
		if t.refs.bucket.Get(key) == nil {
			return fmt.Errorf("%w: nothing mentions the content %x", ErrDamaged, key)
		}
		n.totals.objects++
		n.totals.bytes += int64(len(key) + len(value))
	}
	if refs != len(n.mentions) || n.totals.objects != uint64(refs) {
		return fmt.Errorf("%w: %d contents are mentioned, %d counted, and %d there", ErrDamaged, len(n.mentions), refs, n.totals.objects)
	}
	n.totals.entry = t.totals.entry
	if n.totals != t.totals {
		return fmt.Errorf("%w: its totals are %+v, and not %+v", ErrDamaged, n.totals, t.totals)
	}
	return nil
}
