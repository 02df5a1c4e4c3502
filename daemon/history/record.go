package history

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/statesync/statesync/shm/failpoint"
)

// Record enters publications, in the order of their generations, in one transaction that
// is on stable storage when it returns; it waits for the disk. A publication whose
// generation is not above that of the newest record is ignored. The oldest records beyond
// the options' bounds are pruned in the same transaction, but never the newest.
//
// Record keeps the configs and snapshots of the last publication, to compare the next one
// with them.
func (s *Store) Record(p ...Publication) error {
	for i := range p {
		if err := p[i].check(); err != nil {
			return err
		}
	}
	s.write.Lock()
	defer s.write.Unlock()
	var next *head
	err := s.update(func(t *tx) error {
		h, err := s.headOf(t)
		if err != nil {
			return err
		}
		for i := range p {
			if p[i].Generation <= h.generation {
				continue
			}
			if h, err = t.record(h, &p[i]); err != nil {
				return err
			}
			next = h
		}
		if next == nil {
			return errNothing
		}
		if err := t.prune(s.options); err != nil {
			return err
		}
		failpoint.Here("history.record-begin")
		return nil
	})
	if err != nil {
		return err
	}
	if next != nil {
		s.head = next
		failpoint.Here("history.record-done")
	}
	return nil
}

// record enters one publication, and returns the head that it makes.
func (t *tx) record(h *head, p *Publication) (*head, error) {
	next := &head{generation: p.Generation}
	c := &changes{}
	var err error
	if next.configs, c.configs, err = compareConfigs(h.configs, p.Configs); err == nil {
		next.layers, c.layers, err = compareLayers(h.layers, p)
	}
	if err != nil {
		return nil, fmt.Errorf("generation %d: %w", p.Generation, err)
	}

	r := p.Record
	r.Added, r.Changed, r.Removed = 0, 0, 0
	for _, change := range c.configs {
		switch {
		case change.Before.Name == "":
			r.Added++
		case change.After.Name == "":
			r.Removed++
		default:
			r.Changed++
		}
	}
	r.Content = contentDigest(next.configs)
	r.Commits = commitsOf(c.layers, p)
	if err := t.copyAct(&r); err != nil {
		return nil, err
	}
	if err := t.moveConfigs(next, c.configs); err != nil {
		return nil, err
	}
	for _, l := range c.layers {
		if err := t.moveFiles(next.layers[l.name], l); err != nil {
			return nil, err
		}
	}
	r.Time = r.Time.UTC()
	text, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	key := numberKey(p.Generation)
	grown, err := t.records.put(key, text)
	if err != nil {
		return nil, err
	}
	more, err := t.changes.put(key, c.encode())
	if err != nil {
		return nil, err
	}
	t.totals.records++
	t.totals.bytes += grown + more
	return next, nil
}

// copyAct fills in what the act of a record was, where the caller left that to the audit.
func (t *tx) copyAct(r *Record) error {
	if r.Act == 0 || r.Command != "" || r.By != nil {
		return nil
	}
	e, err := t.entry(r.Act)
	if errors.Is(err, ErrNotKept) {
		return nil
	}
	if err != nil {
		return err
	}
	r.Command, r.Why, r.By = e.Command, e.Why, &e.By
	return nil
}

// moveConfigs changes the configs of the head. The mention of a value by the head becomes
// that by the change; a new value has both.
func (t *tx) moveConfigs(next *head, changed []Change) error {
	for _, c := range changed {
		if c.After.Name == "" {
			if _, err := t.configs.remove([]byte(c.Name)); err != nil {
				return err
			}
			continue
		}
		if _, err := t.configs.put([]byte(c.Name), appendRef(nil, c.After)); err != nil {
			return err
		}
		t.mentionRef(c.After, 2, notNil(next.sectionOf(c.Name).Content()))
	}
	return nil
}

// moveFiles changes the files of a layer of the head.
func (t *tx) moveFiles(next *headLayer, l layerChange) error {
	var err error
	if l.knownAfter {
		_, err = t.files.put(fileKey(l.name, ""), nil)
	} else { // its files go as well
		_, err = t.files.remove(fileKey(l.name, ""))
	}
	if err != nil {
		return err
	}
	for _, f := range l.files {
		if f.after.state == noFile {
			if _, err := t.files.remove(fileKey(l.name, f.path)); err != nil {
				return err
			}
			continue
		}
		if _, err := t.files.put(fileKey(l.name, f.path), appendFileRef(nil, f.after)); err != nil {
			return err
		}
		if f.after.state == wholeFile {
			t.mentionFile(f.after, 2, notNil(next.fileOf(f.path).Data))
		}
	}
	return nil
}

// notNil is the content, which is not nil even if it is empty.
func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// prune deletes the oldest records beyond the bounds.
func (t *tx) prune(o Options) error {
	for {
		if err := t.settle(); err != nil {
			return err
		}
		if t.totals.records <= 1 || t.totals.records <= uint64(o.Records) && t.totals.bytes <= o.Bytes {
			return nil
		}
		oldest, err := t.records.first()
		if err != nil {
			return err
		}
		c, err := t.changesOf(oldest)
		if err != nil {
			return err
		}
		t.mentionChanges(c, -1)
		for _, table := range []table{t.records, t.changes} {
			less, err := table.remove(numberKey(oldest))
			if err != nil {
				return err
			}
			t.totals.bytes += less
		}
		t.totals.records--
	}
}
